"""Aliases, tags and notes of versions: set by the owner, read by everybody, names wherever a version is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from web3 import Web3

from registry.chain.client import Client
from registry.chain.contract_errors import BadName, BadNote, NotOwner, UnknownAlias, UnknownVersion
from registry.chain.contract_events import AliasRemoved, AliasSet, NoteAdded, VersionTagged, VersionUntagged
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.labels import LabelChange, Labels, label_of
from registry.chain.reverts import decode_error
from registry.chain.transactions import Transactor
from registry.dev.embedded import Embedded, embedded
from registry.ethereum.networks import EMBEDDED_CHAIN_ID, parse_finality
from registry.index import queries
from registry.index.database import Index
from registry.index.for_now import following_of, index_for_now
from registry.index.sync import Follower
from registry.lineage.version_labels import labels_of, read_labels
from registry.rounds.versions import save_arrays
from registry.types import Address, Digest, ModelId, Root
from tests.cli.conftest import World

HOSTILE = "\x1b[2J\x1b]0;title\x07 \u202egnp.exe\u2066\x9b31m\u200b"
GENESIS, NEXT = Digest(b"\x01" * 32), Digest(b"\x02" * 32)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A model with two versions: the genesis is `production`, the next one `staging`, tagged and noted."""
    from tests.cli.conftest import make_world

    with pytest.MonkeyPatch.context() as patch:
        world = make_world(tmp_path_factory.mktemp("labelled"), patch)
        run, done, model = world.run, world.done, world.model
        again = {"weight": np.full((1, 2), 3, np.float32), "bias": np.zeros(1, np.float32)}
        save_arrays(world.folder / "next.safetensors", again)
        first = done("model", "show", model)["head"]
        second = done("model", "publish", model, "next.safetensors", "--account", "a")["version"]
        done("model", "alias", model, "production", "genesis", "--account", "a")
        done("model", "alias", model, "staging", second[:12], "--account", "a")
        done("model", "tag", f"{model}@staging", "audited", "--account", "a")
        done("model", "tag", f"{model}@staging", "2026-q4", "--account", "a")
        done("model", "note", f"{model}@staging", HOSTILE, "--account", "a")
        yield SimpleNamespace(run=run, done=done, model=model, first=first, second=second, folder=world.folder)


@pytest.fixture
def owned() -> tuple[Embedded, tuple[Client, ...], ModelId]:
    """A model of two versions, its owner's client and a stranger's."""
    chain = embedded(3)
    maker = Transactor(chain.w3, chain.signers[0], Journal(None), chain_id=EMBEDDED_CHAIN_ID)
    made = deploy(chain.w3, maker, chain_id=EMBEDDED_CHAIN_ID)
    clients = tuple(Client(chain.w3, made.address, signer=s, journal=Journal(None)) for s in chain.signers)
    owner = clients[0]
    owner.register_model(GENESIS, Root(b"\x03" * 32), Root(b"\x04" * 32))
    model = owner.model_id(owner.account, GENESIS)
    owner.publish_version(model, GENESIS, NEXT, Root(b"\x05" * 32), Root(b"\x04" * 32))
    return chain, clients, model


# The command line ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("model", "pull", "{}", "-o", "pulled.safetensors"),
        ("model", "card", "{}"),
        ("provenance", "show", "{}"),
        ("verify", "{}"),
        ("bundle", "create", "{}", "-o", "made.car"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_an_alias_stands_wherever_a_version_does_and_json_says_which_it_was(
    labelled: SimpleNamespace, arguments: tuple[str, ...]
) -> None:
    for alias, version in (("production", labelled.first), ("staging", labelled.second)):
        named = [argument.format(f"{labelled.model}@{alias}") for argument in arguments]
        assert labelled.done(*named)["version"] == version


def test_two_aliases_are_compared(labelled: SimpleNamespace) -> None:
    names = [f"{labelled.model}@{alias}" for alias in ("production", "staging")]
    found = labelled.done("provenance", "diff", *names)
    assert (found["first"], found["second"]) == (labelled.first, labelled.second)


def test_model_show_lists_aliases_tags_and_notes(labelled: SimpleNamespace) -> None:
    shown = labelled.done("model", "show", labelled.model)
    assert shown["aliases"] == {"production": labelled.first, "staging": labelled.second}
    first, second = (version["labels"] for version in shown["versions"])
    assert first == {"aliases": ["production"], "tags": [], "notes": []}
    assert (second["aliases"], second["tags"]) == (["staging"], ["2026-q4", "audited"])
    (note,) = second["notes"]
    assert (note["text"], note["owner"]) == (HOSTILE, shown["owner"])
    said = labelled.run("model", "show", labelled.model).stdout
    assert f"production {labelled.first[2:12]}, staging {labelled.second[2:12]}" in said
    assert f"tags of {labelled.second[2:12]}: 2026-q4, audited" in said
    assert f"note on {labelled.second[2:12]} by {shown['owner']}, block {note['block']}: " in said


def test_provenance_show_lists_them_too(labelled: SimpleNamespace) -> None:
    newest, genesis = labelled.done("provenance", "show", labelled.model)["lineage"]
    assert genesis["labels"] == {"aliases": ["production"], "tags": [], "notes": []}
    assert newest["labels"]["tags"] == ["2026-q4", "audited"]
    said = labelled.run("provenance", "show", labelled.model).stdout
    assert "head  staging  #2026-q4  #audited" in said
    assert "gnp.exe" in said


@pytest.mark.parametrize("arguments", [("model", "show"), ("provenance", "show"), ("model", "show", "--json")])
def test_a_note_steers_no_terminal(labelled: SimpleNamespace, arguments: tuple[str, ...]) -> None:
    said = labelled.run(*arguments, labelled.model).stdout
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\u200b"} & set(said)
    assert "\\u202egnp.exe" in said
    assert "\\u001b[2J" in said if "--json" in arguments else "\\x1b[2J" in said


def test_an_unknown_alias_is_one_error_that_names_those_there_are(labelled: SimpleNamespace) -> None:
    said = labelled.run("model", "pull", f"{labelled.model}@produktion")
    assert said.exit_code == 2
    assert "no version or alias 'produktion' of model" in said.stderr
    assert "its aliases are production, staging; a version is a digest" in said.stderr
    hostile = labelled.run("model", "pull", f"{labelled.model}@{HOSTILE}", "--json")
    assert hostile.exit_code == 2
    assert "\x9b" not in hostile.stderr
    assert "\u202e" not in hostile.stderr
    assert json.loads(hostile.stderr)["error"] == "InputError"


def test_an_alias_moves_and_goes(world: World) -> None:
    genesis = world.done("model", "show", world.model)["head"]
    none = world.run("model", "pull", f"{world.model}@production")
    assert "it has no alias yet" in none.stderr
    made = world.done("model", "alias", world.model, "production", "head", "--account", "a")
    assert (made["alias"], made["version"], made["removed"]) == ("production", genesis, False)
    save_arrays(
        world.folder / "n.safetensors", {"weight": np.ones((1, 2), np.float32), "bias": np.zeros(1, np.float32)}
    )
    second = world.done("model", "publish", world.model, "n.safetensors", "--account", "a")["version"]
    assert world.done("provenance", "show", f"{world.model}@production")["version"] == genesis
    world.done("model", "alias", world.model, "production", "head", "--account", "a")
    assert world.done("provenance", "show", f"{world.model}@production")["version"] == second
    back = world.done("model", "alias", world.model, "production", "genesis", "--account", "a")
    assert back["version"] == genesis, "the same call again is another transaction"
    world.done("model", "tag", world.model, "audited", "--account", "a")
    world.done("model", "tag", world.model, "audited", "--remove", "--account", "a")
    gone = world.run("model", "tag", world.model, "audited", "--remove", "--account", "a")
    assert (gone.exit_code, "has no tag 'audited': it has none" in gone.stderr) == (2, True)
    removed = world.done("model", "alias", world.model, "production", "--remove", "--account", "a")
    assert (removed["version"], removed["removed"]) == (genesis, True)
    assert world.done("model", "show", world.model)["aliases"] == {}
    again = world.run("model", "alias", world.model, "production", "--remove", "--account", "a")
    assert (again.exit_code, "UnknownAlias: model 0x" in again.stderr) == (5, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("alias", "{}", "production"), 2, "expected a VERSION, or --remove"),
        (("alias", "{}", "production", "head", "--remove"), 2, "expected a VERSION, or --remove"),
        (("alias", "{}", "Production", "head"), 5, "BadName: expected 1 to 31 of a-z 0-9 - _ ., got Production"),
        (("alias", "{}", "beef", "head"), 5, "not hex digits alone, head, genesis, round-..., baf..., v1..., got beef"),
        (("alias", "{}", "2026-11-01", "head"), 5, "BadName: expected a letter first and no other name of a version"),
        (("alias", "{}", "round-1", "head"), 5, "BadName: expected a letter first and no other name of a version"),
        (("alias", "{}", "prod\u202e", "head"), 5, "got prod\\u202e"),
        (("tag", "{}", "Audited"), 5, "BadName: expected 1 to 31 of a-z 0-9 - _ ., got Audited"),
        (("note", "{}", "n" * 281), 5, "BadNote: length 281, max 280"),
        (("note", "{}", "é" * 141), 5, "BadNote: length 282, max 280"),
        (("note", "{}", ""), 5, "BadNote: length 0, max 280"),
    ],
    ids=lambda value: value[2][:12] if isinstance(value, tuple) else "",
)
def test_bad_labels_are_refused_before_gas(
    labelled: SimpleNamespace, arguments: tuple[str, ...], code: int, said: str
) -> None:
    shown = labelled.run("model", *(a.format(labelled.model) for a in arguments), "--account", "a")
    assert (shown.exit_code, said in shown.stderr) == (code, True), shown.stderr


@pytest.mark.parametrize(
    "arguments", [("alias", "{}", "mine", "head"), ("tag", "{}", "mine"), ("note", "{}", "mine")], ids=lambda a: a[0]
)
def test_nobody_but_the_owner_labels(labelled: SimpleNamespace, arguments: tuple[str, ...]) -> None:
    shown = labelled.run("model", *(a.format(labelled.model) for a in arguments), "--account", "b")
    assert (shown.exit_code, "NotOwner" in shown.stderr) == (5, True)


# The contract's client, its events and the index ---------------------------------------------------------------------


def test_the_client_reads_what_it_writes(owned: Any) -> None:
    _, (owner, stranger, _), model = owned
    labels = Labels(owner)
    labels.set_alias(model, "production", NEXT)
    labels.set_alias(model, "staging", GENESIS)
    labels.remove_alias(model, "staging")
    labels.add_tag(model, NEXT, "audited")
    labels.remove_tag(model, NEXT, "audited")
    labels.add_note(model, NEXT, "said")
    assert labels.alias_of(model, "production") == NEXT
    assert labels.alias_of(model, "staging") == bytes(32)
    assert [type(event) for event in labels.events()] == [
        AliasSet, AliasSet, AliasRemoved, VersionTagged, VersionUntagged, NoteAdded,
    ]  # fmt: skip
    for expected, act in (
        (NotOwner, lambda: Labels(stranger).set_alias(model, "mine", NEXT)),
        (UnknownVersion, lambda: labels.set_alias(model, "mine", Digest(b"\x09" * 32))),
        (UnknownAlias, lambda: labels.remove_alias(model, "mine")),
        (BadName, lambda: labels.add_tag(model, NEXT, "")),
        (BadNote, lambda: labels.add_note(model, NEXT, "")),
    ):
        with pytest.raises(expected):
            act()
    assert read_labels(owner, model).aliases == {"production": NEXT}


def test_an_alias_counts_once_its_block_is_final(owned: Any) -> None:
    chain, (owner, *_), model = owned
    labels = Labels(owner)
    labels.set_alias(model, "production", GENESIS)
    chain.w3.provider.ethereum_tester.mine_blocks(5)
    labels.set_alias(model, "production", NEXT)
    reader = Client(chain.w3, owner.address, finality=parse_finality("3"))
    assert labels.alias_of(model, "production") == NEXT
    assert read_labels(reader, model).aliases == {"production": GENESIS}
    chain.w3.provider.ethereum_tester.mine_blocks(3)
    assert read_labels(reader, model).aliases == {"production": NEXT}


def test_the_index_tells_what_the_events_do(owned: Any) -> None:
    _, (owner, *_), model = owned
    labels = Labels(owner)
    for name in ("b-side", "production"):
        labels.set_alias(model, name, GENESIS)
    labels.set_alias(model, "production", NEXT)
    labels.add_tag(model, NEXT, "audited")
    labels.add_note(model, NEXT, HOSTILE)
    with index_for_now(owner) as db:
        assert labels_of(queries.labels(db, model)) == read_labels(owner, model)
        assert queries.labels(db, ModelId(b"\x09" * 32)) == ()


def test_a_reorg_takes_labels_with_it(owned: Any, tmp_path: Path) -> None:
    chain, (owner, *_), model = owned
    Labels(owner).set_alias(model, "production", GENESIS)
    snapshot = chain.w3.provider.ethereum_tester.take_snapshot()

    def synced() -> Any:
        with Index(tmp_path / "index.sqlite", following_of(owner)) as index:
            Follower(index, chain.w3, parse_finality("20")).sync()
            return labels_of(queries.labels(index.db, model))

    Labels(owner).set_alias(model, "production", NEXT)
    Labels(owner).add_tag(model, NEXT, "audited")
    before = synced()
    assert (before.aliases, before.tags) == ({"production": NEXT}, {NEXT: ("audited",)})
    chain.w3.provider.ethereum_tester.revert_to_snapshot(snapshot)
    chain.w3.provider.ethereum_tester.mine_blocks(4)
    after = synced()
    assert (after.aliases, after.tags) == ({"production": GENESIS}, {})


def test_a_note_that_is_no_text_stops_no_reader(owned: Any) -> None:
    """The contract takes any bytes, and no owner may stop everybody's index with some."""
    _, (owner, *_), model = owned
    labels = Labels(owner)
    owner.send(labels.call("addNote", model, NEXT, b"ok \xff\xfe\x00"))
    labels.set_alias(model, "production", NEXT)
    with index_for_now(owner) as db:
        found = labels_of(queries.labels(db, model))
    assert found == read_labels(owner, model)
    assert [note.text for note in found.notes[NEXT]] == ["ok \ufffd\ufffd\x00"]
    assert found.aliases == {"production": NEXT}


def test_revert_data_that_are_no_text_are_an_error_like_others() -> None:
    from eth_abi.abi import encode

    data = Web3.keccak(text="BadName(string,string)")[:4] + encode(["bytes", "bytes"], [b"\xff\xfe", b"x"])
    assert "do not decode" in str(decode_error(data))


def test_every_label_event_is_a_change() -> None:
    from registry.ethereum.positions import Position

    at = Position(1, 0, bytes(32), bytes(32))
    said = (at, ModelId(bytes(32)), NEXT, Address(bytes(20)))
    events = (
        AliasSet(*said, "x"), AliasRemoved(*said, "x"), VersionTagged(*said, "x"), VersionUntagged(*said, "x"),
        NoteAdded(*said, b"x"),
    )  # fmt: skip
    assert [label_of(event).change for event in events] == list(LabelChange)
    assert {label_of(event).text for event in events} == {b"x"}

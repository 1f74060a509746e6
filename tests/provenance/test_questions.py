"""Lineage queries over three related models: one with two rounds, one derived from it, one that shares its head."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.content.manifest import Reason, Source, Statement, digest_of, manifest_cid
from registry.errors import InputError
from registry.index import queries, round_queries
from registry.index.for_now import index_for_now
from registry.lineage.affected_versions import participation_of, recall_data_set, recall_update
from registry.lineage.ancestry import Ancestry, read_ancestry
from registry.lineage.catalogue import Catalogue
from registry.lineage.diff import compare_tensors, contributors, leads, plan_changes
from registry.lineage.identify import FileName, identify, name_of_file
from registry.lineage.picture import draw
from registry.lineage.provenance import provenance_of_lineage, provenance_of_version, standing_report
from registry.rounds.versions import add_version, load_version_manifest, read_version, save_arrays
from registry.store.memory import MemoryStore
from registry.types import Cid, Codec, Digest, ModelId, Root
from trainer.simulation import Simulation


@dataclass(frozen=True)
class Family:
    """`child` is a model whose genesis names `head` as its parent, `heir` one whose genesis is `head` itself."""

    db: sqlite3.Connection
    store: MemoryStore
    model: ModelId
    head: Digest
    child: ModelId
    child_genesis: Digest
    grandchild: Digest
    heir: ModelId
    folder: Path

    def catalogue(self) -> Catalogue:
        return Catalogue(None, self.store)

    def ancestry(self) -> Ancestry:
        return read_ancestry(self.db, self.catalogue())


class Holes(MemoryStore):
    """A store that lacks some blocks of another."""

    def __init__(self, behind: MemoryStore, *missing: bytes) -> None:
        super().__init__()
        self._blocks = {key: data for key, data in behind._blocks.items() if key not in missing}


@pytest.fixture(scope="module")
def family(trained: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    folder = tmp_path_factory.mktemp("family")
    owner, store = trained.owner, trained.store
    assert isinstance(store, MemoryStore)
    head = owner.model(trained.model_id).head
    save_arrays(folder / "child.safetensors", {"w": np.arange(6, dtype=np.float32), "n": np.arange(3)})
    statement = Statement("<Child & co>", "", "", "", "", (Source("ward", "", b"\x09" * 32),), {"auc": 0.75})
    child = add_version(store, folder / "child.safetensors", parent=head, statement=statement)
    owner.register_model(digest_of(child), Root(child.tensor_root), Root(child.rest_root))
    save_arrays(folder / "grand.safetensors", {"w": np.arange(6, dtype=np.float32) + 0.5, "m": np.arange(3)})
    grand = add_version(store, folder / "grand.safetensors", parent=digest_of(child))
    child_id = owner.model_id(owner.account, digest_of(child))
    owner.publish_version(child_id, digest_of(child), digest_of(grand), Root(grand.tensor_root), Root(grand.rest_root))
    owner.register_model(
        head, Root(load_version_manifest(store, head).tensor_root), Root(load_version_manifest(store, head).rest_root)
    )
    heir = owner.model_id(owner.account, head)
    with index_for_now(owner) as db:
        yield Family(db, store, trained.model_id, head, child_id, digest_of(child), digest_of(grand), heir, folder)


def numbers(family: Family, digests: tuple[Digest, ...]) -> list[int]:
    ancestry = family.ancestry()
    return [ancestry.places[digest][0].number for digest in digests]


def test_a_lineage_goes_on_into_the_model_that_a_genesis_descends_from(family: Family) -> None:
    ancestry = family.ancestry()
    found = ancestry.ancestors(family.grandchild)
    assert found[-3:] == (family.head, family.child_genesis, family.grandchild)
    assert numbers(family, found) == [0, 1, 2, 0, 0]
    assert ancestry.descendants([found[0]]) == found
    assert ancestry.unread == ()


def test_a_version_in_two_models_is_one(family: Family) -> None:
    places = family.ancestry().places[family.head]
    assert [entry.model_id for entry in places] == [family.model, family.heir]
    story = provenance_of_version(family.db, family.store, places[1])
    assert [entry.model_id for entry in story.elsewhere] == [family.model]
    assert family.ancestry().ancestors(family.head)[0] == queries.versions(family.db, family.model)[0].digest


def test_a_genesis_whose_manifest_is_not_to_be_had_is_told(family: Family) -> None:
    ancestry = read_ancestry(family.db, Catalogue(None, Holes(family.store, family.child_genesis)))
    assert ancestry.unread == (family.child_genesis,)
    assert ancestry.ancestors(family.grandchild) == (family.child_genesis, family.grandchild)


def test_owners_who_publish_one_another_s_versions_in_a_circle_stop_no_walk() -> None:
    a, b, c = (Digest(bytes([n]) * 32) for n in (1, 2, 3))
    edges = {a: (b,), b: (a,), c: (b,)}
    circle = Ancestry({}, edges, {b: (a, c), a: (b,)}, ())
    assert set(circle.ancestors(c)) == {a, b, c}
    assert circle.ancestors(c)[-1] == c
    assert set(circle.descendants([a])) == {a, b, c}


def test_a_file_is_the_version_that_its_bytes_are(family: Family) -> None:
    path = family.folder / "pulled.safetensors"
    path.write_bytes(b"".join(read_version(family.store, load_version_manifest(family.store, family.head))))
    name = name_of_file(path)
    found = identify(family.db, family.catalogue(), name)
    assert [(e.model_id, e.digest, e.number) for e in found.versions] == [
        (family.model, family.head, 2), (family.heir, family.head, 0),
    ]  # fmt: skip
    for known in (FileName(name.cid, None), FileName(None, name.sha256)):
        assert identify(family.db, family.catalogue(), known).versions == found.versions
    assert identify(family.db, family.catalogue(), FileName(None, bytes(32))).versions == ()
    assert identify(family.db, family.catalogue(), FileName(None, None)).versions == ()
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert identify(family.db, family.catalogue(), name_of_file(path)).versions == ()


def test_a_manifest_that_names_half_of_a_file_is_not_about_it(family: Family) -> None:
    manifest = load_version_manifest(family.store, family.head)
    name = FileName(manifest.weights.cid, manifest.weights.sha256)
    for other in (replace(name, sha256=bytes(32)), replace(name, cid=Cid(Codec.RAW, bytes(32)))):
        assert identify(family.db, family.catalogue(), other).versions == ()


def test_versions_that_nobody_gives_are_counted(family: Family) -> None:
    manifest = load_version_manifest(family.store, family.head)
    catalogue = Catalogue(None, Holes(family.store, family.head))
    found = identify(family.db, catalogue, FileName(manifest.weights.cid, manifest.weights.sha256))
    assert (found.versions, found.unread) == ((), 1)


def test_what_was_read_of_manifests_is_kept(family: Family, tmp_path: Path) -> None:
    name = FileName(load_version_manifest(family.store, family.head).weights.cid, None)
    for store in (family.store, MemoryStore()):
        catalogue = Catalogue(tmp_path / "catalogue.sqlite", store)
        assert len(identify(family.db, catalogue, name).versions) == 2
        catalogue.close()
    (tmp_path / "catalogue.sqlite").write_bytes(b"no catalogue")
    with pytest.raises(InputError, match="cannot be used as a catalogue"):
        Catalogue(tmp_path / "catalogue.sqlite", family.store)


def update_of(family: Family, number: int) -> Digest:
    made = round_queries.rounds(family.db, family.model)[number - 1]
    return round_queries.commitments(family.db, made.round_id)[0].digest


@pytest.mark.parametrize(("number", "descend"), [(1, 4), (2, 3)])
def test_what_descends_from_an_update_is_found_in_every_model(family: Family, number: int, descend: int) -> None:
    found = recall_update(family.db, family.store, family.catalogue(), update_of(family, number))
    assert [(use.commitment.number, use.reason) for use in found.uses] == [(number, Reason.ADMITTED)]
    assert len({entry.digest for entry in found.versions}) == descend
    assert {entry.model_id for entry in found.versions} == {family.model, family.child, family.heir}
    assert found.unread == 0


def test_what_descends_from_a_data_set_is_found_by_updates_and_by_what_owners_state(family: Family) -> None:
    made = round_queries.rounds(family.db, family.model)[0]
    story = provenance_of_version(
        family.db, family.store, queries.versions_of_digest(family.db, made.version_digest or family.head)[0]
    )
    assert story.round is not None
    update = story.round.commitments[0].update
    assert update is not None
    named = update.data_set.digest if isinstance(update.data_set, Cid) else update.data_set
    found = recall_data_set(family.db, family.store, family.catalogue(), named)
    assert [use.commitment.number for use in found.uses] == [1, 2]
    assert len({entry.digest for entry in found.versions}) == 4
    stated = recall_data_set(family.db, family.store, family.catalogue(), b"\x09" * 32)
    assert (stated.uses, stated.stated) == ((), (family.child_genesis,))
    assert [entry.digest for entry in stated.versions] == [family.child_genesis, family.grandchild]
    nothing = recall_data_set(family.db, family.store, family.catalogue(), b"\x0a" * 32)
    assert (nothing.uses, nothing.versions) == ((), ())


def test_an_update_whose_report_is_not_to_be_had_counts_as_used(family: Family) -> None:
    made = round_queries.rounds(family.db, family.model)[0]
    (result,) = round_queries.results(family.db, made.round_id)
    holes = Holes(family.store, result.result.report_digest)
    found = recall_update(family.db, holes, family.catalogue(), update_of(family, 1))
    assert found.uses[0].reason is None
    assert len({entry.digest for entry in found.versions}) == 4


def test_a_report_on_other_commitments_says_nothing(family: Family) -> None:
    first, second = round_queries.rounds(family.db, family.model)
    assert standing_report(family.db, family.store, first) is not None
    (mine,) = round_queries.results(family.db, first.round_id)
    (other,) = round_queries.results(family.db, second.round_id)

    class Swapped(MemoryStore):
        def _get(self, cid: Cid) -> bytes:
            raise AssertionError

    swapped = Swapped()
    swapped.get = lambda cid: family.store.get(  # type: ignore[method-assign]
        manifest_cid(other.result.report_digest) if cid.digest == mine.result.report_digest else cid
    )
    assert standing_report(family.db, swapped, first) is None


def test_what_a_participant_contributed_is_told_with_where_it_ended_up(family: Family) -> None:
    who = round_queries.commitments(family.db, round_queries.rounds(family.db, family.model)[0].round_id)[1].participant
    found = participation_of(family.db, family.store, family.catalogue(), family.model, who)
    assert [(use.commitment.number, use.reason) for use in found.uses] == [(1, Reason.ADMITTED), (2, Reason.ADMITTED)]
    assert [use.share for use in found.uses] == [pytest.approx(51 / 101)] * 2
    assert len({entry.digest for entry in found.versions}) == 4
    assert participation_of(family.db, family.store, family.catalogue(), family.child, who).uses == ()


def test_tensors_are_compared_to_the_bit(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.lineage.diff._VALUES", 2)
    found = {change.name: change for change in compare_tensors(family.store, family.child_genesis, family.grandchild)}
    assert (found["m"].what, found["n"].what, found["w"].what) == ("added", "removed", "changed")
    moved = found["w"]
    assert (moved.norm, moved.largest, moved.values) == (pytest.approx(0.5 * 6**0.5), 0.5, 6)
    assert moved.relative == pytest.approx(0.5 * 6**0.5 / 55**0.5)
    same = list(compare_tensors(family.store, family.head, family.head))
    assert {(change.what, change.norm, change.values) for change in same} == {("equal", 0.0, 0)}


def test_bfloat16_and_integers_are_compared_by_their_values(tmp_path: Path) -> None:
    from registry.content.tensors import write_tensors

    store, digests = MemoryStore(), []
    for bits, count in ((0x3F80, 2**60), (0x4000, 2**60 + 1)):
        tensors = {
            "b": ("BF16", (2,), np.array([bits, 0], "<u2")),
            "i": ("I64", (1,), np.array([count], "<i8")),
            "s": ("F32", (), np.array(1.0, "<f4")),
            "e": ("F32", (0,), np.array([], "<f4")),
        }
        path = tmp_path / "x.safetensors"
        path.write_bytes(b"".join(bytes(piece) for piece in write_tensors(tensors)))  # type: ignore[arg-type]
        digests.append(digest_of(add_version(store, path, frozen=("b",))))
    found = {change.name: change for change in compare_tensors(store, *digests)}
    assert (found["b"].norm, found["b"].values) == (1.0, 1)
    assert (found["i"].what, found["i"].values) == ("changed", 1), "a difference below float64's last bit"
    assert (found["s"].what, found["e"].what) == ("equal", "equal")


def test_who_contributed_between_two_versions_is_told(family: Family) -> None:
    ancestry = family.ancestry()
    genesis = queries.versions(family.db, family.model)[0].digest
    before, after = leads(family.db, family.store, ancestry, genesis, family.grandchild)
    assert before.versions == ()
    assert [story.entry.number for story in after.versions] == [1, 2, 0, 0]
    assert [(who.rounds, pytest.approx(who.share)) for who in contributors(after)] == [(2, 102 / 101), (2, 100 / 101)]
    assert plan_changes(after) == ()
    back, forth = leads(family.db, family.store, ancestry, family.grandchild, genesis)
    assert (len(back.versions), forth.versions) == (4, ())


def test_a_plan_that_changed_between_rounds_is_told_field_by_field(family: Family) -> None:
    _, after = leads(
        family.db, family.store, family.ancestry(), queries.versions(family.db, family.model)[0].digest, family.head
    )
    second = after.versions[-1]
    assert second.round is not None
    assert second.round.plan_before == second.round.plan
    other = replace(second.round.plan, plan_index=1, plan=replace(second.round.plan.plan, quorum=9))
    changed = replace(second, round=replace(second.round, plan=other))
    (change,) = plan_changes(replace(after, versions=(*after.versions[:-1], changed)))
    assert (change.number, change.plan_index, dict(change.fields)) == (2, 1, {"quorum": (2, 9)})


def picture(family: Family) -> str:
    ancestry = family.ancestry()
    stories = [
        provenance_of_version(family.db, family.store, ancestry.places[d][0])
        for d in ancestry.ancestors(family.grandchild)
    ]
    return draw(stories, ancestry, {story.entry.at.block: 1_700_000_000 for story in stories}, {})


def test_a_picture_of_a_lineage_is_the_same_each_time_and_well_formed(family: Family) -> None:
    from xml.etree import ElementTree

    drawn = picture(family)
    assert drawn == picture(family)
    root = ElementTree.fromstring(drawn)
    shown = " ".join(text for text in root.itertext())
    for said in (
        "round 1",
        "round 2",
        "genesis",
        "2023-11-14",
        "50.5 %",
        "49.5 %",
        "<Child & co>",
        family.grandchild.hex(),
    ):
        assert said in shown
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names <= {"svg", "title", "style", "rect", "path", "circle", "text", "g"}, "nothing that runs or loads"


def test_text_that_looks_like_markup_or_a_format_stays_text(family: Family) -> None:
    from xml.etree import ElementTree

    ancestry = family.ancestry()
    story = provenance_of_version(family.db, family.store, ancestry.places[family.child_genesis][0])
    assert story.manifest is not None
    assert story.manifest.statement is not None
    hostile = "</text><script>{x} {0}\x00\x1b\u202e"
    said = replace(story.manifest, statement=replace(story.manifest.statement, title=hostile))
    root = ElementTree.fromstring(
        draw([replace(story, manifest=said)], ancestry, {story.entry.at.block: 1_700_000_000}, {})
    )
    assert "</text><script>{x} {0}" in " ".join(root.itertext())
    assert not [element for element in root.iter() if element.tag.endswith("script")]


def test_a_lineage_is_told_in_time_linear_in_its_rounds(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each version reads its own round and the one before it, however many there are."""
    read, rounds = [], round_queries._rounds

    def counted(*asked: Any) -> Iterator[Any]:
        for entry in rounds(*asked):
            read.append(entry.number)
            yield entry

    monkeypatch.setattr(round_queries, "_rounds", counted)
    told = list(provenance_of_lineage(family.db, family.store, family.model, family.head))
    numbers = [story.round.entry.number for story in told if story.round]
    assert numbers == [2, 1]
    assert read == [2, 1, 1]
    assert told[0].round is not None
    assert told[0].round.plan_before == told[0].round.plan


def test_a_lineage_of_no_version_of_the_model_is_refused(family: Family) -> None:
    with pytest.raises(InputError, match="expected a version 0x00"):
        list(provenance_of_lineage(family.db, family.store, family.model, Digest(bytes(32))))

"""Every command's JSON has the keys, in order, and the types of the dataclass of `registry.facts` that it prints."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, NewType, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import registry.facts
from registry.chain.client import Client
from registry.chain.contract_structs import Target
from registry.chain.court import Court
from registry.dev.embedded import warp
from registry.ethereum.keys import address_of
from registry.facts.bundle_facts import BundleFacts, BundleVerdictFacts, InclusionFacts
from registry.facts.data_set_facts import DataSetFacts
from registry.facts.difference_facts import DifferenceFacts
from registry.facts.dispute_facts import AuditFacts, StandingFacts
from registry.facts.member_facts import BondFacts, MemberFacts, UpdateFacts
from registry.facts.model_facts import ModelFacts, ModelSummary
from registry.facts.plain import plain
from registry.facts.plan_facts import PlanFacts, PlanTerms
from registry.facts.round_facts import RoundFacts
from registry.facts.verification_facts import LineageVerificationFacts
from registry.facts.version_facts import LineageFacts, ParticipationFacts, RecallFacts
from registry.rounds.data_quality import DataQuality
from registry.rounds.onchain import chosen_result, read_round
from registry.rounds.versions import save_arrays
from registry.types import Cid, Codec, ModelId, Role, Tree

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def flaws(value: Any, hint: Any, at: str) -> Iterator[str]:
    """Yield where a JSON value is not what `plain` makes of a value of this type."""
    if isinstance(hint, NewType):
        yield from flaws(value, hint.__supertype__, at)
    elif get_origin(hint) is Annotated:
        yield from flaws(value, get_args(hint)[0], at)
    elif get_origin(hint) in (Union, UnionType):
        if all(any(flaws(value, one, at)) for one in get_args(hint)):
            yield f"{at}: expected {hint}, got {value!r:.80}"
    elif get_origin(hint) in (tuple, list):
        types = get_args(hint)
        if not isinstance(value, list):
            yield f"{at}: expected a list, got {value!r:.80}"
        elif types[-1] is Ellipsis or get_origin(hint) is list:
            yield from (flaw for n, item in enumerate(value) for flaw in flaws(item, types[0], f"{at}[{n}]"))
        else:
            pairs = zip(value, types, strict=True)
            yield from (flaw for n, (item, one) in enumerate(pairs) for flaw in flaws(item, one, f"{at}[{n}]"))
    elif get_origin(hint) is not None and issubclass(get_origin(hint), Mapping):
        yield from (flaw for key, item in value.items() for flaw in flaws(item, get_args(hint)[1], f"{at}.{key}"))
    elif dataclasses.is_dataclass(hint) and hint is not Cid:
        yield from flaws_of_fields(value, hint, at)
    elif not is_plain(value, hint):
        yield f"{at}: expected {hint}, got {value!r:.80}"


def flaws_of_fields(value: Any, kind: Any, at: str) -> Iterator[str]:
    names = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(value, dict) or list(value) != names:
        yield f"{at}: expected {names}, got {list(value) if isinstance(value, dict) else value!r:.80}"
        return
    hints = get_type_hints(kind, include_extras=True)
    yield from (flaw for name in names for flaw in flaws(value[name], hints[name], f"{at}.{name}"))


def is_plain(value: Any, kind: Any) -> bool:
    """Return whether a JSON value is what `plain` makes of a value of this class."""
    if kind in (object, Any):
        return True
    if kind in (bool, int, str, NoneType):
        return type(value) is kind
    if kind is float:
        return type(value) in (int, float)
    if not isinstance(value, list if issubclass(kind, enum.Flag) else str):
        return False
    if issubclass(kind, enum.Flag):
        return set(value) <= {str(one.name).lower() for one in kind}
    if issubclass(kind, enum.Enum):
        return value in {one.name.lower() for one in kind}
    if kind is Cid:
        return re.fullmatch(r"baf[a-z2-7]{56}", value) is not None
    return issubclass(kind, bytes) and re.fullmatch(r"0x([0-9a-f]{2})*", value) is not None


def require(value: Any, hint: Any) -> None:
    assert list(flaws(value, hint, "facts")) == []


@pytest.fixture(scope="module")
def played(shared_world: Any) -> Any:
    """A model with a finalized round, a second plan, and a round in its challenge window."""
    model, done = shared_world.model, shared_world.done
    for number in (1, 2):
        done("round", "open", model, "--account", "a")
        for name in "bc":
            delta = {"weight": np.full((1, 2), 0.25, dtype=np.float32), "bias": np.zeros(1, dtype=np.float32)}
            save_arrays(shared_world.folder / "delta.safetensors", delta)
            update = ("--update", "delta.safetensors", "--weight", 10, "--steps", 3, "--data-set", name)
            made = done("participant", "submit", model, *update, "--account", name)
            assert made.pop("committed") is True
            assert made.pop("file").endswith(".safetensors")
            require(made, UpdateFacts)
        done("aggregator", "once", model, "--account", "d")
        for name in "bc":
            done("participant", "publish", model, "--account", name)
        for name in "de":
            done("aggregator", "once", model, "--account", name)
        if number == 1:
            warp(shared_world.chain.w3, seconds=3601)
            done("round", "finalize", model, "--account", "f")
            done("plan", "new", "--from", "plan.toml", "--grid", 21, "-o", "finer.toml")
            done("plan", "set", model, "finer.toml", "--account", "a")
    return shared_world


def demand_leaf(world: Any) -> None:
    """Demand the first leaf of the aggregate of round 2."""
    contract = address_of(world.done("contracts", "show")["contract"])
    client = Client(world.chain.w3, contract, signer=world.chain.signers[6])
    model = ModelId(bytes.fromhex(world.model[2:]))
    result = chosen_result(client, read_round(client, model, 2))
    assert result is not None
    court, target = Court(client), Target(model, 2, result)
    court.demand_chunks(target, Tree.AGGREGATE, [0], deposit=court.deposit_now(target))


def test_models_plans_and_rounds(played: Any) -> None:
    model, done = played.model, played.done
    shown = done("model", "show", model)
    require(shown, ModelFacts)
    assert ADDRESS.fullmatch(shown["owner"])
    require(done("model", "list"), tuple[ModelSummary, ...])
    require(done("plan", "show", model), PlanFacts)
    require(done("plan", "show", model, 0), PlanFacts)
    history = done("plan", "history", model)
    require(history, tuple[PlanTerms, ...])
    assert [plan["plan"] for plan in history] == [0, 1]
    rounds = done("round", "list", model)
    require(rounds, tuple[RoundFacts, ...])
    assert [told["version"] is None for told in rounds] == [False, False]


def test_members_and_standings(played: Any) -> None:
    model, done = played.model, played.done
    members = done("member", "list", model)
    assert {member.pop("keystore") for member in members} == set("bcde")
    require(members, tuple[MemberFacts, ...])
    done("bond", "deposit", model, "0.5", "--account", "d")
    bond = done("bond", "show", model, members[2]["account"])
    require(bond, BondFacts)
    assert bond["bond_ether"] == "0.5"
    standing = done("aggregator", "status", model, "--account", "d")
    assert standing.pop("loop") is None
    require(standing, StandingFacts)
    assert (standing["phase"], standing["attested"], standing["demands"]) == ("challenge", True, [])
    demand_leaf(played)
    (read_only,) = done("auditor", "status", model)["models"]
    require(read_only, StandingFacts)
    (demand,) = read_only["demands"]
    assert (demand["index"], demand["seconds"] > 0) == (0, True)


def test_versions_and_what_descends_from_what(played: Any) -> None:
    model, done = played.model, played.done
    shown = done("provenance", "show", f"{model}@round-1")
    require(shown, LineageFacts)
    (descendant,) = done("provenance", "show", f"{model}@genesis")["descendants"]
    assert descendant["version"] == shown["version"]
    require(done("provenance", "participant", model, "b"), ParticipationFacts)
    recalled = done("provenance", "descendants", "--update", shown["lineage"][0]["commitments"][0]["digest"])
    require(recalled, RecallFacts)
    assert [len(recalled[name]) for name in ("uses", "versions")] == [1, 1]
    difference = done("provenance", "diff", f"{model}@genesis", f"{model}@round-1")
    require(difference, DifferenceFacts)
    assert len(difference["contributors"]) == 2


def test_data_sets(played: Any) -> None:
    played.done("participant", "data-set", played.model, "--account", "b", "-o", "b.opening")
    require(played.done("provenance", "data-set", "b.opening"), DataSetFacts)
    (played.folder / "w.csv").write_text("x,kind\n" + "1,a\n" * 20 + "2,b\n" * 30)
    flags = ("--label", "kind", "--cleaning", "no twins", "--name", "ward 7", "--licence", "private")
    require(played.done("dataset", "describe", "w.csv", *flags, "-o", "w.dataset"), DataQuality)


def test_verifications_audits_bundles_and_inclusions(played: Any) -> None:
    model, done = played.model, played.done
    require(done("verify", f"{model}@round-1"), LineageVerificationFacts)
    audited = done("auditor", "audit", model)
    require(audited, AuditFacts)
    assert (audited["results"], audited["passed"]) == (1, True)
    made = done("bundle", "create", f"{model}@round-1", "-o", "one.car")
    assert made.pop("file") == "one.car"
    require(made, BundleFacts)
    trust = [flag for point in made["trust"] for flag in ("--trust", point["hash"])]
    require(done("bundle", "verify", "one.car", *trust), BundleVerdictFacts)
    block = done("inclusion", "create", f"{model}@round-1", "b", "-o", "b.inclusion")["trust"]["hash"]
    require(done("inclusion", "verify", "b.inclusion", "--trust", block), InclusionFacts)


def test_every_fact_is_frozen_and_documents_its_fields() -> None:
    """A field needs no line of its own if its name and type say it all; a line of no field is stale."""
    for found in pkgutil.iter_modules(registry.facts.__path__):
        module = importlib.import_module(f"registry.facts.{found.name}")
        for name in module.__all__:
            kind = getattr(module, name)
            if not isinstance(kind, type):
                continue
            assert kind.__dataclass_params__.frozen, name  # type: ignore[attr-defined]
            documented = re.findall(r"^        (\w+): ", (kind.__doc__ or "").partition("Attributes:")[2], re.MULTILINE)
            assert set(documented) <= {field.name for field in dataclasses.fields(kind)}, name
            get_type_hints(kind)  # a schema can be generated from them


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x01", "0x01"),
        (Cid(Codec.RAW, bytes(32)), str(Cid(Codec.RAW, bytes(32)))),
        (PurePath("a/b"), "a/b"),
        (Role.PARTICIPANT | Role.READER, ["participant", "reader"]),
        (Codec.DAG_PB, "dag_pb"),
        ({1: (None, True)}, {"1": [None, True]}),
    ],
)
def test_values_as_json(value: object, expected: object) -> None:
    assert plain(value) == expected

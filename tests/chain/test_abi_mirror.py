"""Python's errors, events, structs and calls are the compiled ABI's: same names, same fields, same order."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import pytest

from registry.chain import calls, contract_errors, contract_events, contract_structs, demand_terms
from registry.chain.challenges import Challenges
from registry.chain.client import Client
from registry.chain.contracts import DEPLOYED, artifact
from registry.chain.court import Court
from registry.chain.custom_error import CustomError
from registry.dev import mirror
from registry.dev.mirror import BETWEEN_CONTRACTS, RENAMED, declarations, snake
from registry.errors import InputError
from registry.ethereum.positions import Event
from registry.types import Address, Fault, ModelId, Phase, RoundId, SegmentKind, Standing, Tree

GENERATED = (contract_structs, contract_events, contract_errors)
EVENTS = {
    "Cairn": contract_events.EVENTS,
    "Challenges": contract_events.CHALLENGE_EVENTS,
    "Court": contract_events.COURT_EVENTS,
    "Rules": (),
    "Labels": contract_events.LABEL_EVENTS,
    "Selections": (),
    "Scores": contract_events.SCORE_EVENTS,
}
DOCUMENTED = """
/// @notice What is sought in `soughtPlace`,
/// and where.
/// @dev For readers of Solidity.
struct Search {
    bytes32 digest;
    /// From here on, see
    /// `firstPlace`.
    uint64 soughtPlace; // inclusive
}

contract Searches {
    // error Unsaid(uint256 place);
    /// @notice It is not there.
    /// @param soughtPlace Where it was sought.
    error NotThere(
        uint64 soughtPlace
    );
    event Silent(uint64 indexed place);
}
"""


def entries(contract: str, kind: str) -> dict[str, Mapping[str, Any]]:
    return {e["name"]: e for e in artifact(contract).abi if e["type"] == kind}


def fields_of(cls: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls) if field.name != "at"]


def structs(contract: str) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}

    def walk(items: list[Mapping[str, Any]]) -> Iterator[None]:
        for item in items:
            if item["type"].startswith("tuple"):
                found[item["internalType"].removeprefix("struct ").split(".")[-1].removesuffix("[]")] = item[
                    "components"
                ]
                yield from walk(item["components"])

    for entry in artifact(contract).abi:
        if entry.get("name") not in BETWEEN_CONTRACTS:
            list(walk([*entry.get("inputs", []), *entry.get("outputs", [])]))
    return found


def classes_of(module: ModuleType) -> dict[str, type[Any]]:
    return {n: c for n, c in vars(module).items() if isinstance(c, type) and c.__module__ == module.__name__}


# The generator --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", GENERATED, ids=lambda module: module.__name__)
def test_what_is_generated_is_fresh(module: ModuleType) -> None:
    name = module.__name__.rpartition(".")[2] + ".py"
    assert (mirror.FOLDER / name).read_text() == mirror.generate()[name], "run: python -m registry.dev.mirror"


def test_check_names_the_stale_file_and_writing_makes_it_fresh(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mirror, "FOLDER", tmp_path)
    assert mirror.main([]) == 0
    assert mirror.main(["--check"]) == 0
    (tmp_path / "contract_events.py").write_text("EVENTS = ()\n")
    assert mirror.main(["--check"]) == 1
    assert "contract_events.py is not what the ABI says" in capsys.readouterr().err
    assert mirror.main([]) == 0
    assert mirror.main(["--check"]) == 0


def test_natspec_is_read_with_the_fields_it_is_about() -> None:
    assert list(declarations(DOCUMENTED)) == [
        (
            "struct",
            "Search",
            ("What is sought in `sought_place`, and where.", {"sought_place": "From here on, see `first_place`."}),
        ),
        ("error", "NotThere", ("It is not there.", {"sought_place": "Where it was sought."})),
        ("event", "Silent", ("", {})),
    ]


def test_an_event_without_a_notice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"contracts/Searches.sol": {"content": "event QuorumReached(RoundId indexed roundId);"}}
    monkeypatch.setattr(mirror, "standard_input", lambda: {"sources": source})
    with pytest.raises(InputError, match=r"says nothing of .*: expected a @notice"):
        mirror.generate()


# What it makes --------------------------------------------------------------------------------------------------------


def test_every_custom_error_is_an_exception_of_the_same_name_and_no_other_exists() -> None:
    classes = classes_of(contract_errors)
    assert set(classes) == {name for contract in DEPLOYED for name in entries(contract, "error")}
    assert all(issubclass(cls, CustomError) for cls in classes.values())


@pytest.mark.parametrize(("contract", "name"), [(c, n) for c in DEPLOYED for n in sorted(entries(c, "error"))])
def test_error_has_the_fields_of_the_abi(contract: str, name: str) -> None:
    cls = classes_of(contract_errors)[name]
    inputs = entries(contract, "error")[name]["inputs"]
    assert fields_of(cls) == [snake(item["name"]) for item in inputs]
    require_types(cls, inputs)


def test_no_error_event_or_struct_means_two_things() -> None:
    for kind in ("error", "event"):
        meant: dict[str, Mapping[str, Any]] = {}
        for contract in ("Factory", *DEPLOYED):
            for name, entry in entries(contract, kind).items():
                assert meant.setdefault(name, entry) == entry
    held: dict[str, list[Mapping[str, Any]]] = {}
    for contract in DEPLOYED:
        for name, components in structs(contract).items():
            assert held.setdefault(name, components) == components


@pytest.mark.parametrize("contract", DEPLOYED)
def test_every_event_is_a_dataclass_of_the_same_name_and_no_other_exists(contract: str) -> None:
    assert {cls.__name__ for cls in EVENTS[contract]} == set(entries(contract, "event"))


@pytest.mark.parametrize(("contract", "cls"), [(c, cls) for c in DEPLOYED for cls in EVENTS[c]])
def test_event_has_the_fields_of_the_abi_and_its_subject_first(contract: str, cls: type[Event]) -> None:
    inputs = entries(contract, "event")[cls.__name__]["inputs"]
    assert fields_of(cls) == [snake(item["name"]) for item in inputs]
    assert inputs[0]["indexed"]
    assert fields_of(cls)[0] in ("model_id", "round_id", "seal", "account")
    require_types(cls, inputs)


@pytest.mark.parametrize(("contract", "name"), [(c, n) for c in DEPLOYED for n in sorted(structs(c))])
def test_struct_has_the_fields_of_the_abi(contract: str, name: str) -> None:
    components = structs(contract)[name]
    cls = classes_of(contract_structs)[RENAMED.get(name, name)]
    assert fields_of(cls) == [snake(item["name"]) for item in components]
    require_types(cls, components)


def test_every_struct_of_the_interfaces_is_a_dataclass_and_no_other_exists() -> None:
    names = {RENAMED.get(name, name) for contract in DEPLOYED for name in structs(contract)}
    assert set(classes_of(contract_structs)) == names


# Calls ----------------------------------------------------------------------------------------------------------------


def sending(contract: str) -> set[str]:
    functions = entries(contract, "function").items()
    changing = {n for n, e in functions if e["stateMutability"] in ("nonpayable", "payable")}
    return {snake(name) for name in changing - BETWEEN_CONTRACTS}


def test_the_limits_of_a_demand_are_the_court_s(clients: tuple[Client, ...]) -> None:
    court = Court(clients[0])
    for name in ("ANSWER_GAS", "MAX_DEPOSIT", "MAX_HEAD"):
        assert court._view(name)[0] == getattr(demand_terms, name), name


def test_every_transaction_has_a_call_and_a_method() -> None:
    assert sending("Cairn") == set(calls.__all__) - {"commit_key"}
    assert all(callable(getattr(Client, name)) for name in sending("Cairn"))
    assert all(callable(getattr(Challenges, name)) for name in sending("Challenges"))
    assert all(callable(getattr(Court, name)) for name in sending("Court"))
    assert not sending("Rules")


@pytest.mark.parametrize("module", [calls, *GENERATED], ids=lambda module: module.__name__)
def test_all_lists_what_is_public(module: Any) -> None:
    made_here = {
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    }
    assert made_here <= set(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def require_types(cls: type[Any], items: list[Mapping[str, Any]]) -> None:
    hints = typing.get_type_hints(cls)
    for item in items:
        hint = hints[snake(item["name"])]
        kind = item["internalType"]
        if kind in ("ModelId", "RoundId", "address"):
            assert hint is {"ModelId": ModelId, "RoundId": RoundId, "address": Address}[kind], item["name"]
        elif kind.startswith("enum "):
            assert hint in (Phase, Standing, Fault, Tree, SegmentKind)
            assert hint.__name__ == kind.removeprefix("enum ")
        elif kind == "bool":
            assert hint is bool
        elif kind.startswith("uint"):
            assert issubclass(hint, int)
        elif kind == "bytes32":
            assert getattr(hint, "__supertype__", hint) is bytes

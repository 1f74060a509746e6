"""Python's errors, events, records and calls are the compiled ABI's: same names, same fields, same order."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import pytest

from registry.chain import (
    calls,
    challenge_errors,
    challenge_events,
    challenge_records,
    court_errors,
    court_events,
    court_records,
    errors,
    events,
    records,
)
from registry.chain.challenges import Challenges
from registry.chain.client import Client
from registry.chain.contracts import DEPLOYED, artifact
from registry.chain.court import Court
from registry.types import Address, Fault, ModelId, Phase, RoundId, SegmentKind, Standing, Tree

SHARED = ("Target", "Result", "Roots", "Basis", "Counted", "Opening", "Contribution", "Membership")
"""Structs that challenges and demands have in common."""
STRUCTS = {
    "Cairn": (
        (records,),
        ("Plan", "SignedUpdate", "Result", "Roots", "Grant", "Model", "Member", "Version", "Round", "Dispute"),
    ),
    "Challenges": ((challenge_records,), (*SHARED, "Before", "Commitment", "Middle", "Segment", "Step", "Sum")),
    "Court": (
        (challenge_records, court_records),
        (*SHARED, "Demanded", "Shown", "Demand", "OpenDemands", "Conviction", "Bond"),
    ),
    "Rules": ((records,), ("Plan",)),
}
"""What each contract's ABI has, and where its record stands."""
ERRORS = {errors: ("Cairn", "Rules"), challenge_errors: ("Challenges",), court_errors: ("Court",)}
"""Whose errors each module has, but for those of a module before."""
EVENTS = {
    "Cairn": events.EVENTS,
    "Challenges": challenge_events.CHALLENGE_EVENTS,
    "Court": court_events.COURT_EVENTS,
    "Rules": (),
}
RENAMED = {"Contribution": "Listed", "Segment": "PlacedSegment"}
"""A `Contribution` with its checks is `registry.content.merkle`'s, a `Segment` without its proof `registry.rules`'s."""
BETWEEN_CONTRACTS = {"read", "server_step", "convict", "extend_window", "void_result", "lock_bond", "slash_bond"}
"""What the contracts call of each other; what changes something is refused to everybody else."""


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


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
        if snake(entry.get("name", "")) in BETWEEN_CONTRACTS:
            continue
        list(walk([*entry.get("inputs", []), *entry.get("outputs", [])]))
    return found


def errors_of(module: ModuleType) -> dict[str, type[errors.CustomError]]:
    found = {n: c for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, errors.CustomError)}
    return {name: cls for name, cls in found.items() if cls.__module__ == module.__name__}


def test_every_custom_error_is_an_exception_of_the_same_name_and_no_other_exists() -> None:
    before: set[str] = set()
    for module, contracts in ERRORS.items():
        declared = {name for contract in contracts for name in entries(contract, "error")}
        assert set(errors_of(module)) == declared - before
        before |= declared


@pytest.mark.parametrize(("contract", "name"), [(c, n) for c in DEPLOYED for n in sorted(entries(c, "error"))])
def test_error_has_the_fields_of_the_abi(contract: str, name: str) -> None:
    (cls,) = [found[name] for found in map(errors_of, ERRORS) if name in found]
    inputs = entries(contract, "error")[name]["inputs"]
    assert fields_of(cls) == [snake(item["name"]) for item in inputs]
    require_types(cls, inputs)


def test_no_error_or_event_means_two_things() -> None:
    for kind in ("error", "event"):
        meant: dict[str, Mapping[str, Any]] = {}
        for contract in ("Factory", *DEPLOYED):
            for name, entry in entries(contract, kind).items():
                assert meant.setdefault(name, entry) == entry


@pytest.mark.parametrize("contract", DEPLOYED)
def test_every_event_is_a_dataclass_of_the_same_name_and_no_other_exists(contract: str) -> None:
    assert {cls.__name__ for cls in EVENTS[contract]} == set(entries(contract, "event"))


@pytest.mark.parametrize(("contract", "cls"), [(c, cls) for c in DEPLOYED for cls in EVENTS[c]])
def test_event_has_the_fields_of_the_abi_and_its_subject_first(contract: str, cls: type[events.Event]) -> None:
    inputs = entries(contract, "event")[cls.__name__]["inputs"]
    assert fields_of(cls) == [snake(item["name"]) for item in inputs]
    assert inputs[0]["indexed"]
    assert fields_of(cls)[0] in ("model_id", "round_id", "seal", "account")
    require_types(cls, inputs)


@pytest.mark.parametrize(("contract", "name"), [(c, n) for c in DEPLOYED for n in STRUCTS[c][1]])
def test_record_has_the_fields_of_the_struct(contract: str, name: str) -> None:
    components = structs(contract)[name]
    named = RENAMED.get(name, name)
    (cls,) = {getattr(module, named) for module in STRUCTS[contract][0] if hasattr(module, named)}
    assert fields_of(cls) == [snake(item["name"]) for item in components]
    require_types(cls, components)


@pytest.mark.parametrize("contract", DEPLOYED)
def test_every_struct_of_the_interface_has_a_record(contract: str) -> None:
    assert set(structs(contract)) == set(STRUCTS[contract][1])


def sending(contract: str) -> set[str]:
    functions = entries(contract, "function").items()
    return {snake(n) for n, e in functions if e["stateMutability"] in ("nonpayable", "payable")} - BETWEEN_CONTRACTS


def test_the_limits_of_a_demand_are_the_court_s(clients: tuple[Client, ...]) -> None:
    court = Court(clients[0])
    for name in ("ANSWER_GAS", "MAX_DEPOSIT", "MAX_HEAD"):
        assert court._view(name)[0] == getattr(court_records, name), name


def test_every_transaction_has_a_call_and_a_method() -> None:
    assert sending("Cairn") == set(calls.__all__) - {"commit_key", "commitment_typed_data"}
    assert all(callable(getattr(Client, name)) for name in sending("Cairn"))
    assert all(callable(getattr(Challenges, name)) for name in sending("Challenges"))
    assert all(callable(getattr(Court, name)) for name in sending("Court"))
    assert not sending("Rules")


@pytest.mark.parametrize(
    "module",
    [
        errors,
        events,
        records,
        calls,
        challenge_errors,
        challenge_events,
        challenge_records,
        court_errors,
        court_events,
        court_records,
    ],
    ids=lambda module: module.__name__,
)
def test_all_lists_what_is_public(module: Any) -> None:
    made_here = {
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    }
    assert made_here - set(module.__all__) <= {"T", "E", "commit_key"}
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

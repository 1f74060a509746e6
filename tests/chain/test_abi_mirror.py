"""Python's errors, events, records and calls are the compiled ABI's: same names, same fields, same order."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from registry.chain import calls, errors, events, records
from registry.chain.client import Client
from registry.chain.contracts import artifact
from registry.types import Address, ModelId, Phase, RoundId

STRUCTS = ("Plan", "Result", "Grant", "Model", "Member", "Version", "Round")
OPENZEPPELIN = {"InvalidShortString", "StringTooLong", "EIP712DomainChanged", "eip712Domain"}
"""Of the EIP-712 base contract: its constructor's errors, an event it never emits here, a view nobody needs."""


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def entries(kind: str) -> dict[str, Mapping[str, Any]]:
    return {e["name"]: e for e in artifact("Cairn").abi if e["type"] == kind and e["name"] not in OPENZEPPELIN}


def fields_of(cls: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls) if field.name != "at"]


def structs() -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}

    def walk(items: list[Mapping[str, Any]]) -> Iterator[None]:
        for item in items:
            if item["type"].startswith("tuple"):
                found[item["internalType"].removeprefix("struct ").split(".")[-1].removesuffix("[]")] = item[
                    "components"
                ]
                yield from walk(item["components"])

    for entry in artifact("Cairn").abi:
        list(walk([*entry.get("inputs", []), *entry.get("outputs", [])]))
    return found


def test_every_custom_error_is_an_exception_of_the_same_name_and_no_other_exists() -> None:
    classes = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, errors.CustomError)}
    assert classes - {"CustomError"} == set(entries("error"))


@pytest.mark.parametrize("name", sorted(entries("error")))
def test_error_has_the_fields_of_the_abi(name: str) -> None:
    cls = getattr(errors, name)
    assert fields_of(cls) == [snake(item["name"]) for item in entries("error")[name]["inputs"]]
    require_types(cls, entries("error")[name]["inputs"])


def test_every_event_is_a_dataclass_of_the_same_name_and_no_other_exists() -> None:
    assert {cls.__name__ for cls in events.EVENTS} == set(entries("event"))


@pytest.mark.parametrize("cls", events.EVENTS, ids=lambda cls: cls.__name__)
def test_event_has_the_fields_of_the_abi_and_its_subject_first(cls: type[events.Event]) -> None:
    inputs = entries("event")[cls.__name__]["inputs"]
    assert fields_of(cls) == [snake(item["name"]) for item in inputs]
    assert inputs[0]["indexed"]
    assert fields_of(cls)[0] in ("model_id", "round_id")
    require_types(cls, inputs)


@pytest.mark.parametrize("name", STRUCTS)
def test_record_has_the_fields_of_the_struct(name: str) -> None:
    components = structs()[name]
    cls = getattr(records, name)
    assert fields_of(cls) == [snake(item["name"]) for item in components]
    require_types(cls, components)


def test_every_struct_of_the_interface_has_a_record() -> None:
    assert set(structs()) == set(STRUCTS)


def test_every_transaction_has_a_call_and_a_method() -> None:
    writing = {snake(n) for n, e in entries("function").items() if e["stateMutability"] == "nonpayable"}
    assert writing == set(calls.__all__) - {"commit_key", "commitment_typed_data"}
    assert all(callable(getattr(Client, name)) for name in writing)


@pytest.mark.parametrize("module", [errors, events, records, calls], ids=lambda module: module.__name__)
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
        elif kind == "enum Phase":
            assert hint is Phase
        elif kind == "bool":
            assert hint is bool
        elif kind.startswith("uint"):
            assert issubclass(hint, int)
        elif kind == "bytes32":
            assert getattr(hint, "__supertype__", hint) is bytes

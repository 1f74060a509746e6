"""The Solidity side holds together: the same compiler settings everywhere, a test for every error, pinned packages."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from registry.chain.contracts import DEPLOYED

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("Factory", *DEPLOYED, "AllowListHook")
ARTIFACTS = ROOT / "registry" / "chain" / "artifacts"


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def abi_names(kind: str) -> list[str]:
    """Names that the interfaces declare."""
    found = set()
    for path in sorted((ROOT / "contracts" / "interfaces").glob("I*.sol")):
        face, source = path.stem, path.read_text(encoding="utf-8")
        found |= {f"{face}.{name}" for name in re.findall(rf"^    {kind} (\w+)\(", source, flags=re.MULTILINE)}
    return sorted(found)


def solidity_tests() -> str:
    return "\n".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "contracts" / "test").rglob("*.sol")))


@pytest.mark.parametrize("name", abi_names("error"))
def test_every_custom_error_is_expected_somewhere(name: str) -> None:
    assert f"{name}.selector" in solidity_tests()


@pytest.mark.parametrize("name", abi_names("event"))
def test_every_event_is_expected_with_all_its_values_somewhere(name: str) -> None:
    assert f"emit {name}(" in solidity_tests()


@pytest.mark.parametrize("name", abi_names("function"))
def test_every_function_is_called_somewhere(name: str) -> None:
    assert re.search(rf"\b{name.partition('.')[2]}\b", solidity_tests())


def test_foundry_uses_the_settings_that_ship() -> None:
    forge = tomllib.loads((ROOT / "foundry.toml").read_text(encoding="utf-8"))["profile"]["default"]
    for name in SHIPPED:
        settings = load(ARTIFACTS / f"{name}.json")["compiler"]["settings"]
        assert forge["evm_version"] == settings["evmVersion"] == "prague"
        assert forge["optimizer_runs"] == settings["optimizer"]["runs"]
        assert forge["optimizer"] is settings["optimizer"]["enabled"] is True
        assert forge["via_ir"] is settings["viaIR"]
        assert forge["optimizer_details"] == settings["optimizer"]["details"]
        assert forge["bytecode_hash"] == settings["metadata"]["bytecodeHash"]


def test_the_standard_input_holds_the_sources_as_they_are() -> None:
    for name, source in load(ARTIFACTS / "standard_input.json")["sources"].items():
        if name.startswith("contracts/"):
            assert source["content"] == (ROOT / name).read_text(encoding="utf-8"), name


def test_contracts_stay_deployable() -> None:
    for name in SHIPPED:
        code = bytes.fromhex(load(ARTIFACTS / f"{name}.json")["deployedBytecode"][2:])
        assert len(code) <= 22_000, "EIP-170 allows 24 576: what follows needs room"


def test_the_lock_file_names_no_registry_host() -> None:
    lock = load(ROOT / "package-lock.json")
    named = [name for name, entry in lock["packages"].items() if "resolved" in entry]
    assert named == []


def test_every_dependency_of_the_build_is_pinned_exactly() -> None:
    for name, version in load(ROOT / "package.json")["devDependencies"].items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name

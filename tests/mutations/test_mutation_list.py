"""The list of mutations fits the source, and no attack goes without one. `run.py` shows that each is caught."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from run import load

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent


MUTATIONS = load()


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]


@cache
def named_in(path: Path) -> set[str]:
    """Names of the test functions of a file, those of classes as Class::name."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{n.name}" for n in methods(node) if n.name.startswith("test_")}
    return found


ROOMS = (
    "content",
    "rules",
    "store",
    "ethereum",
    "chain",
    "index",
    "rounds",
    "lineage",
    "disputes",
    "verification",
    "bundles",
    "roles",
)


def test_there_are_mutations_of_every_part() -> None:
    assert len(MUTATIONS) >= 80
    rooms = {"/".join(Path(mutation.file).parts[:2]) for mutation in MUTATIONS}
    assert rooms >= {f"registry/{room}" for room in ROOMS}
    assert rooms >= {"contracts/modules", "contracts/hooks", "trainer/participant.py"}


def test_every_mutation_has_a_name_of_its_own() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_a_mutation_takes_out_stands_in_the_source_once(mutation: Any) -> None:
    assert mutation.applied(ROOT) != (ROOT / mutation.file).read_text()


def test_every_test_that_is_to_catch_a_mutation_exists() -> None:
    missing = []
    for mutation in MUTATIONS:
        for test in mutation.tests:
            path, _, name = test.partition("::")
            there = (ROOT / path).is_file() and (not name or name.partition("[")[0] in named_in(ROOT / path))
            if not there:
                missing.append(f"{mutation.name}: {test}")
    assert missing == []


def test_every_attack_fails_when_some_check_is_taken_out() -> None:
    named = {test.partition("[")[0] for mutation in MUTATIONS for test in mutation.tests}
    controls = set(tomllib.loads((HERE / "mutations.toml").read_text())["controls"])
    attacks = {
        f"tests/attacks/{path.name}::{name}"
        for path in (ROOT / "tests" / "attacks").glob("test_*.py")
        for name in named_in(path)
    }
    assert sorted(attacks - named - controls) == []
    assert sorted(controls - attacks) == []
    assert sorted(controls & named) == []

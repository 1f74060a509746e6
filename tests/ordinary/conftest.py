"""What people bring, through the command line and the library: the worlds of `tests/cli` and `tests/trainer`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.cli.conftest import World, make_world
from tests.cli.test_cli_questions import play_round


def _worlds_of(kind: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{kind}_worlds", Path(__file__).parents[1] / kind / "conftest.py")
    assert spec is not None and spec.loader is not None
    worlds = sys.modules[f"{kind}_worlds"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worlds)
    return worlds


_worlds, _rounds = _worlds_of("cli"), _worlds_of("trainer")

cairn, done, chain = _worlds.cairn, _worlds.done, _worlds.chain
world, shared_world, open_world = _worlds.world, _worlds.shared_world, _worlds.open_world
hand_made, one_thread = _rounds.hand_made, _rounds.one_thread


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A model with one round."""
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(tmp_path_factory.mktemp("played"), patch)
        play_round(world)
        yield world

"""Programs that the integration tests start."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.chain.testing import NodeMissing, find_program

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def find_tool() -> Callable[[str], Path]:
    """Finds a program, or skips the test; CAIRN_REQUIRE_ALL=1 makes that a failure."""

    def find(name: str) -> Path:
        try:
            return find_program(name, (ROOT / "node_modules" / ".bin", ROOT / ".tools" / "bin"))
        except NodeMissing as missing:
            if os.environ.get("CAIRN_REQUIRE_ALL") == "1":
                pytest.fail(f"CAIRN_REQUIRE_ALL is set and {missing}")
            pytest.skip(f"{name} is not installed")

    return find

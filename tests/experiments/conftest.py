"""The problem of docs/experiments.md, as its page has it; the command line in this process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cairn, make_cairn

PAGE = Path(__file__).parents[2] / "docs" / "experiments.md"


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return FILE.py:FUNCTION of the page's problem."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path_factory.mktemp("problem") / "blobs.py"
    file.write_text(code)
    return f"{file}:problem"


@pytest.fixture
def cairn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cairn:
    """Runs `cairn` in a folder of its own."""
    return make_cairn(tmp_path, monkeypatch)

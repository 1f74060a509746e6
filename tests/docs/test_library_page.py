"""The page about the library: its cells run as they stand and print what stands below them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "library.md"
CELL = re.compile(
    r"(?P<mark><!-- with a chain -->\n)?```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<printed>.*?)```\n)?", re.S
)


@pytest.mark.slow
def test_the_cells_print_what_stands_below_them() -> None:
    names: dict[str, Any] = {}
    ran = 0
    for cell in CELL.finditer(PAGE.read_text()):
        if cell["mark"]:
            continue  # tests/integration/test_scripts.py has a chain
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(cell["code"], str(PAGE), "exec"), names)
        assert said.getvalue() == (cell["printed"] or ""), cell["code"]
        ran += 1
    assert ran == 6

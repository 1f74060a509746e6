"""The pages hold together: links lead somewhere, the README is short, and every command that a page shows exists."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainer.cli.root import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def named(page: Path) -> str:
    """How tests call a page."""
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub derives them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.append(f"{anchor}-{found.count(anchor)}" if anchor in found else anchor)
    return set(found)


def broken(page: Path) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading."""
    wrong = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken(page) == []


def test_a_link_to_no_file_and_one_to_no_heading_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` c.d\n[x](#a-b-cd) [x](https://x) [x](gone.md) [x](#gone)\n```\n# no heading\n```\n[x](#no-heading)"
    )
    assert broken(page) == ["gone.md", "#gone", "#no-heading"]


def test_the_readme_fits_on_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_benchmarks_page_shows_the_committed_figures() -> None:
    command = [sys.executable, "-m", "benchmarks.table", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def commands(page: Path) -> list[str]:
    """The `cairn` commands that a page shows after a prompt."""
    found = re.findall(r"^\$ (cairn .+)$", page.read_text(), re.MULTILINE)
    return [command.partition(" | ")[0] for command in found]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=named)
def test_every_command_and_option_on_a_page_exists(page: Path) -> None:
    for command in commands(page):
        result = CliRunner().invoke(app, [*shlex.split(command, comments=True)[1:], "--help"])
        assert result.exit_code == 0, f"{command}: {result.output}"


def test_the_gas_of_rounds_and_of_buffers_is_what_their_calls_take() -> None:
    gas = json.loads((ROOT / "contracts" / "gas.json").read_text())
    version = gas["open round, next"] + gas["attest, quorum of one"] + gas["finalize round"]
    commit = gas["commit, 1 earlier, 3 members"]
    expected = [round(one / 1000) for one in (version, commit, version / 20 + commit, version / 5 + commit)]
    (told,) = re.findall(r"A version takes .*? same calls\.", (ROOT / "docs" / "algorithms.md").read_text(), re.DOTALL)
    assert [int(one) for one in re.findall(r"(\d+) 000", told)] == expected

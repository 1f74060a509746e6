"""Tables fit a terminal of 80 columns: ids whole or shortened alike, never split."""

from __future__ import annotations

import re
from typing import Any

import click.testing
import pytest

from registry.cli.output import Output

ID = re.compile(r"\b(0x[0-9a-fA-F]*|bafy[a-z2-7]*)")
WHOLE = re.compile(r"0x([0-9a-fA-F]{40}|[0-9a-fA-F]{64})|bafy[a-z2-7]{55}")
SHORT = re.compile(r"0x[0-9a-fA-F]{10}|bafy[a-z2-7]{14}")
COMMANDS = {
    "model list": ("model", "list"),
    "model show": ("model", "show", "MODEL"),
    "member list": ("member", "list", "MODEL"),
    "round list": ("round", "list", "MODEL"),
    "round show": ("round", "show", "MODEL"),
    "plan history": ("plan", "history", "MODEL"),
    "key list": ("key", "list"),
    "store pins": ("store", "pins"),
    "auditor plan": ("auditor", "plan", "MODEL"),
    "auditor plan at several fees": ("auditor", "plan", "MODEL", "--base-fee", "5,30,100"),
    "rules": ("rules",),
    "store gc": ("store", "gc", "--dry-run"),
    "provenance diff": ("provenance", "diff", "MODEL@genesis", "MODEL@head"),
    "provenance participant": ("provenance", "participant", "MODEL", "b"),
    "doctor": ("doctor",),
}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> bool:
    """Output on a terminal of 80 columns, or in a pipe where COLUMNS says so."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    if request.param:
        monkeypatch.setattr(click.testing._NamedTextIOWrapper, "isatty", lambda self: True, raising=False)
    return bool(request.param)


ON = pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"], indirect=True)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    """Mark where tables begin and end: other lines, such as of whole digests, are as long as they are."""
    table = Output.table

    def marked(self: Output, *arguments: Any, **options: Any) -> None:
        print(BEGIN)
        table(self, *arguments, **options)
        print(END)

    monkeypatch.setattr(Output, "table", marked)


BEGIN, END = "<table>", "</table>"


def tables_in(text: str) -> list[list[str]]:
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    found = re.findall(rf"{BEGIN}\n(.*?){END}\n", plain, re.DOTALL)
    return [[line.rstrip() for line in table.splitlines()] for table in found]


@ON
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_table_fits_80_columns_and_splits_no_id(played: Any, tables: None, arguments: tuple[str, ...]) -> None:
    result = played.run(*(part.replace("MODEL", played.model) for part in arguments))
    found = tables_in(result.stdout)
    assert any(found), result.output
    for table in found:
        assert [line for line in table if len(line) > 80] == []
        ids = [id[0] for line in table for id in ID.finditer(line)]
        assert [id for id in ids if not WHOLE.fullmatch(id) and not SHORT.fullmatch(id)] == []
        assert len({bool(WHOLE.fullmatch(id)) for id in ids}) < 2, table


def test_a_table_is_whole_in_a_pipe(played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    shown = played.run("round", "show", played.model).stdout
    (line,) = [line for line in shown.splitlines() if line.startswith("aggregator  ")]
    assert len(line) > 80
    assert len(re.findall(r"^0x[0-9a-fA-F]{40}  ", shown, re.MULTILINE)) == 4


@pytest.mark.parametrize("terminal", [False], indirect=True)
def test_a_table_too_wide_for_its_terminal_is_shown_row_by_row(
    terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = [f"column {number}" for number in range(9)]
    Output().table(columns, [range(10**9, 10**9 + 9)], right=columns)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split() for line in shown[:2]] == [["column", "0", "1000000000"], ["column", "1", "1000000001"]]
    assert len(shown) == 10 and not shown[-1]


@pytest.mark.parametrize("terminal", [False], indirect=True)
def test_a_long_word_gives_way_before_an_id(terminal: bool, capsys: pytest.CaptureFixture[str]) -> None:
    cids = ["bafy" + letter * 55 for letter in "ab"]
    Output().table([*"abcde"], [[*cids, *["p" * 30] * 3]])
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split() == [*(cid[:18] for cid in cids), *["p" * 12] * 3]
    assert max(map(len, shown)) == 80

"""Command output: JSON or text on stdout, progress and errors on stderr.

On a terminal text is coloured and wrapped to its width; in a pipe it is plain, one record per line, never truncated
unless COLUMNS says how wide it may be.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from registry.facts.plain import encoded, plain, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Output", "short", "utc"]

_PIPE_WIDTH = 4096
_ID = re.compile(r"\b(0x[0-9a-fA-F]{17,}|bafy[a-z2-7]{50,})\b")
"""An address, a digest or a CID."""
_CID_DIGITS = 18
"""Of a CID's 59, of which all begin with the same seven."""
_KEPT = re.compile(r"0x|bafy")
"""What is in a word that is never split."""
_LEAST = 12
"""Characters to which a column of text may shrink, where its words are longer."""
Row = Sequence[object]


class _Live(Protocol):
    """A spinner or progress bar, paused while something is printed."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Output:
    """Prints a command's results.

    Args:
        as_json: Print exactly one JSON value to stdout.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._live: _Live | None = None

    def result(self, data: object, text: Callable[[], None] | None = None) -> None:
        """Print a result: data as JSON, else by calling text; a mapping or facts without text print as fields."""
        if not self.as_json and text is not None:
            text()
            return
        shown = plain(data)
        if self.as_json:
            sys.stdout.write(encoded(shown, indent=2) + "\n")
        elif isinstance(shown, Mapping):
            self.fields(shown)
        else:
            self.line(str(data))

    def line(self, text: str = "", *, style: str = "") -> None:
        """Print a line; silent under --json."""
        self._print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """Print a rich renderable without wrapping; silent under --json."""
        self._print(renderable, soft_wrap=True)

    def fields(self, values: Mapping[str, object], *, indent: int = 0) -> None:
        """Print names and values in two columns."""
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            label = name.replace("_", " ")
            self._pair(" " * indent + label.ljust(width), _text(value))

    def _pair(self, label: str, value: str) -> None:
        from rich.text import Text

        self._print(Text.assemble((label, "dim"), "  ", value), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Row], *, right: Sequence[str] = (), empty: str = "") -> None:
        """Print rows under headings, right-aligning the columns in `right`; print `empty` if there are no rows.

        Where it would be wider than a terminal, ids are shortened, all of the table alike; then text is wrapped.
        """
        if self.as_json:
            return
        if not rows:
            self.note(empty)
            return
        cells, width = [[_text(value) for value in row] for row in rows], _width()
        if width is not None and _width_of(_natural(columns, cells)) > width:
            cells = [[_ID.sub(_shortened, cell) for cell in row] for row in cells]
        widths = _natural(columns, cells)
        if not sys.stdout.isatty() and (width is None or _width_of(widths) <= width):
            _write_columns(columns, cells, widths, frozenset(right))
            return
        from rich.table import Table

        widths = _narrowed(widths, columns, cells, right, width or _PIPE_WIDTH)
        if width is not None and _width_of(widths) > width:
            self._records(columns, rows, cells)
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name, size in zip(columns, widths, strict=True):
            table.add_column(name, justify="right" if name in right else "left", overflow="fold", width=size)
        for row, shown in zip(rows, cells, strict=True):
            table.add_row(*(_cell(value, text) for value, text in zip(row, shown, strict=True)))
        self._print(table, width=_width_of(widths) + 2)

    def _records(self, columns: Sequence[str], rows: Sequence[Row], cells: Sequence[Sequence[str]]) -> None:
        """Print a table that is too wide row by row, a line or more for each of its columns."""
        from rich.table import Table

        for row, shown in zip(rows, cells, strict=True):
            record = Table.grid(padding=(0, 2, 0, 0))
            record.add_column(style="dim", no_wrap=True)
            record.add_column(overflow="fold")
            for name, value, text in zip(columns, row, shown, strict=True):
                record.add_row(name, _cell(value, text))
            self._print(record, width=_width())
            self.line()

    def note(self, text: str) -> None:
        """Print a note on stderr; silent under --json."""
        if text and not self.as_json:
            console = _console(stderr=True)
            console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, under --json too."""
        _console(stderr=True).print(f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, label: str, total: int | None, *, unit: str = "") -> Iterator[Callable[[int], None]]:
        """Show a progress bar while the block runs, on a terminal only.

        Args:
            label: Text before the bar.
            total: The total; None if unknown.
            unit: The unit counted; by default bytes, shown with their rate.

        Yields:
            A function to call with the number done since its last call.
        """
        if not sys.stderr.isatty():
            yield lambda done: None
            return
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=None),
            *(
                (progress.MofNCompleteColumn(), progress.TextColumn(unit))
                if unit
                else (progress.DownloadColumn(binary_units=False), progress.TransferSpeedColumn())
            ),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=_console(stderr=True), transient=True, expand=True) as bar:
            task = bar.add_task(label, total=total)
            self._live = bar
            try:
                yield lambda done: bar.advance(task, done)
            finally:
                self._live = None

    @contextmanager
    def waiting(self, label: str) -> Iterator[Callable[[str], None]]:
        """Show a spinner while the block runs, on a terminal only; yield a function that changes its text."""
        if not sys.stderr.isatty():
            yield lambda text: None
            return
        with _console(stderr=True).status(label) as status:
            self._live = status
            try:
                yield status.update
            finally:
                self._live = None

    def _print(self, renderable: RenderableType, **options: Any) -> None:
        if self.as_json:
            return
        if self._live is not None:
            self._live.stop()
        _console().print(renderable, **options)
        if self._live is not None:
            self._live.start()


def short(value: bytes | str, digits: int = 10) -> str:
    """Return an id's first digits, behind its 0x if it has one, as tables show it and commands accept it."""
    text = value.hex() if isinstance(value, bytes) else value
    return text[: digits + 2 * text.startswith("0x")]


def utc(seconds: int) -> str:
    """Return a chain time, Unix seconds, as messages show it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _text(value: object) -> str:
    """Return a value as text for people."""
    shown = plain(value)
    if isinstance(shown, bool):
        return "yes" if shown else "no"
    if shown is None:
        return "-"
    if isinstance(shown, list):
        return printable(", ".join(map(str, shown))) or "-"
    if isinstance(shown, Mapping):
        return ", ".join(f"{name} {each:g}" if isinstance(each, float) else f"{name} {_text(each)}"
                         for name, each in shown.items()) or "-"  # fmt: skip
    return printable(str(shown))


def _width() -> int | None:
    """Return how wide a table may be: a terminal's columns, or COLUMNS; None in a pipe."""
    if sys.stdout.isatty():
        return _console().width
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() and int(given) else None


def _natural(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return how wide each column is if nothing is wrapped."""
    return [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]


def _width_of(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _narrowed(
    widths: Sequence[int], columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str], limit: int
) -> list[int]:
    """Return widths that fit, of which the widest give way first: at blanks, and long words that are no ids in them."""
    found = list(widths)
    least = [
        max(len(word) if _KEPT.search(word) or name in right else min(len(word), _LEAST) for word in _words(cells))
        for name, cells in zip(columns, zip(columns, *rows, strict=True), strict=True)
    ]
    while _width_of(found) > limit:
        spare, widest = max(
            (min(size - low, 1) * size, at) for at, (size, low) in enumerate(zip(found, least, strict=True))
        )
        if spare <= 0:
            break
        found[widest] -= 1
    return found


def _words(cells: Sequence[str]) -> list[str]:
    return [word for cell in cells for word in cell.split()] or [""]


def _shortened(found: re.Match[str]) -> str:
    return found[0][:_CID_DIGITS] if found[0].startswith("bafy") else short(found[0])


def _write_columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], right: frozenset[str]
) -> None:
    for cells in (columns, *rows):
        aligned = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, cells, widths, strict=True)
        ]
        sys.stdout.write("  ".join(aligned).rstrip() + "\n")


def _cell(value: object, text: str) -> RenderableType:
    from rich.text import Text

    return value if isinstance(value, Text) else Text(text)


def _console(*, stderr: bool = False) -> Console:
    """Return a console on the current stream, which tests and pipes may have replaced."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False)

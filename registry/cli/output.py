"""Command output: JSON or text on stdout, progress and errors on stderr.

On a terminal text is coloured and wrapped to its width; in a pipe it is plain, one record per line, never truncated.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from registry.facts.plain import plain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Output", "short", "utc"]

_PIPE_WIDTH = 4096
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
            sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
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
        """Print rows under headings, right-aligning the columns in `right`; print `empty` if there are no rows."""
        if self.as_json:
            return
        if not rows:
            self.note(empty)
            return
        if not sys.stdout.isatty():
            _write_columns(columns, [[_text(value) for value in row] for row in rows], frozenset(right))
            return
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name in columns:
            table.add_column(name, justify="right" if name in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(_cell(value) for value in row))
        self._print(table)

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
    """Return an id's first digits, as tables show it and commands accept it."""
    text = value.hex() if isinstance(value, bytes) else value
    return text[:digits]


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
        return ", ".join(map(str, shown)) or "-"
    return str(shown)


def _write_columns(columns: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str]) -> None:
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for cells in (columns, *rows):
        aligned = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, cells, widths, strict=True)
        ]
        sys.stdout.write("  ".join(aligned).rstrip() + "\n")


def _cell(value: object) -> RenderableType:
    from rich.text import Text

    return value if isinstance(value, Text) else Text(_text(value))


def _console(*, stderr: bool = False) -> Console:
    """Return a console on the current stream, which tests and pipes may have replaced."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False)

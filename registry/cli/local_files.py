"""Local file I/O of commands: streaming reads, atomic writes, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from registry.durable import whole_file
from registry.errors import InputError

__all__ = ["pieces_of", "size_of", "told", "write_whole"]

_PIECE = 1 << 20


def pieces_of(path: Path, done: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Yield a file's bytes, or standard input's for `-`.

    Raises:
        InputError: The file cannot be read.
    """
    from registry.store.blobs import file_pieces

    source = iter(lambda: sys.stdin.buffer.read(_PIECE), b"") if str(path) == "-" else file_pieces(path)
    yield from told(source, done) if done is not None else source


def told(pieces: Iterable[bytes], done: Callable[[int], None]) -> Iterator[bytes]:
    """Yield pieces, reporting the bytes of each."""
    for piece in pieces:
        yield piece
        done(len(piece))


def size_of(path: Path) -> int | None:
    """Return a file's size in bytes; None for standard input.

    Raises:
        InputError: The path does not exist, or is not a file.
    """
    if str(path) == "-":
        return None
    if not path.exists():
        raise InputError(f"{path}: expected a file, found nothing there")
    if path.is_dir():
        raise InputError(f"{path}: expected a file, got a folder")
    return path.stat().st_size


def write_whole(pieces: Iterable[bytes], out: Path | None) -> int:
    """Write pieces to a file, or to standard output for None; return the number of bytes.

    Raises:
        InputError: Standard output is a terminal.
    """
    if out is None or str(out) == "-":
        if sys.stdout.isatty():
            raise InputError("expected -o FILE or a pipe for binary output, got a terminal")
        return _copy(pieces, sys.stdout.buffer)
    with whole_file(out) as partial, partial.open("wb") as file:
        return _copy(pieces, file)


def _copy(pieces: Iterable[bytes], file: IO[bytes]) -> int:
    total = 0
    for piece in pieces:
        file.write(piece)
        total += len(piece)
    file.flush()
    return total

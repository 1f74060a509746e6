"""Files that commands read and write: whole or not at all, with progress."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from registry.errors import InputError

__all__ = ["pieces_of", "size_of", "told", "whole_file", "write_whole"]

_PIECE = 1 << 20


def pieces_of(path: Path, done: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Yield a file's bytes, or standard input's for `-`.

    Raises:
        InputError: It cannot be read.
    """
    from registry.store.blobs import file_pieces

    source = iter(lambda: sys.stdin.buffer.read(_PIECE), b"") if str(path) == "-" else file_pieces(path)
    yield from told(source, done) if done is not None else source


def told(pieces: Iterable[bytes], done: Callable[[int], None]) -> Iterator[bytes]:
    """Yield pieces, telling how many bytes each had."""
    for piece in pieces:
        yield piece
        done(len(piece))


def size_of(path: Path) -> int | None:
    """Return a file's size, None for standard input.

    Raises:
        InputError: It is not there, or not a file.
    """
    if str(path) == "-":
        return None
    if not path.exists():
        raise InputError(f"{path}: expected a file, found nothing there")
    if path.is_dir():
        raise InputError(f"{path}: expected a file, got a folder")
    return path.stat().st_size


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a place beside path to write to; it becomes path if the block ends well and goes away if not.

    Raises:
        InputError: Its folder is not there, or cannot be written to.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(pieces: Iterable[bytes], out: Path | None) -> int:
    """Write pieces to a file, or to standard output for None; return how many bytes.

    Raises:
        InputError: Standard output is a terminal.
    """
    if out is None or str(out) == "-":
        if sys.stdout.isatty():
            raise InputError("this is not text, and standard output is a terminal: give -o FILE")
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

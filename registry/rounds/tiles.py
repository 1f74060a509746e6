"""Rows of integers that come one after the other, read back by columns: in memory while few, else by a scratch file.

The scratch file is laid out tile by tile: a tile is so many coordinates of all rows, stands in one piece and is read at
once. It has no name, so nothing is left of it, and it holds one leaf of each update, whatever the model's size.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType

import numpy as np

from registry.errors import InputError
from registry.rules.grid import F32, I32

__all__ = ["HELD_ROWS", "Tiles", "require_room", "scratch_bytes"]

HELD_ROWS = 24
"""Rows up to which there is no file: 24 MiB of memory."""
_TILE_BYTES = 8 << 20


def scratch_bytes(rows: int, length: int) -> int:
    """Return how many bytes of disk the tiles of so many rows, of so many int32 values each, take."""
    if rows <= HELD_ROWS:
        return 0
    width = _width(rows, length)
    return 4 * rows * width * -(-length // width)


def require_room(folder: Path, needed: int, what: str) -> None:
    """Check that a folder's disk has room, before anything is read.

    Raises:
        InputError: It has not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"{folder}: expected {needed} bytes of free disk for {what}, got {free}")


class Tiles:
    """So many rows; a context manager, since a file may be behind them.

    Args:
        rows: How many.
        length: Values that a row may have.
        folder: Where the scratch file is made.
    """

    def __init__(self, rows: int, length: int, folder: Path) -> None:
        self._rows, self._length, self._folder = rows, length, folder
        self._width = length if rows <= HELD_ROWS else _width(rows, length)
        self._tile = np.empty((rows, self._width), dtype=np.int32)
        self._row = np.empty(length, dtype=np.int32)
        self._file: FileIO | None = None

    def __enter__(self) -> Tiles:
        if self._rows > HELD_ROWS:
            descriptor, name = tempfile.mkstemp(dir=self._folder)
            self._file = FileIO(descriptor, "r+")
            os.unlink(name)
            self._file.truncate(scratch_bytes(self._rows, self._length))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, row: int, integers: F32) -> None:
        """Set a row to whole numbers below 2^31 in magnitude.

        Raises:
            InputError: The disk is full.
        """
        if self._file is None:
            self._tile[row, : len(integers)] = integers
            return
        self._row[: len(integers)] = integers
        data, descriptor = self._row.data.cast("B"), self._file.fileno()
        try:
            for tile, first in enumerate(range(0, len(integers), self._width)):
                piece = data[4 * first : 4 * min(first + self._width, len(integers))]
                if os.pwrite(descriptor, piece, 4 * self._width * (tile * self._rows + row)) != len(piece):
                    raise InputError(f"{self._folder}: the disk ran full while updates were combined")
        except OSError as error:
            raise InputError(f"{self._folder}: {error.strerror}, while updates were combined") from error

    def read(self, length: int) -> Iterator[tuple[slice, I32]]:
        """Yield which values of the rows, and those of all rows: (rows, n); good until the next, and may be changed.

        Raises:
            InputError: The scratch file cannot be read.
        """
        for tile, first in enumerate(range(0, length, self._width)):
            here = slice(first, min(first + self._width, length))
            if self._file is not None:
                at = self._tile.nbytes * tile
                if os.preadv(self._file.fileno(), [self._tile.data.cast("B")], at) != self._tile.nbytes:
                    raise InputError(f"{self._folder}: expected a whole tile of scratch, got less")
            yield here, self._tile[:, : here.stop - here.start]


def _width(rows: int, length: int) -> int:
    """Coordinates of a tile: no power of two, so that its rows do not all fall into the same sets of the cache."""
    return min(length, max(64, _TILE_BYTES // (4 * rows) // 32 * 32 + 16))

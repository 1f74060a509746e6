"""External transpose of integer rows: written by rows, read by columns, in memory or scratch file.

The scratch file is laid out in tiles: a tile holds a range of coordinates of all rows contiguously and is read at once.
The file is an anonymous temporary file, so nothing remains after a crash. It holds one leaf of each update, independent
of the model's size.
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
from registry.rules.grid import I32

__all__ = ["HELD_ROWS", "Tiles", "require_room", "scratch_bytes"]

HELD_ROWS = 24
"""Most rows held in memory without a file: 24 MiB."""
_TILE_BYTES = 8 << 20


def scratch_bytes(rows: int, length: int) -> int:
    """Return the disk space, bytes, for tiles of rows rows of length int32 values each."""
    if rows <= HELD_ROWS:
        return 0
    width = _width(rows, length)
    return 4 * rows * width * -(-length // width)


def require_room(folder: Path, needed: int, what: str) -> None:
    """Check that a folder's disk has enough free space.

    Raises:
        InputError: It does not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"{folder}: expected {needed} bytes of free disk for {what}, got {free}")


class Tiles:
    """Rows of integers; a context manager, since they may be in a scratch file.

    Args:
        rows: Number of rows.
        length: Most values per row.
        folder: Folder of the scratch file.
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

    def space(self, row: int, length: int) -> I32:
        """Return where the first values of a row are to be written, (length,), before `keep`."""
        return self._row[:length] if self._file is not None else self._tile[row, :length]

    def keep(self, row: int, length: int) -> None:
        """Keep the values that were written to a row's space.

        Raises:
            InputError: The disk is full.
        """
        if self._file is None:
            return
        data, descriptor = self._row.data.cast("B"), self._file.fileno()
        try:
            for tile, first in enumerate(range(0, length, self._width)):
                piece = data[4 * first : 4 * min(first + self._width, length)]
                if os.pwrite(descriptor, piece, 4 * self._width * (tile * self._rows + row)) != len(piece):
                    raise InputError(f"{self._folder}: the disk ran full while updates were combined")
        except OSError as error:
            raise InputError(f"{self._folder}: {error.strerror}, while updates were combined") from error

    def read(self, length: int) -> Iterator[tuple[slice, I32]]:
        """Yield tiles: a slice of the values, and those values of all rows, (rows, n), int32, writable, valid until
        the next tile.

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
    """Coordinates per tile: not a power of two, so that its rows do not map to the same cache sets."""
    return min(length, max(64, _TILE_BYTES // (4 * rows) // 32 * 32 + 16))

"""Files beside the index: several readers may be the first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.errors import IndexUnusable
from registry.index.block_times import BlockTimes
from registry.index.side_files import open_side_file


def test_readers_who_come_first_together_all_open_the_file(tmp_path: Path) -> None:
    readers = 16

    def opened(number: int) -> None:
        for turn in range(5):
            barrier.wait(10)
            BlockTimes(tmp_path / f"{turn}.sqlite").close()

    barrier = threading.Barrier(readers)
    with ThreadPoolExecutor(readers) as pool:
        list(pool.map(opened, range(readers)))


def test_a_file_of_another_release_or_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "times.sqlite"
    open_side_file(path, "CREATE TABLE other (x);", 7, "others").close()
    with pytest.raises(IndexUnusable, match="expected block times of version 1, got 7: remove it"):
        BlockTimes(path)
    path.write_bytes(b"no database")
    with pytest.raises(IndexUnusable, match="cannot be used for block times: file is not a database; remove it"):
        BlockTimes(path)

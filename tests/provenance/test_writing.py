"""Hashing a file in one process while another writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from registry.content.gate import describe
from registry.content.tensors import write_tensors
from registry.errors import FormError, VerificationFailed
from registry.rounds.writing import describe_while_making, written

MIB = 1 << 20


def pieces(values: int, size: int) -> Iterator[bytes]:
    """A canonical file in pieces of a size."""
    array = np.random.default_rng(values).normal(size=values).astype(np.float32)
    data = b"".join(write_tensors({"w": ("F32", (values,), array)}))
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize(
    ("values", "size"), [(1, 7), (1000, 4096), (5 * MIB, MIB), (3 * MIB, 3 * MIB - 5)], ids=lambda n: f"{n}"
)
def test_what_another_process_finds_is_what_this_one_would(values: int, size: int) -> None:
    assert describe_while_making(pieces(values, size)) == describe(pieces(values, size))


def test_what_is_written_passes_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    described = describe_while_making(written(path, pieces(3 * MIB, MIB + 1)))
    assert path.read_bytes() == b"".join(pieces(3 * MIB, MIB))
    assert described.size == path.stat().st_size


def test_a_file_that_is_none_is_its_error(tmp_path: Path) -> None:
    def endless() -> Iterator[bytes]:
        yield b"\xff" * 16
        while True:
            yield bytes(MIB)

    with pytest.raises(FormError, match="safetensors"):
        describe_while_making(endless())
    with pytest.raises(FormError, match="expected 8 bytes of header length, got 1"):
        describe_while_making(iter([b"\x10"]))


def test_an_error_of_whoever_makes_it_comes_through() -> None:
    def broken() -> Iterator[bytes]:
        yield from pieces(4 * MIB, MIB)
        raise VerificationFailed("the parent is another")

    with pytest.raises(VerificationFailed, match="the parent is another"):
        describe_while_making(broken())

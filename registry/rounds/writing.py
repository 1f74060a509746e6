"""Writes a safetensors file, and hashes it in a parallel process while its pieces are computed."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from registry.content.gate import Description, describe
from registry.rounds.forked import Pipe, answer, forked

__all__ = ["describe_while_making", "written"]

_SLOT, _SLOTS = 1 << 20, 8
"""Slot size, bytes, and number of slots of the ring buffer, by which the hashing process may lag."""


def written(path: Path, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield pieces, each after it was written to the file."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            yield piece


def describe_while_making(pieces: Iterable[bytes]) -> Description:
    """Describe the file in pieces: a second process hashes pieces while the next ones are computed.

    Raises:
        FormError: The file is not a canonical one.
        InputError: The second process was killed.
    """
    ring = mmap.mmap(-1, _SLOT * _SLOTS)  # shared with the forked process
    with ExitStack() as ended:
        ended.callback(ring.close)
        pipe = ended.enter_context(forked(_describe, ring))
        with suppress(BrokenPipeError, ConnectionResetError):  # it exited with an error, which is its answer
            for turn, part in enumerate(_parts(pieces)):
                if turn >= _SLOTS:
                    answer(pipe)  # a slot was freed
                at = turn % _SLOTS * _SLOT
                ring[at : at + len(part)] = part
                pipe.send(len(part))
            pipe.send(0)
        while not isinstance(described := answer(pipe), Description):
            pass
        return described


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for at in range(0, len(piece), _SLOT):
            yield piece[at : at + _SLOT]


def _describe(ring: mmap.mmap, pipe: Pipe) -> Description:
    return describe(_taken(ring, pipe))


def _taken(ring: mmap.mmap, pipe: Pipe) -> Iterator[bytes]:
    """Yield each part from its slot, then acknowledge it."""
    turn = 0
    while count := pipe.recv():
        at = turn % _SLOTS * _SLOT
        yield ring[at : at + count]
        pipe.send(None)
        turn += 1

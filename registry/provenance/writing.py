"""Writing a safetensors file and describing it at once: a process beside this one reads what has been written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from registry.content.gate import Description, describe
from registry.provenance.forked import Pipe, answer, forked
from registry.store.blobs import file_pieces

__all__ = ["describe_while_writing", "describe_written"]


def describe_while_writing(path: Path, pieces: Iterable[bytes]) -> Description:
    """Write pieces to a file; a second process hashes it meanwhile, which takes as long as making it.

    Raises:
        FormError: The file is not a canonical one.
        InputError: The second process was killed.
    """
    with path.open("wb") as file, forked(_describe, path) as pipe:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has ended with an error, which is its answer
            for piece in pieces:
                file.write(piece)
                file.flush()
                pipe.send(len(piece))
            pipe.send(0)
        described: Description = answer(pipe)
        return described


def describe_written(path: Path, pieces: Iterable[bytes]) -> Description:
    """Write pieces to a file, then read and describe it.

    Raises:
        FormError: The file is not a canonical one.
    """
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
    return describe(file_pieces(path))


def _describe(path: Path, pipe: Pipe) -> Description:
    with path.open("rb", buffering=0) as file:
        return describe(_announced(file, pipe))


def _announced(file: BinaryIO, pipe: Pipe) -> Iterator[bytes]:
    while count := pipe.recv():
        yield file.read(count)

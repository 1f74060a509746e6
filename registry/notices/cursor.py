"""Durable cursor of a watcher: the last notice that its receiver took."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.durable import write_whole
from registry.errors import InputError
from registry.index.entries import Following
from registry.types import ModelId

__all__ = ["Cursor", "read_cursor", "write_cursor"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a receiver has come.

    Attributes:
        block: Block number of the last final notice delivered, or the block after which the watch begins.
        log_index: Index of its log.
        block_hash: Hash of its block; None if nothing was delivered yet.
        provisional: Ids of provisional notices that were delivered, and are not final yet.
    """

    block: int
    log_index: int
    block_hash: bytes | None
    provisional: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        """Block number and log index."""
        return self.block, self.log_index


def read_cursor(path: Path, following: Following, model: ModelId) -> Cursor | None:
    """Read a cursor; None if there is no such file.

    Raises:
        InputError: The file is not a cursor, or one of another chain, contract or model.
    """
    try:
        found: Any = json.loads(path.read_text())
        of = found["of"]
        known = found["block_hash"]
        cursor = Cursor(
            _whole(found["block"]),
            _whole(found["log_index"]),
            None if known is None else bytes.fromhex(known.removeprefix("0x")),
            tuple(str(name) for name in found["provisional"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the cursor of a watch, got something else; remove it to begin anew"
        ) from error
    wanted = _of(following, model)
    if of != wanted:
        raise InputError(f"{path}: expected the cursor of {wanted}, got that of {of!s:.300}: give another --folder")
    return cursor


def write_cursor(path: Path, following: Following, model: ModelId, cursor: Cursor) -> None:
    """Write a cursor: once this returns, it survives a crash."""
    found = {
        "of": _of(following, model),
        "block": cursor.block,
        "log_index": cursor.log_index,
        "block_hash": None if cursor.block_hash is None else "0x" + cursor.block_hash.hex(),
        "provisional": cursor.provisional,
    }
    write_whole(path, json.dumps(found, indent=1).encode())


def _of(following: Following, model: ModelId) -> dict[str, object]:
    return {
        "chain_id": following.chain_id,
        "genesis": "0x" + following.genesis.hex(),
        "contract": "0x" + following.contracts[0].hex(),
        "model": "0x" + model.hex(),
    }


def _whole(value: object) -> int:
    if type(value) is not int or not -1 <= value < 1 << 63:
        raise ValueError(f"expected a whole number, got {value!r}")
    return value

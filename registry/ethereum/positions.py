"""Position of a log on the chain, and the base class of events."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Event", "Position"]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Position of a log on the chain; sorts in chain order."""

    block_number: int
    log_index: int
    block_hash: bytes
    tx_hash: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """Base class of all events."""

    at: Position

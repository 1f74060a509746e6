"""What all events have in common: where their log stands."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Event", "Position"]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a log stands on the chain; ordered as the chain is."""

    block_number: int
    log_index: int
    block_hash: bytes
    tx_hash: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    at: Position

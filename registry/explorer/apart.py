"""Iterate in threads apart from those that make pages, so that a slow store of files keeps no page waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

__all__ = ["apart"]


async def apart(pieces: Iterator[bytes], limiter: CapacityLimiter) -> AsyncIterator[bytes]:
    """Yield pieces, each fetched in a thread of a limiter's; one whose reader left meanwhile is waited for."""
    while (piece := await run_sync(next, pieces, None, limiter=limiter)) is not None:
        yield piece

"""What a page reads: one snapshot of the index, the content store within a time budget, and the chain's time.

No page asks a chain node. A store that has to ask others for a block is waited for only briefly: what does not come
counts as unavailable.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import IndexUnusable, InputError
from registry.explorer.traffic import Traffic
from registry.explorer.watch import Watch
from registry.index import queries
from registry.index.block_times import BlockTimes, times_path
from registry.index.database import read_index
from registry.index.entries import Block, LogPlace, ModelEntry
from registry.lineage.catalogue import Catalogue
from registry.store.base import ContentStore, reported_unavailable
from registry.store.limited import LimitedStore
from registry.types import Address, ModelId

if TYPE_CHECKING:
    from registry.explorer.proving import Prover
    from registry.explorer.verifying import Verifier

__all__ = ["AsOf", "NotThere", "Present", "Reading", "Shelf", "Told", "cursor_of", "hex_of", "number_of", "page_cursor"]

_PATIENCE = 3.0
"""Seconds that the reads of one page may take."""
_MOST_DIGITS = 18


class NotThere(InputError):
    """The index has nothing under this name."""


@dataclass(frozen=True, slots=True)
class AsOf:
    """The state that a page shows.

    Attributes:
        block: The last indexed block.
        final: The last indexed block that is final; what stands in later ones is provisional.
        checked: The block up to which the index was verified against block headers; None if it was not.
        time: The chain's time, Unix seconds: of the last block, or later if the node said so.
        behind: Why the index could not be brought up to date; empty if it was.
    """

    chain_id: int
    contract: Address
    block: int
    block_hash: bytes
    final: int | None
    checked: int | None
    time: int
    behind: str


@dataclass(frozen=True, slots=True)
class Told:
    """What whoever keeps the index knows.

    Attributes:
        time: The chain's time as last heard from its node, Unix seconds; 0 if it was never heard.
        behind: Why the index could not be brought up to date; empty if it was.
        unread: Number of unavailable manifests of updates and versions, which no search finds.
    """

    time: int = 0
    behind: str = ""
    unread: int = 0


class Present:
    """What was told last; shared by threads."""

    def __init__(self, told: Told | None = None) -> None:
        self._lock = threading.Lock()
        self._told = told or Told()

    def tell(self, told: Told) -> None:
        """Tell anew."""
        with self._lock:
            self._told = told

    @property
    def told(self) -> Told:
        """What was told last."""
        with self._lock:
            return self._told


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where pages read from.

    Attributes:
        index: The index of events; its block times lie beside it.
        catalogue: The catalogue of manifests.
        store: The content store.
        present: What is known of the chain beside the index.
        verifier: Verifies versions for visitors; None if this explorer does not.
        prover: Makes bundles and inclusion proofs for visitors; None if this explorer does not.
        traffic: Counts answers.
        watch: Knows the state of the index.
    """

    index: Path
    catalogue: Path
    store: ContentStore
    present: Present
    verifier: Verifier | None = None
    prover: Prover | None = None
    traffic: Traffic = field(default_factory=Traffic)
    watch: Watch = field(default_factory=Watch)

    def state(self, *, jobs: bool = False) -> bytes:
        """Return 32 bytes that change with the index's head, its finality and the chain's time; if told with `jobs`."""
        said = self.watch.state(self.index), self.present.told
        moved = self.verifier.changes if jobs and self.verifier is not None else 0
        return hashlib.sha256(repr((said, moved)).encode()).digest()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        """Open a snapshot for one page.

        Raises:
            IndexUnusable: There is no index yet, or it is empty or of another release.
        """
        with contextlib.ExitStack() as held:
            db = held.enter_context(read_index(self.index))
            times = held.enter_context(contextlib.closing(BlockTimes(times_path(self.index))))
            store = LimitedStore(self.store, _PATIENCE)
            catalogue = held.enter_context(contextlib.closing(Catalogue(self.catalogue, store)))
            held.enter_context(reported_unavailable())
            following, head = queries.following(db), queries.head_block(db)
            if following is None or head is None:
                raise IndexUnusable("expected an index with at least one block, got an empty one: try again later")
            final, told = queries.final_block(db), self.present.told
            as_of = AsOf(
                chain_id=following.chain_id,
                contract=following.contracts[0],
                block=head.number,
                block_hash=head.hash,
                final=None if final is None else final.number,
                checked=queries.checked_block(db),
                time=max(times.time_of(head) or 0, told.time),
                behind=told.behind,
            )
            yield Reading(db, store, catalogue, times, as_of, told.unread, self.verifier)


@dataclass(frozen=True, slots=True)
class Reading:
    """A snapshot, for one page; `unread` as in `Told`, `verifier` as in `Shelf`."""

    db: sqlite3.Connection
    store: ContentStore
    catalogue: Catalogue
    times: BlockTimes
    as_of: AsOf
    unread: int
    verifier: Verifier | None

    def times_of(self, places: Iterable[LogPlace]) -> dict[int, int]:
        """Return the times of places' blocks by number, Unix seconds; 0 for one that is not known yet."""
        return self.times.times_of(Block(at.block, at.block_hash) for at in places)

    def model(self, text: str) -> ModelEntry:
        """Return the model that a path names.

        Raises:
            InputError: The text is no id.
            NotThere: The index has no such model.
        """
        entry = queries.model(self.db, ModelId(hex_of(text, 32, "model id")))
        if entry is None:
            raise NotThere(f"no model {text} up to block {self.as_of.block}")
        return entry


# What a path or a query may say ---------------------------------------------------------------------------------------


def hex_of(text: str, length: int, what: str) -> bytes:
    """Return the bytes of 0x and lower-case hex: one page has one address.

    Raises:
        InputError: The text is something else.
    """
    digits = text.removeprefix("0x")
    if len(text) != 2 + 2 * length or not text.startswith("0x") or digits.strip("0123456789abcdef"):
        raise InputError(f"expected a {what}, 0x and {2 * length} hex digits in lower case, got {text!r:.100}")
    return bytes.fromhex(digits)


def number_of(text: str, what: str) -> int:
    """Return a whole number of at most 18 digits.

    Raises:
        InputError: The text is something else.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and str(int(text)) == text):
        raise InputError(f"expected a {what}, a whole number of at most {_MOST_DIGITS} digits, got {text!r:.100}")
    return int(text)


def cursor_of(text: str | None) -> tuple[int, int] | None:
    """Return the place, (block, log_index), that a cursor names, BLOCK.LOG; None without one.

    Raises:
        InputError: The text is no cursor.
    """
    if text is None:
        return None
    block, _, log_index = text.partition(".")
    return number_of(block, "cursor's block"), number_of(log_index, "cursor's log index")


def page_cursor(at: LogPlace) -> str:
    """Return the cursor that names a place."""
    return f"{at.block}.{at.log_index}"

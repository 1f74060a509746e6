"""Headers in a file: which of them a trusted block hash proves.

Headers stand in runs of consecutive blocks, each naming the hash of the one before. A trusted hash proves its block and
all before it in the run; what stands after it, or in another run, it does not.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from registry.errors import FormError, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.blocks import WINDOW, Checkpoint, fetch_headers
from registry.ethereum.headers import Header, header_of, require_linked

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["HeaderChain", "fetch_runs", "header_blocks", "headers_in", "runs_of"]

_BLOCK_BYTES = 1 << 19


class HeaderChain:
    """Headers of a file, read once, of which those that something is proved of are kept.

    Args:
        headers: In the order in which they stand.
        needed: Numbers of those to keep.
        trusted: Hashes that are trusted.

    Raises:
        VerificationFailed: They do not ascend, one does not name the one before as its parent, or one is missing.
    """

    def __init__(self, headers: Iterable[Header], needed: Collection[int], trusted: Collection[bytes]) -> None:
        self._kept: dict[int, Header] = {}
        self._runs: list[tuple[int, Checkpoint]] = []
        self.trusted: list[Checkpoint] = []
        before: Header | None = None
        for header in headers:
            self._join(before, header)
            if header.number in needed:
                self._kept[header.number] = header
            if header.hash in trusted:
                self.trusted.append(Checkpoint(header.number, header.hash))
            before = header
        if not self._runs:
            raise VerificationFailed("expected headers, got none")
        if missing := sorted(set(needed) - self._kept.keys()):
            raise VerificationFailed(f"expected the header of block {missing[0]}, got none")

    @property
    def ends(self) -> tuple[Checkpoint, ...]:
        """The last block of each run: whoever trusts them all has everything proved."""
        return tuple(last for _, last in self._runs)

    @property
    def starts(self) -> tuple[int, ...]:
        """Number of the first block of each run."""
        return tuple(first for first, _ in self._runs)

    def header(self, number: int) -> Header:
        """Return the header of a block that is needed."""
        return self._kept[number]

    def behind(self, number: int) -> Checkpoint | None:
        """Return the trusted block that proves a needed block, the nearest of several; None if none does."""
        _, end = self._runs[bisect_right(self._runs, number, key=lambda run: run[0]) - 1]
        at = bisect_left(self.trusted, number, key=lambda point: point.number)
        if at == len(self.trusted) or self.trusted[at].number > end.number:
            return None
        return self.trusted[at]

    def _join(self, before: Header | None, header: Header) -> None:
        if before is not None and header.number <= before.number:
            raise VerificationFailed(f"expected a header after block {before.number}, got {header.number}")
        if before is None or header.number != before.number + 1:
            self._runs.append((header.number, Checkpoint(header.number, header.hash)))
            return
        require_linked((before, header), header.hash)
        self._runs[-1] = (self._runs[-1][0], Checkpoint(header.number, header.hash))


def runs_of(numbers: Sequence[int], max_gap: int) -> list[range]:
    """Return the runs that link ascending block numbers: what lies further apart than max_gap is not linked."""
    cuts = [at for at, (low, high) in enumerate(pairwise(numbers), 1) if high - low > max_gap]
    bounds = [0, *cuts, len(numbers)]
    return [range(numbers[low], numbers[high - 1] + 1) for low, high in pairwise(bounds)]


def fetch_runs(w3: Web3, runs: Iterable[range]) -> Iterator[Header]:
    """Fetch runs of headers, ascending, each checked to name the one before as its parent.

    Raises:
        VerificationFailed: One does not.
        NodeUnavailable: The node does not give one.
    """
    for run in runs:
        before: tuple[Header, ...] = ()
        for start in range(run.start, run.stop, WINDOW):
            headers = fetch_headers(w3, range(start, min(start + WINDOW, run.stop)))
            require_linked((*before, *headers), headers[-1].hash)
            yield from headers
            before = (headers[-1],)


def header_blocks(headers: Iterable[Header]) -> Iterator[bytes]:
    """Yield headers as the RLP lists that a bundle holds, so many in one as fit."""
    raws: list[bytes] = []
    for header in headers:
        raws.append(header.encode())
        if len(raws) * len(raws[0]) > _BLOCK_BYTES:
            yield _listed(raws)
            raws = []
    if raws:
        yield _listed(raws)


def headers_in(data: bytes) -> Iterator[Header]:
    """Yield the headers of such a list.

    Raises:
        FormError: It is none.
    """
    items = rlp.decode(data)
    if not isinstance(items, tuple) or not items:
        raise FormError("headers: expected a list of them, got something else")
    yield from map(header_of, items)


def _listed(raws: Iterable[bytes]) -> bytes:
    return rlp.encode(tuple(rlp.decode(raw) for raw in raws))

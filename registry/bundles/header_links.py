"""Header chains of a bundle: which headers a trusted block hash proves.

Headers form runs of consecutive blocks, each naming its parent's hash. A trusted hash proves its block and all earlier
blocks of the run; it proves no later block and no other run.
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
    """A file's headers, read once; only headers of blocks with proofs are kept.

    Args:
        headers: Headers in file order.
        needed: Block numbers of the headers to keep.
        trusted: Trusted block hashes.

    Raises:
        VerificationFailed: Headers do not ascend, do not link to their parents, or one is missing.
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
        """The last block of each run: trusting all of their hashes proves everything."""
        return tuple(last for _, last in self._runs)

    @property
    def starts(self) -> tuple[int, ...]:
        """Number of each run's first block."""
        return tuple(first for first, _ in self._runs)

    def header(self, number: int) -> Header:
        """Return the header of a needed block."""
        return self._kept[number]

    def behind(self, number: int) -> Checkpoint | None:
        """Return the nearest trusted block that proves a needed block; None if none does."""
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
    """Return runs that cover ascending block numbers; a gap of more than max_gap starts a new run."""
    cuts = [at for at, (low, high) in enumerate(pairwise(numbers), 1) if high - low > max_gap]
    bounds = [0, *cuts, len(numbers)]
    return [range(numbers[low], numbers[high - 1] + 1) for low, high in pairwise(bounds)]


def fetch_runs(w3: Web3, runs: Iterable[range]) -> Iterator[Header]:
    """Fetch runs of headers in ascending order and verify that each names its parent.

    Raises:
        VerificationFailed: A header does not name its parent.
        NodeUnavailable: The node does not serve a header.
    """
    for run in runs:
        before: tuple[Header, ...] = ()
        for start in range(run.start, run.stop, WINDOW):
            headers = fetch_headers(w3, range(start, min(start + WINDOW, run.stop)))
            require_linked((*before, *headers), headers[-1].hash)
            yield from headers
            before = (headers[-1],)


def header_blocks(headers: Iterable[Header]) -> Iterator[bytes]:
    """Yield headers as RLP lists, each as long as one block of a bundle allows."""
    raws: list[bytes] = []
    for header in headers:
        raws.append(header.encode())
        if len(raws) * len(raws[0]) > _BLOCK_BYTES:
            yield _listed(raws)
            raws = []
    if raws:
        yield _listed(raws)


def headers_in(data: bytes) -> Iterator[Header]:
    """Yield the headers of an RLP list.

    Raises:
        FormError: The bytes are not a list of headers.
    """
    items = rlp.decode(data)
    if not isinstance(items, tuple) or not items:
        raise FormError("headers: expected a list of them, got something else")
    yield from map(header_of, items)


def _listed(raws: Iterable[bytes]) -> bytes:
    return rlp.encode(tuple(rlp.decode(raw) for raw in raws))

"""Blobs: builder and verifying reader of UnixFS files under the profile unixfs-v1-2025.

The profile (IPIP-499) fixes every import parameter: CIDv1, sha2-256, chunks of 1 MiB as raw blocks, dag-pb nodes of at
most 1024 links, the balanced layout. A file of up to 1 MiB, the empty file included, is a single raw block. A larger
file is a tree whose leaves all have the same depth and whose nodes are full except the last of each level:

    dag-pb node   Links (field 2) one per child: Hash (1) its CID, Name (2) empty, Tsize (3) bytes of its blocks
                  Data (field 1), after the links: Type (1) File = 2, filesize (3), blocksizes (4) one per child

The file size therefore determines the tree's shape and every byte of every node except the CIDs. The reader relies on
this: it compares each node with the node that the declared size requires before it fetches any child.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from registry.content.cid import CID_BYTES, decode_cid, decode_varint, encode_varint
from registry.errors import FormError, InputError
from registry.types import Blob, Cid, Codec, NamedBlock

__all__ = [
    "CHUNK_SIZE",
    "MAX_LINKS",
    "Fetch",
    "Link",
    "blob_of",
    "build",
    "encode_node",
    "leaf_at",
    "leaf_cids",
    "parse_node",
    "read",
    "root_of_leaves",
    "walk",
]

CHUNK_SIZE = 1 << 20
"""Bytes in a leaf."""
MAX_LINKS = 1024
"""Most children of a node."""

Piece = bytes | bytearray | memoryview
P = TypeVar("P", bound=Piece)
Fetch = Callable[[Sequence[Cid], Cid | None], Iterable[bytes]]
"""fetch(cids, parent) yields the blocks of cids in that order, each already verified against its CID.
If parent is given, cids are all of its children and all leaves, so that one request can fetch them."""

_PROFILE = "unixfs-v1-2025"
_MAX_SIZE = 1 << 63
_ANY = Cid(Codec.RAW, bytes(32))


@dataclass(frozen=True, slots=True)
class Link:
    """Link to a child node or leaf.

    Attributes:
        cid: The child's CID.
        size: Bytes of the file under it.
        tsize: Total bytes of its block and all blocks under it, as Kubo counts them.
    """

    cid: Cid
    size: int
    tsize: int


# Building ---------------------------------------------------------------------------------------------------------


def build(pieces: Iterable[Piece], *, workers: int = 0) -> Iterator[NamedBlock]:
    """Yield the blocks of the file in pieces, children before parents, the root last.

    Holds one leaf and one unfinished node per level in memory, with workers also a few leaves per worker.

    Args:
        pieces: The file's bytes, cut anywhere.
        workers: Threads that hash leaves beside the caller's; 0 hashes in the caller's.
    """
    tree = _Tree()
    for leaf, digest in _hashed((bytes(chunk) for chunk in _chunks(pieces)), workers):
        link = Link(Cid(Codec.RAW, digest), len(leaf), len(leaf))
        yield from tree.add(link)
        yield NamedBlock(link.cid, leaf)
    yield from tree.finish()


def blob_of(pieces: Iterable[Piece], *, workers: int = 0) -> Blob:
    """Return the CID and size of the file in pieces, without storing any block.

    Args:
        pieces: The file's bytes, cut anywhere. With workers, a piece must not change after it is yielded.
        workers: Threads that hash leaves beside the caller's; 0 hashes in the caller's.
    """
    root = _root((digest, len(leaf)) for leaf, digest in _hashed(_chunks(pieces), workers))
    return Blob(root.cid, root.size)


def root_of_leaves(digests: Sequence[bytes], size: int) -> Cid:
    """Return the root CID of a file of size bytes, given the sha2-256 of each of its leaves in order.

    Raises:
        InputError: The number of digests does not match size.
    """
    count = max(1, -(-size // CHUNK_SIZE))
    if len(digests) != count:
        raise InputError(f"expected the {count} leaves of {size} bytes, got {len(digests)}")
    return _root((digest, min(CHUNK_SIZE, size - at * CHUNK_SIZE)) for at, digest in enumerate(digests)).cid


def _root(leaves: Iterable[tuple[bytes, int]]) -> Link:
    tree = _Tree()
    for digest, length in leaves:
        for _ in tree.add(Link(Cid(Codec.RAW, digest), length, length)):
            pass
    for _ in tree.finish():
        pass
    return tree.root


class _Tree:
    """Builder of the balanced layout, leaf by leaf: one unfinished node per level."""

    def __init__(self) -> None:
        self._levels: list[list[Link]] = [[]]

    @property
    def root(self) -> Link:
        return self._levels[-1][0]

    def add(self, link: Link, level: int = 0) -> Iterator[NamedBlock]:
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == MAX_LINKS:
            yield from self._seal(level)
        self._levels[level].append(link)

    def finish(self) -> Iterator[NamedBlock]:
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            yield from self._seal(level)
            level += 1

    def _seal(self, level: int) -> Iterator[NamedBlock]:
        links = self._levels[level]
        node = encode_node(links)
        cid = Cid(Codec.DAG_PB, hashlib.sha256(node).digest())
        size = sum(link.size for link in links)
        tsize = len(node) + sum(link.tsize for link in links)
        self._levels[level] = []
        yield from self.add(Link(cid, size, tsize), level + 1)
        yield NamedBlock(cid, node)


def _chunks(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Cut pieces into chunks of CHUNK_SIZE, copying only chunks that span pieces; an empty file is one empty chunk."""
    partial = bytearray()
    empty = True
    for piece in pieces:
        if type(piece) is bytes and len(piece) == CHUNK_SIZE and not partial:
            empty = False
            yield piece
            continue
        data = memoryview(piece).cast("B")
        start = 0
        if partial:
            start = CHUNK_SIZE - len(partial)
            partial += data[:start]
            if len(partial) < CHUNK_SIZE:
                continue
            yield partial
            partial, empty = bytearray(), False
        while len(data) - start >= CHUNK_SIZE:
            yield data[start : start + CHUNK_SIZE]
            start, empty = start + CHUNK_SIZE, False
        partial += data[start:]
    if partial or empty:
        yield partial


def _hashed(chunks: Iterable[P], workers: int) -> Iterator[tuple[P, bytes]]:
    """Pair each chunk with its sha2-256, in order; hashlib releases the GIL while it hashes."""
    if workers == 0:
        for chunk in chunks:
            yield chunk, hashlib.sha256(chunk).digest()
        return
    waiting: deque[tuple[P, Future[bytes]]] = deque()
    with ThreadPoolExecutor(workers, "cid") as pool:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(_sha256, chunk)))
            if len(waiting) > 2 * workers:
                chunk, future = waiting.popleft()
                yield chunk, future.result()
        while waiting:
            chunk, future = waiting.popleft()
            yield chunk, future.result()


def _sha256(data: Piece) -> bytes:
    return hashlib.sha256(data).digest()


# Nodes ------------------------------------------------------------------------------------------------------------


def encode_node(links: Sequence[Link]) -> bytes:
    """Return the dag-pb bytes of a file node with these children, as Kubo writes them."""
    out: list[bytes] = []
    data = b"\x08\x02\x18" + encode_varint(sum(link.size for link in links))
    for link in links:
        body = b"\x0a\x24" + bytes(link.cid) + b"\x12\x00\x18" + encode_varint(link.tsize)
        out += (b"\x12", encode_varint(len(body)), body)
    data += b"".join(b"\x20" + encode_varint(link.size) for link in links)
    return b"".join((*out, b"\x0a", encode_varint(len(data)), data))


def parse_node(data: bytes) -> tuple[Link, ...]:
    """Return the children of an encoded node.

    Raises:
        FormError: data is not byte for byte a file node of this profile with one or more children.
    """
    try:
        links = _parse_node(data)
    except FormError as error:
        raise FormError(f"dag-pb: expected a node of a {_PROFILE} file, got other bytes ({error})") from error
    if encode_node(links) != data:
        raise FormError(f"dag-pb: expected a node of a {_PROFILE} file, got one in another form")
    return links


def _parse_node(data: bytes) -> tuple[Link, ...]:
    heads: list[tuple[Cid, int]] = []
    at = 0
    while data[at : at + 1] == b"\x12":
        length, at = decode_varint(data, at + 1)
        body, at = data[at : at + length], at + length
        tail = 2 + CID_BYTES
        if body[:2] != b"\x0a\x24" or body[tail : tail + 3] != b"\x12\x00\x18":
            raise FormError(f"link {len(heads)} is not a CID, an empty name and a size")
        heads.append((decode_cid(body[2:tail]), decode_varint(body, tail + 3)[0]))
    if data[at : at + 1] != b"\x0a" or not 0 < len(heads) <= MAX_LINKS:
        raise FormError(f"{len(heads)} links and no data after them")
    _, at = decode_varint(data, at + 1)
    if data[at : at + 3] != b"\x08\x02\x18":
        raise FormError("its data is not of a file with a size")
    _, at = decode_varint(data, at + 3)
    links: list[Link] = []
    for cid, tsize in heads:
        if data[at : at + 1] != b"\x20":
            raise FormError(f"{len(heads)} links with {len(links)} block sizes")
        size, at = decode_varint(data, at + 1)
        links.append(Link(cid, size, tsize))
    return tuple(links)


# Tree shape, as determined by the file's size ---------------------------------------------------------------------


def _capacity(depth: int) -> int:
    return CHUNK_SIZE * int(MAX_LINKS**depth)


def _depth(size: int) -> int:
    depth = 0
    while size > _capacity(depth):
        depth += 1
    return depth


def _child_sizes(size: int, depth: int) -> list[int]:
    full, rest = divmod(size, _capacity(depth - 1))
    return [_capacity(depth - 1)] * full + [rest] * (rest > 0)


@lru_cache(maxsize=256)
def _node_bytes(size: int, depth: int) -> int:
    """Encoded length of the node over size bytes of file; the CIDs in it do not change the length."""
    return len(encode_node([Link(_ANY, child, _tsize(child, depth - 1)) for child in _child_sizes(size, depth)]))


@lru_cache(maxsize=256)
def _tsize(size: int, depth: int) -> int:
    if depth == 0:
        return size
    below = depth - 1
    full, rest = divmod(size, _capacity(below))
    total = _node_bytes(size, depth) + full * _tsize(_capacity(below), below)
    return total + (_tsize(rest, below) if rest else 0)


def _check_children(cid: Cid, links: Sequence[Link], size: int, depth: int) -> None:
    """Compare a node's children with those that size requires.

    Raises:
        FormError: They differ in number, size, tsize or codec.
    """
    codec = Codec.RAW if depth == 1 else Codec.DAG_PB
    expected = [(codec, child, _tsize(child, depth - 1)) for child in _child_sizes(size, depth)]
    found = [(link.cid.codec, link.size, link.tsize) for link in links]
    for index, (wanted, came) in enumerate(zip(expected, found, strict=False)):
        if wanted != came:
            raise FormError(
                f"{cid}: expected child {index} to be {wanted[0].name} with size {wanted[1]} and tsize {wanted[2]}, "
                f"got {came[0].name} with {came[1]} and {came[2]}"
            )
    if len(expected) != len(found):
        raise FormError(f"{cid}: expected {len(expected)} children for {size} bytes, got {len(found)}")


# Reading ----------------------------------------------------------------------------------------------------------


def read(blob: Blob, fetch: Fetch) -> Iterator[bytes]:
    """Yield the file's bytes in order, leaf by leaf, verifying that the tree is the one that this profile builds.

    Raises:
        FormError: The tree under blob.cid is not that of a file of blob.size bytes under this profile.
        InputError: blob.size is negative or 2^63 or more.
    """
    return (data for cid, data in walk(blob, fetch) if cid.codec is Codec.RAW)


def walk(blob: Blob, fetch: Fetch) -> Iterator[tuple[Cid, bytes]]:
    """Yield every block of the file, parents before children, leaves in file order; verifies as `read`."""
    depth = _checked_depth(blob)
    if depth == 0:
        return _leaves([blob.cid], [blob.size], fetch, None)
    return _walk(blob, depth, fetch)


def leaf_cids(blob: Blob, fetch: Fetch) -> list[Cid]:
    """Return the CIDs of the file's leaves in order, fetching only the nodes above them; verifies as `read`.

    The caller must check the length of each leaf that it fetches.
    """
    depth = _checked_depth(blob)
    if depth == 0:
        return [blob.cid]
    nodes = _nodes(blob.cid, blob.size, depth, fetch)
    return [link.cid for _, _, leaves in nodes for link in leaves]


def leaf_at(blob: Blob, index: int, fetch: Fetch) -> tuple[Cid, int]:
    """Return CID and required length of one leaf, fetching only the nodes above it; verifies them as `read`.

    Raises:
        InputError: The file has no such leaf.
    """
    depth = _checked_depth(blob)
    if not 0 <= index < max(1, -(-blob.size // CHUNK_SIZE)):
        raise InputError(f"{blob.cid}: expected a leaf of {blob.size} bytes, got number {index}")
    cid, size = blob.cid, blob.size
    for above in range(depth, 0, -1):
        (node,) = fetch([cid], None)
        links = parse_node(node)
        _check_children(cid, links, size, above)
        place, index = divmod(index, MAX_LINKS ** (above - 1))
        cid, size = links[place].cid, links[place].size
    return cid, size


def _checked_depth(blob: Blob) -> int:
    if not 0 <= blob.size < _MAX_SIZE:
        raise InputError(f"{blob.cid}: expected a size from 0 to below 2^63, got {blob.size}")
    depth = _depth(blob.size)
    codec = Codec.DAG_PB if depth else Codec.RAW
    if blob.cid.codec is not codec:
        raise FormError(f"{blob.cid}: expected a {codec.name} root for {blob.size} bytes, got {blob.cid.codec.name}")
    return depth


def _walk(blob: Blob, depth: int, fetch: Fetch) -> Iterator[tuple[Cid, bytes]]:
    for cid, node, leaves in _nodes(blob.cid, blob.size, depth, fetch):
        yield cid, node
        if leaves:
            yield from _leaves([link.cid for link in leaves], [link.size for link in leaves], fetch, cid)


def _nodes(cid: Cid, size: int, depth: int, fetch: Fetch) -> Iterator[tuple[Cid, bytes, Sequence[Link]]]:
    """Yield the node of cid and all nodes below it, parents first, each with the leaves it links to."""
    (node,) = fetch([cid], None)
    links = parse_node(node)
    _check_children(cid, links, size, depth)
    yield cid, node, links if depth == 1 else ()
    if depth > 1:
        for link in links:
            yield from _nodes(link.cid, link.size, depth - 1, fetch)


def _leaves(cids: Sequence[Cid], sizes: Sequence[int], fetch: Fetch, parent: Cid | None) -> Iterator[tuple[Cid, bytes]]:
    for cid, size, leaf in zip(cids, sizes, fetch(cids, parent), strict=True):
        if len(leaf) != size:
            raise FormError(f"{cid}: expected a leaf of {size} bytes, got {len(leaf)}")
        yield cid, leaf

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.content import unixfs
from registry.content.unixfs import Link, blob_of, build, encode_node, leaf_at, leaf_cids, parse_node, read, walk
from registry.errors import FormError, InputError
from registry.types import Blob, Cid, Codec

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "content" / "blobs.json").read_text())
MIB = 1 << 20
Ipfs = Callable[[list[str], Iterable[bytes]], bytes]


@functools.cache
def block(number: int) -> bytes:
    return hashlib.shake_128(number.to_bytes(8, "big")).digest(MIB)


def content(kind: str, size: int) -> Iterator[bytes]:
    """The bytes that the golden file's kinds stand for, a MiB at a time."""
    for at in range(0, size, MIB):
        number = at // MIB
        piece = bytes(MIB) if kind == "zeros" else block({"equal": 0, "two": number % 2, "random": number}[kind])
        yield piece[: size - at]


def digests(kind: str, size: int) -> list[bytes]:
    """The leaves' hashes of content made of one or two different blocks, without making it all."""
    first = [hashlib.sha256(piece).digest() for piece in content(kind, 2 * MIB)]
    full, rest = divmod(size, MIB)
    found = [first[number % 2] for number in range(full)]
    if rest:
        tail = list(content(kind, (1 + full % 2) * MIB))[-1]
        found.append(hashlib.sha256(tail[:rest]).digest())
    return found


class Blocks:
    """A dict of blocks as a Fetch that remembers what was asked for."""

    def __init__(self, blocks: Iterable[tuple[Cid, bytes]]) -> None:
        self.blocks = dict(blocks)
        self.asked: list[Cid] = []

    def __call__(self, cids: Sequence[Cid], parent: Cid | None = None) -> Iterator[bytes]:
        self.asked.extend(cids)
        return (self.blocks[cid] for cid in cids)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chunks of 1 KiB and 4 links a node: trees four levels deep from 100 KiB."""
    shape = (unixfs._node_bytes, unixfs._tsize)
    for cached in shape:
        cached.cache_clear()
    monkeypatch.setattr(unixfs, "CHUNK_SIZE", 1024)
    monkeypatch.setattr(unixfs, "MAX_LINKS", 4)
    yield
    for cached in shape:
        cached.cache_clear()


# Against Kubo ------------------------------------------------------------------------------------------------------

SIZES = [
    *(0, 1, 2, 3, 7, 8, 31, 32, 255, 256, 1000, 1024, 4095, 4096, 4097, 65535, 65536, 262143, 262144, 262145),
    *(
        524288,
        1000000,
        MIB - 2,
        MIB - 1,
        MIB,
        MIB + 1,
        MIB + 2,
        2 * MIB - 1,
        2 * MIB,
        2 * MIB + 1,
        3 * MIB,
        5 * MIB + 12,
    ),
]
KINDS = [
    *[("random", size) for size in SIZES],
    *[("zeros", size) for size in (1, MIB - 1, MIB, MIB + 1, 2 * MIB, 7 * MIB + 3)],
    *[("equal", size) for size in (2 * MIB, 2 * MIB + 100, 9 * MIB, 40 * MIB)],
    *[("two", size) for size in (3 * MIB, 4 * MIB, 17 * MIB + 5)],
]


def test_cids_equal_those_of_ipfs_add_for_45_sizes_and_kinds(ipfs: Ipfs, tmp_path: Path) -> None:
    paths = []
    for index, (kind, size) in enumerate(KINDS):
        path = tmp_path / f"{index:03}"
        with path.open("wb") as file:
            file.writelines(content(kind, size))
        paths.append(str(path))
    assert len(paths) >= 45
    named = ipfs(["add", "--only-hash", "-q", *paths], ()).decode().split()
    assert named == [str(blob_of(content(kind, size)).cid) for kind, size in KINDS]


@pytest.mark.parametrize(
    ("kind", "size"),
    [("equal", 1024 * MIB), ("zeros", 1024 * MIB + 1), ("two", 1025 * MIB), ("zeros", 1025 * MIB + 77)],
)
@pytest.mark.slow
def test_cids_equal_those_of_ipfs_add_around_1024_leaves(ipfs: Ipfs, kind: str, size: int) -> None:
    named = ipfs(["add", "--only-hash", "-Q"], content(kind, size)).decode().strip()
    assert str(unixfs.root_of_leaves(digests(kind, size), size)) == named


@pytest.mark.usefixtures("small")
def test_deep_trees_equal_those_of_ipfs_add_with_the_same_small_nodes(ipfs: Ipfs, tmp_path: Path) -> None:
    sizes = [1024 * leaves + extra for leaves in (1, 3, 4, 5, 15, 16, 17, 63, 64, 65, 80, 81, 260) for extra in (0, 1)]
    paths = [tmp_path / f"{size:07}" for size in sizes]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(block(1)[:size])
    options = ["add", "--only-hash", "-q", "--chunker=size-1024", "--max-file-links=4"]
    named = ipfs([*options, *map(str, paths)], ()).decode().split()
    assert named == [str(blob_of([path.read_bytes()]).cid) for path in paths]


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: f"{vector['kind']}-{vector['size']}")
def test_golden_cid_computed_once_by_kubo(vector: dict[str, object]) -> None:
    kind, size = str(vector["kind"]), vector["size"]
    assert isinstance(size, int)
    if size > 64 * MIB:
        assert str(unixfs.root_of_leaves(digests(kind, size), size)) == vector["cid"]
    else:
        assert str(blob_of(content(kind, size)).cid) == vector["cid"]


# Building ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 3 * MIB + 5])
def test_build_yields_children_first_and_ends_with_the_root_of_blob_of(size: int, workers: int) -> None:
    blocks = list(build(content("random", size), workers=workers))
    blob = blob_of(content("random", size), workers=workers)
    assert blocks[-1][0] == blob.cid
    assert blob.size == size
    for cid, data in blocks:
        assert hashlib.sha256(data).digest() == cid.digest
        assert type(data) is bytes
    seen: set[Cid] = set()
    for cid, data in blocks:
        if cid.codec is Codec.DAG_PB:
            assert {link.cid for link in parse_node(data)} <= seen
        seen.add(cid)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 100_000), st.lists(st.integers(0, 9000), max_size=30), st.integers(0, 2))
def test_cid_does_not_depend_on_pieces_or_threads(small: None, size: int, steps: list[int], workers: int) -> None:
    data = block(0)[:size]
    pieces: list[bytes | memoryview] = []
    at = 0
    for number, step in enumerate(steps):
        piece = data[at : at + step]
        pieces.append(memoryview(piece) if number % 2 else piece)
        at += step
    pieces.append(data[at:])
    blob = blob_of([data])
    assert blob_of(pieces, workers=workers) == blob
    store = Blocks(build(pieces, workers=workers))
    assert b"".join(read(blob, store)) == data
    assert dict(walk(blob, store)) == store.blocks


def test_many_equal_blocks_are_stored_once_and_read_back() -> None:
    blocks = list(build(content("equal", 5 * MIB)))
    assert len(dict(blocks)) == 2
    blob = Blob(blocks[-1][0], 5 * MIB)
    assert sum(map(len, read(blob, Blocks(blocks)))) == 5 * MIB


def test_root_of_leaves_wants_the_leaves_of_the_size() -> None:
    leaves = digests("zeros", 3 * MIB)
    assert unixfs.root_of_leaves(leaves, 3 * MIB) == blob_of(content("zeros", 3 * MIB)).cid
    for size in (2 * MIB, 3 * MIB + 1, 0):
        with pytest.raises(InputError, match="got 3"):
            unixfs.root_of_leaves(leaves, size)


def test_an_error_in_the_pieces_comes_out_of_a_threaded_build() -> None:
    def broken() -> Iterator[bytes]:
        yield block(0)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(build(broken(), workers=2))


# Reading -----------------------------------------------------------------------------------------------------------


def made(size: int) -> tuple[Blob, Blocks]:
    blocks = Blocks(build(content("random", size)))
    return blob_of(content("random", size)), blocks


def test_leaf_cids_fetches_no_leaf() -> None:
    blob, blocks = made(3 * MIB + 1)
    cids = leaf_cids(blob, blocks)
    assert [len(blocks.blocks[cid]) for cid in cids] == [MIB, MIB, MIB, 1]
    assert blocks.asked == [blob.cid]
    small_blob = blob_of([b"x"])
    assert leaf_cids(small_blob, blocks) == [small_blob.cid]


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 4096, 4097, 100 * 1024, 257 * 1024 - 3])
def test_each_leaf_is_found_by_the_nodes_above_it_alone(small: None, size: int) -> None:
    blob, blocks = made(size)
    cids = leaf_cids(blob, blocks)
    depth = next(d for d in range(6) if 1024 * 4**d >= size)
    for index, cid in enumerate(cids):
        blocks.asked.clear()
        assert leaf_at(blob, index, blocks) == (cid, min(1024, size - 1024 * index))
        assert len(blocks.asked) == depth
    for index in (-1, len(cids)):
        with pytest.raises(InputError, match="expected a leaf"):
            leaf_at(blob, index, blocks)
    if depth:
        with pytest.raises(FormError, match="expected"):
            leaf_at(Blob(blob.cid, size - 1), 0, blocks)


@pytest.mark.parametrize("declared", [0, 1, MIB, 2 * MIB + 4, 2 * MIB + 6, 3 * MIB, 3 * MIB + 5, 1025 * MIB])
def test_blob_larger_or_smaller_than_declared_is_refused_before_a_leaf_is_fetched(declared: int) -> None:
    blob, blocks = made(2 * MIB + 5)
    with pytest.raises(FormError):
        list(read(Blob(blob.cid, declared), blocks))


def test_raw_block_of_another_length_than_declared_is_refused() -> None:
    blob, blocks = made(10)
    for declared in (9, 11, 0):
        with pytest.raises(FormError, match=f"leaf of {declared} bytes, got 10"):
            list(read(Blob(blob.cid, declared), blocks))


@pytest.mark.parametrize("size", [-1, 1 << 63])
def test_size_that_no_file_has_is_an_input_error(size: int) -> None:
    blob, blocks = made(10)
    with pytest.raises(InputError, match="size from 0"):
        read(Blob(blob.cid, size), blocks)


@pytest.mark.parametrize("codec", [Codec.DAG_PB, Codec.DAG_CBOR])
def test_small_file_under_another_codec_is_refused(codec: Codec) -> None:
    blob, blocks = made(10)
    with pytest.raises(FormError, match="expected a RAW root"):
        read(Blob(Cid(codec, blob.cid.digest), 10), blocks)


def rebuilt(links: Sequence[Link], leaves: Blocks) -> tuple[Cid, Blocks]:
    node = encode_node(links)
    root = Cid(Codec.DAG_PB, hashlib.sha256(node).digest())
    return root, Blocks([*leaves.blocks.items(), (root, node)])


def test_tree_of_another_profile_is_refused() -> None:
    """The same bytes in chunks of 256 KiB, in halves, unbalanced, or with the short leaf first."""
    data = b"".join(content("random", 2 * MIB + 5))

    def leaf(begin: int, end: int) -> tuple[Link, bytes]:
        cid = Cid(Codec.RAW, hashlib.sha256(data[begin:end]).digest())
        return Link(cid, end - begin, end - begin), data[begin:end]

    edges = [
        [*range(0, 2 * MIB, 262144), 2 * MIB, len(data)],
        [0, 5, MIB + 5, len(data)],
        [0, MIB, len(data)],
        [0, MIB, 2 * MIB, len(data) - 1, len(data)],
    ]
    for cuts in edges:
        parts = [leaf(begin, end) for begin, end in pairwise(cuts)]
        root, blocks = rebuilt([link for link, _ in parts], Blocks((link.cid, piece) for link, piece in parts))
        with pytest.raises(FormError):
            list(read(Blob(root, len(data)), blocks))


@pytest.mark.parametrize("field", ["size", "tsize", "codec", "count"])
def test_node_whose_sizes_lie_is_refused(field: str) -> None:
    blob, blocks = made(2 * MIB + 5)
    links = list(parse_node(blocks.blocks[blob.cid]))
    first = links[0]
    if field == "size":
        links[0] = Link(first.cid, first.size - 1, first.tsize)
    elif field == "tsize":
        links[0] = Link(first.cid, first.size, first.tsize - 1)
    elif field == "codec":
        links[0] = Link(Cid(Codec.DAG_PB, first.cid.digest), first.size, first.tsize)
    else:
        links.pop()
    root, lying = rebuilt(links, blocks)
    with pytest.raises(FormError, match="expected"):
        list(read(Blob(root, blob.size), lying))


def test_leaf_shorter_than_its_node_says_is_refused() -> None:
    blob, blocks = made(2 * MIB + 5)
    links = parse_node(blocks.blocks[blob.cid])
    blocks.blocks[links[1].cid] = b"short"
    with pytest.raises(FormError, match="leaf of 1048576 bytes, got 5"):
        list(read(blob, blocks))


def test_node_in_another_form_is_refused() -> None:
    blob, blocks = made(2 * MIB + 5)
    node = blocks.blocks[blob.cid]
    links = parse_node(node)
    assert encode_node(links) == node
    data_at = node.rindex(b"\x08\x02\x18") - 2
    others = [
        b"",
        node + b"\x00",
        node[:-1],
        node[data_at:] + node[:data_at],  # data before links
        node.replace(b"\x12\x00\x18", b"\x12\x01a\x18", 1),  # a name
        node.replace(b"\x08\x02\x18", b"\x08\x01\x18"),  # a folder
        node[:data_at],  # no data
        b"\x0a\x04\x08\x02\x18\x00",  # an empty file as a node
        b"\xff" * 50,
    ]
    for other in others:
        with pytest.raises(FormError, match="dag-pb"):
            parse_node(other)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_changed_node_bytes_are_refused_or_canonical(at: int, change: bytes) -> None:
    node = encode_node([Link(Cid(Codec.RAW, bytes([n]) * 32), 1000 + n, 1000 + n) for n in range(3)])
    changed = node[:at] + change + node[at + len(change) :]
    try:
        links = parse_node(changed)
    except FormError:
        return
    assert encode_node(links) == changed


@pytest.mark.usefixtures("small")
def test_every_swapped_block_of_a_deep_tree_is_caught_by_hash_or_form() -> None:
    """A fetch that hashes, as the store does, and one that serves any other block in a block's place."""
    data = block(0)[:70_000]
    blob = blob_of([data])
    blocks = dict(build([data]))
    draw = random.Random(3)
    for victim in draw.sample(sorted(blocks), 12):
        swapped = Blocks({**blocks, victim: blocks[draw.choice([cid for cid in blocks if cid != victim])]}.items())
        try:
            found = b"".join(read(blob, swapped))
        except FormError:
            continue
        assert found != data  # an equal-sized leaf: its hash shows it, which is the fetch's part

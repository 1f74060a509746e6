from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.content.car import read_car, write_car
from registry.content.cid import encode_varint
from registry.content.unixfs import blob_of, build
from registry.errors import BlockTooLarge, FormError
from registry.types import MAX_BLOCK_BYTES, Cid, Codec

Ipfs = Callable[[list[str], Iterable[bytes]], bytes]
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "content" / "car.json").read_text())


def raw(data: bytes) -> tuple[Cid, bytes]:
    return Cid(Codec.RAW, hashlib.sha256(data).digest()), data


ROOT, BLOCK = raw(b"cairn")
CAR = b"".join(write_car(ROOT, [(ROOT, BLOCK)]))
HEADER = CAR[:59]


def cut(data: bytes, step: int) -> Iterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 400))
def test_car_round_trip_whatever_the_pieces(payloads: list[bytes], step: int) -> None:
    blocks = [raw(payload) for payload in payloads]
    car = b"".join(write_car(ROOT, blocks))
    root, found = read_car(cut(car, step), root=ROOT)
    assert root == ROOT
    assert list(found) == blocks


def test_golden_car() -> None:
    blocks = [raw(bytes.fromhex(text)) for text in GOLDEN["blocks"]]
    assert b"".join(write_car(blocks[0][0], blocks)).hex() == GOLDEN["car"]


def test_kubo_reads_our_car_and_we_read_its_export(ipfs: Ipfs, tmp_path: Path) -> None:
    data = [hashlib.shake_128(b"car").digest((1 << 20) * 2 + 9)]
    cid = blob_of(data).cid
    path = tmp_path / "blob.car"
    with path.open("wb") as file:
        file.writelines(write_car(cid, build(data)))
    ipfs(["dag", "import", "--pin-roots=false", str(path)], ())
    assert ipfs(["cat", str(cid)], ()) == data[0]
    exported = ipfs(["dag", "export", "--progress=false", str(cid)], ())
    root, blocks = read_car(cut(exported, 100_000), root=cid)
    assert root == cid
    assert dict(blocks) == dict(build(data))


def test_car_with_another_root_is_refused() -> None:
    other, _ = raw(b"other")
    with pytest.raises(FormError, match="expected root"):
        read_car([CAR], root=other)
    assert read_car([CAR])[0] == ROOT


@pytest.mark.parametrize("length", [*range(1, 59), 60, 70, 95, len(CAR) - 1])
def test_truncated_car_is_refused(length: int) -> None:
    with pytest.raises(FormError, match="end"):
        list(read_car(cut(CAR[:length], 7))[1])


def test_car_that_ends_after_a_block_is_whole() -> None:
    assert list(read_car([HEADER])[1]) == []
    assert list(read_car([CAR])[1]) == [(ROOT, BLOCK)]


@pytest.mark.parametrize(
    ("data", "came"),
    [
        (b"", "got None"),
        (b"\x00" + CAR, "got 0"),
        (b"\x0a\xa1\x67version\x02" + bytes(40), "version 2"),
        (b"\x3b" + CAR[1:], "got 59"),
        (b"\xba\x00" + CAR[1:], "shortest"),
        (b"\xff\xff\xff\xff\xff\x01", "longer varint"),
        (CAR.replace(b"version\x01", b"version\x02"), "header"),
        (CAR.replace(b"\x01\x55\x12\x20", b"\x01\x72\x12\x20", 1), "libp2p-key"),
        (HEADER + b"\x00", "end"),
        (HEADER + b"\x07\x01\x55\x00\x03abc", "identity"),
        (HEADER + b"\x24\x12\x20" + bytes(34), "CIDv0"),
        (HEADER + b"\x10" + bytes(ROOT)[:16], "digest of 32"),
        (HEADER + b"\x80\x80\x80\x80\x01", "longer varint"),
        (HEADER + b"\xa4\x00" + bytes(ROOT), "shortest"),
    ],
)
def test_car_in_another_form_is_refused(data: bytes, came: str) -> None:
    with pytest.raises(FormError, match=came):
        list(read_car(cut(data, 11))[1])


def test_car_with_a_block_over_the_cap_is_refused_before_it_is_read() -> None:
    def pieces() -> Iterator[bytes]:
        yield HEADER + encode_varint(36 + MAX_BLOCK_BYTES + 1) + bytes(ROOT)
        raise AssertionError("read on")

    with pytest.raises(BlockTooLarge, match="at most 2097152"):
        list(read_car(pieces())[1])


def test_car_that_never_ends_is_cut_off_at_the_limit() -> None:
    section = CAR[59:]

    def pieces() -> Iterator[bytes]:
        yield HEADER
        for _ in range(10_000):
            yield section
        raise AssertionError("read on past the limit")

    _, blocks = read_car(pieces(), limit=10_000)
    with pytest.raises(BlockTooLarge, match="past the limit"):
        for _ in blocks:
            pass


def test_car_of_empty_pieces_ends() -> None:
    with pytest.raises(FormError, match="got None"):
        read_car([b""] * 1000)


@given(st.integers(0, len(CAR) - 1), st.binary(min_size=1, max_size=4))
def test_changed_car_is_refused_or_yields_blocks(at: int, change: bytes) -> None:
    changed = CAR[:at] + change + CAR[at + len(change) :]
    try:
        root, blocks = read_car([changed])
        found = list(blocks)
    except (FormError, BlockTooLarge):
        return
    assert b"".join(write_car(root, found)) == changed

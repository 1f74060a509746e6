"""Header chains: linking, which headers are kept, and what a trusted hash proves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from registry.bundles.header_links import HeaderChain, header_blocks, headers_in, runs_of
from registry.errors import FormError, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.blocks import Checkpoint
from registry.ethereum.headers import Header, read_header

MAINNET = json.loads((Path(__file__).parents[1] / "golden" / "chain" / "mainnet_headers.json").read_text())["blocks"]


def chain_of(first: int, count: int) -> list[Header]:
    """Headers that link, made of one of the main network's."""
    made = [replace(read_header(MAINNET[-1]), number=first)]
    while len(made) < count:
        made.append(replace(made[-1], number=made[-1].number + 1, parent_hash=made[-1].hash))
    return made


@pytest.mark.parametrize(
    ("numbers", "gap", "runs"),
    [
        ([5], 1, [(5, 5)]),
        ([5, 6, 8], 1, [(5, 6), (8, 8)]),
        ([5, 6, 8], 2, [(5, 8)]),
        ([1, 100, 101, 300], 99, [(1, 101), (300, 300)]),
        ([1, 100, 101, 300], 199, [(1, 300)]),
    ],
)
def test_what_lies_near_is_linked(numbers: list[int], gap: int, runs: list[tuple[int, int]]) -> None:
    assert [(run.start, run.stop - 1) for run in runs_of(numbers, gap)] == runs


def test_a_long_run_comes_back_from_its_blocks() -> None:
    headers = chain_of(7, 2_000)
    blocks = list(header_blocks(headers))
    assert len(blocks) > 1 and max(map(len, blocks)) < 1 << 20
    assert [header for block in blocks for header in headers_in(block)] == headers


def test_the_nearest_trusted_block_of_the_same_run_proves_a_block() -> None:
    low, high = chain_of(10, 5), chain_of(100, 5)
    trusted = [low[1].hash, low[3].hash, high[2].hash]
    chain = HeaderChain([*low, *high], {10, 12, 14, 100, 104}, trusted)
    assert [chain.behind(number) for number in (10, 12, 14, 100, 104)] == [
        Checkpoint(11, low[1].hash),
        Checkpoint(13, low[3].hash),
        None,
        Checkpoint(102, high[2].hash),
        None,
    ]
    assert chain.starts == (10, 100)
    assert chain.ends == (Checkpoint(14, low[4].hash), Checkpoint(104, high[4].hash))
    assert chain.header(12) == low[2]


def test_headers_that_are_missing_or_none_are_refused() -> None:
    with pytest.raises(VerificationFailed, match="expected headers, got none"):
        HeaderChain([], set(), [])
    with pytest.raises(VerificationFailed, match="expected the header of block 9, got none"):
        HeaderChain(chain_of(10, 2), {9, 10}, [])


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"\xc0", b"\xc1\x80", b"\xc1\xc0", rlp.encode(((b"",) * 15,)), b"\xff" * 9]
)
def test_bytes_that_are_no_headers_are_refused(data: bytes) -> None:
    with pytest.raises(FormError):
        list(headers_in(data))

"""The draw of a round: redone from records by everyone, for whatever order updates come in, and uniform."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import pytest

from registry.rounds.draws import draw_seed, drawn_order
from registry.rules import draw
from registry.rules.draw import buckets, shuffled
from registry.types import Address

PEOPLE = [Address(bytes([k]) * 20) for k in (9, 3, 7, 1, 5, 200, 40)]


def record(round_id: bytes = b"\x01" * 32, running: bytes = b"\x02" * 32) -> Any:
    return SimpleNamespace(round_id=round_id, running_hash=running)


def test_the_seed_is_a_hash_of_the_round_and_all_its_commitments() -> None:
    seed = draw_seed(b"\x01" * 32, b"\x02" * 32)
    assert seed == hashlib.sha256(b"cairn draw" + b"\x01" * 32 + b"\x02" * 32).digest()
    orders = {drawn_order(record(*ids), PEOPLE) for ids in ((), (b"\x03" * 32,), (b"\x01" * 32, b"\x03" * 32))}
    assert len(orders) == 3


def test_the_order_of_people_does_not_depend_on_the_order_they_come_in() -> None:
    expected = [PEOPLE[k] for k in drawn_order(record(), PEOPLE)]
    assert sorted(expected) == sorted(PEOPLE)
    for turned in (PEOPLE[::-1], sorted(PEOPLE), PEOPLE[3:] + PEOPLE[:3]):
        assert [turned[k] for k in drawn_order(record(), turned)] == expected


def test_an_order_is_written_down_for_ever() -> None:
    """By another implementation than the one tested: `_drawn` of `tests/rules/test_laws.py` gives the same."""
    assert shuffled(b"laws", 9) == (8, 3, 6, 0, 5, 2, 7, 4, 1)
    assert shuffled(b"laws", 1) == (0,) and shuffled(b"laws", 0) == ()


def test_all_orders_are_as_likely() -> None:
    """Of 24 000 seeds each of the 24 orders of four comes about a thousand times: six standard deviations are 190."""
    counts = Counter(shuffled(seed.to_bytes(4, "big"), 4) for seed in range(24_000))
    assert len(counts) == 24
    assert all(abs(count - 1000) < 190 for count in counts.values())


def test_words_past_the_last_whole_multiple_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^64 is one more than a multiple of 3: the last word would make the first place likelier."""

    def words(seed: bytes) -> Iterator[int]:
        return chain([(1 << 64) - 1, 5], repeat(0))

    monkeypatch.setattr(draw, "_words", words)
    assert shuffled(b"", 3) == (1, 0, 2)  # 5 mod 3 is 2: the last stays; then 0 and 1 are swapped


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(6, 2, [2, 2, 2]), (7, 3, [3, 3, 1]), (2, 5, [2]), (3, 1, [1] * 3)]
)
def test_buckets_are_full_but_for_the_last(count: int, size: int, sizes: list[int]) -> None:
    order = shuffled(b"buckets", count)
    found = buckets(order, size)
    assert [len(bucket) for bucket in found] == sizes
    assert tuple(k for bucket in found for k in bucket) == order

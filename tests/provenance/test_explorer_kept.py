"""Kept answers of the explorer: for a while, within a size, and of one state alone."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette")

from registry.explorer.kept import Kept


def test_an_answer_is_kept_for_a_while() -> None:
    now = [0.0]
    kept = Kept(seconds=30, clock=lambda: now[0])
    kept.keep("a", b"one")
    assert (kept.find("a"), kept.find("b")) == (b"one", None)
    now[0] = 31.0
    assert kept.find("a") is None
    kept.keep("a", b"two")
    assert kept.find("a") == b"two"


def test_what_was_used_last_stays_within_the_size() -> None:
    kept = Kept(most=80)
    for name in "abcdefgh":
        kept.keep(name, b"." * 10)
    assert kept.find("a") is not None
    kept.keep("i", b"." * 10)
    assert [name for name in "abcdefghi" if kept.find(name) is None] == ["b"]
    kept.keep("large", b"." * 11)
    assert kept.find("large") is None
    for _ in range(100):
        kept.keep("c", b"." * 10)  # the same again takes no more room
    assert kept.find("d") is not None

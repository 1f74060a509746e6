"""Unique prefixes of ids, as in git."""

from __future__ import annotations

import pytest

from registry.cli.prefixes import choose
from registry.errors import InputError

IDS = {"3fa9c1": 1, "3fb000": 2, "81c400": 3}


@pytest.mark.parametrize("given", ["8", "0x8", "0x81C4", "81c400"])
def test_a_unique_prefix_is_enough(given: str) -> None:
    assert choose(given, IDS, "model") == 3


def test_an_ambiguous_prefix_lists_the_candidates() -> None:
    with pytest.raises(InputError, match=r"'3f' is ambiguous, a prefix of 2 models: 3fa9c1, 3fb000"):
        choose("3f", IDS, "model")


def test_an_unknown_prefix_lists_what_there_is() -> None:
    with pytest.raises(InputError, match=r"no model begins with 'ff': there are 3fa9c1, 3fb000, 81c400"):
        choose("ff", IDS, "model")


def test_nothing_at_all_is_said_so() -> None:
    with pytest.raises(InputError, match="there is no model yet"):
        choose("ff", {}, "model")


def test_an_empty_prefix_is_refused() -> None:
    with pytest.raises(InputError, match="got nothing"):
        choose("", IDS, "model")


def test_the_whole_id_wins_over_longer_ones() -> None:
    assert choose("ab", {"ab": 1, "abc": 2}, "model") == 1

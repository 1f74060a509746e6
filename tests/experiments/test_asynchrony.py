"""Buffered asynchronous versions: exact sums, the clock by hand, and a fast minority."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import sqrt
from pathlib import Path

import pytest
import torch
from torch import nn

from registry.errors import InputError
from tests.experiments.test_experiments import only_run, written
from trainer.experiments.asynchrony import (
    Asynchrony,
    BufferedVersion,
    Sender,
    asynchrony_of,
    buffered_versions,
    staleness_weight,
)

BITS = 10


def sender(step: float, *, hasty: bool = False) -> Sender:
    """Return a participant whose training adds step to the one weight."""

    def train(module: nn.Module, number: int) -> None:
        with torch.no_grad():
            module.get_parameter("weight").add_(step)

    return Sender(train, hasty=hasty)


def made(settings: Asynchrony, senders: list[Sender], versions: int) -> list[tuple[float, BufferedVersion]]:
    """Return the weight of each version of a module that begins at 0, with the version."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    return [(float(one.values[0]), one) for one in buffered_versions(module, senders, settings, BITS, versions, 0)]


def test_the_weights_of_stale_updates() -> None:
    assert [staleness_weight(tau) for tau in range(9)] == [256, 181, 147, 128, 114, 104, 96, 90, 85]
    assert all(staleness_weight(tau) == int(256 / sqrt(1 + tau)) for tau in range(2000))


def test_one_update_a_participant_is_a_synchronous_round() -> None:
    steps = [1, 2, 4, 6]  # grid integers, whose mean 3.25 is rounded to 3
    found = made(Asynchrony(spread=0.5, delay=60), [sender(step * 2.0**-BITS) for step in steps], 3)
    assert [weight for weight, _ in found] == [3 * 2.0**-BITS, 6 * 2.0**-BITS, 9 * 2.0**-BITS]
    assert all(one.staleness == (0, 0, 0, 0) and sorted(one.senders) == [0, 1, 2, 3] for _, one in found)


def test_the_clock_of_equally_fast_participants_by_hand() -> None:
    settings = Asynchrony(buffer=2, repeats=True, training=30, spread=0, delay=45)
    found = [one for _, one in made(settings, [sender(0.25), sender(0.5)], 4)]
    # Both are done at 30 and begin again from the genesis; the first version is final at 75. At 60 they begin once
    # more, still from the genesis; what they sent at 60 waits for its parent until 75. At 90 the first is the newest.
    assert [one.minutes for one in found] == [75, 120, 165, 210]
    assert [one.staleness for one in found] == [(0, 0), (1, 1), (2, 2), (2, 2)]


def test_stale_updates_weigh_less_and_sums_are_exact() -> None:
    settings = Asynchrony(buffer=2, repeats=True, training=30, spread=0, delay=45)
    senders = [sender(3 * 2.0**-BITS), sender(500 * 2.0**-BITS)]
    weights = [0] + [round(weight * 2**BITS) for weight, _ in made(settings, senders, 3)]
    assert [b - a for a, b in pairwise(weights)] == [round(Fraction(weight * 503, 512)) for weight in (256, 181, 147)]
    (plain,) = {
        round(weight * 2**BITS) - 252 * k
        for k, (weight, _) in enumerate(
            made(Asynchrony(buffer=2, repeats=True, stale=False, training=30, spread=0, delay=45), senders, 3), 1
        )
    }
    assert plain == 0  # 251.5 is rounded to the even 252


def test_a_fast_minority_fills_the_buffer_unless_each_may_send_once() -> None:
    senders = [sender(0.0), sender(0.0), sender(1.0, hasty=True)]
    settings = {"buffer": 2, "training": 30.0, "spread": 0.0, "delay": 10.0, "haste": 10.0}
    taken = [weight for weight, _ in made(Asynchrony(repeats=True, **settings), senders, 4)]
    assert taken[0] == 1.0 and all(
        one.senders == (2, 2) for _, one in made(Asynchrony(repeats=True, **settings), senders, 2)
    )
    for weight, one in made(Asynchrony(**settings), senders, 4):
        assert one.senders.count(2) == 1 and weight <= 2.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"buffers": 2}, "expected some of buffer, repeats"),
        ({"buffer": -1}, "buffer: expected a number of updates"),
        ({"buffer": 2.0}, "buffer: expected a number of updates"),
        ({"training": 0}, "expected training and haste above 0"),
        ({"delay": -1.0}, "spread and delay of 0 or more"),
    ],
)
def test_settings_that_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        asynchrony_of(given)


def test_more_updates_than_participants_need_repeats() -> None:
    with pytest.raises(InputError, match="at most 2 updates, one a participant, got 3"):
        made(Asynchrony(buffer=3), [sender(0.0), sender(0.0)], 1)


def test_an_experiment_of_buffered_versions(blobs: str, tmp_path: Path) -> None:
    text = "buffer = 2\nrepeats = true\ndelay = 60\n"
    found = only_run(written(tmp_path, blobs, asynchrony=text), tmp_path)
    assert len(found.rounds) == 5  # two rounds of five participants are ten updates
    hours = [one.hours for one in found.rounds]
    assert hours == sorted(hours) and hours[0] >= 1
    again = only_run(written(tmp_path, blobs, asynchrony=text), tmp_path)
    assert [one.tensor_root for one in again.rounds] == [one.tensor_root for one in found.rounds]
    assert found.rounds[-1].scores["accuracy"] > 0.5


def test_an_attack_that_sees_others_is_refused(blobs: str, tmp_path: Path) -> None:
    file = written(tmp_path, blobs, asynchrony="buffer = 2\n", attack='name = "alie"\n')
    with pytest.raises(InputError, match="an attack that sees no others' updates, got alie"):
        only_run(file, tmp_path)

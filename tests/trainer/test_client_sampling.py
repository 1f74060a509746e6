"""Client sampling: who is asked follows from the block that opened the round, and only they train."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from registry.content.manifest import Procedure
from registry.errors import InputError
from registry.facts.round_facts import asked_in
from registry.rounds.client_sampling import is_asked, require_asked
from registry.rounds.onchain import read_round
from registry.types import Address
from registry.verification.verify import verify_version
from trainer.participant import advance, prepare_update
from trainer.simulation import Simulation, pass_time, step

Start = Callable[..., Simulation]
Make = Callable[..., Any]


def accounts(count: int) -> list[Address]:
    return [Address(hashlib.sha256(f"account {k}".encode()).digest()[:20]) for k in range(count)]


def test_the_draw_is_the_documented_hash(hand_made: Make) -> None:
    from torch import nn

    record = replace(hand_made(nn.Linear(1, 1)).record, opened_in=b"\x07" * 32)
    for account in accounts(50):
        drawn = hashlib.sha256(b"cairn/sampled/1" + b"\x07" * 32 + record.round_id + account).digest()
        expected = int.from_bytes(drawn[:8], "big") < 0.3 * 2**64
        assert is_asked(record, Fraction(0.3), account) == expected
        assert is_asked(record, Fraction(1), account)


def test_a_share_is_asked_and_each_block_and_round_asks_others(hand_made: Make) -> None:
    from torch import nn

    record = hand_made(nn.Linear(1, 1)).record
    people, share = accounts(4000), Fraction(1, 10)
    draws = [
        {a for a in people if is_asked(replace(record, **changed), share, a)}
        for changed in ({}, {"opened_in": b"\x01" * 32}, {"round_id": b"\x02" * 32})
    ]
    for draw in draws:
        assert 340 < len(draw) < 460  # 400 and three standard deviations
    for k in (1, 2):
        assert 15 < len(draws[0] & draws[k]) < 70  # 40 by chance
    more = {a for a in people if is_asked(record, Fraction(1, 5), a)}
    assert draws[0] < more


def opened(sim: Simulation, share: Fraction) -> tuple[int, set[str]]:
    """Open rounds until one asks some of the participants, at least two, and not all."""
    while True:
        number = sim.owner.model(sim.model_id).rounds + 1
        sim.owner.open_round(sim.model_id, number=number)
        record = read_round(sim.owner, sim.model_id, number)
        asked = {name for name, (client, _) in sim.participants.items() if is_asked(record, share, client.account)}
        if 2 <= len(asked) < len(sim.participants):
            return number, asked
        sim.owner.cancel_round(sim.model_id, number)


def test_those_asked_train_and_the_others_are_told_once(lines: Start, tmp_path: Path) -> None:
    sim = lines(participants=5, algorithm=Procedure("fedavg", {"epochs": 1, "sampled": 0.5}))
    number, asked = opened(sim, Fraction(1, 2))
    told = {
        name: [
            advance(client, sim.store, sim.folder / name, sim.model_id, task)
            for _ in range(3)
        ]
        for name, (client, task) in sim.participants.items()
    }  # fmt: skip
    for name, lines_of in told.items():
        first = "committed" if name in asked else "not asked to take part"
        assert lines_of == [f"round {number}: {first}", "", ""]
    while not sim.owner.round(sim.model_id, number).finalized:
        if not step(sim):
            pass_time(sim, number)
    record = read_round(sim.owner, sim.model_id, number)
    everybody = {name: client.account for name, (client, _) in sim.participants.items()}
    assert {c.participant for c in record.commitments} == {everybody[name] for name in asked}
    shown = asked_in(sim.owner, sim.store, sim.model_id, number)
    assert shown is not None and len(shown) == len(asked)
    assert {bytes.fromhex(text[2:]) for text in shown} == {everybody[name] for name in asked}
    head = sim.owner.model(sim.model_id).head
    assert all(v.passed for v in verify_version(sim.owner, sim.store, sim.model_id, head, tmp_path / "stranger"))


def test_who_is_not_asked_is_refused_before_training(lines: Start) -> None:
    sim = lines(participants=5, algorithm=Procedure("fedavg", {"epochs": 1, "sampled": 0.5}))
    number, asked = opened(sim, Fraction(1, 2))
    name = next(name for name in sim.participants if name not in asked)
    client, task = sim.participants[name]
    record = read_round(client, sim.model_id, number)

    def never(module: Any, epoch: int) -> dict[str, float]:
        raise AssertionError("trained")

    said = f"round {number}: expected an account that the round asks to take part, a share of 0.5 drawn from block 0x"
    with pytest.raises(InputError, match=said):
        prepare_update(sim.store, sim.folder / name, record, replace(task, train_epoch=never), client.account)
    with pytest.raises(InputError, match=said):
        require_asked(record, Fraction(1, 2), client.account)


def test_a_plan_that_samples_nobody_out_asks_everybody(lines: Start) -> None:
    sim = lines()
    sim.owner.open_round(sim.model_id, number=1)
    assert asked_in(sim.owner, sim.store, sim.model_id, 1) is None

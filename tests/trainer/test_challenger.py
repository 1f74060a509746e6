"""The auditor's spending limit across crashes, and the contract's record of progress."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.chain import calls
from registry.chain.challenges import Challenges
from registry.chain.client import Client
from registry.chain.contract_hashes import commitment_of
from registry.chain.contract_structs import Basis, Counted, Listed, Middle, Opening, Step, Sum, Target
from registry.chain.journal import Journal
from registry.chain.sending import Call
from registry.chain.sentinels import NO_BASIS, NO_COORDINATE
from registry.content.merkle import counted_root, node_hash
from registry.dev.chains import EXAMPLE_RULES, example_result
from registry.disputes.faults import FraudProof, Uncommitted, WrongAggregate, WrongTotal
from registry.disputes.openings import Listing
from registry.disputes.streaming import add_steps
from registry.errors import InputError, NodeUnavailable
from registry.roles.purse import Purse, spent_of
from registry.rules.encoding import Shape, decode_rules
from registry.rules.shapes import left_out
from registry.types import Address, Digest, Fault, ModelId, Role, Root
from trainer.simulation import Simulation

ETHER = 10**18


@pytest.fixture
def owner(lines: Callable[..., Simulation]) -> tuple[Client, Any]:
    """A client, and a call that it can make."""
    simulation = lines()
    stranger = Address(b"\x77" * 20)
    return simulation.owner, calls.grant_roles(simulation.owner.address, simulation.model_id, stranger, Role.AUDITOR)


def test_what_was_spent_is_what_left_the_account(owner: tuple[Client, Any], tmp_path: Path) -> None:
    client, call = owner
    purse = Purse(client, tmp_path / "auditor" / "spent.json", ETHER)
    account = client.w3.to_checksum_address(client.account)
    before = client.w3.eth.get_balance(account)
    purse.send(call)
    assert purse.spent == before - client.w3.eth.get_balance(account) > 0


def test_a_purse_counts_what_it_was_about_to_send(
    owner: tuple[Client, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, call = owner
    purse = Purse(client, tmp_path / "spent.json", ETHER)
    most = client.quote(call).max_cost

    def away(*_: Any) -> Any:
        assert purse.spent == most
        raise NodeUnavailable("stopped between writing and sending")

    with monkeypatch.context() as patched:
        patched.setattr(client, "send", away)
        with pytest.raises(NodeUnavailable):
            purse.send(call)
    assert purse.spent == 0, "nothing was planned"
    receipt = Purse(client, tmp_path / "spent.json", ETHER).send(call)
    assert purse.spent == receipt.gas_used * receipt.gas_price


class Stopped(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("stop", range(11))
def test_a_stop_at_any_point_neither_loses_nor_doubles_what_was_booked(
    owner: tuple[Client, Any], tmp_path: Path, stop: int
) -> None:
    account, call = owner
    path, points, kept = tmp_path / "spent.json", list[str](), list[bytes]()

    def crash_point(point: str) -> None:
        points.append(point)
        if len(points) == stop:
            kept.append(path.read_bytes())
            raise Stopped(point)

    def client(journal: Journal) -> Client:
        return Client(account.w3, account.address, signer=account.transactor._signer, journal=journal)

    before = account.balance(account.account)
    try:
        Purse(client(Journal(tmp_path / "j.sqlite", crash_point=crash_point)), path, ETHER).send(call)
    except Stopped:
        path.write_bytes(kept[0])  # what a process that ends does not settle
        assert spent_of(path) > 0
    again = Purse(client(Journal(tmp_path / "j.sqlite")), path, ETHER)
    again.send(call)
    assert again.spent == before - account.balance(account.account) > 0
    assert len(points) == (stop or 10)


def test_over_the_limit_nothing_is_written_or_sent(owner: tuple[Client, Any], tmp_path: Path) -> None:
    client, call = owner
    before = client.w3.eth.block_number
    purse = Purse(client, tmp_path / "spent.json", client.quote(call).max_cost - 1)
    with pytest.raises(InputError, match="expected to spend at most"):
        purse.send(call)
    assert (purse.spent, client.w3.eth.block_number) == (0, before)
    assert not (tmp_path / "spent.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"spent": null}', '{"spent": "much"}', "7"])
def test_a_purse_that_cannot_be_read_sends_nothing(owner: tuple[Client, Any], tmp_path: Path, text: str) -> None:
    client, call = owner
    (tmp_path / "spent.json").write_text(text)
    before = client.w3.eth.block_number
    with pytest.raises(InputError, match="expected what was spent so far"):
        Purse(client, tmp_path / "spent.json", ETHER).send(call)
    assert ((tmp_path / "spent.json").read_text(), client.w3.eth.block_number) == (text, before)


FOLD = replace(decode_rules(EXAMPLE_RULES), grid_bits=20)


def steps_of(draw: random.Random, count: int) -> list[Step]:
    """Contributions with the chunk that holds values 256 to 511, on the grid of 2^-20."""
    found = []
    for number in range(count):
        values = np.array([draw.randint(-(1 << 24), 1 << 24) for _ in range(256)], dtype="<f4") * np.float32(2**-20)
        seed = number.to_bytes(4, "big")
        weight = draw.randint(1, 1 << 20)
        numbers = weight, draw.randint(1, 1 << 32), draw.randint(0, weight)
        entry = Listed(Address(seed * 5), Digest(seed * 8), Root(seed * 8), *numbers)
        found.append(Step(entry, Opening(Counted(1024, bytes(32)), values.astype("<f4").tobytes(), ())))
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 21])
def test_progress_in_any_pieces_is_the_sum_and_the_root(count: int) -> None:
    draw = random.Random(count)
    steps, coordinate = steps_of(draw, count), 256 + draw.randrange(256)
    progress, left = Sum(), steps
    while left:
        size = draw.randint(1, len(left))
        progress, left = add_steps(progress, left[:size], coordinate, FOLD), left[size:]
    values = [int(np.frombuffer(s.chunk.leaf, "<f4")[coordinate - 256] * 2**20) for s in steps]
    entries = [s.contribution for s in steps]
    assert (progress.next, progress.weight) == (count, sum(e.weight for e in entries))
    assert (progress.steps, progress.factor) == (sum(e.steps for e in entries), sum(e.factor for e in entries))
    assert progress.sum == sum(e.factor * value for e, value in zip(entries, values, strict=True))
    *peaks, root = progress.peaks
    for peak in reversed(peaks):
        root = node_hash(peak, root)
    assert counted_root(count, root) == Listing(tuple(s.contribution for s in steps)).root
    alone = add_steps(Sum(), steps, NO_COORDINATE, FOLD)
    assert alone == replace(progress, sum=0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10, 33])
@pytest.mark.parametrize("share", [0, 1 << 14, 1 << 15])
def test_progress_of_columns_counts_values_about_the_middle(count: int, share: int) -> None:
    draw = random.Random(count)
    values = [draw.choice((-(1 << 24), -1, 0, 0, 1, 1 << 24, draw.randint(-9, 9))) for _ in range(count)]
    steps = [
        replace(step, chunk=replace(step.chunk, leaf=np.float32(value * 2.0**-20).tobytes() * 256))
        for step, value in zip(steps_of(draw, count), values, strict=True)
    ]
    rules = replace(FOLD, shape=Shape.COLUMNS, parameters=(share,))
    cut = left_out(share, count)
    kept = sorted(values)[cut : count - cut]
    progress, left = Sum(middle=Middle(kept[0], kept[-1])), steps
    while left:
        size = draw.randint(1, len(left))
        progress, left = add_steps(progress, left[:size], 300, rules), left[size:]
    middle = progress.middle
    assert (middle.below, middle.above) == (sum(v < kept[0] for v in values), sum(v > kept[-1] for v in values))
    assert (middle.at_least, middle.at_greatest) == (values.count(kept[0]), values.count(kept[-1]))
    assert middle.below <= cut < middle.below + middle.at_least
    assert middle.above <= cut < middle.above + middle.at_greatest
    if kept[0] < kept[-1]:
        ends = kept[0] * (middle.below + middle.at_least - cut) + kept[-1] * (middle.above + middle.at_greatest - cut)
        assert progress.sum + ends == sum(kept)


@pytest.mark.parametrize("fault", [Fault.AGGREGATE, Fault.TOTAL, Fault.UNCOMMITTED])
def test_no_transaction_is_larger_than_nodes_pass_on(lines: Callable[..., Simulation], fault: Fault) -> None:
    """A hundred contributions to a model of 2^31 values, and as many commitments as would fill several transactions."""
    sent: list[Call] = []

    def send(call: Call, until: Any) -> Any:
        sent.append(call)

    challenges = Challenges(lines().owner, send=send)
    path = tuple(bytes([i]) * 32 for i in range(21))
    chunk = Opening(Counted(1 << 31, bytes(32)), np.full(256, 2.0**-22, "<f4").tobytes(), path)
    entry = Listed(Address(b"\x05" * 20), Digest(b"\x06" * 32), Root(b"\x07" * 32), 3, 2, 3)
    count = 100 if fault is Fault.AGGREGATE else 3000
    nothing = Opening(Counted(0, bytes(32)), b"", ())
    steps = tuple(Step(entry, chunk if fault is Fault.AGGREGATE else nothing) for _ in range(count))
    committed = (commitment_of(entry),) * count
    proof: FraudProof = {
        Fault.AGGREGATE: WrongAggregate(0, chunk, steps),
        Fault.TOTAL: WrongTotal(steps),
        Fault.UNCOMMITTED: Uncommitted(0, chunk, bytes(32), committed),
    }[fault]
    target = Target(ModelId(bytes(32)), 1, example_result())
    proof.convict(challenges, target, Basis(EXAMPLE_RULES, NO_BASIS.parent))
    assert len(sent) > 1
    assert max(len(call.data) for call in sent) <= 131_072 - 500, "and the envelope around it"

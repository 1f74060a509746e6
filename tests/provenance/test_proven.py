"""The proven chain: its cost, and agreement with the real chain."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from registry.bundles.create_bundle import lineage_events
from registry.bundles.proven_chain import ProvenChain, ProvenTransaction
from registry.chain.contract_events import (
    ModelRegistered,
    PlanSet,
    QuorumReached,
    RoundFinalized,
    RoundOpened,
    UpdateCommitted,
    VersionDeprecated,
)
from registry.chain.contract_hashes import round_id_of, running_hash_begin
from registry.chain.contract_structs import Roots
from registry.dev.chains import EXAMPLE_RULES, example_plan
from registry.ethereum.positions import Event, Position
from registry.lineage.graph import lineage
from registry.types import Address, Digest, ModelId, Root

MODEL, PEOPLE = ModelId(b"\x02" * 32), [Address(bytes([number]) * 20) for number in (1, 2)]


def digest(number: int) -> Digest:
    return Digest(hashlib.sha256(b"%d" % number).digest())


def history(rounds: int) -> Iterator[Callable[[Position], Event]]:
    yield lambda at: ModelRegistered(at, MODEL, PEOPLE[0], digest(0), Root(digest(0)), Root(digest(0)))
    yield lambda at: PlanSet(at, MODEL, 0, example_plan(), EXAMPLE_RULES)
    for number in range(1, rounds + 1):
        yield from one_round(number)


def one_round(number: int) -> Iterator[Callable[[Position], Event]]:
    round_id, made, parent = round_id_of(MODEL, number), digest(number), digest(number - 1)
    running = running_hash_begin(round_id, parent, example_plan())
    yield lambda at: RoundOpened(at, MODEL, number, round_id, parent, 0, 1, 2, 3, running)
    for who in PEOPLE:
        yield lambda at, who=who: UpdateCommitted(at, round_id, who, made, Root(made), 1, 1)
    yield lambda at: QuorumReached(at, round_id, made, 9)
    yield lambda at: RoundFinalized(at, MODEL, number, round_id, made, Roots(Root(made), Root(made)), parent)


def chain_of(rounds: int) -> ProvenChain:
    """A transaction in a block of its own for each event, in another order than the chain's."""
    events = [make(Position(number, 0, b"", b"")) for number, make in enumerate(history(rounds), 1)]
    mined = [ProvenTransaction(event.at.block_number, 0, (event,), None) for event in events]
    return ProvenChain(1, Address(bytes(20)), reversed(mined), len(events), None)


def test_events_come_in_order_whatever_is_asked_for() -> None:
    chain = chain_of(3)
    everything = list(chain.events())
    assert [event.at.block_number for event in everything] == list(range(1, 18))
    assert list(chain.events(subject=MODEL)) == [event for event in everything if hasattr(event, "model_id")]
    kinds = (RoundFinalized, RoundOpened, VersionDeprecated)
    of_kind = [event for event in everything if isinstance(event, kinds)]
    assert list(chain.events(*kinds)) == list(chain.events(*kinds, subject=MODEL)) == of_kind
    assert list(chain.events(*kinds, subject=MODEL, from_block=4, to_block=8)) == of_kind[1:3]
    assert list(chain.events(*kinds, subject=digest(9))) == []


def calls(rounds: int) -> int:
    """Calls, and generators taken up again, that reading a lineage of so many rounds takes."""
    chain, count = chain_of(rounds), 0

    def counting(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counting)
    try:
        steps = lineage(chain, MODEL, digest(rounds))
        lineage_events(chain, steps)
        for step in steps[1:]:
            chain.version(MODEL, step.digest)
            chain.round(MODEL, step.round)
    finally:
        sys.setprofile(None)
    return count


def test_twice_the_rounds_take_twice_the_work() -> None:
    assert calls(100) < 2.2 * calls(50)

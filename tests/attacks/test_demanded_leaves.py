"""Demand flooding: an honest attester answers in time from its tree cache, damaged or not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.chain.contract_structs import Result, Target
from registry.chain.court import Court
from registry.chain.sentinels import NOWHERE
from registry.content.manifest import DeltaFile
from registry.disputes.charges import basis_of, listed
from registry.disputes.demands import demands_of
from registry.disputes.openings import listing_of
from registry.disputes.tree_cache import disk_bytes, place_of
from registry.errors import InputError
from registry.roles import aggregator
from registry.rounds.plans import plan_rules
from registry.store.manifests import put_manifest
from registry.store.memory import MemoryStore
from registry.types import Cid, Digest, HeadKind, Root, Tree

pytestmark = pytest.mark.slow
PAYS = 10**15
"""A deposit, wei, that pays for an answer at any price of these tests."""


class Noting(MemoryStore):
    """Notes every block that is asked for."""

    def __init__(self, behind: MemoryStore) -> None:
        super().__init__()
        self._blocks = behind._blocks
        self.asked: list[Cid] = []

    def _get(self, cid: Cid) -> bytes:
        self.asked.append(cid)
        return super()._get(cid)


class Looking(MemoryStore):
    """Stands for a node: what it has not it looks for elsewhere, half a minute for each block."""

    def __init__(self, behind: MemoryStore) -> None:
        super().__init__()
        self._blocks = behind._blocks
        self.looked_for: list[Cid] = []

    def _get(self, cid: Cid) -> bytes:
        if not self._has(cid):
            self.looked_for.append(cid)
        return super()._get(cid)


class Answering:
    """`first`, who attested a round, and the stranger, who demands leaves of it."""

    def __init__(self, house: Any, number: int) -> None:
        self.house, self.number, self.court = house, number, Court(house.stranger)
        self.folder: Path = house.folder / "first"
        self.trees = place_of(self.folder, house.model_id, number)
        self.memory = aggregator.AggregatorMemory()

    def advance(self, **changed: Any) -> str:
        house = self.house
        given = {"store": house.store, "memory": self.memory} | changed
        return aggregator.advance(house.first, given.pop("store"), self.folder, house.model_id, **given)

    def demand_all(self, result: Result, *, leaves: tuple[int, ...] = (0, 3, 99)) -> int:
        """Demand leaves of every tree, the last past the end; return of how many trees."""
        house, round = self.house, self.house.round(self.number)
        target, rules = Target(house.model_id, self.number, result), plan_rules(round.plan)
        basis, listing = basis_of(rules, round.parent), listing_of(listed(c, rules) for c in round.record.commitments)
        trees = [t for t in Tree if rules.program.states or t not in (Tree.STATE, Tree.PARENT_STATE)]
        memberships = [listing.membership(index) for index in range(len(listing.contributions))]
        for tree in trees:
            for membership in memberships if tree is Tree.CONTRIBUTION else [NOWHERE]:
                self.court.demand_chunks(target, tree, leaves, membership, basis, deposit=PAYS)
        self.court.demand_contributions(target, leaves, deposit=PAYS)
        return len(trees) - 1 + len(memberships) + 1  # the list is one more

    @property
    def open(self) -> int:
        return len(demands_of(self.court, self.house.first.dispute(self.house.model_id, self.number)).open)


@pytest.mark.parametrize("processes", [1, 2])
def test_every_tree_is_at_hand_before_a_result_is_attested(stateful: Any, processes: int, monkeypatch: Any) -> None:
    house, actor = stateful, Answering(stateful, 2)
    submit, held = house.first.submit, list[str]()

    def attested(call: Any) -> Any:
        held.extend(path.name for path in actor.trees.iterdir())
        return submit(call)

    with monkeypatch.context() as patched:
        patched.setattr(house.first, "submit", attested)
        assert actor.advance(processes=processes)
    rules = plan_rules(house.round(2).plan)
    count = len(house.record(2).commitments)
    assert len(held) == len(set(held)) == 3 + 2 + count + 1
    sizes = sum(path.stat().st_size for path in actor.trees.iterdir())
    assert sizes == disk_bytes(count, rules.values, len(rules.program.states))

    def hashed(*_: Any) -> Any:
        raise AssertionError("a file is hashed")

    result = house.outcome(number=2).result
    trees = actor.demand_all(result)
    monkeypatch.setattr("registry.disputes.tree_cache.tensor_leaves", hashed)
    assert actor.advance().endswith(f"{3 * trees} leaves")
    assert actor.open == 0


def flipped(path: Path) -> None:
    """Change the second leaf's hash, which the first leaf's proof holds."""
    data = bytearray(path.read_bytes())
    data[64 + 32] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a node of each is another": flipped,
    "each is cut short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "all are gone": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_damaged_trees_prove_is_never_shown(stateful: Any, damage: Callable[[Path], None]) -> None:
    house, actor = stateful, Answering(stateful, 2)
    assert actor.advance()
    before = {path.name: path.read_bytes() for path in actor.trees.iterdir()}
    trees = actor.demand_all(house.outcome(number=2).result, leaves=(0, 1))
    for path in actor.trees.iterdir():
        damage(path)
    for _ in range(trees + 1):  # one tree is made in a step
        actor.advance()
    assert actor.open == 0
    assert {path.name: path.read_bytes() for path in actor.trees.iterdir()} == before


def test_trees_of_a_round_that_is_over_are_removed(wide: Any) -> None:
    house, actor = wide, Answering(wide, 1)
    assert actor.advance()
    assert actor.trees.is_dir()
    house.sleep_to("challenge_deadline")
    assert "finalized" in actor.advance()
    assert actor.advance() == ""
    assert not actor.trees.exists()


def test_trees_of_a_round_that_somebody_else_ended_are_removed(wide: Any) -> None:
    house, actor = wide, Answering(wide, 1)
    assert actor.advance()
    house.sleep_to("challenge_deadline")
    house.stranger.finalize_round(house.model_id, 1, house.outcome().result)
    house.owner.open_round(house.model_id)
    assert actor.advance() == ""
    assert not actor.trees.exists()


def test_trees_of_a_cancelled_round_are_removed(wide: Any) -> None:
    house, actor = wide, Answering(wide, 1)
    actor.trees.mkdir(parents=True)
    house.sleep_to("aggregate_deadline")
    assert actor.advance() == ""
    assert not actor.trees.exists()


def test_a_blob_that_a_liar_names_falsely_is_read_once(wide: Any) -> None:
    """Its root is none of the chunks': each look at each demanded leaf would hash the whole of it."""
    house, actor, root = wide, Answering(wide, 1), Root(b"\x05" * 32)
    made = house.outcome()
    blob = made.version.weights.blob
    report = replace(made.report, aggregate=DeltaFile(blob.cid, blob.size, root))
    named = Digest(put_manifest(house.store, report).digest)
    result = replace(made.result, aggregate_root=root, report_digest=named)
    house.attest("mallory", result)
    target = Target(house.model_id, 1, result)
    actor.court.demand_chunks(target, Tree.AGGREGATE, [0, 1], deposit=PAYS)
    store = Noting(house.store)
    for _ in range(3):
        assert actor.advance(store=store) == ""
    assert store.asked.count(blob.cid) == 1
    assert actor.open == 2


def test_what_a_liar_withholds_is_not_looked_for_while_own_leaves_may_be_demanded(wide: Any) -> None:
    house, actor, store = wide, Answering(wide, 1), Looking(wide.store)
    made = house.outcome().result
    hidden = replace(
        made, aggregate_root=Root(b"\x05" * 32), report_digest=Digest(b"\x06" * 32), version_digest=Digest(b"\x07" * 32)
    )
    house.attest("mallory", hidden)
    actor.demand_all(hidden)
    target = Target(house.model_id, 1, hidden)
    for kind in (HeadKind.VERSION, HeadKind.REPORT):
        actor.court.demand_head(target, kind, deposit=PAYS)
    actor.advance(store=store)
    assert store.looked_for == []


def test_nothing_is_combined_where_the_disk_has_no_room_for_trees(wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house, actor = wide, Answering(wide, 1)
    rules = plan_rules(house.round().plan)
    needed = disk_bytes(3, rules.values, 0)
    combined: list[Any] = []
    monkeypatch.setattr("registry.roles.aggregator.compute_outcome", lambda *a, **k: combined.append(a))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, needed - 1))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=f"expected {needed} bytes of free disk for the trees of 3 contrib"):
        actor.advance()
    assert combined == []

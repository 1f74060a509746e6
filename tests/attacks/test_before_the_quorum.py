"""A result that has no quorum yet: an auditor looks at it without losing time or disk space to its attesters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hearing import convicted, lie, update_of, without

from registry.content.manifest import Manifest, VersionManifest, blocks_of
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import nudged
from registry.ethereum.node import chain_time
from registry.roles import auditor
from registry.rounds.loaded_round import load_round
from registry.rounds.reports import load_report
from registry.store.blobs import walk_blob
from registry.store.manifests import get_manifest
from registry.store.memory import MemoryStore
from registry.types import Cid, Fault

pytestmark = pytest.mark.slow

EACH = 120.0
"""Seconds that a block takes."""


@pytest.fixture
def awaited(federation: Any, new_plan: Callable[..., Any]) -> Any:
    """Ann, Bob and Cyn have published, and two aggregators have to attest."""
    house = federation
    new_plan(house, quorum=2)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    return house


class Slow(MemoryStore):
    """Takes its time for each block that is not here yet; does something once, while the first is on its way."""

    def __init__(self, blocks: dict[bytes, bytes]) -> None:
        super().__init__()
        self._blocks.update(blocks)
        self.now, self.here = 0.0, set[Cid]()
        self.meanwhile: Callable[[], None] | None = None

    def _has(self, cid: Cid) -> bool:
        return cid in self.here

    def _get(self, cid: Cid) -> bytes:
        if cid not in self.here:
            self.here.add(cid)
            self.now += EACH
            if self.meanwhile is not None:
                self.meanwhile, meanwhile = None, self.meanwhile
                meanwhile()
        return super()._get(cid)


def test_an_audit_before_the_quorum_does_not_outlast_the_window(awaited: Any) -> None:
    """The second vote comes while an auditor reads what the first attester serves slowly."""
    house = awaited
    result = lie(house, house.store, aggregate=nudged(5, 2.0**-22))
    house.attest("mallory", result)
    store = Slow(house.store._blocks)
    load_round(store, house.record())  # plan and parent were there before
    store.now, start = 0.0, chain_time(house.chain.w3)

    def second() -> None:
        sleep_until(house.chain.w3, int(start + store.now))
        house.attest("second", result)

    store.meanwhile = second
    memory = auditor.AuditorMemory()
    place, models = house.folder / "auditor", [house.model_id]
    (looking,) = auditor.tasks(house.stranger, store, place, models, memories=[memory], clock=lambda: store.now)
    looking.step()
    left = house.owner.round(house.model_id, 1).challenge_deadline - (start + store.now)
    assert store.meanwhile is None, "the window opened in the middle"
    assert left > house.plan.challenge_duration / 2
    sleep_until(house.chain.w3, int(start + store.now))
    assert convicted(house, memory=memory) is Fault.AGGREGATE


def test_an_audit_before_the_quorum_waits_until_commitments_are_final(awaited: Any) -> None:
    """Only then does anybody honest publish, and each result is looked at once."""
    house, depth, memory = awaited, 4, auditor.AuditorMemory()
    client = house.watching(depth)
    house.attest("mallory", house.outcome().result)

    def step() -> str:
        return auditor.advance(client, house.store, house.folder / "auditor", house.model_id, memory=memory)

    assert (step(), memory.ahead) == ("", set())
    house.chain.w3.provider.ethereum_tester.mine_blocks(depth)
    assert "recomputed to the bit" in step()
    assert step() == ""


@pytest.mark.parametrize("hidden", [False, True], ids=["all is there", "a contribution is hidden"])
def test_nothing_that_attesters_publish_is_fetched_before_the_quorum(awaited: Any, hidden: bool) -> None:
    """One aggregator may attest anything as often as it likes; whatever is fetched is kept."""
    house = awaited
    result = lie(house, house.store, aggregate=nudged(3, 2.0**-22))
    version = get_manifest(house.store, result.version_digest, VersionManifest)
    report = load_report(house.store, result.report_digest, 3)
    manifests: tuple[Manifest, ...] = (version, report.manifest)
    theirs = {cid for manifest in manifests for cid, _ in blocks_of(manifest)} | set(report.manifest.pages)
    for blob in (version.weights.blob, report.manifest.aggregate.blob):
        theirs |= {cid for cid, _ in walk_blob(house.store, blob)}
    store = Slow((without(house, update_of(house, "ann")) if hidden else house.store)._blocks)
    house.attest("mallory", result)
    memory = auditor.AuditorMemory()
    said = auditor.advance(house.stranger, store, house.folder / "auditor", house.model_id, memory=memory)
    assert "not what was recomputed, or updates are missing" in said
    assert store.here
    assert not theirs & store.here
    house.attest("second", result)
    assert convicted(house, memory=memory) is Fault.AGGREGATE

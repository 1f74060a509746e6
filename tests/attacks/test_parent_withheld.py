"""Rounds whose parent is withheld: an auditor that was there kept it, and one that was not demands it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hearing import convicted, without

from registry.content.manifest import Reason
from registry.dev.forgeries import falsified, nudged
from registry.roles import auditor
from registry.roles.kept_versions import keep_version, restore_version
from registry.store.local import LocalStore
from registry.types import Fault

pytestmark = pytest.mark.slow

STEP = 2.0**-22


def test_a_version_that_was_recomputed_is_kept_for_the_next_round(published: Any) -> None:
    """Nobody but the auditor has the parent's manifest or file, and it has been restarted."""
    house = published
    result, place = house.outcome().result, house.folder / "auditor"
    house.attest("first", result)
    assert auditor.advance(house.stranger, house.store, place, house.model_id).endswith("recomputed to the bit")
    house.sleep_to("challenge_deadline")
    house.stranger.finalize_round(house.model_id, 1, result)
    house.owner.open_round(house.model_id)
    house.contribute_to(2, "ann")
    house.attest("mallory", falsified(house.store, house.outcome(number=2), aggregate=nudged(3, STEP)), number=2)
    round = house.round(2)
    public = without(house, round.parent.weights.blob)
    del public._blocks[round.record.parent]
    assert convicted(house, public, number=2) is Fault.AGGREGATE


def test_the_versions_of_two_rounds_are_kept_and_no_more(stateful: Any) -> None:
    """The parent, and what may be the parent of the next round; each with its state."""
    house, folder = stateful, stateful.folder / "versions"
    made = house.outcome(number=2)
    keep_version(folder, made, house.record(2).parent)
    kept, empty = LocalStore(folder), LocalStore(house.folder / "empty")
    restore_version(folder, empty, made.result.version_digest)
    assert made.version.state is not None
    for blob in (made.version.weights.blob, made.version.state.blob):
        assert empty.has(blob.cid)
    assert len(list(kept.pins())) == 4, "file, state, manifest and head"
    first, *others = house.verdicts(number=2)
    other = house.outcome((first, *(replace(verdict, reason=Reason.UNAVAILABLE) for verdict in others)), number=2)
    keep_version(folder, other, house.record(2).parent)
    assert not kept.has(made.version.weights.cid)
    keep_version(folder, house.outcome(number=2), other.result.version_digest)
    assert kept.has(other.version.weights.cid), "the parent of the round stays"

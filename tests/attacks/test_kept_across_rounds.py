"""What an auditor keeps from one round says nothing of the next: what was right there is false here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hearing import convicted

from registry.chain.contract_structs import Target
from registry.chain.court import Court
from registry.content.manifest import Reason
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import falsified
from registry.disputes.demands import demands_of
from registry.roles import auditor
from registry.rounds.onchain import unexpelled
from registry.types import Fault, HeadKind

pytestmark = pytest.mark.slow


def next_round(house: Any, *names: str) -> None:
    """Open round 2 and let these contribute to it what they did not before."""
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(names, 50):
        update = house.update(name, seed=seed, at=2)
        house.commit(name, update, at=2)
        house.publish(update)


@pytest.fixture
def attested_twice(published: Any) -> tuple[Any, Any, auditor.AuditorMemory]:
    """Round 1 has an honest result, which an auditor found right, and is cancelled: a demand of mallory's accomplice
    was not answered. Round 2 has other contributions, and the same result.
    """
    house, memory = published, auditor.AuditorMemory()
    result = house.outcome().result
    house.attest("mallory", result)
    said = auditor.advance(house.stranger, house.store, house.folder / "auditor", house.model_id, memory=memory)
    assert "recomputed to the bit" in said
    court, target = Court(house.owner), Target(house.model_id, 1, result)
    court.demand_head(target, HeadKind.REPORT, deposit=court.deposit_now(target))
    demands = demands_of(court, house.owner.dispute(house.model_id, 1))
    sleep_until(house.chain.w3, demands.late_deadlines[demands.open[0]])
    court.close_demand(house.model_id, 1, demands.open[0])
    house.sleep_to("aggregate_deadline")
    house.owner.expel(house.model_id, 1, unexpelled(house.owner, house.model_id, 1))
    next_round(house, "ann", "bob", "cyn")
    house.sleep_to("publish_deadline", 2)
    house.attest("second", result, number=2)
    return house, result, memory


def test_a_result_that_was_right_in_one_round_is_audited_in_the_next(attested_twice: Any) -> None:
    house, _, memory = attested_twice
    assert convicted(house, number=2, memory=memory) is not Fault.NONE


def test_the_same_result_is_sampled_elsewhere_in_each_round(
    attested_twice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its attesters know after one round which chunks are looked at in the next."""
    house, result, memory = attested_twice
    salts, inspect = [], auditor.inspect

    def recorded(*given: Any, salt: bytes, **more: Any) -> Any:
        salts.append((given[1].record.number, salt))
        return inspect(*given, salt=salt, **more)

    monkeypatch.setattr(auditor, "inspect", recorded)
    place = house.folder / "auditor"
    watch = auditor._Watch(house.stranger, house.store, place, house.model_id, 2, None, memory, lambda: 0.0, {})
    for number in (1, 2):
        watch.inspect(house.record(number), result, bytes(32), (), 1 << 40)
    assert [number for number, _ in salts] == [1, 2]
    assert salts[0][1] != salts[1][1]


def test_an_update_that_counted_in_one_round_is_judged_anew_in_the_next(opened: Any) -> None:
    """Mallory commits her update of round 1 again and lists it alone, so the contributions root is the same."""
    house, memory = opened, auditor.AuditorMemory()
    update = house.update("mallory", seed=3)
    house.contribute("mallory", update)
    house.sleep_to("publish_deadline")
    made = house.outcome()
    first = made.version_file.read_bytes()
    house.attest("mallory", made.result)
    said = auditor.advance(house.stranger, house.store, house.folder / "auditor", house.model_id, memory=memory)
    assert "recomputed to the bit" in said
    house.sleep_to("challenge_deadline")
    house.stranger.finalize_round(house.model_id, 1, made.result)
    house.forget("mallory")  # her journal says that she has committed it
    next_round(house, "ann")
    house.commit("mallory", update, at=2)
    house.sleep_to("publish_deadline", 2)
    counts = {Reason.WRONG_BINDING: Reason.ADMITTED}
    verdicts = [replace(v, reason=counts.get(v.reason, Reason.UNAVAILABLE)) for v in house.verdicts(number=2)]
    result = falsified(house.store, house.outcome(verdicts, number=2), version=lambda _: first)
    house.attest("mallory", result, number=2)
    assert convicted(house, number=2, memory=memory) is Fault.HEAD

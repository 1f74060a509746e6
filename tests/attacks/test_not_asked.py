"""Updates of participants whom the round's draw does not ask."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from registry.content.manifest import Procedure, Reason
from registry.rounds.client_sampling import is_asked

if TYPE_CHECKING:
    from conftest import Federation

HALF = Fraction(1, 2)
PEOPLE = ("ann", "bob", "cyn")


def drawn(house: Federation, new_plan: Any) -> tuple[int, list[str], list[str]]:
    """Open rounds until one asks some and not all: its number, who is asked and who is not."""
    new_plan(house, algorithm=Procedure("fedavg", {"sampled": 0.5}))
    for number in range(1, 65):
        house.owner.open_round(house.model_id)
        record = house.record(number)
        asked = [name for name in PEOPLE if is_asked(record, HALF, house.clients[name].account)]
        if 0 < len(asked) < len(PEOPLE):
            return number, asked, [name for name in PEOPLE if name not in asked]
        house.owner.cancel_round(house.model_id, number)
    raise AssertionError("no round of 64 asked some of three and not all")


def contributed(house: Federation, number: int) -> dict[str, Any]:
    """Everybody commits and publishes; returns the verdicts by name."""
    for name in PEOPLE:
        update = house.update(name, at=number)
        house.commit(name, update, at=number)
        house.publish(update)
    house.sleep_to("publish_deadline", number)
    return dict(zip(PEOPLE, house.verdicts(number=number), strict=True))


def test_an_update_of_one_who_was_not_asked_is_refused(federation: Federation, new_plan: Any) -> None:
    number, asked, others = drawn(federation, new_plan)
    verdicts = contributed(federation, number)
    assert {name: v.reason for name, v in verdicts.items()} == {
        **dict.fromkeys(asked, Reason.ADMITTED),
        **dict.fromkeys(others, Reason.NOT_ASKED),
    }
    assert verdicts[others[0]].detail == "participant: expected one of those asked, a share of 0.5"


def test_who_was_not_asked_is_refused_before_anything_of_it_is_fetched(federation: Federation, new_plan: Any) -> None:
    number, _, others = drawn(federation, new_plan)
    federation.commit(others[0], federation.update(others[0], at=number), at=number)
    federation.sleep_to("publish_deadline", number)
    assert [v.reason for v in federation.verdicts(number=number)] == [Reason.NOT_ASKED]


@pytest.mark.parametrize("files", [True, False], ids=["with files", "manifests alone"])
def test_a_result_that_lists_one_who_was_not_asked_fails_verification(
    federation: Federation, new_plan: Any, failed: Any, files: bool
) -> None:
    number, _, _ = drawn(federation, new_plan)
    verdicts = contributed(federation, number)
    round = federation.round(number)
    free = [
        v if v.admitted else replace(v, reason=Reason.ADMITTED, manifest=federation.update(name, at=number).manifest)
        for name, v in verdicts.items()
    ]
    assert round.form.asks.share == HALF
    federation.force(federation.outcome(free, number=number).result, number=number)
    assert "not_asked" in failed(federation.verify(files=files)[-1].checks)

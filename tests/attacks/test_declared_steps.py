"""Updates that declare other numbers of steps than the plan's algorithm allows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from registry.content.manifest import Procedure, Reason
from registry.rounds.plans import server_rule

if TYPE_CHECKING:
    from conftest import GRID_BITS, Federation
else:
    GRID_BITS = 22

PARTIAL = Procedure("fedprox", {"mu": 0.1, "steps": 4})
EXACT = Procedure("scaffold", {"lr": 0.1, "steps": 4})


def scaffold() -> dict[str, Any]:
    server = server_rule("scaffold", {"participants": 3.0}, GRID_BITS)
    return {"algorithm": EXACT, "server": server, "combine_rule": 4, "weights": "uniform"}


@pytest.mark.parametrize(
    ("plan", "steps", "said"),
    [
        ({"algorithm": PARTIAL}, 5, "steps: expected 1..4, got 5"),
        (scaffold(), 5, "steps: expected 4..4, got 5"),
        (scaffold(), 3, "steps: expected 4..4, got 3"),
        ({"algorithm": Procedure("fedsgd", {"lr": 0.1})}, 2, "steps: expected 1..1, got 2"),
    ],
    ids=["more than the cap", "more than exact", "fewer than exact", "more than one"],
)
def test_other_steps_than_the_algorithm_s_are_refused(
    federation: Federation, new_plan: Any, plan: dict[str, Any], steps: int, said: str
) -> None:
    new_plan(federation, **plan)
    federation.owner.open_round(federation.model_id)
    federation.contribute("mallory", federation.update("mallory", steps=steps))
    federation.sleep_to("publish_deadline")
    (verdict,) = federation.verdicts()
    assert (verdict.reason, verdict.detail) == (Reason.WRONG_DECLARATION, said)


def test_fewer_steps_than_the_cap_are_partial_work(federation: Federation, new_plan: Any) -> None:
    new_plan(federation, algorithm=PARTIAL)
    federation.owner.open_round(federation.model_id)
    federation.contribute("ann", federation.update("ann", steps=1))
    federation.contribute("bob", federation.update("bob", steps=4))
    federation.sleep_to("publish_deadline")
    assert federation.reasons() == {"ann": Reason.ADMITTED, "bob": Reason.ADMITTED}


@pytest.mark.parametrize("files", [True, False], ids=["with files", "manifests alone"])
def test_a_result_that_lists_such_an_update_fails_verification(
    federation: Federation, new_plan: Any, failed: Any, files: bool
) -> None:
    new_plan(federation, algorithm=PARTIAL)
    federation.owner.open_round(federation.model_id)
    federation.contribute("ann", federation.update("ann"))
    federation.contribute("mallory", federation.update("mallory", steps=1 << 20))
    federation.sleep_to("publish_deadline")
    lenient = [replace(v, reason=Reason.ADMITTED) for v in federation.verdicts()]
    federation.force(federation.outcome(lenient).result)
    assert "wrong_declaration" in failed(federation.verify(files=files)[-1].checks)

"""False reports about who was admitted, who was refused, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from registry.content.manifest import (
    Evaluation,
    Reason,
    ReportPage,
    SummedEvaluation,
    digest_of,
    manifest_cid,
)
from registry.store.manifests import put_manifest
from registry.types import MAX_TOTAL_WEIGHT, Digest

if TYPE_CHECKING:
    from conftest import Federation


def with_bad_update(house: Federation, **changed: Any) -> None:
    """Ann contributes; Mallory contributes what must be refused."""
    house.contribute("ann", house.update("ann"))
    house.contribute("mallory", house.update("mallory", **(changed or {"number": 2})))
    house.sleep_to("publish_deadline")


def test_a_report_that_admits_a_bad_update_fails_verification(opened: Federation, failed: Any) -> None:
    with_bad_update(opened)
    ann, mallory = opened.verdicts()
    opened.force(opened.outcome([ann, replace(mallory, reason=Reason.ADMITTED)]).result)
    assert "the report says admitted, found wrong_binding" in failed(opened.verify()[-1].checks)


def test_a_report_that_admits_an_update_nobody_can_show_is_not_verified(opened: Federation) -> None:
    with_bad_update(opened, number=1)
    opened.force(opened.outcome().result)
    hidden = opened.record().commitments[1]
    del opened.store._blocks[hidden.digest]
    last = opened.verify()[-1]
    assert (last.finding, last.passed) == ("unchecked", False)
    assert "admitted by the attesters, unavailable here" in last.checks[-1].evidence


@pytest.mark.parametrize("reason", [r for r in Reason if r not in (Reason.ADMITTED, Reason.UNAVAILABLE)])
def test_a_report_that_refuses_a_good_update_fails_verification(
    published: Federation, failed: Any, reason: Reason
) -> None:
    first, *rest = published.verdicts()
    published.force(published.outcome([replace(first, reason=reason), *rest]).result)
    assert f"the report says {reason.name.lower()}, found admitted" in failed(published.verify()[-1].checks)


@pytest.mark.parametrize("reason", [Reason.MANIFEST_FORM, Reason.WRONG_DECLARATION, Reason.VALUE, Reason.WRONG_ROOT])
def test_a_report_that_refuses_for_another_reason_fails_verification(
    opened: Federation, failed: Any, reason: Reason
) -> None:
    with_bad_update(opened)
    ann, mallory = opened.verdicts()
    opened.force(opened.outcome([ann, replace(mallory, reason=reason)]).result)
    assert f"the report says {reason.name.lower()}, found wrong_binding" in failed(opened.verify()[-1].checks)


def test_a_report_that_omits_a_commitment_fails_verification(published: Federation, failed: Any) -> None:
    published.force(published.outcome(published.verdicts()[:-1]).result)
    assert "report: expected 3 commitments on full pages" in failed(published.verify()[-1].checks)


def test_a_report_that_invents_a_commitment_fails_verification(published: Federation, failed: Any) -> None:
    verdicts = published.verdicts()
    ghost = replace(verdicts[0].commitment, participant=published.mallory.account, digest=Digest(b"\x01" * 32))
    invented = replace(verdicts[0], commitment=ghost, reason=Reason.UNAVAILABLE)
    published.force(published.outcome([*verdicts, invented]).result)
    assert "report: expected 3 commitments on full pages" in failed(published.verify()[-1].checks)


def test_a_report_that_reorders_commitments_fails_verification(published: Federation, failed: Any) -> None:
    published.force(published.outcome(published.verdicts()[::-1]).result)
    assert "report: commitments" in failed(published.verify()[-1].checks)


def test_a_report_that_names_another_author_fails_verification(published: Federation, failed: Any) -> None:
    first, *rest = published.verdicts()
    taken = replace(first, commitment=replace(first.commitment, participant=published.mallory.account))
    published.force(published.outcome([taken, *rest]).result)
    assert "report: entries: expected" in failed(published.verify()[-1].checks)


def test_a_report_with_another_root_of_an_update_fails_verification(published: Federation, failed: Any) -> None:
    honest = published.outcome()
    first, *rest = honest.pages[0].entries
    page = ReportPage((replace(first, tensor_root=b"\x02" * 32), *rest))
    report = replace(honest.report, pages=(manifest_cid(digest_of(page)),))
    for manifest in (page, report):
        put_manifest(published.store, manifest)
    published.force(replace(honest.result, report_digest=digest_of(report)))
    assert "recomputed report_digest" in failed(published.verify()[-1].checks)


MEASURED = Evaluation(80, {"correct": 61}, {"loss": 3 << 19})


@pytest.mark.parametrize("files", [True, False])
@pytest.mark.parametrize(
    "told",
    [
        None,
        SummedEvaluation(2, 160, {"correct": 123}, {"loss": 3 << 20}),
        SummedEvaluation(1, 80, {"correct": 61}, {"loss": 3 << 19}),
    ],
    ids=["none", "another sum", "one left out"],
)
def test_a_report_with_another_evaluation_fails_verification(
    opened: Federation, failed: Any, told: SummedEvaluation | None, files: bool
) -> None:
    for name in ("ann", "bob"):
        opened.contribute(name, opened.update(name, evaluation=MEASURED))
    opened.sleep_to("publish_deadline")
    honest = opened.outcome()
    report = replace(honest.report, evaluation=told)
    assert honest.version.round is not None
    made_in = replace(honest.version.round, report=manifest_cid(digest_of(report)))
    version = replace(honest.version, round=made_in)
    for manifest in (*honest.pages, report, version):
        put_manifest(opened.store, manifest)
    changed = {"report_digest": digest_of(report), "version_digest": digest_of(version)}
    opened.force(replace(honest.result, **changed))
    said = "recomputed report_digest" if files else "report: evaluation"
    assert said in failed(opened.verify(files=files)[-1].checks)


def test_a_report_carries_the_sum_of_the_admitted_evaluations(opened: Federation) -> None:
    opened.contribute("ann", opened.update("ann", evaluation=MEASURED))
    opened.contribute("bob", opened.update("bob", evaluation=replace(MEASURED, counts={"correct": 9})))
    opened.contribute("mallory", opened.update("mallory", evaluation=MEASURED, number=2))  # refused
    opened.sleep_to("publish_deadline")
    expected = SummedEvaluation(2, 160, {"correct": 70}, {"loss": 3 << 20})
    assert opened.outcome().report.evaluation == expected


def test_an_evaluation_of_more_examples_than_the_cap_is_scaled_down_and_verifies(opened: Federation) -> None:
    huge = Evaluation(2**30, {"correct": 3 * 2**28}, {"loss": 5 << 29})  # of a plan that caps weights at 2^28
    opened.contribute("ann", opened.update("ann", evaluation=huge))
    opened.contribute("bob", opened.update("bob", evaluation=MEASURED))
    opened.sleep_to("publish_deadline")
    honest = opened.outcome()
    counts, sums = {"correct": 3 * 2**26 + 61}, {"loss": (5 << 27) + (3 << 19)}
    assert honest.report.evaluation == SummedEvaluation(2, 2**28 + 80, counts, sums)
    for manifest in (*honest.pages, honest.report, honest.version):
        put_manifest(opened.store, manifest)
    opened.force(honest.result)
    assert opened.verify(files=False)[-1].passed


def test_a_report_that_is_no_report_fails_verification(published: Federation, failed: Any) -> None:
    honest = published.outcome()
    published.force(replace(honest.result, report_digest=published.plan.digest))
    assert "head: expected 402 bytes, got" in failed(published.verify()[-1].checks)


# Total weight ---------------------------------------------------------------------------------------------------------


def heavy(house: Federation, *weights: int) -> None:
    for name, weight in zip(("ann", "bob", "cyn"), weights, strict=False):
        house.contribute(name, house.update(name, weight=weight))
    house.sleep_to("publish_deadline")


def test_what_would_bring_the_total_over_2_28_is_refused_in_commit_order(opened: Federation) -> None:
    heavy(opened, MAX_TOTAL_WEIGHT - 10, 11, 10)
    assert opened.reasons() == {"ann": Reason.ADMITTED, "bob": Reason.TOTAL_WEIGHT, "cyn": Reason.ADMITTED}
    result = opened.outcome().result
    assert result.total_weight == MAX_TOTAL_WEIGHT
    opened.force(result)
    assert all(v.passed for v in opened.verify())


def test_a_report_that_refuses_for_a_total_that_is_not_over_fails_verification(opened: Federation, failed: Any) -> None:
    heavy(opened, MAX_TOTAL_WEIGHT - 11, 11)
    ann, bob = opened.verdicts()
    opened.force(opened.outcome([ann, replace(bob, reason=Reason.TOTAL_WEIGHT)]).result)
    assert "the report says total_weight, found admitted" in failed(opened.verify()[-1].checks)


def test_a_refusal_for_the_total_weight_is_checked_without_the_bytes(opened: Federation, failed: Any) -> None:
    heavy(opened, MAX_TOTAL_WEIGHT - 11, 11)
    ann, bob = opened.verdicts()
    opened.force(opened.outcome([ann, replace(bob, reason=Reason.TOTAL_WEIGHT)]).result)
    del opened.store._blocks[bob.commitment.digest]
    assert "the report says total_weight, found unavailable" in failed(opened.verify()[-1].checks)


def test_a_report_that_prefers_a_later_update_over_an_earlier_one_fails_verification(
    opened: Federation, failed: Any
) -> None:
    heavy(opened, 11, MAX_TOTAL_WEIGHT - 10)
    ann, bob = opened.verdicts()
    assert (ann.reason, bob.reason) == (Reason.ADMITTED, Reason.TOTAL_WEIGHT)
    swapped = [replace(ann, reason=Reason.TOTAL_WEIGHT), replace(bob, reason=Reason.ADMITTED)]
    opened.force(opened.outcome(swapped).result)
    assert "the report says total_weight, found admitted" in failed(opened.verify()[-1].checks)


# Unavailable: the one word that is left to the attesters -------------------------------------------------------------


def test_an_update_called_unavailable_is_shown_as_asserted(published: Federation) -> None:
    first, *rest = published.verdicts()
    published.force(published.outcome([replace(first, reason=Reason.UNAVAILABLE), *rest]).result)
    (checks,) = [v.checks for v in published.verify() if v.step.round]
    asserted = [check for check in checks if check.finding == "asserted"]
    assert [check.evidence for check in asserted] == [
        "unavailable: asserted by the attesters",
        "3 commitments: 2 contributions, 1 refused, 1 as asserted",
    ]


def test_an_update_published_too_late_convicts_no_honest_aggregator(opened: Federation) -> None:
    late = opened.update("mallory")
    opened.commit("mallory", late)
    opened.contribute("ann", opened.update("ann"))
    opened.sleep_to("publish_deadline")
    opened.force(opened.outcome().result)
    opened.publish(late)
    assert all(v.passed for v in opened.verify())


def test_a_heavy_update_published_too_late_convicts_nobody_who_came_after_it(opened: Federation) -> None:
    """It was not there, so there was room for the next; that it turns up takes the room from nobody."""
    late = opened.update("mallory", weight=MAX_TOTAL_WEIGHT)
    opened.commit("mallory", late)
    opened.contribute("ann", opened.update("ann"))
    opened.sleep_to("publish_deadline")
    opened.force(opened.outcome().result)
    opened.publish(late)
    assert all(v.passed for v in opened.verify())

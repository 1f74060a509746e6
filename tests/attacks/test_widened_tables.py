"""An aggregator with a modified table of rules: an extra number, or another function under a number.

Widening a guard alone once gave a finalized round of plain FedAvg under another rule's number that verification passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from registry.chain.contract_structs import Grant
from registry.cli.check_lines import require_passed
from registry.content.manifest import PlanManifest, digest_of
from registry.errors import BlockNotFound, FormError, UnknownRule, VerificationFailed
from registry.rounds.plans import load_plan, server_rule
from registry.rules import table
from registry.rules.shapes import Factors, Fold, Select, SelectColumns
from registry.rules.step import server_step
from registry.rules.table import COMBINE_RULES, MEAN, Combining, Rules, rules_of
from registry.store.manifests import get_manifest, put_manifest
from registry.types import Role
from registry.verification.checks import until_failure
from registry.verification.verify import verify_records, verify_round

MEDIAN = next(rule for rule in COMBINE_RULES if rule.name == "median")


@contextmanager
def another_table(**tables: Any) -> Iterator[None]:
    """The release of whoever works inside."""
    with pytest.MonkeyPatch.context() as patch:
        for name, entries in tables.items():
            patch.setattr(table, name, entries)
        yield


def finalized(house: Any, new_plan: Any, **plan: Any) -> None:
    """A round by this plan, made by whatever the table holds now, with a quorum of one."""
    new_plan(house, **plan)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed, weight=1 + 1000 * seed))
    house.sleep_to("publish_deadline")
    house.force(house.outcome().result)


def exit_code(house: Any) -> int:
    """What `cairn verify` ends with, as `registry.cli.commands.verify` has it."""
    try:
        require_passed((str(one.step.round), check) for one in house.verify() for check in one.checks)
    except (BlockNotFound, VerificationFailed) as error:
        return error.exit_code
    return 0


@pytest.mark.parametrize("field", ["combine_rule", "update_form"])
def test_a_number_that_only_its_aggregator_knows_is_no_pass(federation: Any, new_plan: Any, field: str) -> None:
    kind = {"combine_rule": "COMBINE_RULES", "update_form": "UPDATE_FORMS"}[field]
    known = getattr(table, kind)
    with another_table(**{kind: (*known, replace(known[0], number=9, name="more"))}):
        finalized(federation, new_plan, **{field: 9})
        assert exit_code(federation) == 0  # by the aggregator's own table all is well
    *_, last = federation.verify()
    assert (last.finding, last.checks[-1].name) == ("unchecked", "plan")
    assert f"UnknownRule: plan: expected {field.replace('_', ' ')} 1 (" in last.checks[-1].evidence
    assert exit_code(federation) == BlockNotFound.exit_code
    with pytest.raises(UnknownRule):
        federation.outcome()
    assert federation.audit()[-1].finding == "unchecked"


def test_a_rule_that_selects_reports_the_factors_it_chose(federation: Any, new_plan: Any) -> None:
    """The factors of report, contributions root and divisor are those of the combination, and a stranger verifies."""

    def measure(tile: Any, parameters: Any) -> list[int]:
        return [int(np.abs(row.astype(np.int64)).sum()) for row in tile]

    def choose(sums: Sequence[int], weights: Sequence[int], parameters: Any, drawn: Sequence[int]) -> Factors:
        largest = max(range(len(sums)), key=lambda k: sums[k])
        return Factors(tuple(0 if k == largest else w for k, w in enumerate(weights)), sum(weights))

    rule = replace(MEAN, number=65_000, name="without_the_largest", shape=Select(measure, choose))
    with another_table(COMBINE_RULES=(*COMBINE_RULES, rule)):
        finalized(federation, new_plan, combine_rule=rule.number)
        *_, last = federation.verify()
        assert last.passed, last.checks
        assert exit_code(federation) == 0
        outcome = federation.outcome()
        entries = [entry for page in outcome.pages for entry in page.entries]
        refused = [entry for entry in entries if not entry.factor]
        assert len(refused) == 1 and all(e.factor == e.weight for e in entries if e is not refused[0])
        assert outcome.result.divisor == outcome.result.total_weight > sum(entry.factor for entry in entries)
        records = list(verify_records(federation.store, federation.record(1), outcome.result))
        assert records[-1].finding == "asserted", records
        lie = replace(outcome.result, divisor=sum(entry.factor for entry in entries) - 1)
        with pytest.raises(VerificationFailed):
            list(verify_records(federation.store, federation.record(1), lie))


def test_the_mean_under_the_median_s_number_fails(federation: Any, new_plan: Any) -> None:
    lie = (MEAN, replace(MEDIAN, shape=Fold()))
    with another_table(COMBINE_RULES=lie):
        finalized(federation, new_plan, combine_rule=MEDIAN.number, weights="uniform")
        assert exit_code(federation) == 0
    check = federation.verify()[-1].checks[-1]
    assert (check.name, check.finding) == ("plan", "failed")  # the rules on chain have the shape of a fold
    assert "the manifest's rules hash to" in check.evidence
    assert exit_code(federation) == VerificationFailed.exit_code


def test_another_function_under_a_server_rule_s_name_fails(federation: Any, new_plan: Any) -> None:
    def forgetful(weights: Any, d: Any, exponent: int) -> Any:
        return server_step(weights, 2 * d, exponent)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("registry.rounds.server_steps.server_step", forgetful)
        finalized(federation, new_plan, server=server_rule("fedavg", {"rate": 0.5}, 22))
        assert exit_code(federation) == 0
    check = federation.verify()[-1].checks[-1]
    assert (check.name, check.finding) == ("server step", "failed")
    assert exit_code(federation) == VerificationFailed.exit_code


@pytest.mark.parametrize("wrong", [{"weights": "uniform"}, {"combine_parameters": {"k": 1}}], ids=str)
def test_a_plan_that_sets_what_its_rules_do_not_take_is_refused_by_readers(
    federation: Any, new_plan: Any, wrong: dict[str, Any]
) -> None:
    """Under these numbers the contract convicts by the rules as they are, so nothing may be made by others."""
    said = get_manifest(federation.store, federation.plan.digest, PlanManifest)
    false = replace(said, **wrong)
    put_manifest(federation.store, false)
    plan = replace(federation.plan, digest=digest_of(false))
    federation.owner.set_plan(federation.model_id, plan, federation.rules)
    with pytest.raises(VerificationFailed, match=r"combine rule 1 \(mean\)"):
        load_plan(federation.store, plan)
    with pytest.raises(FormError, match=r"combine rule 1 \(mean\)"):
        new_plan(federation, **wrong)


# The whole table -----------------------------------------------------------------------------------------------------


OTHER = {"byzantine": 2, "selected": 2, "mixed": 2, "bucket": 2, "bound": 1 << 12}
"""Of parameters, a value besides the example."""
PEOPLE = ("owner", "ann", "bob", "cyn", "mallory", "first", "second", "stranger")


def settings() -> list[Combining]:
    """Every combine rule with every kind of weights and, for each parameter, its example and another.

    Only what eight contributions allow, and buckets only with the examples of other parameters.
    """
    found = []
    for rule in COMBINE_RULES:
        given: list[dict[str, int]] = [{}]
        for p in rule.parameters:
            given = [g | {p.name: v} for g in given for v in (p.example, OTHER.get(p.name, (p.low + p.high) // 2))]
        examples = {p.name: p.example for p in rule.parameters}
        given = [g for g in given if not g.get("bucket") or g == examples | {"bucket": g["bucket"]}]
        given = [g for g in given if rule.least(g)[1] <= len(PEOPLE)]
        found += [Combining(rule, weights, g) for weights in rule.weights for g in given]
    return found


def named(combining: Combining) -> str:
    return ",".join([combining.rule.name, *(f"{n}={v}" for n, v in combining.parameters.items())])


@pytest.mark.parametrize("planned", settings(), ids=named)
def test_a_result_by_any_other_rule_or_parameter_fails(
    federation: Any, new_plan: Any, planned: Combining, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = federation
    both = Role.PARTICIPANT | Role.AGGREGATOR
    house.owner.grant_roles_batch(house.model_id, [Grant(house.clients[name].account, both) for name in PEOPLE])
    plan = {"combine_rule": planned.rule.number, "weights": planned.weights}
    _, least = planned.rule.least(planned.parameters)
    new_plan(house, **plan, combine_parameters=dict(planned.parameters), min_contributions=least)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(PEOPLE):
        house.contribute(name, house.update(name, seed=seed, weight=1 + 100 * seed**2))
    house.sleep_to("publish_deadline")
    record = house.record()

    def checks(result: Any) -> list[Any]:
        return list(until_failure(verify_round(house.reader(), house.store, record, result, house.folder)))

    honest = house.outcome()
    found = checks(honest.result)
    assert found[-1].name == "version file"
    assert {check.finding for check in found} == {"passed"}
    others = [other for other in settings() if other != planned]
    assert len(others) == len(settings()) - 1
    for other in others:
        with monkeypatch.context() as patch:
            patch.setattr(
                "registry.rounds.results.rules_of",
                lambda plan, other=other: Rules(other, rules_of(plan).form),
            )
            lie = house.outcome()
        if isinstance(other.rule.shape, Select | SelectColumns) and lie.result == honest.result:
            continue  # both choose the same
        assert lie.result.aggregate_root != honest.result.aggregate_root, named(other)
        last = checks(lie.result)[-1]
        assert last.name in ("contributions", "aggregate"), named(other)  # factors differ too, or sums alone
        assert last.finding == "failed", named(other)

"""The table of rules is the only guard, the only dispatch and the only documentation of rules."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from registry.chain.contracts import artifact
from registry.cli.plan_files import manifest_of
from registry.cli.rules_page import facts, format_page, rules_page
from registry.errors import FormError, InputError, UnknownRule
from registry.rules import table
from registry.rules.algorithms import CLIENT_ALGORITHMS
from registry.rules.draw import buckets
from registry.rules.server_programs import RULES as SERVER_RULES
from registry.rules.shapes import HALF, Columns, Factors, Select, SelectColumns, left_out
from registry.rules.table import (
    BULYAN,
    COMBINE_RULES,
    DENSE,
    EXAMPLES,
    GEOMETRIC_MEDIAN,
    MEAN,
    MULTI_KRUM,
    NORM_CLIP,
    TRIMMED_MEAN,
    UNIFORM,
    UPDATE_FORMS,
    Combining,
    Entry,
    IntegerParameter,
    find,
    lookup,
    rules_of,
)
from registry.types import MAX_SHARE, MAX_TOTAL_WEIGHT

ROOT = Path(__file__).resolve().parents[2]
TABLES: tuple[tuple[Entry, ...], ...] = (COMBINE_RULES, UPDATE_FORMS)
PARAMETRIC = replace(MEAN, number=70, name="parametric", parameters=(IntegerParameter("k", 2, 9, 3, "how many"),))


# What stands in it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", TABLES, ids=["combine", "form"])
def test_numbers_and_names_are_unique_and_no_name_reads_as_a_number(entries: tuple[Entry, ...]) -> None:
    assert len({one.number for one in entries}) == len({one.name for one in entries}) == len(entries)
    assert all(1 <= one.number < 1 << 16 and re.fullmatch("[a-z][a-z_]*", one.name) for one in entries)


@pytest.mark.parametrize("one", [one for entries in TABLES for one in entries], ids=lambda one: one.name)
def test_an_entry_says_what_it_is_and_its_examples_are_within_bounds(one: Entry) -> None:
    assert one.description and one.paper
    for parameter in one.parameters:
        assert parameter.low <= parameter.example <= parameter.high
        assert parameter.description


@pytest.mark.parametrize("one", [one for entries in TABLES for one in entries], ids=lambda one: one.name)
def test_what_convicts_is_a_function_of_the_contract(one: Entry) -> None:
    abis = artifact("Challenges").abi, artifact("Selections").abi
    functions = {entry["name"] for abi in abis for entry in abi if entry["type"] == "function"}
    assert set(one.convicted_by) <= functions


def test_a_false_aggregate_is_convicted_under_every_rule() -> None:
    assert all("convictAggregate" in rule.convicted_by for rule in COMBINE_RULES)


# From a plan to its entries ------------------------------------------------------------------------------------------


def test_numbers_of_a_plan_give_the_entries_themselves() -> None:
    for combine in COMBINE_RULES:
        parameters = {p.name: p.example for p in combine.parameters}
        least = max(2, combine.least(parameters)[1])
        given = {"combine_rule": combine.number, "combine_parameters": parameters, "min_contributions": least}
        rules = rules_of(manifest_of(given))
        assert rules.combine.rule is combine
        assert rules.form is DENSE
        assert (rules.combine.weights, rules.combine.parameters) == (combine.weights[0], parameters)


@pytest.mark.parametrize("field", ["combine_rule", "update_form"])
def test_a_number_that_is_not_in_the_table_is_unknown(field: str) -> None:
    plan = replace(manifest_of({}), **{field: 999})
    with pytest.raises(UnknownRule, match=rf"expected {field.replace('_', ' ')} 1 \(\w+\).*, got 999"):
        rules_of(plan)


def test_rules_are_found_by_number_and_by_name() -> None:
    assert lookup(COMBINE_RULES, "mean", "rule") is lookup(COMBINE_RULES, 1, "rule") is lookup(COMBINE_RULES, "1", "")
    for strange in (True, 1.0, "Mean", "", 0, -1, None, [1]):
        assert find(COMBINE_RULES, strange) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", COMBINE_RULES, ids=lambda rule: rule.name)
def test_weights_that_a_rule_does_not_take_are_refused(rule: Any) -> None:
    parameters = {p.name: p.example for p in rule.parameters}
    for weights in {EXAMPLES, UNIFORM, "", "Examples"} - set(rule.weights):
        with pytest.raises(FormError, match=rf"weights: expected {rule.weights[0]} with combine rule {rule.number}"):
            Combining(rule, weights, parameters)


def test_what_counts_are_weights_or_ones() -> None:
    assert Combining(MEAN, EXAMPLES).counted([3, 4]) == [3, 4]
    assert Combining(lookup(COMBINE_RULES, "uniform_mean", ""), UNIFORM).counted([3, 4]) == [1, 1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, r"expected parameters k 2\.\.9; got none"),
        ({"k": 3, "j": 1}, r"expected parameters k 2\.\.9; got j, k"),
        ({"j": 3}, r"expected parameters k 2\.\.9; got j$"),
        ({"k": 1}, r"k: expected 2\.\.9, got 1: it is how many"),
        ({"k": 10}, r"k: expected 2\.\.9, got 10"),
        ({"k": True}, r"k: expected 2\.\.9, got True"),
        ({"k": 3.0}, r"k: expected 2\.\.9, got 3\.0"),
    ],
)
def test_parameters_that_a_rule_does_not_take_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(FormError, match=rf"combine rule 70 \(parametric\): {said}"):
        Combining(PARAMETRIC, EXAMPLES, given)
    for right in (2, 9):
        assert Combining(PARAMETRIC, EXAMPLES, {"k": right}).parameters == {"k": right}


# Shapes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factors", "divisor"),
    [((-1, 2), 2), ((1.0, 1), 2), ((True, 1), 2), ((2, 2), 3), ((0, 0), 0), ((1,), MAX_TOTAL_WEIGHT + 1), ((1,), 1.0)],
)
def test_factors_that_could_leave_the_grid_are_refused(factors: Any, divisor: Any) -> None:
    with pytest.raises(InputError, match=r"(factors|divisor): expected"):
        Factors(factors, divisor)
    assert Factors((0, 0), 1).divisor == 1
    assert Factors((2, 2), 4).divisor == 4
    assert Factors((1,), MAX_TOTAL_WEIGHT).factors == (1,)


def test_a_selection_has_a_factor_of_at_most_its_weight_for_each() -> None:
    def choosing(*factors: int) -> Select:
        return Select(lambda tile, parameters: [], lambda statistics, weights, parameters, drawn: Factors(factors, 9))

    assert choosing(3, 0).factors([], [3, 4], {}, uniform=False).factors == (3, 0)
    for factors in ((4, 0), (3,), (3, 0, 0)):
        with pytest.raises(InputError, match="factors: expected"):
            choosing(*factors).factors([], [3, 4], {}, uniform=False)


def test_where_each_counts_once_a_factor_is_a_share() -> None:
    def choosing(*factors: int) -> Select:
        return Select(lambda tile, given: [], lambda statistics, weights, given, drawn: Factors(factors, 1 << 17))

    assert choosing(MAX_SHARE, 7).factors([], [1, 1], {}, uniform=True).factors == (MAX_SHARE, 7)
    with pytest.raises(InputError, match=r"factors: expected at most 2\^16, got 65537"):
        choosing(MAX_SHARE + 1, 0).factors([], [1, 1], {}, uniform=True)


@pytest.mark.parametrize(
    ("factors", "divisor"), [((1, 1, 2), 4), ((1, 1, 0), 3), ((1, 0, 0), 1), ((0, 0, 0), 1)], ids=str
)
def test_what_is_selected_for_columns_counts_once_and_is_enough(factors: Any, divisor: int) -> None:
    def choosing(chosen: Factors) -> SelectColumns:
        select = Select(lambda tile, given: [], lambda statistics, weights, given, drawn: chosen)
        return SelectColumns(select, left_out=lambda given: 1)

    with pytest.raises(InputError, match="selected: expected 2 updates or more, each once"):
        choosing(Factors(factors, divisor)).factors([], [1, 1, 1], {}, uniform=True)
    assert choosing(Factors((1, 1, 0), 2)).factors([], [1, 1, 1], {}, uniform=True).factors == (1, 1, 0)


@pytest.mark.parametrize("rule", [MULTI_KRUM, GEOMETRIC_MEDIAN, NORM_CLIP], ids=lambda rule: rule.name)
def test_updates_are_mixed_or_put_into_buckets_and_not_both(rule: Any) -> None:
    given = {p.name: p.example for p in rule.parameters}
    with pytest.raises(FormError, match=r"expected mixed or bucket to be 0, got mixed 1 and bucket 2"):
        Combining(rule, UNIFORM, given | {"mixed": 1, "bucket": 2})
    for one in ({"mixed": 1, "bucket": 1}, {"mixed": 1, "bucket": 0}, {"mixed": 0, "bucket": 2}):
        assert Combining(rule, UNIFORM, given | one).parameters == given | one


@pytest.mark.parametrize(
    ("rule", "given", "least"),
    [(MULTI_KRUM, {"byzantine": 2}, 7), (MULTI_KRUM, {"byzantine": 2, "bucket": 3}, 19),
     (MULTI_KRUM, {"byzantine": 0}, 1),
     (MULTI_KRUM, {"byzantine": 0, "bucket": 3}, 7), (MULTI_KRUM, {"byzantine": 1, "mixed": 4}, 9),
     (MULTI_KRUM, {"byzantine": 1, "selected": 9}, 10), (MULTI_KRUM, {"byzantine": 1, "selected": 9, "bucket": 2}, 19),
     (BULYAN, {"byzantine": 2}, 11), (BULYAN, {"byzantine": 0}, 1),
     (GEOMETRIC_MEDIAN, {}, 1), (GEOMETRIC_MEDIAN, {"mixed": 4}, 9), (GEOMETRIC_MEDIAN, {"bucket": 5}, 11),
     (GEOMETRIC_MEDIAN, {"bucket": 1}, 1), (NORM_CLIP, {"mixed": 1}, 3), (NORM_CLIP, {"bucket": 2}, 5),
     (TRIMMED_MEAN, {"trimmed": 0}, 1), (TRIMMED_MEAN, {"trimmed": 13107}, 6), (TRIMMED_MEAN, {"trimmed": 13108}, 5),
     (TRIMMED_MEAN, {"trimmed": HALF - 1}, 3)],
)  # fmt: skip
def test_a_rule_says_how_many_contributions_it_needs(rule: Any, given: dict[str, int], least: int) -> None:
    """In buckets of three 19 updates are seven means, and 18 are six."""
    assert rule.least({p.name: 0 for p in rule.parameters} | given)[1] == least


@pytest.mark.parametrize("trimmed", [1, 5000, 13107, HALF // 2, HALF - 1])
def test_a_trimmed_mean_trims_from_its_least_number_of_contributions_on(trimmed: int) -> None:
    least = TRIMMED_MEAN.least({"trimmed": trimmed})[1]
    assert left_out(trimmed, least) == 1 and left_out(trimmed, least - 1) == 0


@pytest.mark.parametrize(("bucket", "means"), [(2, 3), (3, 3), (7, 3)])
def test_from_its_least_number_of_contributions_on_there_are_three_buckets(bucket: int, means: int) -> None:
    least = GEOMETRIC_MEDIAN.least({"steps": 4, "mixed": 0, "bucket": bucket})[1]
    assert [len(buckets(range(n), bucket)) for n in (least - 1, least)] == [means - 1, means]


@pytest.mark.parametrize("share", [-1, HALF + 1, 2.0, True])
def test_a_share_of_more_than_half_is_refused(share: Any) -> None:
    with pytest.raises(InputError, match=r"share: expected 0\.\.32768"):
        left_out(share, 6)


def test_no_values_have_no_middle() -> None:
    with pytest.raises(InputError, match="expected one value or more, got 0"):
        left_out(HALF, 0)


@pytest.mark.parametrize("rule", [r for r in COMBINE_RULES if isinstance(r.shape, Columns)], ids=lambda rule: rule.name)
def test_columns_leave_a_value_whatever_the_parameters(rule: Any) -> None:
    assert rule.weights == (UNIFORM,)  # a plan may not say that weights count where they do not
    bounds = [sorted({p.low, p.example, p.high}) for p in rule.parameters]
    for values in product(*bounds):
        given = dict(zip((p.name for p in rule.parameters), values, strict=True))
        for count in (*range(1, 200), 1000, 4096, 65_535, MAX_TOTAL_WEIGHT):
            assert 0 <= 2 * left_out(rule.shape.share(given), count) < count


# Nothing else asks ---------------------------------------------------------------------------------------------------


def compared(path: Path) -> list[str]:
    """Where a file compares, matches or looks up a rule's number by itself."""
    asked = {"combine_rule", "update_form"}
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        parts = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        if isinstance(node, ast.Match):
            parts = [node.subject]
        if isinstance(node, ast.Subscript):
            parts = [node.slice]
        for part in parts:
            names = {n.attr for n in ast.walk(part) if isinstance(n, ast.Attribute)}
            if names & asked:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def test_no_code_but_the_table_asks_for_a_rule_by_number() -> None:
    """So there is no guard that could be widened without the function that it would let in."""
    sources = [path for folder in ("registry", "trainer", "scripts") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 150
    assert [where for path in sources for where in compared(path)] == []


def test_what_asks_for_a_rule_by_number_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for text in ("if plan.combine_rule != 1: pass", "x = {1: f}[plan.combine_rule]",
                 "match p.plan.update_form:\n case 1: x", "ok = record.plan.update_form in (1, 2)"):  # fmt: skip
        (tmp_path / "x.py").write_text(text)
        assert compared(tmp_path / "x.py") == ["x.py:1"]
    (tmp_path / "x.py").write_text("rules_of(plan); lookup(T, plan.combine_rule, 'x')")
    assert compared(tmp_path / "x.py") == []


# Pages ---------------------------------------------------------------------------------------------------------------


def test_the_pages_are_those_of_the_table() -> None:
    docs = ROOT / "docs"
    again = "python -m registry.cli.rules_page docs"
    assert (docs / "rules.md").read_text() == rules_page(), again
    assert (docs / "format.md").read_text() == format_page((docs / "format.md").read_text()), again


def test_the_command_prints_the_table() -> None:
    from typer.testing import CliRunner

    from trainer.cli.root import app

    shown = CliRunner().invoke(app, ["rules"], env={"COLUMNS": "200"})
    data = json.loads(CliRunner().invoke(app, ["rules", "--json"]).stdout)
    assert [one["name"] for one in data.pop("server_rules")] == list(SERVER_RULES)
    assert [one["name"] for one in data.pop("algorithms")] == list(CLIENT_ALGORITHMS)
    assert {kind: [one["number"] for one in entries] for kind, entries in data.items()} == {
        "combine_rules": [one.number for one in COMBINE_RULES],
        "update_forms": [one.number for one in UPDATE_FORMS],
    }
    for entries in facts().values():
        for one in entries:
            assert str(one["name"]) in shown.stdout
            assert str(one["description"]) in shown.stdout


def test_every_field_of_a_plan_that_the_table_reads_is_there() -> None:
    held = {field.name for field in fields(manifest_of({}))}
    assert {name for name in vars(table.Ruled) if not name.startswith("_")} <= held

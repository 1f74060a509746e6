"""Liars under rules that select: false inner products, false factors, and reports that hide them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hearing import convicted, show

from registry.chain.contract_structs import Opening, Result, Target
from registry.chain.court import Court
from registry.chain.demand_terms import MAX_DEPOSIT
from registry.content.heads import gram_words
from registry.content.manifest import InnerProducts, digest_of, manifest_cid
from registry.content.merkle import MerkleTree, counted_root, leaf_hash, merkle_tree
from registry.disputes.demands import demands_of
from registry.disputes.openings import Chunks
from registry.disputes.tree_cache import place_of
from registry.roles import aggregator
from registry.roles.answering import Answering, answer_demands
from registry.roles.auditor import AuditorMemory
from registry.rounds.gram_tree import GramTree, gram_rows, has_gram
from registry.rounds.results import Outcome
from registry.rules.gram import square
from registry.rules.shapes import Select
from registry.rules.table import MULTI_KRUM, UNIFORM, Combining, Rules, rules_of
from registry.store.manifests import put_manifest
from registry.types import Fault, Root, SegmentKind
from registry.verification.checks import Finding

pytestmark = pytest.mark.slow

KRUM = {"byzantine": 0, "selected": 2, "mixed": 0, "bucket": 0}
ZERO = bytes(32)


@pytest.fixture
def round_of(new_plan: Any) -> Callable[..., Outcome]:
    """Returns the honest outcome of a round under Multi-Krum, or other rules: called with a house and what differs."""

    def made(house: Any, **terms: Any) -> Outcome:
        new_plan(house, weights="uniform", **({"combine_rule": 5, "combine_parameters": KRUM} | terms))
        house.owner.open_round(house.model_id)
        for seed, name in enumerate(("ann", "bob", "cyn")):
            house.contribute(name, house.update(name, seed=seed, weight=10 + seed))
        house.sleep_to("publish_deadline")
        return house.outcome()  # type: ignore[no-any-return]

    return made


def leaves_of(gram: GramTree) -> list[bytes]:
    data, size = gram.file.read_bytes(), gram_rows(gram.updates).size
    return [data[at : at + size] for at in range(0, len(data), size)]


def chunks_of(leaves: Sequence[bytes], count: int | None = None) -> Chunks:
    tree: MerkleTree = merkle_tree(map(leaf_hash, leaves))
    return Chunks(count or sum(map(len, leaves)) // 32, tree, leaves.__getitem__)


def reported(house: Any, made: Outcome, gram: InnerProducts | None, **changed: Any) -> Result:
    """The result whose report says this of inner products; published."""
    report = replace(made.report, gram=gram, **{k: v for k, v in changed.items() if k == "divisor"})
    assert made.version.round is not None
    version = replace(made.version, round=replace(made.version.round, report=manifest_cid(digest_of(report))))
    for manifest in (report, version):
        put_manifest(house.store, manifest)
    told = {"report_digest": digest_of(report), "version_digest": digest_of(version)}
    return replace(made.result, **told, **changed)


def falsified(leaves: Sequence[bytes], index: int, place: int, by: int) -> list[bytes]:
    """The leaves with another sum in one of them."""
    leaf = leaves[index]
    before = int.from_bytes(leaf[32 * place : 32 * place + 32], "big", signed=True)
    word = (before + by).to_bytes(32, "big", signed=True)
    return [*leaves[:index], leaf[: 32 * place] + word + leaf[32 * place + 32 :], *leaves[index + 1 :]]


def lied(house: Any, honest: Outcome, leaves: Sequence[bytes], **changed: Any) -> Chunks:
    """Mallory attests a result with these sums."""
    assert honest.report.gram is not None
    chunks = chunks_of(leaves)
    house.attest("mallory", reported(house, honest, replace(honest.report.gram, root=chunks.root), **changed))
    return chunks


def test_an_honest_selection_stands_and_its_inner_products_are_shown(federation: Any, round_of: Any) -> None:
    house = federation
    honest = round_of(house, scales={"w": 2, "b": -1}, buffers={"b": 1})
    assert honest.report.gram is not None and honest.report.gram.finest == 1  # w, after b
    segments = house.round().form.segments
    assert [segment.kind for segment in segments] == [SegmentKind.BUFFER, SegmentKind.PARAMETER]
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    head = house.store.get(manifest_cid(honest.result.report_digest))
    assert gram_words(head)[:32] == honest.report.gram.root
    assert convicted(house) is Fault.NONE


@pytest.mark.parametrize("kept", [True, False], ids=["from the cache", "measured anew"])
def test_an_aggregator_shows_demanded_inner_products(federation: Any, round_of: Any, kept: bool) -> None:
    house = federation
    honest = round_of(house)
    folder = house.folder / "first"
    assert aggregator.advance(house.first, house.store, folder, house.model_id)
    if not kept:
        shutil.rmtree(place_of(folder, house.model_id, 1))
    head = house.store.get(manifest_cid(honest.result.report_digest))
    court = Court(house.stranger)
    target = Target(house.model_id, 1, honest.result)
    court.demand_gram(target, head, [0, 2, 3], deposit=MAX_DEPOSIT, until="mined")
    memory = Answering()
    for _ in range(3):
        answer_demands(house.first, house.store, folder, house.model_id, 1, memory)
    shown = demands_of(court, house.stranger.dispute(house.model_id, 1)).shown
    leaves = leaves_of(honest.gram)
    assert {event.index: event.leaf for event in shown} == {0: leaves[0], 2: leaves[2], 3: b""}
    assert all(counted_root(event.counted.count, event.counted.inner) == honest.gram.root for event in shown)


@pytest.mark.parametrize(("left", "right", "by"), [(0, 0, 1), (2, 1, -1), (1, 2, 1 << 70)])
def test_a_false_inner_product_is_convicted(federation: Any, round_of: Any, left: int, right: int, by: int) -> None:
    house = federation
    honest = round_of(house, scales={"w": 1})
    false = lied(house, honest, falsified(leaves_of(honest.gram), left, right, by))
    assert convicted(house, answer=lambda: show(house, {false.root: false.opening})) is Fault.PRODUCT


@pytest.mark.parametrize(("bits", "kept"), [(8, 0), (16, 8)], ids=["int8", "top-8"])
def test_a_false_inner_product_of_packed_updates_is_told_and_not_charged(
    federation: Any, round_of: Any, bits: int, kept: int
) -> None:
    """No contract multiplies packed rows: the auditor says so, demands nothing, and the result stands."""
    house = federation
    honest = round_of(house, update_form=2, form_parameters={"bits": bits, "kept": kept})
    lied(house, honest, falsified(leaves_of(honest.gram), 1, 2, 7))
    memory = AuditorMemory()
    assert convicted(house, memory=memory) is Fault.NONE
    (found,) = memory.inspected.values()
    assert "which no contract multiplies" in found.said
    assert (found.sound, found.charge, found.wanted) == (False, None, ())
    assert house.audit()[-1].finding == Finding.FAILED  # a reader finds it


def test_false_inner_products_that_withheld_leaves_hide_make_the_result_void(federation: Any, round_of: Any) -> None:
    house = federation
    honest = round_of(house)
    lied(house, honest, falsified(leaves_of(honest.gram), 1, 1, 5))
    assert convicted(house) is Fault.UNANSWERED


def test_another_number_of_inner_products_is_convicted(federation: Any, round_of: Any) -> None:
    house = federation
    honest = round_of(house)
    leaves = leaves_of(honest.gram)
    false = lied(house, honest, [*leaves, *leaves])
    assert convicted(house, answer=lambda: show(house, {false.root: false.opening})) is Fault.SIZE


@pytest.mark.parametrize(
    ("gram", "terms"),
    [
        (None, {}),
        (InnerProducts(ZERO, 0), {}),
        (InnerProducts(b"\x07" * 32, 0), {"combine_rule": 4, "combine_parameters": {}}),
    ],
    ids=["missing", "a root of zero", "under the mean"],
)
def test_a_report_with_another_gram_part_is_convicted(
    federation: Any, round_of: Any, gram: InnerProducts | None, terms: dict[str, Any]
) -> None:
    house = federation
    honest = round_of(house, **terms)
    house.attest("mallory", reported(house, honest, gram))
    assert convicted(house) is Fault.GRAM


@pytest.mark.parametrize("finest", [0, 7, (1 << 64) - 1], ids=["another segment", "past the end", "none"])
def test_inner_products_in_another_unit_are_convicted(federation: Any, round_of: Any, finest: int) -> None:
    house = federation
    honest = round_of(house, scales={"w": -2})
    assert honest.report.gram is not None and honest.report.gram.finest == 1
    house.attest("mallory", reported(house, honest, replace(honest.report.gram, finest=finest)))
    assert convicted(house) is Fault.GRAM


def test_another_divisor_than_the_rule_s_is_convicted(federation: Any, round_of: Any) -> None:
    house = federation
    honest = round_of(house, combine_rule=7, combine_parameters={"bound": 0, "mixed": 0, "bucket": 0})
    house.attest("mallory", reported(house, honest, honest.report.gram, divisor=honest.result.divisor + 1))
    assert convicted(house) is Fault.SELECTION


def test_a_selection_by_false_inner_products_is_convicted_by_one_of_them(federation: Any, round_of: Any) -> None:
    """Factors that follow from the sums are no alibi where the sums are false."""
    house = federation
    honest = round_of(house)
    own = leaves_of(honest.gram)
    shape = MULTI_KRUM.shape
    assert isinstance(shape, Select)
    chosen = None
    for outsider in range(3):  # far from the others, or not, until another one is left out
        leaves = falsified(own, outsider, outsider, 1 << 60)
        matrix = [[int.from_bytes(leaf[32 * j : 32 * j + 32], "big", signed=True) for j in range(3)] for leaf in leaves]
        triangle = [matrix[i][j] for i in range(3) for j in range(i, 3)]
        assert square(triangle, 3) == matrix
        chosen = shape.factors(triangle, [1] * 3, KRUM, uniform=True)
        if list(chosen.factors) != [honest.factors[who] for who in sorted(honest.factors)]:
            break
    assert chosen is not None
    false = chunks_of(leaves)
    given = replace(shape, choose=lambda *_: chosen)
    with pytest.MonkeyPatch.context() as patch:
        rule = replace(MULTI_KRUM, shape=given)
        combining = Combining(rule, UNIFORM, KRUM)
        patch.setattr("registry.rounds.results.rules_of", lambda plan: Rules(combining, rules_of(plan).form))
        made = house.outcome()
    assert made.factors != honest.factors and made.report.gram is not None
    house.attest("mallory", reported(house, made, replace(made.report.gram, root=false.root)))
    assert convicted(house, answer=lambda: show(house, {false.root: false.opening})) is Fault.PRODUCT


def test_a_row_far_from_the_first_is_found_and_convicted(federation: Any, round_of: Any) -> None:
    """Of several rows the first false one is, though somebody else has demanded a later one."""
    house = federation
    honest = round_of(house)
    assert has_gram(True, 32) and not has_gram(True, 33) and not has_gram(False, 3)
    leaves = falsified(falsified(leaves_of(honest.gram), 2, 0, 3), 1, 1, 3)
    false = lied(house, honest, leaves)
    assert isinstance(false.opening(2), Opening) and false.root != Root(honest.gram.root)
    assert convicted(house, answer=lambda: show(house, {false.root: false.opening})) is Fault.PRODUCT

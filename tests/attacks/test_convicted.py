"""Fraud proofs: every lie that a quorum can attest is convicted by one honest auditor, then the honest result is
final."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hearing import convicted, update_of, without
from hearing import show as show_with_heads

from registry.chain.challenges import Challenges
from registry.chain.contract_errors import (
    AlreadyDemanded,
    BadProof,
    BondIsLocked,
    BondTooSmall,
    NoState,
    NothingWrong,
    OtherList,
)
from registry.chain.contract_events import ChallengeAdvanced, ClaimSealed, LeafDemanded, ResultAttested, ResultConvicted
from registry.chain.contract_hashes import claim_of, seal_of
from registry.chain.contract_structs import Grant, Listed, OpenDemands, Opening, Result, Target
from registry.chain.court import Court
from registry.chain.demand_terms import MAX_HEAD
from registry.chain.sending import Call
from registry.chain.sentinels import NOTHING, NOWHERE
from registry.content.manifest import DeltaFile, Reason, ServerRule, VersionFile, encode, manifest_cid
from registry.content.merkle import counted_root, state_rows
from registry.content.tensors import parse_header
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import Edit, falsified, nudged
from registry.disputes.charges import basis_of, listed
from registry.disputes.demands import demands_of
from registry.disputes.faults import WrongAggregate
from registry.disputes.openings import Chunks, Listing, chunks_of_blob, chunks_of_file
from registry.errors import VerificationFailed
from registry.ethereum.fees import suggest_fees
from registry.roles import aggregator, auditor, claims
from registry.roles.purse import Purse
from registry.roles.watch_costs import price_of, watch_costs
from registry.rounds.onchain import attested_results, read_round
from registry.rounds.plans import plan_rules, server_rule
from registry.rounds.reports import load_report
from registry.rounds.server_steps import next_version
from registry.rounds.versions import load_version_manifest, roots_of
from registry.rules.encoding import RoundScalars, encode_program
from registry.rules.program import StateBounds
from registry.rules.selection import selecting
from registry.rules.shapes import SelectColumns
from registry.rules.table import BULYAN, MULTI_KRUM, UNIFORM, Combining, Rules, rules_of
from registry.rules.tracing import TracedScalars, Value, trace
from registry.store.blobs import add_blob
from registry.store.manifests import put_manifest
from registry.store.memory import MemoryStore
from registry.types import Address, Blob, Digest, Fault, HeadKind, Part, Phase, Role, Root, Standing, Tree

pytestmark = pytest.mark.slow

ETHER = 10**18
STEP = 2.0**-22


class Hearing:
    """An auditor at work, and what mallory answers meanwhile."""

    def __init__(self, house: Any, *, store: Any = None, number: int = 1) -> None:
        self.house, self.client, self.number = house, house.stranger, number
        self.store = store or house.store
        self.purse = Purse(self.client, house.folder / "purse.json", 10 * ETHER)
        self.memory = auditor.AuditorMemory()
        self.said: list[str] = []

    def step(self) -> str:
        said = auditor.advance(
            self.client,
            self.store,
            self.house.folder / "auditor",
            self.house.model_id,
            purse=self.purse,
            memory=self.memory,
        )
        if said:
            self.said.append(said)
        return said

    def until_void(self, answer: Callable[[], None] = lambda: None, *, convicted: int = 1) -> Fault:
        """Let the auditor work until the result is void; say by which fault, the last of so many in the round."""
        for _ in range(60):
            self.step()
            answer()
            if self.client.phase(self.house.model_id, self.number) != Phase.CHALLENGE:
                break
            if not self.said or "demanded" in self.said[-1]:
                self.pass_answer_time()
        record = self.house.record(self.number)
        latest = self.house.chain.w3.eth.block_number
        found = list(Court(self.client).events(ResultConvicted, subject=record.round_id, to_block=latest))
        assert len(found) == convicted, self.said
        return found[-1].fault  # type: ignore[attr-defined, no-any-return]

    def pass_answer_time(self) -> None:
        court, dispute = Court(self.client), self.client.dispute(self.house.model_id, self.number)
        demands = demands_of(court, dispute)
        if demands.open:
            sleep_until(self.house.chain.w3, max(demands.deadlines[leaf] for leaf in demands.open))

    def honest_end(self) -> None:
        """Mallory is expelled, `first` attests what was committed, and that becomes the head."""
        house = self.house
        self.step()
        assert not house.owner.member(house.model_id, house.mallory.account).roles & Role.AGGREGATOR
        assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
        result = house.outcome(number=self.number).result
        while self.step():
            pass
        assert any(said.endswith("recomputed to the bit") for said in self.said[-2:])
        house.sleep_to("challenge_deadline", self.number)
        house.first.finalize_round(house.model_id, self.number, result)
        assert house.owner.model(house.model_id).head == result.version_digest
        assert all(found.passed for found in house.verify())


def lie(house: Any, *, number: int = 1, **edits: Edit) -> Result:
    """An honest result with other bytes for its aggregate, version or state, published."""
    return falsified(edits.pop("store", house.store), house.outcome(number=number), **edits)  # type: ignore[arg-type]


@pytest.mark.parametrize("position", [0, 255, 256, 3502])
def test_a_wrong_coordinate_of_the_aggregate_is_convicted(wide: Any, position: int) -> None:
    wide.attest("mallory", lie(wide, aggregate=nudged(position, STEP)))
    hearing = Hearing(wide)
    assert hearing.until_void() is Fault.AGGREGATE
    hearing.honest_end()


@pytest.mark.parametrize("position", [0, 2048, 3502])
def test_a_wrong_coordinate_of_the_version_is_convicted(wide: Any, position: int) -> None:
    wide.attest("mallory", lie(wide, version=nudged(position)))
    hearing = Hearing(wide)
    assert hearing.until_void() is Fault.VERSION
    hearing.honest_end()


def test_a_false_unweighted_mean_is_convicted(federation: Any, new_plan: Any) -> None:
    house = federation
    new_plan(house, combine_rule=4, weights="uniform")
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed, weight=10 + seed))
    house.sleep_to("publish_deadline")
    honest = house.outcome().result
    assert (honest.divisor, honest.total_weight) == (3, 33)
    house.attest("mallory", lie(house, aggregate=nudged(17, STEP)))
    hearing = Hearing(house)
    assert hearing.until_void() is Fault.AGGREGATE
    hearing.honest_end()


SELECTING: dict[str, dict[str, Any]] = {
    "multi_krum": {"combine_rule": 5, "combine_parameters": {"byzantine": 0, "selected": 2, "mixed": 0, "bucket": 0}},
    "geometric_median": {"combine_rule": 6, "combine_parameters": {"steps": 4, "mixed": 0, "bucket": 0}},
    "geometric_median in buckets": {
        "combine_rule": 6,
        "combine_parameters": {"steps": 4, "mixed": 0, "bucket": 2},
        "min_contributions": 5,
    },
    "norm_clip": {
        "combine_rule": 7,
        "combine_parameters": {"bound": 0, "mixed": 1, "bucket": 0},
        "min_contributions": 3,
    },
}


def selected(house: Any, new_plan: Any, terms: dict[str, Any]) -> Any:
    """A round under a rule that selects, up to its honest outcome."""
    return outcome_of(house, new_plan, SITES[1 : 1 + max(3, terms.get("min_contributions", 0))], terms)


@pytest.mark.parametrize("terms", SELECTING.values(), ids=SELECTING)
def test_a_false_sum_of_selected_contributions_is_convicted(
    federation: Any, new_plan: Any, terms: dict[str, Any]
) -> None:
    house = federation
    honest = selected(house, new_plan, terms)
    factors = set(honest.factors.values())
    assert len(factors) > 1 or terms["combine_rule"] == 7  # some count less than others
    house.attest("mallory", lie(house, aggregate=nudged(17, STEP)))
    hearing = Hearing(house)
    assert hearing.until_void() is Fault.AGGREGATE
    hearing.honest_end()


def test_another_choice_than_the_rule_s_is_convicted(federation: Any, new_plan: Any) -> None:
    house = federation
    honest = selected(house, new_plan, SELECTING["multi_krum"]).result
    everybody = Combining(MULTI_KRUM, UNIFORM, {"byzantine": 0, "selected": 3, "mixed": 0, "bucket": 0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("registry.rounds.results.rules_of", lambda plan: Rules(everybody, rules_of(plan).form))
        chosen = house.outcome().result
    assert (honest.divisor, chosen.divisor) == (2, 3)
    house.attest("mallory", chosen)
    hearing = Hearing(house)
    assert hearing.until_void() is Fault.SELECTION
    hearing.honest_end()


SITES = ("owner", "ann", "bob", "cyn", "first", "second", "stranger")
"""As many as Bulyan needs to survive one: 4f + 3."""


def bulyan(house: Any, new_plan: Any) -> Any:
    """A round under Bulyan, with one liar's update among seven, up to its honest outcome."""
    terms = {"combine_rule": 8, "combine_parameters": {"byzantine": 1}, "min_contributions": 7}
    return outcome_of(house, new_plan, SITES, terms)


def outcome_of(house: Any, new_plan: Any, names: Sequence[str], terms: Mapping[str, Any]) -> Any:
    """The honest outcome of a round to which each of the names contributes."""
    both = Role.PARTICIPANT | Role.AGGREGATOR
    house.owner.grant_roles_batch(house.model_id, [Grant(house.clients[name].account, both) for name in names])
    new_plan(house, weights="uniform", **terms)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(names):
        house.contribute(name, house.update(name, seed=seed, weight=10 + seed))
    house.sleep_to("publish_deadline")
    return house.outcome()


def test_a_false_mean_of_the_values_nearest_to_the_median_is_convicted(federation: Any, new_plan: Any) -> None:
    house = federation
    honest = bulyan(house, new_plan)
    assert sorted(honest.factors.values()) == [0, 0, 1, 1, 1, 1, 1] and honest.result.divisor == 5
    house.attest("mallory", lie(house, aggregate=nudged(17, STEP)))
    hearing = Hearing(house)
    assert hearing.until_void() is Fault.AGGREGATE
    hearing.honest_end()


@pytest.mark.parametrize("false", [False, True], ids=["honest", "false"])
def test_values_nearest_to_the_median_are_compared_though_a_contribution_is_hidden(
    federation: Any, new_plan: Any, false: bool
) -> None:
    """The version follows from the aggregate, honest or false."""
    house = federation
    made, round = bulyan(house, new_plan), house.round()
    result = made.result
    if false:
        path = house.folder / "false.safetensors"
        path.write_bytes(nudged(17, STEP)(made.aggregate_file.read_bytes()))
        scalars = RoundScalars(1, result.contributions, result.total_weight, result.total_steps)
        version = b"".join(next_version(house.store, round.parent, round.form, path, scalars, None))
        result = falsified(house.store, made, aggregate=nudged(17, STEP), version=lambda _: version)
    hidden = update_of(house, "ann")
    chunks, store = chunks_of_blob(house.store, hidden), without(house, hidden)
    house.attest("mallory", result)
    fault = convicted(house, store, lambda: show_with_heads(house, {chunks.root: chunks.opening}))
    assert fault is (Fault.AGGREGATE if false else Fault.NONE)


@pytest.mark.parametrize(
    ("factors", "fault"),
    [((2, 1, 1, 1, 1, 1, 0), Fault.FACTOR), ((1, 1, 1, 1, 0, 0, 0), Fault.TOTAL)],
    ids=["one counts twice", "fewer than the rule selects at least"],
)
def test_a_list_that_no_selection_gives_is_convicted(
    federation: Any, new_plan: Any, factors: tuple[int, ...], fault: Fault
) -> None:
    house = federation
    honest = bulyan(house, new_plan).result
    entries = zip(contributions_of(house), factors, strict=True)
    listing = Listing(tuple(replace(entry, factor=factor) for entry, factor in entries))
    told = {"contributions_root": listing.root, "divisor": sum(factors), "report_digest": Digest(b"\x09" * 32)}
    house.attest("mallory", replace(honest, **told))
    assert Hearing(house).until_void(lambda: show(house, {listing.root: listing.opening})) is fault


def test_another_selection_for_columns_is_convicted(federation: Any, new_plan: Any) -> None:
    house = federation
    honest = bulyan(house, new_plan)
    others = selecting(lambda products, given, unit: [0, 1, 0, 1, 1, 1, 1])
    rule = replace(BULYAN, shape=SelectColumns(others, left_out=lambda given: 2))
    combining = Combining(rule, UNIFORM, {"byzantine": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("registry.rounds.results.rules_of", lambda plan: Rules(combining, rules_of(plan).form))
        chosen = house.outcome()
    assert chosen.factors != honest.factors and chosen.result.divisor == honest.result.divisor == 5
    house.attest("mallory", chosen.result)
    hearing = Hearing(house)
    assert hearing.until_void() is Fault.SELECTION
    hearing.honest_end()


COLUMNS: dict[str, tuple[dict[str, Any], int]] = {
    "the median of an odd number": ({"combine_rule": 2}, 3),
    "the median of an even number": ({"combine_rule": 2}, 2),
    "a trimmed mean that leaves out two": (
        {"combine_rule": 3, "combine_parameters": {"trimmed": 21_846}, "min_contributions": 3},
        3,
    ),
    "a trimmed mean that leaves out none": ({"combine_rule": 3, "combine_parameters": {"trimmed": 0}}, 3),
}


@pytest.mark.parametrize(("terms", "count"), COLUMNS.values(), ids=COLUMNS)
def test_a_false_middle_of_columns_is_convicted(
    federation: Any, new_plan: Any, terms: dict[str, Any], count: int
) -> None:
    house = federation
    new_plan(house, weights="uniform", **terms)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")[:count]):
        house.contribute(name, house.update(name, seed=seed, weight=10 + seed))
    house.sleep_to("publish_deadline")
    house.attest("mallory", lie(house, aggregate=nudged(17, STEP)))
    hearing = Hearing(house)
    assert hearing.until_void() is Fault.AGGREGATE
    hearing.honest_end()


def test_an_aggregate_off_the_grid_is_convicted(wide: Any) -> None:
    wide.attest("mallory", lie(wide, aggregate=nudged(1500, STEP / 2)))
    hearing = Hearing(wide)
    assert hearing.until_void() is Fault.CHUNK
    hearing.honest_end()


@pytest.mark.parametrize("which", ["aggregate", "version"])
def test_another_number_of_values_is_convicted(wide: Any, which: str) -> None:
    wide.attest("mallory", lie(wide, **{which: lambda data: data + bytes(4)}))
    hearing = Hearing(wide)
    assert hearing.until_void() is Fault.SIZE
    hearing.honest_end()


FALSE_ROOTS = {
    "another rest": {"rest": Root(b"\x05" * 32)},
    "a state": {"state": Root(b"\x05" * 32)},
    "a layout": {"state_layout": b"\x05" * 32},
    "a step": {"step": 1},
}


@pytest.mark.parametrize("changed", FALSE_ROOTS.values(), ids=FALSE_ROOTS)
def test_roots_that_do_not_follow_from_the_parent_are_convicted(wide: Any, changed: dict[str, Any]) -> None:
    result = wide.outcome().result
    wide.attest("mallory", replace(result, roots=replace(result.roots, **changed)))
    hearing = Hearing(wide)
    assert hearing.until_void() is Fault.ROOTS
    hearing.honest_end()


def contributions_of(house: Any) -> list[Listed]:
    return sorted(
        (listed(c, house.round().form.rules) for c in house.record().commitments), key=lambda entry: entry.participant
    )


LISTS: dict[str, tuple[Callable[[list[Listed]], list[Listed]], dict[str, int], Fault]] = {
    "one left out of the count": (lambda entries: entries, {"contributions": 2}, Fault.COUNT),
    "weights that do not add up": (lambda entries: entries, {"total_weight": 999}, Fault.TOTAL),
    "steps that do not add up": (lambda entries: entries, {"total_steps": 999}, Fault.TOTAL),
    "another divisor than the factors' sum": (lambda entries: entries, {"divisor": 1}, Fault.TOTAL),
    "a factor under the weight": (
        lambda entries: [entries[0], replace(entries[1], factor=1), entries[2]],
        {},
        Fault.FACTOR,
    ),
    "a factor over the weight": (
        lambda entries: [*entries[:2], replace(entries[2], factor=1 << 31)],
        {},
        Fault.FACTOR,
    ),
    "a factor that fits into no field": (
        lambda entries: [*entries[:2], replace(entries[2], factor=1 << 255)],
        {},
        Fault.FACTOR,
    ),
    "other steps than committed": (
        lambda entries: [replace(entries[0], steps=500), *entries[1:]],
        {},
        Fault.UNCOMMITTED,
    ),
    "a participant twice": (lambda entries: [entries[0], entries[0], entries[2]], {}, Fault.ORDER),
    "a descending list": (lambda entries: entries[::-1], {}, Fault.ORDER),
    "somebody who never committed": (
        lambda entries: [entries[0], entries[1], replace(entries[2], participant=Address(b"\xff" * 20))],
        {},
        Fault.UNCOMMITTED,
    ),
    "another weight than committed": (
        lambda entries: [replace(entries[0], weight=500), *entries[1:]],
        {},
        Fault.UNCOMMITTED,
    ),
    "another root than committed": (
        lambda entries: [replace(entries[0], tensor_root=Root(b"\x07" * 32)), *entries[1:]],
        {},
        Fault.UNCOMMITTED,
    ),
    "no weight at all": (lambda entries: [replace(entries[0], weight=0), *entries[1:]], {}, Fault.UNCOMMITTED),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_false_list_is_convicted_though_only_shown_leaf_by_leaf(wide: Any, name: str) -> None:
    change, said, fault = LISTS[name]
    listing = Listing(tuple(change(contributions_of(wide))))
    result = replace(wide.outcome().result, contributions_root=listing.root, report_digest=Digest(b"\x09" * 32), **said)
    wide.attest("mallory", result)
    hearing = Hearing(wide)

    def answer() -> None:
        show(wide, {listing.root: listing.opening})

    assert hearing.until_void(answer) is fault
    hearing.honest_end()


def show(house: Any, openings: dict[bytes, Callable[[int], Opening]], number: int = 1) -> None:
    """Mallory answers what is demanded of these roots."""
    court = Court(house.mallory)
    dispute = house.mallory.dispute(house.model_id, number)
    if any(dispute.tally):
        for leaf in demands_of(court, dispute).open:
            if leaf.root in openings:
                court.show_leaf(leaf, openings[leaf.root](leaf.index))


@pytest.mark.parametrize("which", ["aggregate", "version"])
@pytest.mark.parametrize("position", [5, 1100, 3502])
def test_a_hidden_tree_is_walked_to_the_bad_leaf(wide: Any, which: str, position: int) -> None:
    edit = {"aggregate": nudged(position, STEP), "version": nudged(position)}[which]
    result = lie(wide, **{which: edit}, store=MemoryStore())  # type: ignore[arg-type]
    path: Path = wide.folder / "hidden.safetensors"
    path.write_bytes(edit((wide.folder / "outcome" / FILES[which]).read_bytes()))
    chunks: Chunks = chunks_of_file(path)
    assert chunks.root == (result.roots.tensor if which == "version" else result.aggregate_root)
    wide.attest("mallory", result)
    hearing = Hearing(wide)
    assert hearing.until_void(lambda: show(wide, {chunks.root: chunks.opening})) is Fault[which.upper()]
    hearing.honest_end()


FILES = {"aggregate": "aggregate.safetensors", "version": "model.safetensors", "state": "state.safetensors"}


@pytest.mark.parametrize("withheld", ["aggregate_root", "tensor", "contributions_root"])
def test_what_nobody_shows_is_void_and_its_attester_expelled(wide: Any, withheld: str) -> None:
    root = counted_root(3503 if withheld != "contributions_root" else 3, b"\x05" * 32)
    honest = wide.outcome().result
    hidden = {"roots": replace(honest.roots, tensor=root)} if withheld == "tensor" else {withheld: root}
    wide.attest("mallory", replace(honest, **hidden, report_digest=Digest(b"\x09" * 32)))
    hearing = Hearing(wide)
    assert hearing.until_void() is Fault.UNANSWERED
    tally = wide.mallory.attestation(wide.model_id, 1, wide.mallory.account)
    assert wide.owner.standing(wide.model_id, 1, tally) is Standing.UNANSWERED
    hearing.honest_end()


def test_an_update_off_the_grid_that_was_admitted_is_convicted(opened: Any) -> None:
    house = opened
    good, bad = house.update("ann", seed=1), house.update("bob", seed=2)
    house.contribute("ann", good)
    house.contribute("bob", house.sealed("bob", nudged(17, STEP / 2)(bad.data)))
    house.sleep_to("publish_deadline")
    entries = contributions_of(house)
    listing = Listing(tuple(entries))
    alone = house.outcome().result
    said = {"contributions": 2, "total_weight": 200, "total_steps": 8, "divisor": 200}
    house.attest("mallory", replace(alone, contributions_root=listing.root, **said))
    assert Hearing(house).until_void() is Fault.CHUNK


def test_an_honest_result_is_found_sound_and_left_alone(wide: Any) -> None:
    wide.attest("mallory", wide.outcome().result)
    hearing = Hearing(wide)
    assert hearing.step().endswith("recomputed to the bit")
    assert hearing.step() == ""
    assert hearing.purse.spent == 0


@pytest.mark.parametrize("depth", [3, 4])
def test_a_window_is_audited_by_the_commitments_of_its_own_block(wide: Any, depth: int) -> None:
    # The last final block holds a part of the commitments: by that part a right list would be a wrong one. The window
    # may be over before all of them are final.
    wide.attest("mallory", lie(wide, aggregate=nudged(5, STEP)))
    hearing = Hearing(wide)
    hearing.client = wide.watching(depth)
    hearing.purse = Purse(hearing.client, wide.folder / "patient.json", 10 * ETHER)
    assert 0 < len(read_round(hearing.client, wide.model_id, 1).commitments) < 3
    assert hearing.step().endswith("convicted: aggregate")
    assert hearing.until_void() is Fault.AGGREGATE


def test_a_charge_that_does_not_convince_is_looked_at_again(wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wide.attest("mallory", lie(wide, aggregate=nudged(5, STEP)))
    hearing, brought = Hearing(wide), []

    def unconvincing(*_: Any) -> Any:
        brought.append(1)
        raise OtherList(bytes(32), bytes(32))

    with monkeypatch.context() as patched:
        patched.setattr(WrongAggregate, "convict", unconvincing)
        assert "the contract rejected the fraud proof: OtherList" in hearing.step()
        assert hearing.step() == "", "said once"
    assert len(brought) == 1, "not brought again at once"
    sleep_until(wide.chain.w3, max(hearing.memory.refused.values()))
    assert hearing.until_void() is Fault.AGGREGATE


@pytest.mark.parametrize(("share", "sends"), [(8, 2), (80, 14)])
def test_a_burst_of_demands_is_answered_at_once(
    wide: Any, share: int, sends: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, court = wide, Court(wide.stranger)
    monkeypatch.setattr("registry.roles.answering._SHARE_OF_BLOCK", share)
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    target = Target(house.model_id, 1, house.outcome().result)
    deposit = court.deposit_now(target)
    receipt = court.demand_chunks(target, Tree.AGGREGATE, range(40), deposit=deposit)
    assert [event.deposit for event in receipt.events if isinstance(event, LeafDemanded)] == [deposit] * 40
    sent: list[str] = []
    client = house.first
    submit, wait = client.submit, client.wait
    client.submit = lambda call, **more: sent.append("submit") or submit(call, **more)  # type: ignore[func-returns-value]
    client.wait = lambda call, until: sent.append("wait") or wait(call, until)  # type: ignore[func-returns-value]
    memory = aggregator.AggregatorMemory()
    said = aggregator.advance(client, house.store, house.folder / "first", house.model_id, memory=memory)
    assert said.endswith("40 leaves")
    assert sent == ["submit"] * sends, "none is waited for"
    largest = max(intent.gas or 0 for intent in client.transactor.journal.all() if intent.key.startswith("showLeaves"))
    assert largest <= house.chain.w3.eth.get_block("latest")["gasLimit"] // share
    open = court.open_demands(wide.stranger.round_id(house.model_id, 1), client.dispute(house.model_id, 1).tally)
    assert open == OpenDemands(0, 0, 0)


@pytest.mark.parametrize(("gas", "shown"), [(10_000, True), (100_000_000, False)])
def test_who_has_not_attested_shows_what_pays_for_itself(
    wide: Any, gas: int, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.roles.answering._GAS_OF_ANSWER", gas)
    house, court = wide, Court(wide.stranger)
    target = Target(house.model_id, 1, house.outcome().result)
    house.attest("mallory", target.result)
    court.demand_chunks(target, Tree.AGGREGATE, [0], deposit=court.deposit_now(target))
    assert bool(aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)) is shown
    dispute = house.first.dispute(house.model_id, 1)
    assert bool(demands_of(court, dispute).open) is not shown


@pytest.mark.parametrize("together", [1, 32])
def test_an_answer_that_somebody_else_gave_keeps_no_other_back(
    wide: Any, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.roles.answering.TOGETHER", together)
    house, court = wide, Court(wide.stranger)
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    target = Target(house.model_id, 1, house.outcome().result)
    for index in range(3):
        court.demand_chunks(target, Tree.AGGREGATE, [index], NOWHERE, deposit=court.deposit_now(target))
    own = chunks_of_file(house.folder / "outcome" / FILES["aggregate"])
    client, submit = house.first, house.first.submit

    def overtaken(call: Any, **more: Any) -> Any:
        dispute = client.dispute(house.model_id, 1)
        leaf = min(demands_of(court, dispute).open, key=lambda leaf: leaf.index, default=None)
        if leaf is not None and leaf.index == 0:
            court.show_leaf(leaf, own.opening(0))
        return submit(call, **more)

    client.submit = overtaken  # type: ignore[method-assign]
    assert aggregator.advance(client, house.store, house.folder / "first", house.model_id).endswith("2 leaves")
    assert not demands_of(court, client.dispute(house.model_id, 1)).open


def test_an_attester_that_was_away_answers_late_and_keeps_its_role(
    federation: Any, new_plan: Callable[..., Any]
) -> None:
    house, hour = federation, 3600
    new_plan(
        house,
        bond_gwei=ETHER // 10**9,
        demand_price_gwei=10**6,
        challenge_duration=hour,
        answer_duration=40,
        late_duration=60,
    )
    Court(house.first).deposit_bond(house.model_id, ETHER)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    memory, folder = aggregator.AggregatorMemory(), house.folder / "first"
    assert aggregator.advance(house.first, house.store, folder, house.model_id, memory=memory)
    court, result = Court(house.stranger), house.outcome().result
    target, dispute = Target(house.model_id, 1, result), house.owner.dispute(house.model_id, 1)
    deposit = court.deposit_now(target)
    assert (deposit, court.bond_asked(house.model_id, 1)) == (10**15, ETHER)
    court.demand_chunks(target, Tree.AGGREGATE, [0, 1], deposit=deposit)
    demands = demands_of(court, dispute)
    assert {demands.late_deadlines[leaf] - demands.deadlines[leaf] for leaf in demands.open} == {60}
    sleep_until(house.chain.w3, max(demands.deadlines.values()))
    Hearing(house).step()
    assert demands_of(court, dispute).open == demands.open, "an auditor closes nothing that may still be shown"
    said = aggregator.advance(house.first, house.store, folder, house.model_id, memory=memory)
    assert said.endswith("2 leaves")
    assert court.credit(house.first.account) == 2 * deposit
    assert court.bond(house.model_id, house.first.account).amount == ETHER - 4 * deposit
    assert court.open_demands(dispute.round_id, dispute.tally) == OpenDemands(0, 0, court.burnt())
    house.sleep_to("challenge_deadline")
    house.first.finalize_round(house.model_id, 1, result)
    assert house.owner.member(house.model_id, house.first.account).roles & Role.AGGREGATOR


def test_an_honest_attester_answers_every_demand_and_keeps_its_role(wide: Any) -> None:
    house, court = wide, Court(wide.stranger)
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    result = house.outcome().result
    target = Target(house.model_id, 1, result)
    listing = Listing(tuple(contributions_of(house)))
    round = house.round()
    basis = basis_of(plan_rules(round.plan), round.parent)
    for tree in (Tree.AGGREGATE, Tree.VERSION, Tree.PARENT):
        for index in (0, 3, 4):  # the last is past the end
            court.demand_chunks(target, tree, [index], NOWHERE, basis, deposit=court.deposit_now(target))
    court.demand_chunks(target, Tree.CONTRIBUTION, [2], listing.membership(1), basis, deposit=court.deposit_now(target))
    for index in (0, 2, 7):
        court.demand_contributions(target, [index], deposit=court.deposit_now(target))
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id).endswith("13 leaves")
    assert not demands_of(court, house.first.dispute(house.model_id, 1)).open
    assert court.credit(house.first.account) > 0
    house.sleep_to("challenge_deadline")
    house.first.finalize_round(house.model_id, 1, result)
    assert house.owner.member(house.model_id, house.first.account).roles & Role.AGGREGATOR


@pytest.fixture
def bonded(federation: Any, new_plan: Callable[..., Any]) -> Any:
    """A round whose aggregators stake an ether; mallory has lied in it."""
    house = federation
    new_plan(house, bond_gwei=ETHER // 10**9)
    for name in ("mallory", "first"):
        Court(house.clients[name]).deposit_bond(house.model_id, ETHER)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    house.attest("mallory", lie(house, aggregate=nudged(17, STEP)))
    return house


def test_half_of_a_liar_s_bond_goes_to_the_auditor_and_half_is_burnt(bonded: Any) -> None:
    house, hearing = bonded, Hearing(bonded)
    court = Court(house.stranger)
    account = house.chain.w3.to_checksum_address(house.stranger.account)
    before = house.chain.w3.eth.get_balance(account)
    assert hearing.until_void() is Fault.AGGREGATE
    hearing.honest_end()
    assert (court.bond(house.model_id, house.mallory.account).amount, court.burnt()) == (0, ETHER // 2)
    assert any("revealed" in said for said in hearing.said)
    conviction = court.conviction(house.record().round_id, house.mallory.tally(house.model_id, 1, lie_of(house)))
    sleep_until(house.chain.w3, conviction.reveal_deadline)
    while hearing.step():
        pass
    assert court.credit(house.stranger.account) == 0
    assert house.chain.w3.eth.get_balance(account) - before > ETHER * 49 // 100
    assert hearing.purse.spent < 0, "what came back is more than what it cost"
    Court(house.first).release_bond(house.model_id, ETHER)
    Court(house.first).withdraw()
    held = house.chain.w3.eth.get_balance(house.chain.w3.to_checksum_address(court.address))
    assert held == court.burnt() == ETHER // 2


def test_what_a_demanded_leaf_may_show_is_sealed_before_it_is_demanded(bonded: Any) -> None:
    house = bonded
    path: Path = house.folder / "hidden.safetensors"
    path.write_bytes(nudged(17, STEP)((house.folder / "outcome" / FILES["aggregate"]).read_bytes()))
    chunks, result = chunks_of_file(path), next(iter(attested_results(house.owner, house.record()))).result
    assert chunks.root == result.aggregate_root
    store = MemoryStore()
    hidden = load_report(house.store, result.report_digest, 3).manifest.aggregate.cid.digest
    store._blocks.update({digest: block for digest, block in house.store._blocks.items() if digest != hidden})
    hearing = Hearing(house, store=store)
    assert hearing.until_void(lambda: show(house, {chunks.root: chunks.opening})) is Fault.AGGREGATE
    court = Court(house.stranger)
    asked = list(court.events(ClaimSealed, LeafDemanded))
    demanded = next(i for i, event in enumerate(asked) if isinstance(event, LeafDemanded))
    dispute = (house.record().round_id, house.mallory.tally(house.model_id, 1, lie_of(house)))
    seals = [e.seal for e in asked[:demanded] if isinstance(e, ClaimSealed)]
    for part, index in ((Part.WHOLE, 0), (Part.VALUES, 0), (Part.SERVICE, 0)):
        claim = claim_of(*dispute, part, index)
        salt = claims.salt_of(house.folder / "auditor", claim)
        assert seal_of(house.stranger.account, salt, claim) in seals, part


def lie_of(house: Any) -> bytes:
    """The hash of what mallory attested."""
    events = house.owner.events(ResultAttested, subject=house.record().round_id)
    return next(bytes(e.result_hash) for e in events if e.aggregator == house.mallory.account)


def test_a_bond_stays_while_its_round_can_be_challenged(bonded: Any) -> None:
    with pytest.raises(BondIsLocked):
        Court(bonded.mallory).release_bond(bonded.model_id, 1)
    Hearing(bonded).until_void()
    with pytest.raises(BondIsLocked):
        Court(bonded.mallory).release_bond(bonded.model_id, 1)


def test_without_a_bond_nobody_attests_where_one_is_asked_for(bonded: Any) -> None:
    Hearing(bonded).until_void()
    with pytest.raises(BondTooSmall):
        bonded.attest("second", bonded.outcome().result)


@pytest.mark.parametrize("name", ["aggregate", "another weight than committed", "weights that do not add up"])
def test_a_challenge_of_several_transactions_convicts(wide: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.disputes.streaming.MOST_GAS", 1)  # one contribution a transaction
    if name == "aggregate":
        wide.attest("mallory", lie(wide, aggregate=nudged(2000, STEP)))
        fault = Fault.AGGREGATE
    else:
        change, said, fault = LISTS[name]
        listing = Listing(tuple(change(contributions_of(wide))))
        wide.attest("mallory", replace(wide.outcome().result, contributions_root=listing.root, **said))
    hearing = Hearing(wide)
    if name == "another weight than committed":
        assert hearing.until_void(lambda: show(wide, {listing.root: listing.opening})) is fault
    else:
        assert hearing.until_void() is fault
    advanced = list(Challenges(wide.stranger).events(ChallengeAdvanced, subject=wide.record().round_id))
    assert len(advanced) == 2
    hearing.honest_end()


def test_an_auditor_spends_no_more_than_it_may(wide: Any) -> None:
    wide.attest("mallory", lie(wide, aggregate=nudged(2000, STEP)))
    hearing = Hearing(wide)
    hearing.purse = Purse(wide.stranger, wide.folder / "small.json", 10**12)
    assert "expected to spend at most 1000000000000 wei" in hearing.step()
    assert hearing.step() == ""
    assert hearing.purse.spent == 0
    assert wide.stranger.phase(wide.model_id, 1) == Phase.CHALLENGE


def test_what_watching_is_said_to_cost_is_enough_for_the_dearest_walk(bonded: Any) -> None:
    """Of a hidden aggregate: all that an auditor pays for fits the limit."""
    house, plan = bonded, bonded.plan
    result = next(iter(attested_results(house.owner, house.record()))).result
    path: Path = house.folder / "hidden.safetensors"
    path.write_bytes(nudged(17, STEP)((house.folder / "outcome" / FILES["aggregate"]).read_bytes()))
    chunks = chunks_of_file(path)
    store = MemoryStore()
    hidden = load_report(house.store, result.report_digest, 3).manifest.aggregate.cid.digest
    store._blocks.update({digest: block for digest, block in house.store._blocks.items() if digest != hidden})
    hearing = Hearing(house, store=store)
    fees = suggest_fees(house.chain.w3)
    costs = watch_costs(plan, 3, chunks.values, 0)
    limit = price_of(costs.lines, plan, fees.base_fee or 0, fees.priority_fee).limit
    hearing.purse = Purse(house.stranger, house.folder / "exact.json", limit)
    assert hearing.until_void(lambda: show(house, {chunks.root: chunks.opening})) is Fault.AGGREGATE
    hearing.honest_end()
    assert not [said for said in hearing.said if "nothing is sent" in said]


def test_a_result_is_looked_at_before_it_has_a_quorum(federation: Any, new_plan: Callable[..., Any]) -> None:
    house = federation
    new_plan(house, quorum=2)
    house.owner.open_round(house.model_id)
    house.contribute("ann", house.update("ann"))
    house.sleep_to("publish_deadline")
    house.attest("mallory", lie(house, aggregate=nudged(17, STEP)))
    hearing = Hearing(house)
    assert "not what was recomputed, or updates are missing" in hearing.step()
    assert (hearing.step(), hearing.purse.spent) == ("", 0)


def test_an_auditor_without_a_purse_reports_and_sends_nothing(wide: Any) -> None:
    wide.attest("mallory", lie(wide, version=nudged(3)))
    reader = wide.reader()
    said = auditor.advance(reader, wide.store, wide.folder / "reader", wide.model_id)
    assert "version: chunk 0 is not what the server step gives" in said


def test_a_demand_on_its_way_goes_on_though_the_deposit_has_changed(wide: Any) -> None:
    wide.attest("mallory", wide.outcome().result)
    court, target = Court(wide.stranger), Target(wide.model_id, 1, wide.outcome().result)
    deposit = court.deposit_now(target)

    class Stopped(Exception):
        """The auditor was killed once its demand was sent."""

    def stop(call: Any, until: Any) -> Any:
        wide.stranger.submit(call)
        raise Stopped

    with pytest.raises(Stopped):
        Court(wide.stranger, send=stop).demand_chunks(target, Tree.VERSION, [1], deposit=2 * deposit)
    assert (
        court.demand_chunks(target, Tree.VERSION, [1], deposit=3 * deposit).event(LeafDemanded).deposit == 2 * deposit
    )


# Under a server optimizer with state, with scales and running statistics ----------------------------------------------

POSITIONS = {"w": 1000, "b": 7, "steady.scale": 1, "z.running_mean": 3, "z.running_var": 2100}
"""A tensor of each kind and a value of it; its place in the file is looked up."""


def place_in(house: Any, tensor: str, value: int) -> int:
    """Where a value stands among the F32 values of the model."""
    form = house.round(1).form
    specs = {spec.name: spec for spec in parse_header(form.header, form.size).specs}
    return specs[tensor].begin // 4 + value


@pytest.mark.parametrize("tensor", POSITIONS)
def test_a_wrong_value_is_convicted_whatever_step_it_takes(stateful: Any, tensor: str) -> None:
    position = place_in(stateful, tensor, POSITIONS[tensor])
    stateful.attest("mallory", lie(stateful, number=2, version=nudged(position)), number=2)
    hearing = Hearing(stateful, number=2)
    assert hearing.until_void() is Fault.VERSION
    hearing.honest_end()


def moved(position: int) -> Edit:
    """Return an edit that changes one number of a state's file, or adds one."""

    def edit(data: bytes) -> bytes:
        begin = parse_header(data).header_bytes
        numbers = np.frombuffer(data[begin:], "<i8").copy()
        numbers[position] += 1
        return data[:begin] + numbers.tobytes()

    return edit


@pytest.mark.parametrize("position", [0, 1, 255, 256, 1025, -1])
def test_a_wrong_number_of_the_state_is_convicted(stateful: Any, position: int) -> None:
    stateful.attest("mallory", lie(stateful, number=2, state=moved(position)), number=2)
    hearing = Hearing(stateful, number=2)
    assert hearing.until_void() is Fault.STATE
    hearing.honest_end()


@pytest.mark.parametrize("position", [2, 4097, -1])
def test_a_hidden_state_is_walked_to_the_bad_leaf(stateful: Any, position: int) -> None:
    result = lie(stateful, number=2, state=moved(position), store=MemoryStore())  # type: ignore[arg-type]
    path: Path = stateful.folder / "hidden.safetensors"
    path.write_bytes(moved(position)((stateful.folder / "outcome" / FILES["state"]).read_bytes()))
    chunks = chunks_of_file(path, state_rows(2))
    assert chunks.root == result.roots.state
    stateful.attest("mallory", result, number=2)
    hearing = Hearing(stateful, number=2)
    assert "demanded a leaf" in hearing.step()
    assert hearing.step().endswith("state: leaf 0 demanded"), "which is known again"
    assert hearing.until_void(lambda: show(stateful, {chunks.root: chunks.opening}, 2)) is Fault.STATE
    hearing.honest_end()


@pytest.mark.parametrize("change", [lambda data: data + bytes(8), lambda data: data[:-16]], ids=["more", "fewer"])
def test_a_state_of_another_size_is_convicted(stateful: Any, change: Edit) -> None:
    stateful.attest("mallory", lie(stateful, number=2, state=change), number=2)
    hearing = Hearing(stateful, number=2)
    assert hearing.until_void() is Fault.SIZE
    hearing.honest_end()


@pytest.mark.parametrize("tensor", ["w", "z.running_mean", "z.running_var"])
def test_a_wrong_value_is_convicted_where_the_state_begins_anew(stateful: Any, new_plan: Any, tensor: str) -> None:
    house = stateful
    house.owner.cancel_round(house.model_id, 2)

    def remember(q: Value, states: Sequence[Value], scalars: TracedScalars) -> tuple[Value, Sequence[Value]]:
        return q + states[3], (q, *states[:3])

    program = encode_program(trace(remember, states=[StateBounds(-(1 << 24), 1 << 24, 5)] * 4))
    new_plan(house, server=ServerRule(None, {}, program), buffers={"z.running_mean": 1})
    house.owner.open_round(house.model_id)
    house.contribute_to(3, "ann")
    assert house.outcome(number=3).result.roots.step == 1
    position = place_in(house, tensor, POSITIONS[tensor])
    house.attest("mallory", lie(house, number=3, version=nudged(position)), number=3)
    hearing = Hearing(house, number=3)
    assert hearing.until_void() is Fault.VERSION
    hearing.honest_end()


FALSE_STATES = {
    "none": {"state": Root(bytes(32))},
    "of another layout": {"state_layout": b"\x05" * 32},
    "begun anew": {"step": 1},
    "a step further": {"step": 3},
}


@pytest.mark.parametrize("changed", FALSE_STATES.values(), ids=FALSE_STATES)
def test_a_state_that_does_not_go_on_is_convicted(stateful: Any, changed: dict[str, Any]) -> None:
    result = stateful.outcome(number=2).result
    stateful.attest("mallory", replace(result, roots=replace(result.roots, **changed)), number=2)
    hearing = Hearing(stateful, number=2)
    assert hearing.until_void() is Fault.ROOTS
    hearing.honest_end()


def test_a_round_with_state_that_is_true_is_left_alone_and_verified(stateful: Any) -> None:
    result = stateful.outcome(number=2).result
    assert result.roots.step == 2
    stateful.attest("first", result, number=2)
    hearing = Hearing(stateful, number=2)
    assert hearing.step().endswith("recomputed to the bit")
    stateful.sleep_to("challenge_deadline", 2)
    stateful.stranger.finalize_round(stateful.model_id, 2, result)
    assert all(found.passed for found in stateful.verify())


@pytest.mark.parametrize("lost", [False, True], ids=["trees are kept", "trees are lost"])
def test_an_honest_attester_shows_state_and_what_it_was_before(stateful: Any, lost: bool) -> None:
    house, court = stateful, Court(stateful.stranger)
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    if lost:
        shutil.rmtree(house.folder / "first" / "trees")
    target, round = Target(house.model_id, 2, house.outcome(number=2).result), house.round(2)
    basis = basis_of(plan_rules(round.plan), round.parent)
    for tree in (Tree.STATE, Tree.PARENT_STATE):
        for index in (0, 3, 99):  # the last is past the end
            court.demand_chunks(target, tree, [index], NOWHERE, basis, deposit=court.deposit_now(target))
    for shown in (3, 3) if lost else (6,):  # one tree is made in a step
        said = aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
        assert said.endswith(f"{shown} leaves")
    assert not demands_of(court, house.first.dispute(house.model_id, 2)).open


def test_a_leaf_of_another_blob_with_the_same_root_answers_nothing(stateful: Any) -> None:
    """Mallory says that the state's root is the version's, and shows what anybody demands of the version."""
    house, court, result = stateful, Court(stateful.stranger), stateful.outcome(number=2).result
    same = replace(result, roots=replace(result.roots, state=result.roots.tensor))
    house.attest("mallory", same, number=2)
    target, own = Target(house.model_id, 2, same), chunks_of_file(house.folder / "outcome" / FILES["version"])
    leaves = range(own.tree.leaves)
    court.demand_chunks(target, Tree.VERSION, leaves, deposit=court.deposit_now(target))
    show(house, {own.root: own.opening}, 2)
    hearing = Hearing(house, number=2)
    assert hearing.until_void() is Fault.UNANSWERED
    hearing.honest_end()


# What somebody else does meanwhile -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [False, True], ids=["trees are kept", "trees are lost"])
def test_a_root_that_somebody_else_committed_first_keeps_nobody_from_answering(opened: Any, lost: bool) -> None:
    """Cyn copies ann's root out of the pool, with a digest of nothing; ann's leaf is demanded of the honest one."""
    house, court = opened, Court(opened.stranger)
    updates = {name: house.update(name, seed=seed) for seed, name in enumerate(("ann", "bob"))}
    house.commit("cyn", updates["ann"], digest=Digest(b"\x07" * 32))
    for name, update in updates.items():
        house.contribute(name, update)
    house.sleep_to("publish_deadline")
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    if lost:
        shutil.rmtree(house.folder / "first" / "trees")
    target = Target(house.model_id, 1, house.outcome().result)
    listing = Listing(tuple(e for e in contributions_of(house) if e.participant != house.cyn.account))
    basis = basis_of(house.round().form.rules, house.round().parent)
    for index in range(2):
        membership = listing.membership(index)
        court.demand_chunks(target, Tree.CONTRIBUTION, [0], membership, basis, deposit=court.deposit_now(target))
    for shown in ("a leaf", "a leaf") if lost else ("2 leaves",):  # one tree is made in a step
        said = aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
        assert said.endswith(shown)
    assert not demands_of(court, house.first.dispute(house.model_id, 1)).open


def test_a_parent_s_state_that_begins_anew_is_not_demanded(stateful: Any, new_plan: Any) -> None:
    """It has rows of other lengths than under the new rules: whoever holds it could show none of its leaves."""
    house, court = stateful, Court(stateful.stranger)
    house.owner.cancel_round(house.model_id, 2)

    def remember(q: Value, states: tuple[Value, ...], scalars: TracedScalars) -> tuple[Value, Sequence[Value]]:
        return q + states[2], (q, *states[:2])

    program = encode_program(trace(remember, states=[StateBounds(-(1 << 24), 1 << 24, 5)] * 3))
    new_plan(house, server=ServerRule(None, {}, program), buffers={"z.running_mean": 1})
    house.owner.open_round(house.model_id)
    house.contribute_to(3, "ann")
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    target, round = Target(house.model_id, 3, house.outcome(number=3).result), house.round(3)
    basis = basis_of(plan_rules(round.plan), round.parent)
    with pytest.raises(NoState):
        court.demand_chunks(target, Tree.PARENT_STATE, [0], NOWHERE, basis, deposit=court.deposit_now(target))


def test_what_is_built_on_a_state_of_another_size_is_convicted(federation: Any, new_plan: Any) -> None:
    """Round 1 was false, and nobody watched; in round 2 somebody does."""
    house = federation
    new_plan(house, server=server_rule("fedavgm", {"rate": 1.0, "momentum": 0.5}, 22))
    house.owner.open_round(house.model_id)
    house.contribute_to(1, "ann")
    house.force(lie(house, state=lambda data: data + bytes(8)))
    house.owner.open_round(house.model_id)
    house.contribute_to(2, "ann")
    made = house.outcome
    with pytest.raises(VerificationFailed, match="state: expected"):
        made(number=2)
    before = house.owner.model(house.model_id).head
    kept = load_version_manifest(house.store, before)
    assert kept.state is not None
    state = replace(kept.state, step=kept.state.step + 1)
    honest = replace(kept, parent=manifest_cid(before), state=state, round=replace(kept.round, number=2))
    entries = [listed(c, house.round(2).form.rules) for c in house.record(2).commitments]
    result = Result(
        version_digest=Digest(put_manifest(house.store, honest).digest),
        roots=roots_of(honest),
        report_digest=Digest(b"\x09" * 32),
        aggregate_root=Root(kept.round.aggregate.tensor_root),  # type: ignore[union-attr]
        contributions_root=Listing(tuple(entries)).root,
        contributions=1,
        total_weight=entries[0].weight,
        total_steps=entries[0].steps,
        divisor=entries[0].factor,
    )
    house.attest("mallory", result, number=2)
    assert Hearing(house, number=2).until_void() is Fault.SIZE


def long_blob(store: Any, size: int) -> Blob:
    """A file of one repeated block, which takes little to store."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}, separators=(",", ":"))
    head = header.encode() + b" " * (-len(header) % 8)
    pieces = (len(head).to_bytes(8, "little") + head, *[bytes(1 << 20)] * (size >> 20))
    return add_blob(store, iter(pieces))  # type: ignore[no-any-return]


class Counting(MemoryStore):
    """Counts the bytes that are read."""

    read = 0

    def _get(self, cid: Any) -> bytes:
        data = super()._get(cid)
        self.read += len(data)
        return data


def counting(house: Any) -> Counting:
    store = Counting()
    store._blocks.update(house.store._blocks)
    return store


@pytest.mark.parametrize("which", ["version", "aggregate"])
def test_a_long_file_that_a_liar_names_is_not_read(wide: Any, which: str) -> None:
    made, root = wide.outcome(), Root(b"\x05" * 32)
    blob = long_blob(wide.store, 64 << 20)
    report, version, result = made.report, made.version, made.result
    if which == "aggregate":
        file = DeltaFile(blob.cid, blob.size, root)
        report, result = replace(report, aggregate=file), replace(result, aggregate_root=root)
        version = replace(version, round=replace(version.round, aggregate=file))
    else:
        version = replace(version, weights=VersionFile(blob.cid, blob.size, b"\x01" * 32), tensor_root=root)
        result = replace(result, roots=replace(result.roots, tensor=root))
    names = {"report_digest": put_manifest(wide.store, report), "version_digest": put_manifest(wide.store, version)}
    wide.attest("mallory", replace(result, **{name: Digest(cid.digest) for name, cid in names.items()}))
    store = counting(wide)
    hearing = Hearing(wide, store=store)
    assert "demanded a leaf" in hearing.step()
    assert store.read < 4 << 20
    assert hearing.until_void() is Fault.UNANSWERED


def test_what_is_shown_not_to_be_there_is_no_contribution(wide: Any) -> None:
    """The liar hides list and report, demands a leaf past the end itself, and shows that there is none."""
    house = wide
    entries = contributions_of(house)
    listing = Listing((entries[0], replace(entries[1], factor=1), entries[2]))
    result = replace(house.outcome().result, contributions_root=listing.root, report_digest=Digest(b"\x09" * 32))
    house.attest("mallory", result)
    court, target = Court(house.mallory), Target(house.model_id, 1, result)
    court.demand_contributions(target, [9], deposit=court.deposit_now(target))
    show(house, {listing.root: listing.opening})
    hearing = Hearing(house)
    assert hearing.until_void(lambda: show(house, {listing.root: listing.opening})) is Fault.FACTOR
    hearing.honest_end()


@pytest.fixture
def staked(federation: Any, new_plan: Callable[..., Any]) -> Any:
    """A round in which two liars and an honest aggregator have staked an ether each, and nobody has attested."""
    house = federation
    new_plan(house, bond_gwei=ETHER // 10**9)
    for name in ("mallory", "second", "first"):
        Court(house.clients[name]).deposit_bond(house.model_id, ETHER)
    house.owner.open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    return house


def test_a_demand_that_a_liar_made_first_keeps_no_auditor_from_the_next_lie(
    staked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory demands what the auditor is about to demand, lets it lapse, and another liar attests the same again."""
    house, own = staked, Court(staked.mallory)
    entries = contributions_of(house)
    listing = Listing((entries[0], replace(entries[1], factor=1), entries[2]))
    result = replace(house.outcome().result, contributions_root=listing.root, report_digest=Digest(b"\x09" * 32))
    house.attest("mallory", result)
    target, hearing, sealing = Target(house.model_id, 1, result), Hearing(house), claims.sealing

    def overtaken(court: Any, folder: Path, known: Iterable[claims.Claim]) -> Iterator[Call]:
        yield from sealing(court, folder, known)
        own.demand_contributions(target, [0], deposit=own.deposit_now(target))

    with monkeypatch.context() as patched:
        patched.setattr("registry.roles.auditor.sealing", overtaken)
        with pytest.raises(AlreadyDemanded):
            hearing.step()
    dispute = house.mallory.dispute(house.model_id, 1)
    demands = demands_of(own, dispute)
    sleep_until(house.chain.w3, max(demands.late_deadlines.values()))
    own.close_demand(house.model_id, 1, demands.open[0])
    house.attest("second", result)
    assert hearing.until_void(convicted=2) is Fault.UNANSWERED
    assert not any("nothing is collected" in said for said in hearing.said), "it reveals no demand of another"


# Heads ----------------------------------------------------------------------------------------------------------------


def admitting(house: Any, *names: str) -> Result:
    """The result of a quorum that lists these people's updates, whatever they are, and hides no other byte."""
    people = {house.clients[name].account for name in names}
    verdicts = [
        replace(v, reason=Reason.ADMITTED if v.commitment.participant in people else Reason.UNAVAILABLE)
        for v in house.verdicts()
    ]
    return house.outcome(verdicts).result  # type: ignore[no-any-return]


@pytest.mark.parametrize(("names", "fault"), [(["bob"], Fault.HEAD), (["ann", "bob"], Fault.TWICE)])
@pytest.mark.parametrize("first", ["ann", "bob"])
def test_a_copied_commitment_that_is_listed_is_convicted(
    opened: Any, names: list[str], fault: Fault, first: str
) -> None:
    house, update = opened, opened.update("ann")
    for name in sorted(("ann", "bob"), key=lambda name: name != first):  # the copier may well be the first
        house.commit(name, update)
    house.publish(update)
    house.sleep_to("publish_deadline")
    house.attest("mallory", admitting(house, *names))
    hearing = Hearing(house)
    assert hearing.until_void() is fault
    hearing.honest_end()


FOREIGN: dict[str, Any] = {
    "chain_id": 99,
    "contract": bytes(19) + b"\x07",
    "model": b"\x07" * 32,
    "number": 2,
    "participant": bytes(19) + b"\x07",
    "parent": manifest_cid(b"\x07" * 32),
    "plan": manifest_cid(b"\x07" * 32),
}


@pytest.mark.parametrize("field", FOREIGN)
def test_an_update_of_something_else_that_is_listed_is_convicted(opened: Any, field: str) -> None:
    house = opened
    house.contribute("ann", house.update("ann"))
    house.contribute("bob", house.update("bob", **{field: FOREIGN[field]}))
    house.sleep_to("publish_deadline")
    house.attest("mallory", admitting(house, "ann", "bob"))
    hearing = Hearing(house)
    assert hearing.until_void() is Fault.HEAD
    hearing.honest_end()


@pytest.mark.parametrize("shown", [True, False])
def test_an_update_whose_head_is_hidden_is_convicted(opened: Any, shown: bool) -> None:
    """Its file is there for everybody, so nothing but the head can say what is wrong."""
    house = opened
    house.contribute("ann", house.update("ann"))
    foreign = house.update("bob", number=2)
    house.commit("bob", foreign)
    house.sleep_to("publish_deadline")
    hidden = MemoryStore()
    hidden._blocks.update(house.store._blocks)
    house.publish(foreign, hidden)
    listing = Listing(tuple(contributions_of(house)))
    alone = house.outcome()
    said = {
        "contributions_root": listing.root,
        "contributions": 2,
        "total_weight": 200,
        "total_steps": 8,
        "divisor": 200,
    }
    report = put_manifest(house.store, replace(alone.report, **said))
    house.attest("mallory", replace(alone.result, report_digest=Digest(report.digest), **said))
    chunks = chunks_of_blob(hidden, foreign.manifest.delta.blob)
    answers: dict[bytes, Callable[[int], Opening]] = {chunks.root: chunks.opening, listing.root: listing.opening}
    if shown:
        answers[foreign.digest] = lambda _: head_opening(hidden, foreign.digest)
    hearing = Hearing(house)
    assert hearing.until_void(lambda: show(house, answers)) is (Fault.HEAD if shown else Fault.UNANSWERED)
    hearing.honest_end()


def head_opening(store: Any, digest: bytes) -> Opening:
    return Opening(NOTHING.counted, store.get(manifest_cid(digest)), ())


@pytest.mark.parametrize("which", ["version_digest", "report_digest"])
def test_a_digest_of_nothing_is_demanded_and_convicted(wide: Any, which: str) -> None:
    """All that is computed is right; nobody could say what the version is, or who is in it, once the round is over."""
    wide.attest("mallory", replace(wide.outcome().result, **{which: Digest(b"\x09" * 32)}))
    hearing = Hearing(wide)
    assert hearing.until_void() is Fault.UNANSWERED
    hearing.honest_end()


@pytest.mark.parametrize("which", ["version", "report"])
@pytest.mark.parametrize("how", ["of another round", "without a head", "of no kind"])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_head_that_says_something_else_is_convicted(wide: Any, which: str, how: str, hidden: bool) -> None:
    made, store = wide.outcome(), MemoryStore() if hidden else wide.store
    manifest = getattr(made, which)
    if how == "of another round":
        other = (
            replace(manifest, round=replace(manifest.round, number=7))
            if which == "version"
            else replace(manifest, number=7)
        )
        digest = put_manifest(store, other).digest
    else:
        data = encode(manifest) if how == "without a head" else b"\x82\x58\xc1\x01"
        digest = hashlib.sha256(data).digest()
        store.put(manifest_cid(digest), data)
    wide.attest("mallory", replace(made.result, **{f"{which}_digest": Digest(digest)}))
    hearing = Hearing(wide)
    answers: dict[bytes, Callable[[int], Opening]] = {digest: lambda _: head_opening(store, digest)}
    assert hearing.until_void(lambda: show(wide, answers)) is Fault.HEAD
    hearing.honest_end()


def test_a_head_too_long_to_be_shown_is_demanded_and_convicted(wide: Any) -> None:
    long = b"\x82" + bytes(MAX_HEAD)
    digest = hashlib.sha256(long).digest()
    wide.store.put(manifest_cid(digest), long)
    wide.attest("mallory", replace(wide.outcome().result, version_digest=Digest(digest)))
    hearing = Hearing(wide)
    with pytest.raises(BadProof):
        hearing.until_void(lambda: show(wide, {digest: lambda _: head_opening(wide.store, digest)}))
    assert hearing.until_void() is Fault.UNANSWERED
    hearing.honest_end()


def test_the_manifest_of_a_true_head_is_the_readers_matter(wide: Any) -> None:
    made = wide.outcome()
    other = put_manifest(wide.store, replace(made.version, aliases={"a": "b.w"}))
    wide.attest("mallory", replace(made.result, version_digest=Digest(other.digest)))
    hearing = Hearing(wide)
    assert "version_digest differs from the recomputed one" in hearing.step()
    assert hearing.purse.spent == 0


@pytest.mark.parametrize("stage", ["wide", "stateful"])
def test_nobody_honest_is_convicted_by_a_head(stage: str, request: pytest.FixtureRequest) -> None:
    """The contract reads them as they are written here, with state and without."""
    house, number = request.getfixturevalue(stage), 2 if stage == "stateful" else 1
    result = house.outcome(number=number).result
    house.attest("first", result, number=number)
    challenges, target = Challenges(house.stranger), Target(house.model_id, number, result)
    entries = sorted(house.record(number).commitments, key=lambda c: c.participant)
    listing = Listing(tuple(listed(c, house.round(number).form.rules) for c in entries))
    heads = [(HeadKind.UPDATE, c.digest, listing.membership(i)) for i, c in enumerate(entries)]
    heads += [(HeadKind.VERSION, result.version_digest, NOWHERE), (HeadKind.REPORT, result.report_digest, NOWHERE)]
    for kind, digest, membership in heads:
        with pytest.raises(NothingWrong, match="HEAD"):
            challenges.convict_head(target, kind, membership, house.store.get(manifest_cid(digest)))
    for left, right in ((0, 1), (2, 0)):
        with pytest.raises(NothingWrong, match="TWICE"):
            challenges.convict_twice(target, listing.membership(left), listing.membership(right))


def test_an_honest_attester_shows_every_head_though_others_copy(opened: Any) -> None:
    house, court = opened, Court(opened.stranger)
    updates = {name: house.update(name, seed=seed) for seed, name in enumerate(("ann", "bob"))}
    house.commit("cyn", updates["ann"])  # out of the pool
    for name, update in updates.items():
        house.contribute(name, update)
    house.sleep_to("publish_deadline")
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id)
    result = house.outcome().result
    assert result.contributions == 2
    target, entries = Target(house.model_id, 1, result), contributions_of(house)
    listing = Listing(tuple(e for e in entries if e.participant != house.cyn.account))
    for index in range(2):
        court.demand_head(target, HeadKind.UPDATE, listing.membership(index), deposit=court.deposit_now(target))
    for kind in (HeadKind.VERSION, HeadKind.REPORT):
        court.demand_head(target, kind, deposit=court.deposit_now(target))
    assert aggregator.advance(house.first, house.store, house.folder / "first", house.model_id).endswith("4 leaves")
    assert not demands_of(court, house.first.dispute(house.model_id, 1)).open
    hearing = Hearing(house)
    assert hearing.step().endswith("recomputed to the bit")
    house.sleep_to("challenge_deadline")
    house.first.finalize_round(house.model_id, 1, result)
    assert house.owner.member(house.model_id, house.first.account).roles & Role.AGGREGATOR

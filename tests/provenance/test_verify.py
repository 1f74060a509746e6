"""Third-party verification of anchored versions: honest ones pass, and each fault fails a named check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.chain.client import Client
from registry.chain.contract_structs import Roots
from registry.content.manifest import Reason
from registry.errors import BlockNotFound, CairnError, InputError, NodeUnavailable, VerificationFailed
from registry.lineage.graph import lineage, versions_of
from registry.lineage.provenance import read_lineage
from registry.roles.auditor import audit
from registry.rounds.onchain import attested_results, chosen_result, participants_of, read_round
from registry.rounds.plans import check_plan, load_plan, server_rule
from registry.rounds.versions import load_version_manifest, read_arrays
from registry.rules.table import MEAN
from registry.store.memory import MemoryStore
from registry.types import Cid, Digest
from registry.verification.verify import verify_round, verify_version
from trainer.simulation import Simulation


class WithHoles(MemoryStore):
    """A store that lacks some blocks of another."""

    def __init__(self, behind: MemoryStore, *missing: Cid) -> None:
        super().__init__()
        self.behind, self.missing = behind, missing

    def _get(self, cid: Cid) -> bytes:
        if cid in self.missing:
            raise BlockNotFound(f"{cid}: not here")
        return self.behind.get(cid)


def stranger(sim: Simulation) -> Client:
    return Client(sim.w3, sim.owner.address)


def head(sim: Simulation) -> Digest:
    return sim.owner.model(sim.model_id).head


def test_every_version_back_to_genesis_verifies_without_an_account(trained: Simulation, tmp_path: Path) -> None:
    found = list(verify_version(stranger(trained), trained.store, trained.model_id, head(trained), tmp_path))
    assert [v.step.round for v in found] == [0, 1, 2]
    assert all(check.finding == "passed" for v in found for check in v.checks)
    names = [check.name for check in found[-1].checks]
    for name in ("commitments", "quorum", "plan", "aggregate", "server step", "report", "version", "version file"):
        assert name in names


def test_progress_is_told_of_each_version_and_of_every_byte_combined(trained: Simulation, tmp_path: Path) -> None:
    told: dict[int, list[int]] = {}
    found = list(
        verify_version(
            *(trained.owner, trained.store, trained.model_id, head(trained), tmp_path),
            progress=lambda step, done: told.setdefault(step.round, []).append(done),
        )
    )
    assert list(told) == [one.step.round for one in found]
    assert all(counts[0] == 0 for counts in told.values())
    for story in read_lineage(trained.owner, trained.store, trained.model_id, head(trained)):
        number, commitments = (story.round.entry.number, story.round.commitments) if story.round else (0, ())
        assert sum(told[number]) == sum(c.update.delta.size for c in commitments if c.update)


def test_commitments_are_told_with_weights_shares_and_data_sets(trained: Simulation) -> None:
    newest, older, genesis = read_lineage(trained.owner, trained.store, trained.model_id, head(trained))
    assert genesis.round is None
    for version in (newest, older):
        assert version.round is not None
        commitments = version.round.commitments
        assert [c.entry.weight for c in commitments] == [50, 51]
        assert sum(c.share for c in commitments) == pytest.approx(1)
        assert all(c.update and c.update.weight == c.entry.weight for c in commitments)
        assert {c.entry.participant for c in commitments} == set(participants_of(trained.owner, trained.model_id))


def test_unknown_model_and_version_are_told_apart(trained: Simulation) -> None:
    with pytest.raises(InputError, match="expected a model 0x00"):
        versions_of(trained.owner, bytes(32))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected a version 0x00"):
        lineage(trained.owner, trained.model_id, bytes(32))
    with pytest.raises(NodeUnavailable, match="expected a round 9"):
        read_round(trained.owner, trained.model_id, 9)


def checks_of(sim: Simulation, folder: Path, **changed: object) -> Iterator[object]:
    record = read_round(sim.owner, sim.model_id, 2)
    result = chosen_result(sim.owner, record)
    assert result is not None
    return verify_round(sim.owner, sim.store, record, replace(result, **changed), folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["roots", "aggregate_root", "contributions_root", "contributions", "total_weight"])
def test_result_with_one_field_changed_is_caught(trained: Simulation, tmp_path: Path, field: str) -> None:
    value: Any = 7 if field in ("contributions", "total_weight") else bytes(31) + b"\x01"
    value = Roots(value, value) if field == "roots" else value
    with pytest.raises(VerificationFailed, match="recomputed"):
        list(checks_of(trained, tmp_path, **{field: value}))


@pytest.mark.parametrize("field", ["version_digest", "report_digest"])
def test_result_naming_another_manifest_is_caught(trained: Simulation, tmp_path: Path, field: str) -> None:
    with pytest.raises(CairnError):
        list(checks_of(trained, tmp_path, **{field: head(trained)[::-1]}))
    genesis = lineage(trained.owner, trained.model_id, head(trained))[0].digest
    with pytest.raises(CairnError):
        list(checks_of(trained, tmp_path, **{field: genesis}))


def test_missing_update_leaves_a_version_unchecked_and_says_which(trained: Simulation, tmp_path: Path) -> None:
    newest = read_lineage(trained.owner, trained.store, trained.model_id, head(trained))[0]
    assert newest.round is not None
    lost = newest.round.commitments[0]
    assert lost.update is not None
    assert isinstance(trained.store, MemoryStore)
    store = WithHoles(trained.store, lost.update.delta.cid)
    *_, last = verify_version(trained.owner, store, trained.model_id, head(trained), tmp_path)
    assert not last.passed
    assert last.finding == "unchecked"
    found, ended = (check for check in last.checks if check.finding == "unchecked")
    assert found.name == f"update of 0x{lost.entry.participant.hex()[:8]}"
    assert "unavailable here" in found.evidence
    assert "cannot be combined" in ended.evidence


def test_missing_version_leaves_it_unchecked_and_the_others_verified(trained: Simulation, tmp_path: Path) -> None:
    assert isinstance(trained.store, MemoryStore)
    first = lineage(trained.owner, trained.model_id, head(trained))[1]
    lost = load_version_manifest(trained.store, first.digest).weights.cid
    folder = tmp_path / "made" / "here"
    found = list(verify_version(trained.owner, WithHoles(trained.store, lost), trained.model_id, head(trained), folder))
    assert [version.finding for version in found] == ["passed", "unchecked", "unchecked"]
    assert "BlockNotFound" in found[1].checks[-1].evidence


def test_rules_of_a_later_release_leave_a_version_unchecked(
    trained: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.rules.table.COMBINE_RULES", (replace(MEAN, number=7),))
    *_, last = verify_version(trained.owner, trained.store, trained.model_id, head(trained), tmp_path)
    assert (last.finding, last.checks[-1].finding) == ("unchecked", "unchecked")
    assert "expected combine rule 7 (mean), got 1" in last.checks[-1].evidence


def test_auditor_passes_every_attested_result(trained: Simulation, tmp_path: Path) -> None:
    verdicts = list(audit(stranger(trained), trained.store, tmp_path, trained.model_id, 1))
    record = read_round(trained.owner, trained.model_id, 1)
    assert {result for result, _ in verdicts} == {
        event.result_hash for event in attested_results(trained.owner, record)
    }
    assert all(check.finding == "passed" for _, check in verdicts)


def test_plan_that_says_other_than_the_chain_is_caught(trained: Simulation) -> None:
    record = read_round(trained.owner, trained.model_id, 1)
    manifest = load_plan(trained.store, record.plan)
    for field in ("quorum", "weight_cap", "challenge_duration", "min_contributions"):
        with pytest.raises(VerificationFailed, match=f"plan: the manifest has {field}"):
            check_plan(replace(manifest, **{field: getattr(manifest, field) + 1}), record.plan)
    for field, value in (
        ("grid_bits", manifest.grid_bits - 1),
        ("values", manifest.values + 1),
        ("header", bytes(32)),
        ("segments", bytes(32)),
        ("server", server_rule("fedavg", {"rate": 0.5}, manifest.grid_bits)),
    ):
        with pytest.raises(VerificationFailed, match="plan: the manifest's rules hash to"):
            check_plan(replace(manifest, **{field: value}), record.plan)
    with pytest.raises(VerificationFailed, match="weights: expected uniform with combine rule 2"):
        check_plan(replace(manifest, combine_rule=2), record.plan)
    with pytest.raises(VerificationFailed, match="hooks"):
        check_plan(replace(manifest, hooks=(b"\x01" * 20,)), record.plan)


def test_version_whose_manifest_says_other_than_its_file_is_caught(trained: Simulation) -> None:
    version = load_version_manifest(trained.store, head(trained))
    for changed in (
        replace(version, tensor_root=bytes(32)),
        replace(version, weights=replace(version.weights, sha256=bytes(32))),
    ):
        with pytest.raises(VerificationFailed, match="version: the manifest has"):
            read_arrays(trained.store, changed)


def test_reasons_are_numbered_as_the_format_says() -> None:
    table = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    for reason in Reason:
        assert f"| {int(reason)} | {reason.name.lower()} |" in table

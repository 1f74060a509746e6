"""A model's plans: the terms on chain, and the manifest with its server program disassembled."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from registry.chain.contract_structs import Plan
from registry.content.manifest import PlanManifest
from registry.errors import CairnError, InputError
from registry.types import Address, Digest, ModelId

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.index.entries import PlanEntry
    from registry.store.base import ContentStore

__all__ = ["PlanFacts", "PlanTerms", "plan_history", "plan_facts", "plan_terms_of", "program_text"]


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """A plan of a model, verified against the chain.

    Attributes:
        plan: Its index, from 0.
        standing: Whether the next round follows it.
        digest: Its manifest's digest.
        program: The server program, a register per line with its bounds; empty if a later release wrote it.
    """

    model: ModelId
    plan: int
    standing: bool
    digest: Digest
    manifest: PlanManifest
    program: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """A plan's terms on chain: its index, then the fields of `registry.chain.contract_structs.Plan`.

    Attributes:
        plan: Its index, from 0.
        digest: Its manifest's digest.
        rules_hash: keccak256 of the rule bytes.
        quorum: Equal attestations that make a result.
        weight_cap: Largest weight of an update.
        min_contributions: Fewest contributions of a result.
        commit_duration: Seconds, like the other durations.
        bond_gwei: Bond that an attestation needs, gwei; zero for none.
        demand_price_gwei: Least deposit of a demand, gwei.
        enough_commitments: Commitments with which phase Commit may end early; zero if only all participants' end it.
        least_commit_duration: Seconds that it lasts at least, however many have committed.
        hooks: Contracts called at each commitment, in order.
    """

    plan: int
    digest: Digest
    rules_hash: bytes
    quorum: int
    weight_cap: int
    min_contributions: int
    commit_duration: int
    publish_duration: int
    aggregate_duration: int
    challenge_duration: int
    answer_duration: int
    bond_gwei: int
    demand_price_gwei: int
    late_duration: int
    enough_commitments: int
    least_commit_duration: int
    hooks: tuple[Address, ...]


def plan_facts(client: Client, store: ContentStore, model: ModelId, index: int | None = None) -> PlanFacts:
    """Read a plan, by default the standing one.

    Raises:
        InputError: The model has no plan.
        ContentError: The plan's manifest is unavailable.
        VerificationFailed: The manifest contradicts the chain.
    """
    from registry.rounds.plans import load_plan

    plans = client.model(model).plans
    if not plans:
        raise InputError("this model has no plan yet: cairn plan set MODEL FILE")
    at = plans - 1 if index is None else index
    plan = client.plan(model, at)
    manifest = load_plan(store, plan)
    return PlanFacts(model, at, at == plans - 1, plan.digest, manifest, tuple(program_text(manifest)))


def plan_history(client: Client, model: ModelId) -> list[PlanTerms]:
    """Return the terms of every plan that a model has had."""
    return [_terms(index, client.plan(model, index)) for index in range(client.model(model).plans)]


def plan_terms_of(entry: PlanEntry) -> PlanTerms:
    """Return the terms of a plan in the index."""
    return _terms(entry.plan_index, entry.plan)


def _terms(index: int, plan: Plan) -> PlanTerms:
    return PlanTerms(index, **{f.name: getattr(plan, f.name) for f in fields(Plan)})


def program_text(manifest: PlanManifest) -> list[str]:
    """Disassemble a plan's server program, one register per line with its bounds; empty if a later release wrote it."""
    from registry.rules.program import decode, disassemble

    try:
        return disassemble(decode(manifest.server.program)).splitlines()
    except CairnError:
        return []

"""Strength of a bundle's checks: which proof, against which trusted block, and what that proof leaves open.

Verification compares chain with manifests, whatever their source. A bundle proves only part of what a node would show;
this module states which part, and downgrades checks accordingly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from registry.bundles.proven_chain import ProvenChain
from registry.chain.contract_events import (
    CommitsEnded,
    ModelRegistered,
    PlanSet,
    QuorumReached,
    ResultAttested,
    RoundFinalized,
    RoundOpened,
    UpdateCommitted,
    VersionDeprecated,
    VersionPublished,
)
from registry.chain.contract_hashes import result_hash, round_id_of
from registry.ethereum.blocks import Checkpoint
from registry.ethereum.positions import Event
from registry.lineage.graph import VersionNode
from registry.verification.verify import Check, Finding, Verification

__all__ = ["Footing", "Ground"]


@dataclass(frozen=True, slots=True)
class Ground:
    """The finding that a proof supports, and the evidence for it."""

    finding: Finding
    evidence: str


@dataclass(frozen=True, slots=True)
class Footing:
    """The proofs behind a `ProvenChain`.

    Attributes:
        chain: The proven chain.
        behind: Returns the trusted block that proves a block; None if none does.
        state: Number of the block whose state is proved; None if no state is.
    """

    chain: ProvenChain
    behind: Callable[[int], Checkpoint | None]
    state: int | None

    def grounded(self, one: Verification) -> Verification:
        """Return a verification with each check's proof stated; a passed check without proof is downgraded."""
        grounds = {"anchor": self._anchor, "commitments": self._commitments, "quorum": self._quorum}

        def shown(check: Check) -> Check:
            if check.finding is not Finding.PASSED or check.name not in grounds:
                return check
            ground = grounds[check.name](one.step)
            return replace(check, finding=ground.finding, evidence=f"{check.evidence}; {ground.evidence}")

        return replace(one, checks=tuple(map(shown, one.checks)))

    def proved(self, events: Iterable[Event]) -> Checkpoint | None:
        """Return the trusted block that proves the last of these events; None unless all are proved."""
        points = [self.behind(event.at.block_number) for event in events]
        return points[-1] if points and all(points) else None

    def _anchor(self, step: VersionNode) -> Ground:
        made = self._made(step)
        if (ground := self._by_state("it" if self.proved(made) else "it, though not since when")) is not None:
            return ground
        made += self.chain.named(VersionDeprecated, step.model_id, step.digest)
        if (point := self.proved(made)) is not None:
            later = "" if step.deprecated else "; that it was not deprecated since is not proved"
            return Ground(Finding.PASSED, f"{_of(made[0])} is proved by {_trusted(point)}{later}")
        return self._unlinked(made)

    def _commitments(self, step: VersionNode) -> Ground:
        if (ground := self._by_state("that running hash, so there are no others")) is not None:
            return ground
        round_id = round_id_of(step.model_id, step.round)
        call = self.chain.call_of(round_id, attested=True)
        if call is not None and (point := self.behind(call.block)) is not None:
            if call.running_hash != self.chain.round(step.model_id, step.round).running_hash:
                return Ground(Finding.FAILED, f"an attestation in block {call.block} was made with another")
            return Ground(
                Finding.PASSED,
                f"an attestation in block {call.block}, which the contract accepts with this running hash only, "
                f"is proved by {_trusted(point)}",
            )
        committed = list(self.chain.events(UpdateCommitted, subject=round_id))
        counted = [e for e in self.chain.events(CommitsEnded, subject=round_id) if isinstance(e, CommitsEnded)]
        for event in counted:
            if event.commitments != len(committed) and (point := self.behind(event.at.block_number)) is not None:
                said = f"{_of(event)} counts {event.commitments}, proved by {_trusted(point)}"
                return Ground(Finding.FAILED, f"expected {len(committed)}, {said}")
        opened = self.chain.named(RoundOpened, step.model_id, step.round)
        plans = [e for index in {e.plan_index for e in opened} for e in self.chain.named(PlanSet, step.model_id, index)]
        rest = [*plans, *opened, *committed]
        if (point := self.proved(rest)) is None:
            return self._unlinked(rest)
        if counted and (point := self.proved(counted)) is not None:
            return Ground(
                Finding.PASSED, f"each is proved, and CommitsEnded counts {len(committed)}, by {_trusted(point)}"
            )
        return Ground(
            Finding.ASSERTED, f"each is proved by {_trusted(point)}; that there were no others is the attesters' word"
        )

    def _quorum(self, step: VersionNode) -> Ground:
        ground = self._finalized(step)
        return replace(ground, evidence=f"proved attesters: {self._attesters(step)}; {ground.evidence}")

    def _attesters(self, step: VersionNode) -> str:
        """Return the proven attesters of a round's result. That they had the role is the contract's word."""
        agreed = self.chain.round(step.model_id, step.round).result_hash
        events = self.chain.events(ResultAttested, subject=round_id_of(step.model_id, step.round))
        ours = [e for e in events if isinstance(e, ResultAttested) and e.result_hash == agreed]
        who = sorted({event.aggregator for event in ours if self.behind(event.at.block_number) is not None})
        return ", ".join(f"0x{each.hex()[:8]}" for each in who) or "none"

    def _finalized(self, step: VersionNode) -> Ground:
        if (ground := self._by_state("that result, finalized")) is not None:
            if not self.chain.round(step.model_id, step.round).finalized:
                return Ground(Finding.FAILED, f"the state of block {self.state} has the round not finalized")
            return ground
        round_id = round_id_of(step.model_id, step.round)
        call = self.chain.call_of(round_id, attested=False)
        if call is not None and (point := self.behind(call.block)) is not None:
            if result_hash(call.result) != self.chain.round(step.model_id, step.round).result_hash:
                return Ground(Finding.FAILED, f"finalizeRound in block {call.block} was called with another")
            return Ground(
                Finding.PASSED,
                f"finalizeRound, which the contract accepts with this result only, is proved in block {call.block} "
                f"by {_trusted(point)}",
            )
        agreed = [e for e in self.chain.events(QuorumReached, subject=round_id) if isinstance(e, QuorumReached)]
        if call is None and agreed and (point := self.proved([agreed[-1], *self._made(step)])) is not None:
            return Ground(
                Finding.ASSERTED,
                f"the quorum and the version's finalization are proved by {_trusted(point)}; "
                "that no other result of the same version took its place in between is not",
            )
        return self._unlinked([*agreed[-1:], *self._made(step)])

    def _by_state(self, what: str) -> Ground | None:
        if self.state is None or (point := self.behind(self.state)) is None:
            return None
        return Ground(Finding.PASSED, f"the state of block {self.state}, proved by {_trusted(point)}, has {what}")

    def _unlinked(self, events: Sequence[Event]) -> Ground:
        loose = [event for event in events if self.behind(event.at.block_number) is None]
        named = f"{_of(loose[0])} 0x{loose[0].at.block_hash.hex()}" if loose else "what it takes"
        more = f" and {len(loose) - 1} more" if len(loose) > 1 else ""
        return Ground(Finding.UNCHECKED, f"no trusted block proves {named}{more}")

    def _made(self, step: VersionNode) -> list[Event]:
        """Return the events that made a version: a chain has one; if the file has several, some are forged."""
        kinds: tuple[type[Event], ...] = (ModelRegistered, VersionPublished, RoundFinalized)
        return [event for kind in kinds for event in self.chain.named(kind, step.model_id, step.digest)]


def _of(event: Event) -> str:
    return f"{type(event).__name__} in block {event.at.block_number}"


def _trusted(point: Checkpoint) -> str:
    return f"trusted block {point.number} 0x{point.hash.hex()[:12]}"

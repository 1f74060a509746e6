"""Query results of the index, as frozen dataclasses.

`final` means that the fact is final by the network's policy; other facts are provisional and a reorg may remove them.
An entry that aggregates several facts is final if all of them are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from registry.chain.contract_structs import Plan, Result, Roots
from registry.chain.validator_scores import median_of
from registry.types import Address, Digest, Fault, ModelId, Role, Root, RoundId, Standing

__all__ = [
    "AttestationEntry",
    "Block",
    "ChallengeEntry",
    "CommitmentEntry",
    "ConvictionEntry",
    "DemandEntry",
    "DeprecationEntry",
    "ExpulsionEntry",
    "Following",
    "HeadEntry",
    "MemberEntry",
    "ModelEntry",
    "OwnerEntry",
    "LogPlace",
    "PlanEntry",
    "QuorumEntry",
    "ResultEntry",
    "RoundEntry",
    "ScoringEntry",
    "VersionEntry",
    "VoidEntry",
]


class Block(NamedTuple):
    """A block by number and hash."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Following:
    """Chain and contracts that an index follows.

    Attributes:
        chain_id: EIP-155 chain id.
        genesis: Hash of the chain's first block.
        contracts: The contracts of one deployment, the Cairn first.
        first_block: First block to read.
    """

    chain_id: int
    genesis: bytes
    contracts: tuple[Address, ...]
    first_block: int

    def __str__(self) -> str:
        contracts = ", ".join(f"0x{contract.hex()}" for contract in self.contracts)
        return f"{contracts} on chain {self.chain_id} (0x{self.genesis.hex()[:8]}…) from block {self.first_block}"


@dataclass(frozen=True, slots=True, order=True)
class LogPlace:
    """Position of a fact on the chain; sorts in chain order."""

    block: int
    log_index: int
    block_hash: bytes
    final: bool


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model, `at` where it was registered. `pending_owner` is zero unless a transfer waits for acceptance."""

    at: LogPlace
    model_id: ModelId
    owner: Address
    pending_owner: Address
    genesis: Digest
    head: Digest
    participants: int
    rounds: int
    plans: int
    suspended: bool
    final: bool


@dataclass(frozen=True, slots=True)
class OwnerEntry:
    """An account became a model's owner."""

    at: LogPlace
    model_id: ModelId
    owner: Address


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """All roles of an account from here on."""

    at: LogPlace
    model_id: ModelId
    account: Address
    roles: Role


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """An entry of a model's plan history."""

    at: LogPlace
    model_id: ModelId
    plan_index: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """A version.

    Attributes:
        parent: Zero for a genesis.
        round_id: The round that made it; None if its owner published it.
        number: That round's number; 0 if its owner published it.
        deprecated: Whether its owner deprecated it.
        final: Whether it and any deprecation of it are final.
    """

    at: LogPlace
    model_id: ModelId
    digest: Digest
    parent: Digest
    roots: Roots
    round_id: RoundId | None
    number: int
    deprecated: bool
    final: bool


@dataclass(frozen=True, slots=True)
class HeadEntry:
    """A version became the head."""

    at: LogPlace
    model_id: ModelId
    digest: Digest


@dataclass(frozen=True, slots=True)
class DeprecationEntry:
    """A version was deprecated; `replacement` is the new head, or zero."""

    at: LogPlace
    model_id: ModelId
    digest: Digest
    reason_digest: Digest
    replacement: Digest


@dataclass(frozen=True, slots=True)
class RoundEntry:
    """A round, `at` where it was opened.

    Attributes:
        parent: Its parent version.
        commit_deadline: Unix seconds, like the other deadlines; current values.
        challenge_deadline: 0 while no valid result has a quorum.
        begun_at: Initial running hash, without commitments.
        commitments: Number of commitments.
        attestations: Number of attestations.
        ended_early: Whether phase Commit ended before its deadline.
        result_hash: Hash of the result with a quorum that is not void; None if there is none.
        version_digest: The version it made; None unless finalized.
        cancelled: Whether it was cancelled, or recorded as lapsed.
        final: Whether all of this is final.
    """

    at: LogPlace
    model_id: ModelId
    number: int
    round_id: RoundId
    parent: Digest
    plan_index: int
    commit_deadline: int
    publish_deadline: int
    aggregate_deadline: int
    challenge_deadline: int
    begun_at: bytes
    commitments: int
    attestations: int
    ended_early: bool
    result_hash: bytes | None
    version_digest: Digest | None
    cancelled: bool
    final: bool

    @property
    def finalized(self) -> bool:
        """Whether it made a version."""
        return self.version_digest is not None


@dataclass(frozen=True, slots=True)
class ScoringEntry:
    """What validators say of a round's result.

    Attributes:
        reveal_deadline: Until when scores are revealed, Unix seconds.
        minimum: Number of reveals that a score needs.
        commitments: Number of validators who committed to a score.
        scores: Revealed scores in millionths, with their validators, in the order of their reveals.
    """

    reveal_deadline: int
    minimum: int
    commitments: int
    scores: tuple[tuple[Address, int], ...]

    @property
    def median(self) -> int | None:
        """The median of the revealed scores, in millionths; None of too few. Later reveals may change it."""
        return median_of(sorted(score for _, score in self.scores), self.minimum)


@dataclass(frozen=True, slots=True)
class CommitmentEntry:
    """A commitment, with its round."""

    at: LogPlace
    model_id: ModelId
    number: int
    round_id: RoundId
    participant: Address
    digest: Digest
    tensor_root: Root
    weight: int
    steps: int


@dataclass(frozen=True, slots=True)
class ResultEntry:
    """A result, `at` its first attestation."""

    at: LogPlace
    round_id: RoundId
    result_hash: bytes
    result: Result


@dataclass(frozen=True, slots=True)
class AttestationEntry:
    """An aggregator attested a result; `votes` is the number of equal attestations, this one included."""

    at: LogPlace
    round_id: RoundId
    aggregator: Address
    result_hash: bytes
    votes: int


@dataclass(frozen=True, slots=True)
class QuorumEntry:
    """A result got its quorum."""

    at: LogPlace
    round_id: RoundId
    result_hash: bytes
    challenge_deadline: int


@dataclass(frozen=True, slots=True)
class VoidEntry:
    """A result with a quorum became void; `tally` is the key under which its attestations were counted."""

    at: LogPlace
    round_id: RoundId
    result_hash: bytes
    tally: bytes
    standing: Standing
    aggregate_deadline: int


@dataclass(frozen=True, slots=True)
class ConvictionEntry:
    """A challenger convicted a result by a fraud proof."""

    at: LogPlace
    round_id: RoundId
    tally: bytes
    challenger: Address
    fault: Fault


@dataclass(frozen=True, slots=True)
class DemandEntry:
    """A demanded leaf.

    Attributes:
        root: Root of the tree that the leaf is in.
        leaf: The leaf's index.
        deposit: What showing it earns, wei.
        deadline: Until when it is to be shown, Unix seconds.
        late_deadline: Until when it may be shown late.
        answered: Where it was shown; None if it was not.
        closed: Where it was recorded as unanswered; None if it was not.
    """

    at: LogPlace
    round_id: RoundId
    tally: bytes
    demander: Address
    root: bytes
    leaf: int
    deposit: int
    deadline: int
    late_deadline: int
    answered: LogPlace | None
    closed: LogPlace | None


@dataclass(frozen=True, slots=True)
class ChallengeEntry:
    """A step of a challenge of several transactions; `next` is how far it has come."""

    at: LogPlace
    round_id: RoundId
    tally: bytes
    challenger: Address
    next: int


@dataclass(frozen=True, slots=True)
class ExpulsionEntry:
    """An attester of a void result lost the role."""

    at: LogPlace
    round_id: RoundId
    aggregator: Address
    tally: bytes

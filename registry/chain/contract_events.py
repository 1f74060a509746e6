"""The contracts' events as frozen dataclasses: fields in snake_case, in the ABI's order.

Generated from the contracts' ABI and NatSpec: do not edit, run `python -m registry.dev.mirror`.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.contract_structs import Counted, Plan, Result, Roots, ScoreTerms
from registry.ethereum.positions import Event
from registry.types import Address, Digest, Fault, ModelId, Role, Root, RoundId, Standing

__all__ = [
    "AggregatorExpelled",
    "AliasRemoved",
    "AliasSet",
    "AnswerSkipped",
    "BondDeposited",
    "BondReleased",
    "BondSlashed",
    "CHALLENGE_EVENTS",
    "COURT_EVENTS",
    "ChallengeAdvanced",
    "ClaimRevealed",
    "ClaimSealed",
    "CommitmentSkipped",
    "CommitsEnded",
    "DemandClosed",
    "DemandSkipped",
    "EVENTS",
    "LABEL_EVENTS",
    "LeafDemanded",
    "LeafShown",
    "ModelRegistered",
    "NoteAdded",
    "OwnershipTransferStarted",
    "OwnershipTransferred",
    "PlanSet",
    "QuorumReached",
    "ResultAttested",
    "ResultConvicted",
    "ResultVoided",
    "RewardCollected",
    "RolesChanged",
    "RoundCancelled",
    "RoundFinalized",
    "RoundOpened",
    "RoundsResumed",
    "RoundsSuspended",
    "SCORE_EVENTS",
    "ScoreCommitted",
    "ScoreRevealed",
    "ScoreTermsSet",
    "UpdateCommitted",
    "VersionDeprecated",
    "VersionPublished",
    "VersionTagged",
    "VersionUntagged",
    "WindowExtended",
    "Withdrawn",
]


@dataclass(frozen=True, slots=True)
class ModelRegistered(Event):
    """A model began."""

    model_id: ModelId
    owner: Address
    genesis_digest: Digest
    tensor_root: Root
    rest_root: Root


@dataclass(frozen=True, slots=True)
class OwnershipTransferStarted(Event):
    """A model was offered to another account, or the offer withdrawn (zero)."""

    model_id: ModelId
    owner: Address
    pending_owner: Address


@dataclass(frozen=True, slots=True)
class OwnershipTransferred(Event):
    """A model has another owner."""

    model_id: ModelId
    previous_owner: Address
    owner: Address


@dataclass(frozen=True, slots=True)
class RoundsSuspended(Event):
    """No new round opens."""

    model_id: ModelId


@dataclass(frozen=True, slots=True)
class RoundsResumed(Event):
    """New rounds open again."""

    model_id: ModelId


@dataclass(frozen=True, slots=True)
class VersionPublished(Event):
    """A version that no round made."""

    model_id: ModelId
    digest: Digest
    parent: Digest
    tensor_root: Root
    rest_root: Root


@dataclass(frozen=True, slots=True)
class VersionDeprecated(Event):
    """A version is not to be used any more.

    Attributes:
        replacement: The new head where `digest` was the head, else zero.
    """

    model_id: ModelId
    digest: Digest
    reason_digest: Digest
    replacement: Digest


@dataclass(frozen=True, slots=True)
class RolesChanged(Event):
    """An account was given roles, or lost some.

    Attributes:
        roles: All role bits of the account after the change.
    """

    model_id: ModelId
    account: Address
    roles: Role


@dataclass(frozen=True, slots=True)
class PlanSet(Event):
    """A standing plan, from the next round on.

    Attributes:
        rules: The rule bytes that `plan.rules_hash` is of.
    """

    model_id: ModelId
    plan_index: int
    plan: Plan
    rules: bytes


@dataclass(frozen=True, slots=True)
class RoundOpened(Event):
    """A round began."""

    model_id: ModelId
    number: int
    round_id: RoundId
    parent: Digest
    plan_index: int
    commit_deadline: int
    publish_deadline: int
    aggregate_deadline: int
    running_hash: bytes


@dataclass(frozen=True, slots=True)
class UpdateCommitted(Event):
    """A participant committed an update. Commit order is log order."""

    round_id: RoundId
    participant: Address
    digest: Digest
    tensor_root: Root
    weight: int
    steps: int


@dataclass(frozen=True, slots=True)
class CommitmentSkipped(Event):
    """`commit_updates_for` could not make this commitment of its list.

    Attributes:
        reason: Selector of the error that `commit_update_for` gave, a hook's own included; zero where it gave none.
    """

    round_id: RoundId
    participant: Address
    reason: bytes


@dataclass(frozen=True, slots=True)
class CommitsEnded(Event):
    """Phase Commit ended early."""

    round_id: RoundId
    commitments: int
    commit_deadline: int
    publish_deadline: int
    aggregate_deadline: int


@dataclass(frozen=True, slots=True)
class ResultAttested(Event):
    """An aggregator attested a result.

    Attributes:
        votes: Equal attestations of this result, this one included.
    """

    round_id: RoundId
    aggregator: Address
    result_hash: bytes
    result: Result
    votes: int


@dataclass(frozen=True, slots=True)
class QuorumReached(Event):
    """A result has its quorum; the challenge window is open."""

    round_id: RoundId
    result_hash: bytes
    challenge_deadline: int


@dataclass(frozen=True, slots=True)
class WindowExtended(Event):
    """The first challenge or demand in a window moved its end; nothing moves it again."""

    round_id: RoundId
    challenge_deadline: int


@dataclass(frozen=True, slots=True)
class ResultVoided(Event):
    """A result that had its quorum stands no longer; aggregation goes on.

    Attributes:
        tally: What its attesters attested, see `tally_of`.
    """

    round_id: RoundId
    result_hash: bytes
    tally: bytes
    standing: Standing
    aggregate_deadline: int


@dataclass(frozen=True, slots=True)
class AggregatorExpelled(Event):
    """An attester of a void result lost the role."""

    round_id: RoundId
    aggregator: Address
    tally: bytes


@dataclass(frozen=True, slots=True)
class RoundFinalized(Event):
    """The head moved to the result of a round."""

    model_id: ModelId
    number: int
    round_id: RoundId
    version_digest: Digest
    roots: Roots
    parent: Digest


@dataclass(frozen=True, slots=True)
class RoundCancelled(Event):
    """A round ended without a result."""

    model_id: ModelId
    number: int
    round_id: RoundId


@dataclass(frozen=True, slots=True)
class ChallengeAdvanced(Event):
    """A challenge of several transactions went on."""

    round_id: RoundId
    tally: bytes
    challenger: Address
    next: int


@dataclass(frozen=True, slots=True)
class ClaimSealed(Event):
    """Somebody recorded a claim without saying which."""

    seal: bytes
    order: int


@dataclass(frozen=True, slots=True)
class ResultConvicted(Event):
    """A result was made void."""

    round_id: RoundId
    tally: bytes
    challenger: Address
    fault: Fault
    claim: bytes
    reveal_deadline: int


@dataclass(frozen=True, slots=True)
class LeafDemanded(Event):
    """Attesters are to show a leaf."""

    round_id: RoundId
    tally: bytes
    demander: Address
    root: Root
    entry_bytes: int
    entries: int
    index: int
    deposit: int
    deadline: int
    late_deadline: int


@dataclass(frozen=True, slots=True)
class DemandSkipped(Event):
    """One of many leaves had been demanded before; what was sent for it, wei, is credited to the caller."""

    round_id: RoundId
    tally: bytes
    demander: Address
    root: Root
    index: int
    deposit: int


@dataclass(frozen=True, slots=True)
class LeafShown(Event):
    """A demanded leaf was shown; `leaf` and `proof` are empty where `counted` shows that there is none."""

    round_id: RoundId
    tally: bytes
    answerer: Address
    root: Root
    entry_bytes: int
    entries: int
    index: int
    counted: Counted
    leaf: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AnswerSkipped(Event):
    """`show_leaves` could not show this leaf of its list.

    Attributes:
        reason: Selector of the error that `show_leaf` gives.
    """

    round_id: RoundId
    tally: bytes
    root: Root
    index: int
    reason: bytes


@dataclass(frozen=True, slots=True)
class DemandClosed(Event):
    """Nobody answered a demand, in time or late."""

    round_id: RoundId
    tally: bytes
    root: Root
    entry_bytes: int
    entries: int
    index: int


@dataclass(frozen=True, slots=True)
class ClaimRevealed(Event):
    """Somebody showed that they had sealed the claim."""

    round_id: RoundId
    tally: bytes
    challenger: Address
    order: int


@dataclass(frozen=True, slots=True)
class RewardCollected(Event):
    """The reward of a conviction, wei, went to the earliest seal, or was burnt where the challenger is zero."""

    round_id: RoundId
    tally: bytes
    challenger: Address
    amount: int


@dataclass(frozen=True, slots=True)
class BondDeposited(Event):
    """An aggregator deposited a bond, wei."""

    model_id: ModelId
    aggregator: Address
    amount: int


@dataclass(frozen=True, slots=True)
class BondReleased(Event):
    """An aggregator took back a bond, wei."""

    model_id: ModelId
    aggregator: Address
    amount: int


@dataclass(frozen=True, slots=True)
class BondSlashed(Event):
    """An attester lost of its bond, wei: for a void result, or for a late answer, which the same transaction tells by
    LeafShown.
    """

    model_id: ModelId
    aggregator: Address
    round_id: RoundId
    amount: int


@dataclass(frozen=True, slots=True)
class Withdrawn(Event):
    """What an account had been credited, wei, was paid out to whom it said."""

    account: Address
    to: Address
    amount: int


@dataclass(frozen=True, slots=True)
class AliasSet(Event):
    """An alias names a version, which replaces the one that it named before."""

    model_id: ModelId
    digest: Digest
    owner: Address
    name: str


@dataclass(frozen=True, slots=True)
class AliasRemoved(Event):
    """An alias names no version any more.

    Attributes:
        digest: The version that it named.
    """

    model_id: ModelId
    digest: Digest
    owner: Address
    name: str


@dataclass(frozen=True, slots=True)
class VersionTagged(Event):
    """A version has a tag."""

    model_id: ModelId
    digest: Digest
    owner: Address
    tag: str


@dataclass(frozen=True, slots=True)
class VersionUntagged(Event):
    """A version has a tag no longer."""

    model_id: ModelId
    digest: Digest
    owner: Address
    tag: str


@dataclass(frozen=True, slots=True)
class NoteAdded(Event):
    """The model's owner says something of a version.

    Attributes:
        note: At most 280 bytes; UTF-8, unless its author meant harm.
    """

    model_id: ModelId
    digest: Digest
    owner: Address
    note: bytes


@dataclass(frozen=True, slots=True)
class ScoreTermsSet(Event):
    """The owner says how results of a model are scored from now on."""

    model_id: ModelId
    owner: Address
    terms: ScoreTerms


@dataclass(frozen=True, slots=True)
class ScoreCommitted(Event):
    """A validator committed to its score of a result.

    Attributes:
        commit_deadline: Of this result's scoring, as is revealDeadline.
    """

    round_id: RoundId
    validator: Address
    result_hash: bytes
    commitment: bytes
    commit_deadline: int
    reveal_deadline: int


@dataclass(frozen=True, slots=True)
class ScoreRevealed(Event):
    """A validator revealed its score of a result.

    Attributes:
        score: In millionths.
    """

    round_id: RoundId
    validator: Address
    result_hash: bytes
    score: int
    predictions_root: Root


EVENTS: tuple[type[Event], ...] = (
    ModelRegistered,
    OwnershipTransferStarted,
    OwnershipTransferred,
    RoundsSuspended,
    RoundsResumed,
    VersionPublished,
    VersionDeprecated,
    RolesChanged,
    PlanSet,
    RoundOpened,
    UpdateCommitted,
    CommitmentSkipped,
    CommitsEnded,
    ResultAttested,
    QuorumReached,
    WindowExtended,
    ResultVoided,
    AggregatorExpelled,
    RoundFinalized,
    RoundCancelled,
)
"""The events of Cairn."""

CHALLENGE_EVENTS: tuple[type[Event], ...] = (ChallengeAdvanced,)
"""The events of Challenges."""

COURT_EVENTS: tuple[type[Event], ...] = (
    ClaimSealed,
    ResultConvicted,
    LeafDemanded,
    DemandSkipped,
    LeafShown,
    AnswerSkipped,
    DemandClosed,
    ClaimRevealed,
    RewardCollected,
    BondDeposited,
    BondReleased,
    BondSlashed,
    Withdrawn,
)
"""The events of Court."""

LABEL_EVENTS: tuple[type[Event], ...] = (
    AliasSet,
    AliasRemoved,
    VersionTagged,
    VersionUntagged,
    NoteAdded,
)
"""The events of Labels."""

SCORE_EVENTS: tuple[type[Event], ...] = (
    ScoreTermsSet,
    ScoreCommitted,
    ScoreRevealed,
)
"""The events of Scores."""

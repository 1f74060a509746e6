"""The events of the Court contract as frozen values, as `events` has those of Cairn."""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.challenge_records import Counted
from registry.ethereum.positions import Event
from registry.types import Address, Fault, ModelId, Root, RoundId

__all__ = [
    "COURT_EVENTS",
    "AnswerSkipped",
    "BondDeposited",
    "BondReleased",
    "BondSlashed",
    "ClaimRevealed",
    "ClaimSealed",
    "DemandClosed",
    "DemandSkipped",
    "LeafDemanded",
    "LeafShown",
    "ResultConvicted",
    "RewardCollected",
    "Withdrawn",
]


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
    """Among many leaves this one had been demanded before; its deposit, wei, was credited to whoever sent it."""

    round_id: RoundId
    tally: bytes
    demander: Address
    root: Root
    index: int
    deposit: int


@dataclass(frozen=True, slots=True)
class LeafShown(Event):
    """A demanded leaf was shown, or, where `leaf` is empty, that there is none."""

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
    """Among many answers this one could not be given; `reason` is the selector of the error that says why."""

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
    """The reward of a conviction went to the earliest seal, or, where the challenger is zero, was burnt."""

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
    """An attester lost of its bond, wei: for a void result, or for a leaf shown late, in that transaction."""

    model_id: ModelId
    aggregator: Address
    round_id: RoundId
    amount: int


@dataclass(frozen=True, slots=True)
class Withdrawn(Event):
    """What an account had been credited was paid out, to whom it said, wei."""

    account: Address
    to: Address
    amount: int


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

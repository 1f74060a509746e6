"""Fraud proofs, a class for each fault: typed evidence, and the transactions that convict by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from registry.chain.challenges import Challenges
from registry.chain.contract_hashes import commitment_sought
from registry.chain.contract_structs import Basis, Before, Commitment, Counted, Membership, Opening, Step, Target
from registry.chain.sending import SentReceipt
from registry.chain.sentinels import NO_COORDINATE, NOWHERE
from registry.content.merkle import CHUNK_VALUES
from registry.disputes.streaming import add_most, replay_most
from registry.types import Fault, HeadKind, Part, Tree

__all__ = [
    "DigestTwice",
    "FraudProof",
    "WrongOrder",
    "Uncommitted",
    "WrongAggregate",
    "WrongChunk",
    "WrongCount",
    "WrongFactor",
    "WrongHead",
    "WrongRoots",
    "WrongSize",
    "WrongState",
    "WrongTotal",
    "WrongVersion",
]


class FraudProof(ABC):
    """What is wrong with a result, and what proves it.

    Attributes:
        fault: As the contract numbers it.
        part: What of the result the claim is about.
    """

    __slots__ = ()
    fault: ClassVar[Fault]
    part: ClassVar[Part] = Part.WHOLE

    @property
    def index(self) -> int:
        """Of the chunk that the claim is about; 0 where it is about the whole."""
        return 0

    @abstractmethod
    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        """Send what it takes; the last transaction convicts.

        Args:
            challenges: The contract.
            target: The result.
            basis: What it is held against: rules, and roots of the parent.

        Raises:
            ContractError: The contract is not convinced.
        """


@dataclass(frozen=True, slots=True)
class WrongCount(FraudProof):
    """The contributions root holds another number of leaves than the result says."""

    fault = Fault.COUNT
    counted: Counted

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_count(target, self.counted, until="mined")


@dataclass(frozen=True, slots=True)
class WrongOrder(FraudProof):
    """Two neighbouring contributions are not in strictly ascending order of their participants."""

    fault = Fault.ORDER
    left: Membership
    right: Membership

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_order(target, self.left, self.right, until="mined")


@dataclass(frozen=True, slots=True)
class DigestTwice(FraudProof):
    """Two contributions have one digest."""

    fault = Fault.TWICE
    left: Membership
    right: Membership

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_twice(target, self.left, self.right, until="mined")


@dataclass(frozen=True, slots=True)
class Uncommitted(FraudProof):
    """A leaf of the contributions root is none of the round's commitments.

    Attributes:
        place: Of the leaf.
        opening: Of the leaf.
        beginning: The running hash before the first commitment.
        commitments: All of the round, in order; they are replayed.
    """

    fault = Fault.UNCOMMITTED
    place: int
    opening: Opening
    beginning: bytes
    commitments: tuple[Commitment, ...]

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        sought = commitment_sought(self.opening.leaf)
        running, rest = replay_most(challenges, target, sought, self.beginning, self.commitments)
        return challenges.convict_uncommitted(target, self.place, self.opening, running, rest, until="mined")


@dataclass(frozen=True, slots=True)
class WrongHead(FraudProof):
    """The head of an update, of the version or of the report says something else than the chain does.

    Attributes:
        kind: Of which head.
        membership: Of the contribution, for the head of an update.
        head: Its bytes.
    """

    fault = Fault.HEAD
    kind: HeadKind
    membership: Membership
    head: bytes

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_head(target, self.kind, self.membership, self.head, until="mined")


@dataclass(frozen=True, slots=True)
class WrongFactor(FraudProof):
    """The factor of a contribution is not what the rules give it; `place` and `opening` are of its leaf."""

    fault = Fault.FACTOR
    place: int
    opening: Opening

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_factor(target, basis, self.place, self.opening, until="mined")


@dataclass(frozen=True, slots=True)
class WrongTotal(FraudProof):
    """Weights, steps or factors of the contributions add up to something else than the result says."""

    fault = Fault.TOTAL
    steps: tuple[Step, ...]

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        progress, rest = add_most(challenges, target, basis, NO_COORDINATE, self.steps)
        return challenges.convict_total(target, basis, progress, rest, until="mined")


@dataclass(frozen=True, slots=True)
class WrongRoots(FraudProof):
    """The version's rest root, or layout or step of its state, does not follow from rules and parent."""

    fault = Fault.ROOTS

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_roots(target, basis, until="mined")


@dataclass(frozen=True, slots=True)
class WrongSize(FraudProof):
    """A blob has another number of values than the rules say."""

    fault = Fault.SIZE
    tree: Tree
    counted: Counted
    membership: Membership = NOWHERE

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_size(target, basis, self.tree, self.counted, self.membership, until="mined")


@dataclass(frozen=True, slots=True)
class WrongChunk(FraudProof):
    """A chunk of the wrong length, or with a value at `coordinate` that no update may hold."""

    fault = Fault.CHUNK
    part = Part.VALUES
    tree: Tree
    coordinate: int
    opening: Opening
    membership: Membership = NOWHERE

    @property
    def index(self) -> int:
        return self.coordinate // CHUNK_VALUES

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_chunk(
            target, basis, self.tree, self.coordinate, self.opening, self.membership, until="mined"
        )


@dataclass(frozen=True, slots=True)
class WrongAggregate(FraudProof):
    """A coordinate of the aggregate is not what the combine rule makes of the contributions.

    Attributes:
        aggregate: Its chunk, as attested.
        steps: Every contribution, with that chunk of it.
    """

    fault = Fault.AGGREGATE
    part = Part.VALUES
    coordinate: int
    aggregate: Opening
    steps: tuple[Step, ...]

    @property
    def index(self) -> int:
        return self.coordinate // CHUNK_VALUES

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        progress, rest = add_most(challenges, target, basis, self.coordinate, self.steps)
        return challenges.convict_aggregate(
            target, basis, self.coordinate, progress, rest, self.aggregate, until="mined"
        )


@dataclass(frozen=True, slots=True)
class WrongVersion(FraudProof):
    """A coordinate of the version is not what the server program makes of its parent and the aggregate."""

    fault = Fault.VERSION
    part = Part.VALUES
    before: Before
    version: Opening

    @property
    def index(self) -> int:
        return self.before.coordinate // CHUNK_VALUES

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_version(target, basis, self.before, self.version, until="mined")


@dataclass(frozen=True, slots=True)
class WrongState(FraudProof):
    """The states of a coordinate are not those that the server program leaves."""

    fault = Fault.STATE
    part = Part.VALUES
    before: Before
    state: Opening

    @property
    def index(self) -> int:
        return self.before.coordinate // CHUNK_VALUES

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_state(target, basis, self.before, self.state, until="mined")

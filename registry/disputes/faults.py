"""Fraud proofs, one class per fault: the typed evidence and the transactions that convict."""

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
    """A fault of a result, with its evidence.

    Attributes:
        fault: The contract's number of the fault.
        part: The part of the result that the claim is about.
    """

    __slots__ = ()
    fault: ClassVar[Fault]
    part: ClassVar[Part] = Part.WHOLE

    @property
    def index(self) -> int:
        """Index of the chunk that the claim is about; 0 if it is about the whole result."""
        return 0

    @abstractmethod
    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        """Send the transactions of the fraud proof; the last one convicts.

        Args:
            challenges: The contract.
            target: The result.
            basis: Rule bytes and the parent's roots.

        Raises:
            ContractError: The contract rejects the proof.
        """


@dataclass(frozen=True, slots=True)
class WrongCount(FraudProof):
    """The number of leaves of the contributions root differs from the result's."""

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
    """Two contributions have the same digest."""

    fault = Fault.TWICE
    left: Membership
    right: Membership

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_twice(target, self.left, self.right, until="mined")


@dataclass(frozen=True, slots=True)
class Uncommitted(FraudProof):
    """A leaf of the contributions root matches none of the round's commitments.

    Attributes:
        place: Index of the leaf.
        opening: The leaf and its Merkle path.
        beginning: The running hash before the first commitment.
        commitments: All commitments of the round, in order, to be replayed.
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
    """The head of an update, of the version or of the report contradicts the chain.

    Attributes:
        kind: Kind of head.
        membership: The contribution's, for the head of an update.
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
    """The factor of a contribution is not what the rules give; `place` and `opening` are those of its leaf."""

    fault = Fault.FACTOR
    place: int
    opening: Opening

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_factor(target, basis, self.place, self.opening, until="mined")


@dataclass(frozen=True, slots=True)
class WrongTotal(FraudProof):
    """The sum of the contributions' weights, steps or factors differs from the result's."""

    fault = Fault.TOTAL
    steps: tuple[Step, ...]

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        progress, rest = add_most(challenges, target, basis, NO_COORDINATE, self.steps)
        return challenges.convict_total(target, basis, progress, rest, until="mined")


@dataclass(frozen=True, slots=True)
class WrongRoots(FraudProof):
    """The version's rest root, state layout or state step does not follow from rules and parent."""

    fault = Fault.ROOTS

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_roots(target, basis, until="mined")


@dataclass(frozen=True, slots=True)
class WrongSize(FraudProof):
    """The number of a blob's values differs from the rules'."""

    fault = Fault.SIZE
    tree: Tree
    counted: Counted
    membership: Membership = NOWHERE

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_size(target, basis, self.tree, self.counted, self.membership, until="mined")


@dataclass(frozen=True, slots=True)
class WrongChunk(FraudProof):
    """A chunk has the wrong length, or a value off the grid at `coordinate`."""

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
    """A coordinate of the aggregate is not what the combine rule gives for the contributions.

    Attributes:
        aggregate: The attested chunk that holds the coordinate.
        steps: Every contribution, with the same chunk of its update.
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
    """A coordinate of the version is not what the server program gives for parent and aggregate."""

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
    """The states of a coordinate are not what the server program gives."""

    fault = Fault.STATE
    part = Part.VALUES
    before: Before
    state: Opening

    @property
    def index(self) -> int:
        return self.before.coordinate // CHUNK_VALUES

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return challenges.convict_state(target, basis, self.before, self.state, until="mined")

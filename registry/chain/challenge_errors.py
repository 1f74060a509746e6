"""The Challenges contract's custom errors as exceptions of the same name and fields; see `errors`."""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.custom_error import CustomError
from registry.types import Address, Fault, ModelId, RoundId, Tree

__all__ = [
    "AlreadyDemanded",
    "AnswerNotDue",
    "BadCount",
    "BadDeposit",
    "BadIndex",
    "BadLength",
    "BadProgress",
    "BadProof",
    "BadTree",
    "BondIsLocked",
    "BondTooSmall",
    "DemandIsClosed",
    "ItIsCommitted",
    "NoRoot",
    "NotCairn",
    "NotConvicted",
    "NotDemanded",
    "NotDisputed",
    "NotFinalized",
    "NotFinite",
    "NotOnGrid",
    "NotSealed",
    "NothingToWithdraw",
    "NothingWrong",
    "OtherList",
    "PaymentRefused",
    "RevealIsOver",
    "RevealNotOver",
    "RuleNotDisputable",
    "TooFewSteps",
    "TooLate",
    "TooManySteps",
]


@dataclass(eq=False)
class AlreadyDemanded(CustomError):
    """Each leaf is demanded once per attested result."""

    root: bytes
    index: int


@dataclass(eq=False)
class AnswerNotDue(CustomError):
    """The answer is not due yet."""

    deadline: int


@dataclass(eq=False)
class BadCount(CustomError):
    """Count and inner root do not hash to the root."""

    root: bytes


@dataclass(eq=False)
class BadDeposit(CustomError):
    """A deposit, wei, under the present cost of an answer or over the maximum."""

    deposit: int
    min: int
    max: int


@dataclass(eq=False)
class BadIndex(CustomError):
    """An index or coordinate that is not there, or not the neighbour's."""

    index: int
    count: int


@dataclass(eq=False)
class BadLength(CustomError):
    """A leaf, or a list, of the wrong length."""

    length: int
    expected: int


@dataclass(eq=False)
class BadProgress(CustomError):
    """The given progress is not the sender's last."""

    challenger: Address


@dataclass(eq=False)
class BadProof(CustomError):
    """The leaf is not at that index of the tree."""

    root: bytes
    index: int


@dataclass(eq=False)
class BadTree(CustomError):
    """Not a blob that attesters answer for."""

    tree: Tree


@dataclass(eq=False)
class BondIsLocked(CustomError):
    """A round that the bond covers can still be challenged, or was lost."""

    model_id: ModelId
    aggregator: Address
    number: int


@dataclass(eq=False)
class BondTooSmall(CustomError):
    """The bond, wei, does not reach."""

    model_id: ModelId
    aggregator: Address
    amount: int
    expected: int


@dataclass(eq=False)
class DemandIsClosed(CustomError):
    """The demand was answered, or given up."""

    root: bytes
    index: int


@dataclass(eq=False)
class ItIsCommitted(CustomError):
    """The contribution is among the commitments."""

    participant: Address


@dataclass(eq=False)
class NoRoot(CustomError):
    """A zero root has no leaves."""


@dataclass(eq=False)
class NotCairn(CustomError):
    """Only the Cairn contract may do this."""

    caller: Address


@dataclass(eq=False)
class NotConvicted(CustomError):
    """No such conviction."""

    round_id: RoundId
    tally: bytes


@dataclass(eq=False)
class NotDemanded(CustomError):
    """No such demand."""

    root: bytes
    index: int


@dataclass(eq=False)
class NotDisputed(CustomError):
    """No challenge window is open, or it is another result's."""

    model_id: ModelId
    number: int
    result_hash: bytes


@dataclass(eq=False)
class NotFinalized(CustomError):
    """The round has no final result, or another one."""

    model_id: ModelId
    number: int


@dataclass(eq=False)
class NotFinite(CustomError):
    """The parent's value is not finite."""

    coordinate: int


@dataclass(eq=False)
class NotOnGrid(CustomError):
    """A value that no update may hold: challenge the chunk."""

    coordinate: int


@dataclass(eq=False)
class NotSealed(CustomError):
    """No such seal was recorded before the conviction."""

    seal: bytes


@dataclass(eq=False)
class NothingToWithdraw(CustomError):
    """Nothing is credited."""

    account: Address


@dataclass(eq=False)
class NothingWrong(CustomError):
    """What the challenge is about is as it should be."""

    fault: Fault


@dataclass(eq=False)
class OtherList(CustomError):
    """What was streamed is not the round's list."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class PaymentRefused(CustomError):
    """The payee does not take the payment."""

    account: Address


@dataclass(eq=False)
class RevealIsOver(CustomError):
    """Seals can no longer be revealed."""

    reveal_deadline: int


@dataclass(eq=False)
class RevealNotOver(CustomError):
    """Seals can still be revealed."""

    reveal_deadline: int


@dataclass(eq=False)
class RuleNotDisputable(CustomError):
    """Readers replay these rules; the chain does not convict by them."""

    combine_rule: int
    server_rule: int


@dataclass(eq=False)
class TooFewSteps(CustomError):
    """The list is not at its end."""

    next: int
    contributions: int


@dataclass(eq=False)
class TooLate(CustomError):
    """After the deadline, or too near it."""

    time: int
    deadline: int


@dataclass(eq=False)
class TooManySteps(CustomError):
    """More contributions than the result has."""

    next: int
    contributions: int

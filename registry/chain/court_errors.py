"""The Court contract's custom errors, but for those of `challenge_errors` that it has too; see `errors`."""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.custom_error import CustomError
from registry.types import Address, ModelId, RoundId

__all__ = [
    "AlreadyDemanded",
    "AnswerNotDue",
    "BadDeposit",
    "BondIsLocked",
    "BondTooSmall",
    "DemandIsClosed",
    "NotAttester",
    "NotCairn",
    "NotChallenges",
    "NotConvicted",
    "NotDemanded",
    "NotSealed",
    "NothingDemanded",
    "NothingToWithdraw",
    "PaymentRefused",
    "RevealIsOver",
    "RevealNotOver",
    "TooLate",
    "UnequalDeposits",
    "WrongAttesterCount",
]


@dataclass(eq=False)
class AlreadyDemanded(CustomError):
    """Each leaf is demanded once per attested result; nothing of the list is new."""

    root: bytes
    index: int


@dataclass(eq=False)
class AnswerNotDue(CustomError):
    """There is still time to answer."""

    deadline: int


@dataclass(eq=False)
class BadDeposit(CustomError):
    """A deposit, wei, under the present cost of an answer or over the maximum."""

    deposit: int
    min: int
    max: int


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
class NotAttester(CustomError):
    """Of the attesters of the result, strictly ascending, this is none."""

    account: Address


@dataclass(eq=False)
class NotCairn(CustomError):
    """Only the Cairn contract may do this."""

    caller: Address


@dataclass(eq=False)
class NotChallenges(CustomError):
    """Only the Challenges contract may convict."""

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
class NotSealed(CustomError):
    """No such seal was recorded before the conviction."""

    seal: bytes


@dataclass(eq=False)
class NothingDemanded(CustomError):
    """A list of demands without any."""


@dataclass(eq=False)
class NothingToWithdraw(CustomError):
    """Nothing is credited."""

    account: Address


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
class TooLate(CustomError):
    """After the deadline, or too near it."""

    time: int
    deadline: int


@dataclass(eq=False)
class UnequalDeposits(CustomError):
    """What was sent, wei, cannot be divided into so many equal deposits."""

    value: int
    count: int


@dataclass(eq=False)
class WrongAttesterCount(CustomError):
    """Another number of attesters than the quorum that attested the result."""

    given: int
    expected: int

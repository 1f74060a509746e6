"""The contracts' custom errors as exceptions: fields in snake_case, in the ABI's order.

Generated from the contracts' ABI and NatSpec: do not edit, run `python -m registry.dev.mirror`.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.custom_error import CustomError
from registry.types import Address, Digest, Fault, ModelId, Phase, Role, Root, RoundId, Tree

__all__ = [
    "AlreadyAttested",
    "AlreadyCancelled",
    "AlreadyCommitted",
    "AlreadyDemanded",
    "AlreadyFinalized",
    "AlreadyScored",
    "AlreadySuspended",
    "AnswerNotDue",
    "BadCount",
    "BadDeposit",
    "BadDivisor",
    "BadExponent",
    "BadIndex",
    "BadLength",
    "BadName",
    "BadNote",
    "BadProducts",
    "BadProgramLength",
    "BadProgramNumber",
    "BadProgress",
    "BadProof",
    "BadRadicand",
    "BadRoles",
    "BadRules",
    "BadScore",
    "BadScoreTerm",
    "BadSegment",
    "BadSignature",
    "BadSteps",
    "BadTerm",
    "BadTotalSteps",
    "BadTotalWeight",
    "BadTree",
    "BadWeight",
    "BondIsLocked",
    "BondTooSmall",
    "DemandIsClosed",
    "FormNotDisputable",
    "HookRefused",
    "IncompleteEarlyResult",
    "ItIsCommitted",
    "MissingRole",
    "ModelExists",
    "NoGramPart",
    "NoPlan",
    "NoResult",
    "NoRoot",
    "NoScoreTerms",
    "NoState",
    "NoTimeToReveal",
    "NotAscending",
    "NotAttester",
    "NotBetter",
    "NotCairn",
    "NotChallenges",
    "NotCommitted",
    "NotConvicted",
    "NotDemanded",
    "NotDisputed",
    "NotExpelled",
    "NotFinalized",
    "NotFinite",
    "NotOnGrid",
    "NotOwner",
    "NotPartner",
    "NotPendingOwner",
    "NotSealed",
    "NotSuspended",
    "NothingDemanded",
    "NothingToWithdraw",
    "NothingWrong",
    "OtherBasis",
    "OtherHead",
    "OtherList",
    "OtherMiddle",
    "OtherRules",
    "OtherScore",
    "PaymentRefused",
    "ResultIsConvicted",
    "ResultMismatch",
    "RevealIsOver",
    "RevealNotOver",
    "RoundNotEnded",
    "RoundsAreSuspended",
    "RunningHashMismatch",
    "ScoringIsOver",
    "SignatureExpired",
    "TooEarlyToEnd",
    "TooFewCommitments",
    "TooFewContributions",
    "TooFewSteps",
    "TooLate",
    "TooLittleGas",
    "TooManyContributions",
    "TooManyHooks",
    "TooManyScores",
    "TooManySteps",
    "UnequalDeposits",
    "UnknownAlias",
    "UnknownModel",
    "UnknownPlan",
    "UnknownRound",
    "UnknownSelection",
    "UnknownVersion",
    "UnsoundReplacement",
    "ValueTooLarge",
    "VersionExists",
    "VersionIsDeprecated",
    "WrongAttesterCount",
    "WrongDivisor",
    "WrongParticipantCount",
    "WrongPhase",
    "ZeroAddress",
    "ZeroDigest",
    "ZeroHook",
    "ZeroRoot",
]


@dataclass(eq=False)
class UnknownModel(CustomError):
    """No such model."""

    model_id: ModelId


@dataclass(eq=False)
class ModelExists(CustomError):
    """This owner registered this genesis already."""

    model_id: ModelId


@dataclass(eq=False)
class NotOwner(CustomError):
    """Only the owner of the model may do this."""

    model_id: ModelId
    caller: Address


@dataclass(eq=False)
class NotPendingOwner(CustomError):
    """Ownership was not offered to the caller."""

    model_id: ModelId
    caller: Address


@dataclass(eq=False)
class ZeroAddress(CustomError):
    """An address must not be zero."""


@dataclass(eq=False)
class ZeroDigest(CustomError):
    """A digest must not be zero."""


@dataclass(eq=False)
class ZeroRoot(CustomError):
    """A root must not be zero."""


@dataclass(eq=False)
class UnknownVersion(CustomError):
    """No such version of the model."""

    model_id: ModelId
    digest: Digest


@dataclass(eq=False)
class VersionExists(CustomError):
    """The model has this version already."""

    model_id: ModelId
    digest: Digest


@dataclass(eq=False)
class VersionIsDeprecated(CustomError):
    """The version is deprecated."""

    model_id: ModelId
    digest: Digest


@dataclass(eq=False)
class UnsoundReplacement(CustomError):
    """Deprecating the head needs a known, sound replacement; any other version needs none (zero)."""

    model_id: ModelId
    digest: Digest
    replacement: Digest


@dataclass(eq=False)
class AlreadySuspended(CustomError):
    """Rounds are suspended already."""

    model_id: ModelId


@dataclass(eq=False)
class NotSuspended(CustomError):
    """Rounds are not suspended."""

    model_id: ModelId


@dataclass(eq=False)
class RoundsAreSuspended(CustomError):
    """No new round while the owner has suspended them."""

    model_id: ModelId


@dataclass(eq=False)
class MissingRole(CustomError):
    """The account lacks the role."""

    model_id: ModelId
    account: Address
    role: Role


@dataclass(eq=False)
class BadRoles(CustomError):
    """A role set that is empty or names unknown bits."""

    roles: Role


@dataclass(eq=False)
class NoPlan(CustomError):
    """The model has no standing plan."""

    model_id: ModelId


@dataclass(eq=False)
class UnknownPlan(CustomError):
    """No such entry of the plan history."""

    model_id: ModelId
    plan_index: int


@dataclass(eq=False)
class UnknownRound(CustomError):
    """No such round."""

    model_id: ModelId
    number: int


@dataclass(eq=False)
class RoundNotEnded(CustomError):
    """The last round has not ended."""

    round_id: RoundId
    actual: Phase


@dataclass(eq=False)
class WrongPhase(CustomError):
    """The round is in another phase."""

    round_id: RoundId
    expected: Phase
    actual: Phase


@dataclass(eq=False)
class AlreadyCommitted(CustomError):
    """The participant has committed in this round."""

    round_id: RoundId
    participant: Address


@dataclass(eq=False)
class BadWeight(CustomError):
    """A weight of zero or over the cap."""

    weight: int
    cap: int


@dataclass(eq=False)
class BadSteps(CustomError):
    """Steps of an update out of range."""

    steps: int
    max: int


@dataclass(eq=False)
class BadSignature(CustomError):
    """Not the signature of the participant."""

    participant: Address


@dataclass(eq=False)
class SignatureExpired(CustomError):
    """The participant's signature is past its deadline (`valid_until`)."""

    participant: Address
    valid_until: int


@dataclass(eq=False)
class TooLittleGas(CustomError):
    """Less than COMMIT_GAS would be left for the next commitment of the list."""

    left: int
    needed: int


@dataclass(eq=False)
class HookRefused(CustomError):
    """A hook of the plan refused the commitment."""

    hook: Address


@dataclass(eq=False)
class NotAscending(CustomError):
    """Participants must be listed in strictly ascending order."""

    previous: Address
    next: Address


@dataclass(eq=False)
class WrongParticipantCount(CustomError):
    """Not every participant is listed."""

    given: int
    expected: int


@dataclass(eq=False)
class TooFewCommitments(CustomError):
    """Fewer have committed than the plan calls enough."""

    commitments: int
    enough: int


@dataclass(eq=False)
class TooEarlyToEnd(CustomError):
    """The least time that the plan gives phase Commit is not over."""

    earliest: int


@dataclass(eq=False)
class NotCommitted(CustomError):
    """A listed participant has not committed."""

    round_id: RoundId
    participant: Address


@dataclass(eq=False)
class RunningHashMismatch(CustomError):
    """The result was computed from other commitments."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class TooFewContributions(CustomError):
    """Fewer contributions than the plan asks for."""

    contributions: int
    min: int


@dataclass(eq=False)
class TooManyContributions(CustomError):
    """More contributions than the round has commitments."""

    contributions: int
    commitments: int


@dataclass(eq=False)
class BadTotalWeight(CustomError):
    """A total weight out of range."""

    total_weight: int
    min: int
    max: int


@dataclass(eq=False)
class BadTotalSteps(CustomError):
    """Total steps out of range."""

    total_steps: int
    min: int
    max: int


@dataclass(eq=False)
class WrongDivisor(CustomError):
    """A divisor of zero or over MAX_WEIGHT."""

    divisor: int
    min: int
    max: int


@dataclass(eq=False)
class IncompleteEarlyResult(CustomError):
    """Before the publish deadline a result must contain every commitment of a round whose commits ended early."""

    contributions: int
    commitments: int


@dataclass(eq=False)
class NotBetter(CustomError):
    """An aggregator moves only to more contributions, or to as many and a smaller result hash."""

    current: bytes
    proposed: bytes


@dataclass(eq=False)
class AlreadyAttested(CustomError):
    """The owner may no longer cancel: a result has been attested."""

    round_id: RoundId


@dataclass(eq=False)
class ResultMismatch(CustomError):
    """Not the result that was attested."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class AlreadyFinalized(CustomError):
    """The round is finalized already."""

    round_id: RoundId


@dataclass(eq=False)
class AlreadyCancelled(CustomError):
    """The round is cancelled already."""

    round_id: RoundId


@dataclass(eq=False)
class NotPartner(CustomError):
    """Only `COURT` may do this, or, to move the end of a window, `CHALLENGES`."""

    caller: Address


@dataclass(eq=False)
class ResultIsConvicted(CustomError):
    """A result that was convicted never comes back."""

    round_id: RoundId
    result_hash: bytes


@dataclass(eq=False)
class NotExpelled(CustomError):
    """No next round before the attesters of void results are expelled."""

    round_id: RoundId
    unexpelled: int


@dataclass(eq=False)
class BadTree(CustomError):
    """Not a blob that attesters answer for."""

    tree: Tree


@dataclass(eq=False)
class BadProgress(CustomError):
    """The given progress is not the sender's last."""

    challenger: Address


@dataclass(eq=False)
class TooManySteps(CustomError):
    """More contributions than the result has."""

    next: int
    contributions: int


@dataclass(eq=False)
class TooFewSteps(CustomError):
    """The list is not at its end."""

    next: int
    contributions: int


@dataclass(eq=False)
class OtherList(CustomError):
    """What was streamed is not the round's list."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class NotOnGrid(CustomError):
    """A value that no update may hold: challenge the chunk."""

    coordinate: int


@dataclass(eq=False)
class NotFinite(CustomError):
    """The parent's value is not finite."""

    coordinate: int


@dataclass(eq=False)
class FormNotDisputable(CustomError):
    """Updates have a form whose values the chain does not read."""

    update_form: int


@dataclass(eq=False)
class OtherMiddle(CustomError):
    """These are not the ends of what is not left out."""

    least: int
    greatest: int


@dataclass(eq=False)
class BadSegment(CustomError):
    """The segment does not hold the coordinate."""

    first: int
    length: int


@dataclass(eq=False)
class BadExponent(CustomError):
    """Under these rules and on this parent nobody honest attests: e - s - f is beyond what a step may be."""

    exponent: int


@dataclass(eq=False)
class ItIsCommitted(CustomError):
    """The contribution is among the commitments."""

    participant: Address


@dataclass(eq=False)
class OtherHead(CustomError):
    """These bytes are no head that hashes to the anchored digest."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class NothingWrong(CustomError):
    """What the challenge is about is as it should be."""

    fault: Fault


@dataclass(eq=False)
class NotFinalized(CustomError):
    """The round has no final result, or another one."""

    model_id: ModelId
    number: int


@dataclass(eq=False)
class NotCairn(CustomError):
    """Only the Cairn contract may do this."""

    caller: Address


@dataclass(eq=False)
class NotChallenges(CustomError):
    """Only the Challenges and the Selections contract may convict."""

    caller: Address


@dataclass(eq=False)
class NothingDemanded(CustomError):
    """A list of demands without any."""


@dataclass(eq=False)
class AlreadyDemanded(CustomError):
    """Nothing of the list is new; the last index stands for all."""

    root: Root
    index: int


@dataclass(eq=False)
class UnequalDeposits(CustomError):
    """What was sent, wei, is not so many equal deposits."""

    value: int
    count: int


@dataclass(eq=False)
class BadDeposit(CustomError):
    """A deposit, wei, under the present cost of an answer or over the maximum."""

    deposit: int
    min: int
    max: int


@dataclass(eq=False)
class TooLate(CustomError):
    """Too close to the window's end for an answer, and for saying that there was none."""

    time: int
    deadline: int


@dataclass(eq=False)
class NotDemanded(CustomError):
    """No such demand."""

    root: Root
    index: int


@dataclass(eq=False)
class DemandIsClosed(CustomError):
    """The demand was answered, or given up."""

    root: Root
    index: int


@dataclass(eq=False)
class AnswerNotDue(CustomError):
    """There is still time to answer: in time, before a late answer; late, before the demand is closed."""

    deadline: int


@dataclass(eq=False)
class WrongAttesterCount(CustomError):
    """Another number of attesters than the quorum that attested the result."""

    given: int
    expected: int


@dataclass(eq=False)
class NotAttester(CustomError):
    """Not strictly ascending, or its attestation is another one."""

    account: Address


@dataclass(eq=False)
class NotConvicted(CustomError):
    """No such conviction."""

    round_id: RoundId
    tally: bytes


@dataclass(eq=False)
class NotSealed(CustomError):
    """No such seal was recorded before the conviction."""

    seal: bytes


@dataclass(eq=False)
class RevealNotOver(CustomError):
    """Seals can still be revealed."""

    reveal_deadline: int


@dataclass(eq=False)
class RevealIsOver(CustomError):
    """Seals can no longer be revealed."""

    reveal_deadline: int


@dataclass(eq=False)
class BondTooSmall(CustomError):
    """The bond, wei, does not reach."""

    model_id: ModelId
    aggregator: Address
    amount: int
    expected: int


@dataclass(eq=False)
class BondIsLocked(CustomError):
    """A round that the bond covers can still be challenged, or was lost."""

    model_id: ModelId
    aggregator: Address
    number: int


@dataclass(eq=False)
class NothingToWithdraw(CustomError):
    """Nothing is credited."""

    account: Address


@dataclass(eq=False)
class PaymentRefused(CustomError):
    """The payee does not take the payment."""

    account: Address


@dataclass(eq=False)
class NotDisputed(CustomError):
    """No window is open, or it is another result's."""

    model_id: ModelId
    number: int
    result_hash: bytes


@dataclass(eq=False)
class OtherBasis(CustomError):
    """The rule bytes, or the parent's roots, are not those that are anchored."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class NoState(CustomError):
    """The rules keep no state."""


@dataclass(eq=False)
class NoRoot(CustomError):
    """A zero root has no leaves."""


@dataclass(eq=False)
class BadCount(CustomError):
    """Count and inner root do not hash to the root."""

    root: Root


@dataclass(eq=False)
class BadProof(CustomError):
    """The leaf is not at that index of the tree."""

    root: Root
    index: int


@dataclass(eq=False)
class BadLength(CustomError):
    """A leaf, or a list, of the wrong length."""

    length: int
    expected: int


@dataclass(eq=False)
class BadIndex(CustomError):
    """An index or coordinate that is not there, or not the neighbour's."""

    index: int
    count: int


@dataclass(eq=False)
class BadName(CustomError):
    """No alias, or no tag, may be called so."""

    given: str
    expected: str


@dataclass(eq=False)
class UnknownAlias(CustomError):
    """The model has no such alias."""

    model_id: ModelId
    name: str


@dataclass(eq=False)
class BadNote(CustomError):
    """A note of no bytes, or of too many."""

    length: int
    max: int


@dataclass(eq=False)
class BadRules(CustomError):
    """The byte at this offset, or the length, is not what rule bytes have."""

    offset: int


@dataclass(eq=False)
class OtherRules(CustomError):
    """The rule bytes given are not those that the plan names."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class BadTerm(CustomError):
    """A term of the plan, by its name there. Without a bond the longest `late_duration` is 0."""

    term: str
    value: int
    min: int
    max: int


@dataclass(eq=False)
class TooManyHooks(CustomError):
    """A plan names more hooks than there may be."""

    hooks: int
    max: int


@dataclass(eq=False)
class ZeroHook(CustomError):
    """A plan names the zero address as a hook."""

    index: int


@dataclass(eq=False)
class BadScoreTerm(CustomError):
    """A term is out of bounds."""

    term: str
    given: int
    min: int
    max: int


@dataclass(eq=False)
class NoScoreTerms(CustomError):
    """The owner has not said how results are scored."""

    model_id: ModelId


@dataclass(eq=False)
class NoResult(CustomError):
    """No result has a quorum in that round."""

    round_id: RoundId


@dataclass(eq=False)
class ScoringIsOver(CustomError):
    """The window for commitments to this result's scores is over."""

    deadline: int


@dataclass(eq=False)
class NoTimeToReveal(CustomError):
    """Not in the window for reveals."""

    commit_deadline: int
    reveal_deadline: int


@dataclass(eq=False)
class AlreadyScored(CustomError):
    """This validator committed to a score of this result before."""

    round_id: RoundId
    validator: Address


@dataclass(eq=False)
class TooManyScores(CustomError):
    """A result has no more than MAX_VALIDATORS scores."""

    round_id: RoundId


@dataclass(eq=False)
class OtherScore(CustomError):
    """The validator committed to nothing that is still to be revealed, or to something else."""

    round_id: RoundId
    validator: Address


@dataclass(eq=False)
class BadScore(CustomError):
    """More than SCORE_ONE."""

    score: int
    max: int


@dataclass(eq=False)
class NoGramPart(CustomError):
    """More contributions than there are inner products of, or rules that select nothing."""


@dataclass(eq=False)
class UnknownSelection(CustomError):
    """The combine rule is none that is redone."""

    combine_rule: int


@dataclass(eq=False)
class BadProducts(CustomError):
    """The inner products are none, or so large that redoing the selection may overflow."""


@dataclass(eq=False)
class BadProgramLength(CustomError):
    """The program has another length than its counts give."""

    length: int
    expected: int


@dataclass(eq=False)
class BadProgramNumber(CustomError):
    """The number at this byte of the program is not in low..high."""

    offset: int
    number: int
    low: int
    high: int


@dataclass(eq=False)
class ValueTooLarge(CustomError):
    """A result of 2^63 or more in magnitude."""

    operation: int
    value: int


@dataclass(eq=False)
class BadDivisor(CustomError):
    """A divisor below 1."""

    operation: int
    divisor: int


@dataclass(eq=False)
class BadRadicand(CustomError):
    """The root of a negative number."""

    operation: int
    radicand: int

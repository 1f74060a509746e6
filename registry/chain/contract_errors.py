"""The custom errors of Cairn and Rules as exceptions of the same name and fields (in snake_case, in the same order).

`decode_error` makes them from revert data; a test compares every class with the ABI. All are `ContractError`s, so
whoever does not care which one catches that.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain import challenge_errors, court_errors
from registry.chain.custom_error import CustomError, show
from registry.errors import ContractError
from registry.types import Address, Digest, ModelId, Phase, Role, RoundId

__all__ = [
    "AlreadyAttested",
    "AlreadyCancelled",
    "AlreadyCommitted",
    "AlreadyFinalized",
    "AlreadySuspended",
    "BadDivisor",
    "BadProgramLength",
    "BadProgramNumber",
    "BadRadicand",
    "BadRoles",
    "BadRules",
    "BadSignature",
    "BadSteps",
    "BadTerm",
    "BadTotalSteps",
    "BadTotalWeight",
    "BadWeight",
    "CustomError",
    "HookRefused",
    "IncompleteEarlyResult",
    "MissingRole",
    "ModelExists",
    "NoPlan",
    "NotAscending",
    "NotBetter",
    "NotCommitted",
    "NotExpelled",
    "NotOwner",
    "NotPartner",
    "NotPendingOwner",
    "NotSuspended",
    "OtherRules",
    "ResultIsConvicted",
    "ResultMismatch",
    "RoundNotEnded",
    "RoundsAreSuspended",
    "RunningHashMismatch",
    "SignatureExpired",
    "TooFewContributions",
    "TooLittleGas",
    "TooManyContributions",
    "TooManyHooks",
    "UnknownModel",
    "UnknownPlan",
    "UnknownRound",
    "UnknownVersion",
    "UnsoundReplacement",
    "ValueTooLarge",
    "VersionExists",
    "VersionIsDeprecated",
    "WrongDivisor",
    "WrongParticipantCount",
    "WrongPhase",
    "ZeroAddress",
    "ZeroDigest",
    "ZeroHook",
    "ZeroRoot",
    "decode_error",
    "show",
]

PANIC = bytes.fromhex("4e487b71")
"""Selector of Panic(uint256)."""
ERROR_STRING = bytes.fromhex("08c379a0")
"""Selector of Error(string)."""


def decode_error(data: bytes) -> ContractError:
    """Return the exception that revert data stand for.

    Args:
        data: What a call reverted with: selector and arguments, or nothing.
    """
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    from registry.chain.contracts import error_of
    from registry.chain.records import parse

    if not data:
        return ContractError("reverted without saying why")
    try:
        if data[:4] == ERROR_STRING:
            return ContractError(f"reverted: {decode(['string'], data[4:])[0]}")
        if data[:4] == PANIC:
            return ContractError(f"panicked with code {decode(['uint256'], data[4:])[0]:#x}")
        known = error_of(data[:4])
        if known is None:
            return ContractError(f"reverted with an error that is not Cairn's (a hook's?): 0x{data[:68].hex()}")
        name, types = known
        values = decode(types, data[4:])
    except DecodingError:
        return ContractError(f"reverted with data that do not decode: 0x{data[:68].hex()}")
    cls = globals().get(name) or vars(challenge_errors).get(name) or vars(court_errors).get(name)
    if isinstance(cls, type) and issubclass(cls, CustomError):
        return parse(cls, values)
    return ContractError(f"{name}: {', '.join(map(str, values))}")


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
    """Deprecating the head needs a known, sound replacement; any other version needs none."""

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
    """The owner has suspended new rounds."""

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

    roles: int


@dataclass(eq=False)
class NoPlan(CustomError):
    """The model has no standing plan."""

    model_id: ModelId


@dataclass(eq=False)
class OtherRules(CustomError):
    """The rule bytes given are not those that the plan names."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class BadRules(CustomError):
    """What begins at this byte is not what rule bytes have there."""

    offset: int


@dataclass(eq=False)
class BadProgramLength(CustomError):
    """A server program ends too early, or goes on after its end."""

    length: int
    expected: int


@dataclass(eq=False)
class BadProgramNumber(CustomError):
    """A number of a server program is out of its bounds."""

    offset: int
    number: int
    low: int
    high: int


@dataclass(eq=False)
class ValueTooLarge(CustomError):
    """A server program whose intervals nobody checked made a value of 2^63 or more in magnitude."""

    operation: int
    value: int


@dataclass(eq=False)
class BadDivisor(CustomError):
    """A server program whose intervals nobody checked divided by less than 1."""

    operation: int
    divisor: int


@dataclass(eq=False)
class BadRadicand(CustomError):
    """A server program whose intervals nobody checked took the root of less than 0."""

    operation: int
    radicand: int


@dataclass(eq=False)
class UnknownPlan(CustomError):
    """No such entry of the plan history."""

    model_id: ModelId
    plan_index: int


@dataclass(eq=False)
class BadTerm(CustomError):
    """A term of a plan out of range: how many, seconds, or gwei."""

    term: str
    value: int
    min: int
    max: int


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
    """The participant's signature counted only until an earlier second."""

    participant: Address
    valid_until: int


@dataclass(eq=False)
class TooLittleGas(CustomError):
    """Less gas is left than the next commitment of a list may take."""

    left: int
    needed: int


@dataclass(eq=False)
class HookRefused(CustomError):
    """A hook of the plan refused the commitment."""

    hook: Address


@dataclass(eq=False)
class ZeroHook(CustomError):
    """A plan names the zero address as a hook."""

    index: int


@dataclass(eq=False)
class TooManyHooks(CustomError):
    """A plan names more hooks than there may be."""

    hooks: int
    max: int


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
    """A divisor of zero or over the total weight."""

    divisor: int
    min: int
    max: int


@dataclass(eq=False)
class IncompleteEarlyResult(CustomError):
    """An early result must contain every commitment."""

    contributions: int
    commitments: int


@dataclass(eq=False)
class NotBetter(CustomError):
    """An attestation moves only to more contributions, or as many and a smaller hash."""

    current: bytes
    proposed: bytes


@dataclass(eq=False)
class AlreadyAttested(CustomError):
    """A result is attested already."""

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
    """Only the Court contract may do this, or, where it is to move a window's end, the Challenges contract."""

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

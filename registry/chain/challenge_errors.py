"""The Challenges contract's custom errors as exceptions of the same name and fields; see `errors`."""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.custom_error import CustomError
from registry.types import Address, Fault, ModelId, Tree

__all__ = [
    "BadCount",
    "BadExponent",
    "BadIndex",
    "BadLength",
    "BadProgress",
    "BadProof",
    "BadSegment",
    "BadTree",
    "FormNotDisputable",
    "ItIsCommitted",
    "NoRoot",
    "NoState",
    "NotDisputed",
    "NotFinalized",
    "NotFinite",
    "NotOnGrid",
    "NothingWrong",
    "OtherBasis",
    "OtherHead",
    "OtherList",
    "OtherMiddle",
    "TooFewSteps",
    "TooManySteps",
]


@dataclass(eq=False)
class BadCount(CustomError):
    """Count and inner root do not hash to the root."""

    root: bytes


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
class ItIsCommitted(CustomError):
    """The contribution is among the commitments."""

    participant: Address


@dataclass(eq=False)
class NoRoot(CustomError):
    """A zero root has no leaves."""


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
class NothingWrong(CustomError):
    """What the challenge is about is as it should be."""

    fault: Fault


@dataclass(eq=False)
class OtherHead(CustomError):
    """The bytes are no head that hashes to the anchored digest."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class OtherList(CustomError):
    """What was streamed is not the round's list."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class FormNotDisputable(CustomError):
    """Updates have a form whose values the chain does not read."""

    update_form: int


@dataclass(eq=False)
class OtherMiddle(CustomError):
    """These are not the least and the greatest value that is not left out."""

    least: int
    greatest: int


@dataclass(eq=False)
class OtherBasis(CustomError):
    """The rule bytes, or the parent's roots, are not those that are anchored."""

    given: bytes
    expected: bytes


@dataclass(eq=False)
class BadSegment(CustomError):
    """The segment does not hold the coordinate."""

    first: int
    length: int


@dataclass(eq=False)
class NoState(CustomError):
    """The rules keep no state."""


@dataclass(eq=False)
class BadExponent(CustomError):
    """A step beyond what float32 holds: nobody honest attests under these rules."""

    exponent: int


@dataclass(eq=False)
class TooFewSteps(CustomError):
    """The list is not at its end."""

    next: int
    contributions: int


@dataclass(eq=False)
class TooManySteps(CustomError):
    """More contributions than the result has."""

    next: int
    contributions: int

"""Fraud proofs of false selections: of the inner products that a report anchors, and of the factors that follow."""

from __future__ import annotations

from dataclasses import dataclass

from registry.chain.challenges import Challenges
from registry.chain.contract_structs import Basis, Counted, PlacedSegment, Product, Selection, Target
from registry.chain.selections import Selections
from registry.chain.sending import SentReceipt
from registry.disputes.faults import FraudProof
from registry.types import Fault

__all__ = ["WrongFinest", "WrongGramPart", "WrongGramSize", "WrongProduct", "WrongSelection"]


@dataclass(frozen=True, slots=True)
class WrongGramPart(FraudProof):
    """The report's head lacks inner products where the rules select, or has some where they do not."""

    fault = Fault.GRAM
    head: bytes

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return _selections(challenges).convict_report(target, basis, self.head, until="mined")


@dataclass(frozen=True, slots=True)
class WrongFinest(FraudProof):
    """The inner products are in the unit of another segment than one of the finest parameters.

    Attributes:
        head: Bytes of the report's head.
        claimed: The segment that it names; any where it names none.
        finer: One of parameters with a lesser exponent, or whatever else shows that the named one is not the finest.
    """

    fault = Fault.GRAM
    head: bytes
    claimed: PlacedSegment
    finer: PlacedSegment

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        selections = _selections(challenges)
        return selections.convict_finest(target, basis, self.head, self.claimed, self.finer, until="mined")


@dataclass(frozen=True, slots=True)
class WrongGramSize(FraudProof):
    """The number of sums of inner products differs from what rules and contributions give."""

    fault = Fault.SIZE
    head: bytes
    counted: Counted

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return _selections(challenges).convict_gram_size(target, basis, self.head, self.counted, until="mined")


@dataclass(frozen=True, slots=True)
class WrongProduct(FraudProof):
    """A sum of inner products is not the one before plus what a row of two updates adds."""

    fault = Fault.PRODUCT
    head: bytes
    product: Product

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return _selections(challenges).convict_product(target, basis, self.head, self.product, until="mined")


@dataclass(frozen=True, slots=True)
class WrongSelection(FraudProof):
    """The factors or the divisor are not those that the rule gives for the inner products."""

    fault = Fault.SELECTION
    head: bytes
    selection: Selection

    def convict(self, challenges: Challenges, target: Target, basis: Basis) -> SentReceipt:
        return _selections(challenges).convict_selection(target, basis, self.head, self.selection, until="mined")


def _selections(challenges: Challenges) -> Selections:
    """The contract beside Challenges, by the same sender."""
    return challenges.beside(Selections)

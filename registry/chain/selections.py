"""The Selections contract as a typed object: fraud proofs of false inner products and false selections.

It belongs to one Cairn. Methods have the names of the functions in `contracts/interfaces/ISelections.sol`, which
specifies what they prove and require.
"""

from __future__ import annotations

from registry.chain.contract_structs import Basis, Counted, PlacedSegment, Product, Selection, Target
from registry.chain.partner import Partner
from registry.chain.sending import SentReceipt, Until

__all__ = ["Selections"]


class Selections(Partner):
    """The Selections of a Cairn, to write with the client's signer."""

    contract = "Selections"

    def convict_report(self, target: Target, basis: Basis, head: bytes, *, until: Until = "final") -> SentReceipt:
        """Convict: the report's head lacks inner products where the rules select, or has some where they do not."""
        return self._send(until, "convictReport", target, basis, head)

    def convict_finest(
        self,
        target: Target,
        basis: Basis,
        head: bytes,
        claimed: PlacedSegment,
        finer: PlacedSegment,
        *,
        until: Until = "final",
    ) -> SentReceipt:
        """Convict: the inner products are in the unit of another segment than one of the finest parameters."""
        return self._send(until, "convictFinest", target, basis, head, claimed, finer)

    def convict_gram_size(
        self, target: Target, basis: Basis, head: bytes, counted: Counted, *, until: Until = "final"
    ) -> SentReceipt:
        """Convict: the number of sums differs from what rules and contributions give."""
        return self._send(until, "convictGramSize", target, basis, head, counted)

    def convict_product(
        self, target: Target, basis: Basis, head: bytes, product: Product, *, until: Until = "final"
    ) -> SentReceipt:
        """Convict: a sum of inner products is not the one before plus what a row adds."""
        return self._send(until, "convictProduct", target, basis, head, product)

    def convict_selection(
        self, target: Target, basis: Basis, head: bytes, selection: Selection, *, until: Until = "final"
    ) -> SentReceipt:
        """Convict: factors or divisor are not those that the rule gives for the inner products."""
        return self._send(until, "convictSelection", target, basis, head, selection)

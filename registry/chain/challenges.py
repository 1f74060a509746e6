"""The Challenges contract as a typed object: fraud proofs and inclusion proofs.

It belongs to one Cairn, from which its address is read. Methods have the names of the functions in
`contracts/interfaces/IChallenges.sol`, which specifies what they prove and require.
"""

from __future__ import annotations

from collections.abc import Sequence

from registry.chain.abi_values import plain, unparse
from registry.chain.contract_structs import Basis, Before, Commitment, Counted, Membership, Opening, Step, Sum, Target
from registry.chain.partner import Partner
from registry.chain.sending import SentReceipt, Until
from registry.chain.sentinels import NOWHERE
from registry.types import Address, HeadKind, Tree

__all__ = ["Challenges"]


class Challenges(Partner):
    """The Challenges of a Cairn, to read and, with the client's signer, to write."""

    contract = "Challenges"

    # --------------------------------------------------------------------------------------------------------- receipts

    def is_included(self, target: Target, membership: Membership) -> bool:
        """Return whether the contract finds a contribution included in the version that a round made."""
        return bool(self._view("isIncluded", unparse(target), unparse(membership))[0])

    def is_excluded(self, target: Target, participant: Address, neighbours: Sequence[Membership]) -> bool:
        """Return whether neighbours prove that a participant has no contribution in the version that a round made."""
        return bool(self._view("isExcluded", unparse(target), participant, plain(neighbours))[0])

    # ------------------------------------------------------------------------------------------------------- challenges

    def convict_count(self, target: Target, counted: Counted, *, until: Until = "final") -> SentReceipt:
        """Convict: the number of leaves of the contributions root differs from the result's."""
        return self._send(until, "convictCount", target, counted)

    def convict_order(
        self, target: Target, left: Membership, right: Membership, *, until: Until = "final"
    ) -> SentReceipt:
        """Convict: two neighbouring contributions are not strictly ascending."""
        return self._send(until, "convictOrder", target, left, right)

    def convict_twice(
        self, target: Target, left: Membership, right: Membership, *, until: Until = "final"
    ) -> SentReceipt:
        """Convict: two contributions have the same digest."""
        return self._send(until, "convictTwice", target, left, right)

    def convict_head(
        self, target: Target, kind: HeadKind, membership: Membership, head: bytes, *, until: Until = "final"
    ) -> SentReceipt:
        """Convict: the anchored head of an update, the version or the report is malformed or contradicts the chain."""
        return self._send(until, "convictHead", target, int(kind), membership, head)

    def convict_factor(
        self, target: Target, basis: Basis, index: int, opening: Opening, *, until: Until = "final"
    ) -> SentReceipt:
        """Convict: the factor of a contribution is not what the rules give."""
        return self._send(until, "convictFactor", target, basis, index, opening)

    def convict_roots(self, target: Target, basis: Basis, *, until: Until = "final") -> SentReceipt:
        """Convict: the version's rest root, state layout or state step does not follow from rules and parent."""
        return self._send(until, "convictRoots", target, basis)

    def convict_size(
        self,
        target: Target,
        basis: Basis,
        tree: Tree,
        counted: Counted,
        membership: Membership = NOWHERE,
        *,
        until: Until = "final",
    ) -> SentReceipt:
        """Convict: the number of a blob's values differs from the rules'."""
        return self._send(until, "convictSize", target, basis, int(tree), counted, membership)

    def convict_chunk(
        self,
        target: Target,
        basis: Basis,
        tree: Tree,
        coordinate: int,
        opening: Opening,
        membership: Membership = NOWHERE,
        *,
        until: Until = "final",
    ) -> SentReceipt:
        """Convict: a chunk has the wrong length, or a value off the grid."""
        return self._send(until, "convictChunk", target, basis, int(tree), membership, coordinate, opening)

    def convict_version(
        self, target: Target, basis: Basis, before: Before, version: Opening, *, until: Until = "final"
    ) -> SentReceipt:
        """Convict: a coordinate of the version is not what the server program gives for parent and aggregate."""
        return self._send(until, "convictVersion", target, basis, before, version)

    def convict_state(
        self, target: Target, basis: Basis, before: Before, state: Opening, *, until: Until = "final"
    ) -> SentReceipt:
        """Convict: the states of a coordinate are not what the server program gives."""
        return self._send(until, "convictState", target, basis, before, state)

    def add_contributions(
        self,
        target: Target,
        basis: Basis,
        coordinate: int,
        progress: Sum,
        steps: Sequence[Step],
        *,
        until: Until = "mined",
    ) -> SentReceipt:
        """Add contributions to the account's progress on one coordinate."""
        return self._send(until, "addContributions", target, basis, coordinate, progress, list(steps))

    def convict_aggregate(
        self,
        target: Target,
        basis: Basis,
        coordinate: int,
        progress: Sum,
        steps: Sequence[Step],
        aggregate: Opening,
        *,
        until: Until = "final",
    ) -> SentReceipt:
        """Convict: a coordinate of the aggregate is not what the combine rule gives."""
        return self._send(until, "convictAggregate", target, basis, coordinate, progress, list(steps), aggregate)

    def convict_total(
        self, target: Target, basis: Basis, progress: Sum, steps: Sequence[Step], *, until: Until = "final"
    ) -> SentReceipt:
        """Convict: the sum of weights, steps or factors differs from the result's."""
        return self._send(until, "convictTotal", target, basis, progress, list(steps))

    def replay_commitments(
        self,
        target: Target,
        sought: bytes,
        running: bytes,
        commitments: Sequence[Commitment],
        *,
        until: Until = "mined",
    ) -> SentReceipt:
        """Replay commitments, none of which has the hash that `commitment_sought` returns."""
        return self._send(until, "replayCommitments", target, sought, running, list(commitments))

    def convict_uncommitted(
        self,
        target: Target,
        index: int,
        opening: Opening,
        running: bytes,
        commitments: Sequence[Commitment],
        *,
        until: Until = "final",
    ) -> SentReceipt:
        """Convict: a contribution matches none of the commitments."""
        return self._send(until, "convictUncommitted", target, index, opening, running, list(commitments))

"""The Court contract as a typed object: convictions, demands, claims and money.

It belongs to one Cairn, from which its address is read. Methods have the names of the functions in
`contracts/interfaces/ICourt.sol`, which specifies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from registry.chain.abi_values import parse, unparse
from registry.chain.contract_structs import (
    Basis,
    Bond,
    Conviction,
    Demand,
    Demanded,
    Membership,
    OpenDemands,
    Opening,
    Shown,
    Target,
)
from registry.chain.journal import IntentState
from registry.chain.partner import Partner
from registry.chain.sending import Call, SentReceipt, Until
from registry.chain.sentinels import NO_BASIS, NOWHERE
from registry.chain.views import Block
from registry.types import Address, HeadKind, ModelId, Root, RoundId, Tree

__all__ = ["Court"]

_NO_ROOT = Root(bytes(32))


class Court(Partner):
    """The Court of a Cairn, to read and, with the client's signer, to write."""

    contract = "Court"

    # ------------------------------------------------------------------------------------------------------------ views

    def demand(self, demanded: Demanded, *, block: Block = "latest") -> Demand:
        """Return the state of a demand; its deadline is zero if there is none."""
        return parse(Demand, self._view("demand", unparse(demanded), block=block)[0])

    def open_demands(self, round_id: RoundId, tally: bytes, *, block: Block = "latest") -> OpenDemands:
        """Return the number of open demands of a result, and the cost of its late answers so far."""
        return parse(OpenDemands, self._view("openDemands", round_id, tally, block=block)[0])

    def conviction(self, round_id: RoundId, tally: bytes, *, block: Block = "latest") -> Conviction:
        """Return the conviction of a result; all zeros if it was not convicted."""
        return parse(Conviction, self._view("conviction", round_id, tally, block=block)[0])

    def bond(self, model: ModelId, aggregator: Address, *, block: Block = "latest") -> Bond:
        """Return an aggregator's bond for a model."""
        return parse(Bond, self._view("bond", model, aggregator, block=block)[0])

    def bond_asked(self, model: ModelId, number: int, *, block: Block = "latest") -> int:
        """Return the bond that an attestation in a round requires, wei."""
        return int(self._view("bondAsked", model, number, block=block)[0])

    def credit(self, account: Address, *, block: Block = "latest") -> int:
        """Return the amount that an account can withdraw, wei."""
        return int(self._view("credit", account, block=block)[0])

    def reward(self, round_id: RoundId, tally: bytes, *, block: Block = "latest") -> int:
        """Return the uncollected reward from the slashed bonds of a void result's attesters, wei."""
        return int(self._view("reward", round_id, tally, block=block)[0])

    def burnt(self, *, block: Block = "latest") -> int:
        """Return the burnt amount, which never leaves the contract, wei."""
        return int(self._view("burnt", block=block)[0])

    def seals(self, seal: bytes, *, block: Block = "latest") -> int:
        """Return the position of a seal in the order of all seals; 0 if it was not recorded."""
        return int(self._view("seals", seal, block=block)[0])

    def deposit_now(self, target: Target) -> int:
        """Return the deposit that a demand of a result requires in the next block, wei."""
        return int(self._view("depositNow", target.model_id, target.number, block="pending")[0])

    # ---------------------------------------------------------------------------------------------------- claims, money

    def seal_claim(self, seal: bytes, *, until: Until = "final") -> SentReceipt:
        """Record a seal, which commits to a claim without revealing it."""
        return self._sender(self.sealing(seal), until)

    def sealing(self, seal: bytes) -> Call:
        """Return the call of `seal_claim`."""
        return self.call("sealClaim", seal)

    def reveal_claim(
        self, round_id: RoundId, tally: bytes, salt: bytes, demanded: Demanded | None = None, *, until: Until = "final"
    ) -> SentReceipt:
        """Reveal a seal of the claim that convicted; after an unanswered demand, with one's own demand."""
        shown = demanded or Demanded(round_id, tally, _NO_ROOT, 0, 0, 0)
        return self._send(until, "revealClaim", round_id, tally, salt, shown)

    def collect_reward(self, round_id: RoundId, tally: bytes, *, until: Until = "final") -> SentReceipt:
        """Credit the reward to the earliest seal."""
        return self._send(until, "collectReward", round_id, tally)

    def deposit_bond(self, model: ModelId, amount: int, *, until: Until = "final") -> SentReceipt:
        """Deposit a bond, wei."""
        return self._send(until, "depositBond", model, value=amount)

    def release_bond(self, model: ModelId, amount: int, *, until: Until = "final") -> SentReceipt:
        """Credit the part of a bond that is not needed any more, wei."""
        return self._send(until, "releaseBond", model, amount)

    def withdraw(self, to: Address | None = None, *, until: Until = "final") -> SentReceipt:
        """Withdraw the account's credit, to itself or another account."""
        return self._sender(self.withdrawal(to), until)

    def withdrawal(self, to: Address | None = None) -> Call:
        """Return the call of `withdraw`. Credit earned after a mined withdrawal takes a new call."""
        return self.anew(self.call("withdraw", to or self.client.account))

    def anew(self, call: Call) -> Call:
        """Return a call under a key that no mined transaction has.

        A call equal to a mined one would otherwise count as done, though it is to have its effect again.
        """
        first, journal = call, self.client.transactor.journal
        while (known := journal.latest(call.key)) is not None and known.state is IntentState.MINED:
            call = replace(first, key=f"{first.key}:{known.number}")
        return call

    # ---------------------------------------------------------------------------------------------------------- demands

    def demand_chunks(
        self,
        target: Target,
        tree: Tree,
        indices: Sequence[int],
        membership: Membership = NOWHERE,
        basis: Basis = NO_BASIS,
        *,
        deposit: int,
        until: Until = "final",
    ) -> SentReceipt:
        """Demand leaves of a blob, against a deposit in wei for each. All but aggregate and version require the basis.

        A leaf that was demanded before is skipped, see `DemandSkipped`.
        """
        return self._sender(self.chunks_demand(target, tree, indices, membership, basis, deposit=deposit), until)

    def chunks_demand(
        self,
        target: Target,
        tree: Tree,
        indices: Sequence[int],
        membership: Membership = NOWHERE,
        basis: Basis = NO_BASIS,
        *,
        deposit: int,
    ) -> Call:
        """Return the call of `demand_chunks`."""
        arguments = (target, basis, int(tree), membership, list(indices))
        return self._demand(deposit, len(indices), "demandChunks", *arguments)

    def demand_contributions(
        self, target: Target, indices: Sequence[int], *, deposit: int, until: Until = "final"
    ) -> SentReceipt:
        """Demand leaves of the contributions root, against a deposit in wei for each."""
        return self._sender(self.contributions_demand(target, indices, deposit=deposit), until)

    def contributions_demand(self, target: Target, indices: Sequence[int], *, deposit: int) -> Call:
        """Return the call of `demand_contributions`."""
        return self._demand(deposit, len(indices), "demandContributions", target, list(indices))

    def demand_gram(
        self, target: Target, head: bytes, indices: Sequence[int], *, deposit: int, until: Until = "final"
    ) -> SentReceipt:
        """Demand leaves of the inner products that a report's head anchors, against a deposit in wei for each."""
        return self._sender(self.gram_demand(target, head, indices, deposit=deposit), until)

    def gram_demand(self, target: Target, head: bytes, indices: Sequence[int], *, deposit: int) -> Call:
        """Return the call of `demand_gram`."""
        return self._demand(deposit, len(indices), "demandGram", target, head, list(indices))

    def demand_head(
        self,
        target: Target,
        kind: HeadKind,
        membership: Membership = NOWHERE,
        *,
        deposit: int,
        until: Until = "final",
    ) -> SentReceipt:
        """Demand a head by its anchored digest, against a deposit in wei."""
        return self._sender(self.head_demand(target, kind, membership, deposit=deposit), until)

    def head_demand(self, target: Target, kind: HeadKind, membership: Membership = NOWHERE, *, deposit: int) -> Call:
        """Return the call of `demand_head`."""
        return self._demand(deposit, 1, "demandHead", target, int(kind), membership)

    def show_leaf(self, demanded: Demanded, opening: Opening, *, until: Until = "mined") -> SentReceipt:
        """Show a demanded leaf, or prove that there is none."""
        return self._send(until, "showLeaf", demanded, opening)

    def show_leaves(self, shown: Sequence[Shown], *, until: Until = "mined") -> SentReceipt:
        """Show many leaves; one that cannot be shown is skipped, see `AnswerSkipped`."""
        return self._send(until, "showLeaves", list(shown))

    def show_late(
        self,
        model: ModelId,
        number: int,
        demanded: Demanded,
        opening: Opening,
        attesters: Sequence[Address],
        *,
        until: Until = "mined",
    ) -> SentReceipt:
        """Show a demanded leaf after the answer time, at the cost of the bonds of all who attested the result."""
        return self._send(until, "showLate", model, number, demanded, opening, list(attesters))

    def close_demand(self, model: ModelId, number: int, demanded: Demanded, *, until: Until = "final") -> SentReceipt:
        """Close a demand that nobody answered, in time or late, which voids its result."""
        return self._send(until, "closeDemand", model, number, demanded)

    def _demand(self, deposit: int, leaves: int, name: str, *arguments: Any) -> Call:
        """Return the call of a demand; a pending one keeps its deposit, though the base fee has moved since.

        If the pending one reverted, or will revert because its deposit is too small, return another call beside it.
        """
        call = first = self.call(name, *arguments, value=deposit * leaves)
        while (known := self.client.transactor.journal.on_its_way(call.key)) is not None:
            enough = known.value >= leaves * self.deposit_now(arguments[0])
            if known.succeeded or (known.succeeded is None and enough):
                return replace(call, value=known.value)
            call = replace(first, key=f"{first.key}:{known.number}")
        return call

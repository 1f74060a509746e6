"""The Challenges contract as a typed object: its views and events, and one method for each transaction.

It belongs to one Cairn and is found through it. What its functions prove, and what they want, stands in
`contracts/interfaces/IChallenges.sol`; the methods have their names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from registry.chain.challenge_records import (
    NOWHERE,
    Bond,
    Conviction,
    Counted,
    Demand,
    Demanded,
    Listed,
    Membership,
    Opening,
    Step,
    Sum,
    Target,
)
from registry.chain.client import Client
from registry.chain.contracts import encode_call
from registry.chain.events import Event, read_events
from registry.chain.journal import State
from registry.chain.records import parse, plain, unparse
from registry.chain.sending import Call, Receipt, Until
from registry.chain.views import Block, read_view
from registry.types import Address, ModelId, Root, RoundId, Tree

__all__ = ["Challenges"]

_NO_ROOT = Root(bytes(32))


class Challenges:
    """The Challenges of a Cairn, to read and, with the client's signer, to write."""

    def __init__(self, client: Client, *, send: Callable[[Call, Until], Receipt] | None = None) -> None:
        """Find the contract.

        Args:
            client: A Cairn's.
            send: What sends for it; by default the client.
        """
        self.client = client
        self._sender = send or client.send
        self.address = client.challenges()

    # --------------------------------------------------------------------------------------------------- views

    def demand(self, demanded: Demanded, *, block: Block = "latest") -> Demand:
        """Return how a demand stands; its deadline is zero where there is none."""
        return parse(Demand, self._view("demand", unparse(demanded), block=block)[0])

    def conviction(self, round_id: RoundId, tally: bytes, *, block: Block = "latest") -> Conviction:
        """Return how a result was convicted; all zeros if it was not."""
        return parse(Conviction, self._view("conviction", round_id, tally, block=block)[0])

    def bond(self, model: ModelId, aggregator: Address, *, block: Block = "latest") -> Bond:
        """Return what an aggregator has deposited for a model."""
        return parse(Bond, self._view("bond", model, aggregator, block=block)[0])

    def credit(self, account: Address, *, block: Block = "latest") -> int:
        """Return what an account can withdraw, wei."""
        return int(self._view("credit", account, block=block)[0])

    def reward(self, round_id: RoundId, tally: bytes, *, block: Block = "latest") -> int:
        """Return what has been taken from the attesters of a void result and is not collected yet, wei."""
        return int(self._view("reward", round_id, tally, block=block)[0])

    def burnt(self, *, block: Block = "latest") -> int:
        """Return what will never leave the contract, wei."""
        return int(self._view("burnt", block=block)[0])

    def seals(self, seal: bytes, *, block: Block = "latest") -> int:
        """Return where a seal stands in the order of all; 0 if it was not recorded."""
        return int(self._view("seals", seal, block=block)[0])

    def deposit_now(self) -> int:
        """Return the deposit a demand takes in the next block, wei."""
        return int(self._view("depositNow", block="pending")[0])

    def is_included(self, target: Target, membership: Membership) -> bool:
        """Say whether a contribution is in the version that a round made, as the contract finds."""
        return bool(self._view("isIncluded", unparse(target), unparse(membership))[0])

    def is_excluded(self, target: Target, participant: Address, neighbours: Sequence[Membership]) -> bool:
        """Say whether neighbours show that a participant has no contribution in the version that a round made."""
        return bool(self._view("isExcluded", unparse(target), participant, plain(neighbours))[0])

    def events(
        self,
        *kinds: type[Event],
        subject: bytes | None = None,
        from_block: int | None = None,
        to_block: int | None = None,
    ) -> Iterator[Event]:
        """Yield the contract's events in order; arguments as `Views.events` has them."""
        client = self.client
        return read_events(
            client.w3,
            self.address,
            from_block=client.deployed_at if from_block is None else from_block,
            to_block=client.final_block() if to_block is None else to_block,
            kinds=kinds,
            subject=subject,
        )

    # ------------------------------------------------------------------------------------------------ claims, money

    def seal_claim(self, seal: bytes, *, until: Until = "final") -> Receipt:
        """Record a claim without saying which."""
        return self._send(until, "sealClaim", seal)

    def reveal_claim(
        self, round_id: RoundId, tally: bytes, salt: bytes, demanded: Demanded | None = None, *, until: Until = "final"
    ) -> Receipt:
        """Show a seal of the claim that convicted; for want of an answer, with one's own demand."""
        shown = demanded or Demanded(round_id, tally, _NO_ROOT, False, 0)
        return self._send(until, "revealClaim", round_id, tally, salt, shown)

    def collect_reward(self, round_id: RoundId, tally: bytes, *, until: Until = "final") -> Receipt:
        """Credit the reward to the earliest seal."""
        return self._send(until, "collectReward", round_id, tally)

    def deposit_bond(self, model: ModelId, amount: int, *, until: Until = "final") -> Receipt:
        """Deposit a bond, wei."""
        return self._send(until, "depositBond", model, value=amount)

    def release_bond(self, model: ModelId, amount: int, *, until: Until = "final") -> Receipt:
        """Credit of a bond what is not needed any more, wei."""
        return self._send(until, "releaseBond", model, amount)

    def withdraw(self, *, until: Until = "final") -> Receipt:
        """Pay out what the account has been credited."""
        return self._sender(self.withdrawal(), until)

    def withdrawal(self) -> Call:
        """Return the call of `withdraw`. To pay out what was credited since the last one was mined is another effect,
        though the call says the same and that one may not be final yet.
        """
        call = first = self.call("withdraw")
        journal = self.client.transactor.journal
        while (known := journal.latest(call.key)) is not None and known.state is State.MINED:
            call = replace(first, key=f"{first.key}:{known.number}")
        return call

    # --------------------------------------------------------------------------------------------------- challenges

    def convict_count(self, target: Target, counted: Counted, *, until: Until = "final") -> Receipt:
        """The contributions root holds another number than the result says."""
        return self._send(until, "convictCount", target, counted)

    def convict_order(self, target: Target, left: Membership, right: Membership, *, until: Until = "final") -> Receipt:
        """Two neighbouring contributions are not strictly ascending."""
        return self._send(until, "convictOrder", target, left, right)

    def convict_root(self, target: Target, *, until: Until = "final") -> Receipt:
        """The version has no tensor root though its parent has one, or the other way round."""
        return self._send(until, "convictRoot", target)

    def convict_size(
        self,
        target: Target,
        aggregate: Counted,
        tree: Tree,
        counted: Counted,
        membership: Membership = NOWHERE,
        *,
        until: Until = "final",
    ) -> Receipt:
        """The aggregate has another number of values than another blob."""
        return self._send(until, "convictSize", target, aggregate, int(tree), counted, membership)

    def convict_chunk(
        self,
        target: Target,
        tree: Tree,
        coordinate: int,
        opening: Opening,
        membership: Membership = NOWHERE,
        *,
        until: Until = "final",
    ) -> Receipt:
        """A chunk of the wrong length, or a value that no update may hold."""
        return self._send(until, "convictChunk", target, int(tree), membership, coordinate, opening)

    def convict_version(
        self,
        target: Target,
        coordinate: int,
        parent: Opening,
        aggregate: Opening,
        version: Opening,
        *,
        until: Until = "final",
    ) -> Receipt:
        """A coordinate of the version is not its parent's plus the aggregate's."""
        return self._send(until, "convictVersion", target, coordinate, parent, aggregate, version)

    def add_contributions(
        self, target: Target, coordinate: int, progress: Sum, steps: Sequence[Step], *, until: Until = "mined"
    ) -> Receipt:
        """Add contributions to the account's progress on one coordinate."""
        return self._send(until, "addContributions", target, coordinate, progress, list(steps))

    def convict_aggregate(
        self,
        target: Target,
        coordinate: int,
        progress: Sum,
        steps: Sequence[Step],
        aggregate: Opening,
        *,
        until: Until = "final",
    ) -> Receipt:
        """A coordinate of the aggregate is not the rounded weighted mean."""
        return self._send(until, "convictAggregate", target, coordinate, progress, list(steps), aggregate)

    def convict_total(self, target: Target, progress: Sum, steps: Sequence[Step], *, until: Until = "final") -> Receipt:
        """The weights add up to something else."""
        return self._send(until, "convictTotal", target, progress, list(steps))

    def replay_commitments(
        self,
        target: Target,
        leaf_hash: bytes,
        running: bytes,
        commitments: Sequence[Listed],
        *,
        until: Until = "mined",
    ) -> Receipt:
        """Go through commitments, none of which is a contribution of that leaf hash."""
        return self._send(until, "replayCommitments", target, leaf_hash, running, list(commitments))

    def convict_uncommitted(
        self,
        target: Target,
        index: int,
        opening: Opening,
        running: bytes,
        commitments: Sequence[Listed],
        *,
        until: Until = "final",
    ) -> Receipt:
        """A contribution is not, or not so, among the commitments."""
        return self._send(until, "convictUncommitted", target, index, opening, running, list(commitments))

    # ------------------------------------------------------------------------------------------------------ demands

    def demand_chunk(
        self,
        target: Target,
        tree: Tree,
        index: int,
        membership: Membership = NOWHERE,
        *,
        deposit: int,
        until: Until = "final",
    ) -> Receipt:
        """Demand a leaf of a blob, against a deposit in wei."""
        return self._demand(until, deposit, "demandChunk", target, int(tree), membership, index)

    def demand_contribution(self, target: Target, index: int, *, deposit: int, until: Until = "final") -> Receipt:
        """Demand a leaf of the contributions root, against a deposit in wei."""
        return self._demand(until, deposit, "demandContribution", target, index)

    def show_leaf(self, demanded: Demanded, opening: Opening, *, until: Until = "mined") -> Receipt:
        """Show a demanded leaf, or that there is none."""
        return self._send(until, "showLeaf", demanded, opening)

    def close_demand(self, model: ModelId, number: int, demanded: Demanded, *, until: Until = "final") -> Receipt:
        """Close a demand that nobody answered in time, which makes its result void."""
        return self._send(until, "closeDemand", model, number, demanded)

    # ------------------------------------------------------------------------------------------------------ internals

    def _view(self, name: str, *arguments: Any, block: Block = "latest") -> tuple[Any, ...]:
        return read_view(self.client.w3, "Challenges", self.address, name, *arguments, block=block)

    def call(self, name: str, *arguments: Any, value: int = 0) -> Call:
        """Return a call of a function, journaled under what it says: it counts once while it is on its way."""
        data = encode_call("Challenges", name, [plain(argument) for argument in arguments])
        key = f"{name}:{hashlib.sha256(data).hexdigest()[:32]}@{self.address.hex()}"
        return Call(to=self.address, data=data, key=key, once=False, value=value)

    def _send(self, until: Until, name: str, *arguments: Any, value: int = 0) -> Receipt:
        return self._sender(self.call(name, *arguments, value=value), until)

    def _demand(self, until: Until, deposit: int, name: str, *arguments: Any) -> Receipt:
        """A demand that is on its way already goes on with the deposit of then: the base fee has moved since."""
        call = self.call(name, *arguments, value=deposit)
        known = self.client.transactor.journal.latest(call.key)
        if known is not None and known.state.live and known.state is not State.PLANNED:
            call = replace(call, value=known.value)
        return self._sender(call, until)

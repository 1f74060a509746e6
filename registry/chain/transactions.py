"""Transaction sender: simulated, journaled, sent, fee-bumped when stuck, and followed until final.

`submit` simulates, signs and broadcasts a call, `wait` follows it, `send` does both. All three are idempotent: called
again with the same `Call` after a crash, they find the journal entry by the call's key and resume. A signed transaction
is only ever rebroadcast as the same bytes, or replaced under the same nonce. A call that no node accepts at any fee is
given up and its nonce reused, so that it blocks nothing signed after it. `keep` makes one pass over all pending
transactions without waiting: a loop around it resends after reorgs and bumps fees until all are final.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

from registry.chain.custom_error import show
from registry.chain.event_logs import decode_logs
from registry.chain.journal import Attempt, Intent, IntentState, Journal, JournalConflict
from registry.chain.reverts import decode_error
from registry.chain.sending import Call, Quote, Sending, SentReceipt, Until, simulate
from registry.chain.views import chain_id_of
from registry.errors import ContractError, NodeUnavailable, NotEnoughMoney, TransactionFailed, TransactionRefused
from registry.ethereum.fees import Fees, gas_limit, outbid, suggest_fees, worth_outbidding
from registry.ethereum.hashing import keccak
from registry.ethereum.keys import Signer, check_signed, to_checksum
from registry.ethereum.money import ether
from registry.ethereum.networks import Finality, FinalityRule, final_block, finality_of, network_of
from registry.ethereum.node import NodeRefused, asking, quantity
from registry.ethereum.positions import Event
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Call", "Quote", "Sending", "SentReceipt", "Transactor", "Until", "simulate"]

log = logging.getLogger(__name__)

LEAST_GAS = 21_000
"""Intrinsic gas of a transaction."""
_LOOKS_IN_TIME = 4
"""A transaction that is not mined after this fraction, 1/4, of the time left gets a fee bump."""
_LATELY = 2.0
"""Seconds for which a pass relies on what it has seen; twelve-second blocks raise base fees by an eighth at most."""
_YIELDS = 60.0
"""Seconds for which others' transactions in the mempool postpone a call that anyone may send."""
_WARN_AFTER = 3.0
_WARN_EVERY = 10.0
"""Seconds without an answer after which, and after each more of which, the reason is logged."""
_LOOKS = 4
"""Queries to a node before a transaction counts as lost, or a used nonce as free again after a chain reset."""
ALREADY_KNOWN = ("already known", "known transaction", "already imported", "already in mempool", "alreadyknown")
NONCE_USED = ("nonce too low", "nonce is too low", "invalid nonce", "nonce has already been used", "oldnonce")
NONCE_AHEAD = ("nonce too high", "invalid transaction nonce", "nonce gap", "gapped-nonce")
UNDERPRICED = ("underpriced", "less than block base fee", "fee too low", "lower than the base fee", "feetoolow")
NO_MONEY = ("insufficient funds", "doesn't have enough funds", "insufficient balance", "cannot afford")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a pass over pending transactions asks once, however many they are, and anew where the pass takes long.

    Attributes:
        at: When it was asked, by `Sending.clock`, seconds.
        final: Number of the last final block; asked before any receipt, so it can only be older.
        used: Number of the account's nonces that the latest block has used.
        taken: That of nonces used by the latest block or by transactions in the pool that follow it without a gap.
        fees: Current fees, queried when first needed.
    """

    at: float
    final: int
    used: int
    taken: int
    fees: Callable[[], Fees]


class Transactor:
    """Transaction sender for one account on one chain."""

    def __init__(
        self,
        w3: Web3,
        signer: Signer,
        journal: Journal,
        *,
        chain_id: int,
        finality: Finality | None = None,
        sending: Sending | None = None,
    ) -> None:
        """Bind an account to a node. Sends no request, unless the finality policy must be queried.

        Args:
            w3: The node.
            signer: Signer of the account.
            journal: The account's journal on that chain.
            chain_id: Chain id of every transaction (EIP-155).
            finality: Finality policy; None for the network's.
            sending: Polling, timeout and fee settings.
        """
        self._w3 = w3
        self._signer = signer
        self._journal = journal
        self._chain_id = chain_id
        self._sending = sending or Sending()
        self._reconciled = False
        self._tried: dict[str, float] = {}
        """When each shared call was first simulated, by key, Unix seconds."""
        self.finality = finality_of(w3, chain_id, finality)

    @property
    def address(self) -> Address:
        """The account that pays and signs."""
        return self._signer.address

    @property
    def journal(self) -> Journal:
        """The account's journal."""
        return self._journal

    def quote(self, call: Call) -> Quote:
        """Estimate the cost of a call, without sending it.

        Raises:
            ContractError: The contract reverts.
        """
        gas = simulate(self._w3, call, self.address)
        fees, limit = suggest_fees(self._w3), gas_limit(self._w3, gas)
        return Quote(gas=gas, gas_limit=limit, fees=fees, balance=self._balance())

    def send(self, call: Call, until: Until = "final") -> SentReceipt:
        """Submit a call and wait for it. Idempotent: the same call again, even after a crash, is the same transaction.

        Raises:
            ContractError: The contract reverts, in simulation or when mined.
            TransactionFailed: Insufficient funds, a revert without a known reason, or a timeout.
            NodeUnavailable: The node does not answer.
        """
        self.submit(call)
        return self.wait(call, until)

    def submit(self, call: Call, *, spare_gas: int = 0) -> Intent:
        """Simulate, journal, sign and broadcast a call, unless already done. Does not wait for a block.

        Args:
            call: The call.
            spare_gas: Gas that the account must still be able to pay for afterwards.

        Raises:
            ContractError: The contract reverts in simulation. Nothing was written or sent.
            TransactionFailed: Insufficient funds.
            TransactionRefused: The node accepts it at no fee. It was given up.
            JournalConflict: The key has a different signed transaction.
        """
        if not self._reconciled:
            self.reconcile()
        with self._journal.lock():
            known = self._journal.latest(call.key)
            if known is not None and known.state is not IntentState.PLANNED:
                same = (known.recipient, known.data, known.value) == (call.to, call.data, call.value)
                if known.state.live and not same:
                    raise JournalConflict(f"{call.key}: another transaction than this one is {known.state}")
                if known.state.live or (known.state is IntentState.FINAL and call.once and same):
                    return known
            planned = known if known is not None and known.state is IntentState.PLANNED else None
            return self._begin(call, planned, spare_gas)

    def wait(self, call: Call, until: Until = "final") -> SentReceipt:
        """Follow a submitted call until it is mined or final, with rebroadcasts and fee bumps as needed.

        Raises:
            ContractError: It was mined and the contract reverted.
            TransactionFailed: It reverted for another reason, or `Sending.timeout` passed.
            NodeUnavailable: The node did not answer for longer than `Sending.patience`.
        """
        intent = self._journal.latest(call.key)
        if intent is None:
            raise TransactionFailed(f"{call.key}: nothing was submitted")
        began = heard = self._sending.clock()
        pause, warned = self._poll(), _WARN_AFTER
        while True:  # checks at least once: a reorg may have removed a mined transaction
            try:
                intent = self._advance(intent, self._see())
                heard, warned = self._sending.clock(), _WARN_AFTER
            except NodeRefused:
                raise
            except NodeUnavailable as error:
                silent = abs(self._sending.clock() - heard)
                if silent > self._sending.patience:
                    raise
                if silent >= warned:
                    log.warning("%s: waiting for the node: %s", call.key, error)
                    warned = silent + _WARN_EVERY
                intent = self._journal.get(intent.number)
            if _reached(intent, until):
                break
            if abs(self._sending.clock() - began) > self._sending.timeout:
                raise TransactionFailed(
                    f"{call.key}: expected it {until} within {self._sending.timeout:g} s, got no further than "
                    f"{intent.state}; it may still be mined, and the same call goes on waiting for it"
                )
            self._sending.sleep(pause)
            pause = min(pause * 1.5, 20 * self._poll(), 4.0)
        return self._receipt(intent, call.to)

    def receipt(self, call: Call) -> SentReceipt | None:
        """Return what a call did, as the node says now; None where no block has it, or it was reverted. Does not wait.

        Raises:
            NodeUnavailable: The node does not answer.
        """
        intent = self._journal.latest(call.key)
        found = None if intent is None else self._find_receipt(intent)
        if intent is None or found is None or found["status"] != 1:
            return None
        return self._receipt(intent, call.to, found)

    def keep(self, *, left: float | None = None, most: int | None = None) -> tuple[Intent, ...]:
        """Make one pass over all pending transactions, in nonce order, without waiting.

        A transaction removed by a reorg is resent, a stuck one is fee-bumped, one whose nonce was used by another
        transaction is signed again, one in a final block is completed.

        Args:
            left: Seconds until the deadline, if any. A transaction not mined after a quarter of them gets a fee bump,
                one that has waited longer than them an urgent bump; None for `Sending.resend_after`.
            most: Cap on fee bumps, wei per gas; raised to a first bid at current fees if that is higher.

        Returns:
            The intents that are still live.

        Raises:
            NodeUnavailable: The node does not answer.
        """
        self._reconciled = True
        seen = None
        for intent in self._journal.live():
            try:
                seen = self._seen_lately(seen)
                self._advance(intent, seen, left, most)
            except (ContractError, TransactionFailed, NodeRefused) as error:
                log.info("%s: still %s: %s", intent.key, intent.state, error)  # waiting for it raises this
        return self._journal.live()

    def paid(self, intent: Intent) -> tuple[int, tuple[Event, ...]] | None:
        """Return what a mined transaction has cost, wei, and its events; None if it is in no block.

        The cost is its gas, and its value unless it was reverted.
        """
        receipt = self._find_receipt(intent)
        if receipt is None:
            return None
        gas, price = (quantity(receipt.get(name, 0), name) for name in ("gasUsed", "effectiveGasPrice"))
        cost = gas * price + (intent.value if receipt["status"] == 1 else 0)
        return cost, () if intent.recipient is None else decode_logs(receipt["logs"], intent.recipient)

    def unmined(self) -> bool:
        """Make one pass as `keep`, and return whether any transaction is still unmined."""
        return any(intent.state in (IntentState.SIGNED, IntentState.SENT) for intent in self.keep())

    def reconcile(self) -> tuple[Intent, ...]:
        """Reconcile the journal with the chain after a restart: record mined transactions, resend unknown ones.

        Signs nothing. Returns the intents that are still live.
        """
        self._reconciled = True
        seen = None
        for intent in self._journal.live():
            try:
                seen = self._seen_lately(seen)
                self._look(intent, seen)
            except (ContractError, TransactionFailed) as error:
                log.warning("%s: still %s: %s", intent.key, intent.state, error)  # waiting for it raises this
        return self._journal.live()

    # ------------------------------------------------------------------------------------------------- sending

    def _begin(self, call: Call, planned: Intent | None, spare_gas: int = 0) -> Intent:
        """Simulate, plan, sign and broadcast; the caller holds the account's lock."""
        try:
            fees = self._capped(suggest_fees(self._w3))
            gas = self._simulate(call, fees)
            limit = gas_limit(self._w3, gas)
            fees = self._affordable(fees, limit, spare_gas, call.value)
        except (ContractError, TransactionFailed) as error:
            if planned is not None:
                self._journal.drop(planned.number, str(error))
            raise
        intent = self._journal.plan(call.key, call.to, call.data, call.value)
        intent = self._sign(intent, self._next_nonce(), limit, fees)
        try:
            return self._broadcast(intent)
        except NodeRefused:
            raise
        except NodeUnavailable as error:
            log.warning("%s: signed, but not accepted by the node yet: %s", call.key, error)
            return self._journal.get(intent.number)
        except (ContractError, TransactionFailed) as error:
            return self._bid_less(intent, error)

    def _simulate(self, call: Call, fees: Fees) -> int:
        now = self._sending.clock()
        yields = call.shared and abs(now - self._tried.setdefault(call.key, now)) < _YIELDS
        try:
            return simulate(self._w3, call, self.address, yields=yields)
        except NodeRefused as error:
            if not _says(error.said.lower(), NO_MONEY):
                raise
            # The node requires funds even for a simulation: the gas is unknown, but at least the intrinsic gas.
            raise NotEnoughMoney(self._lacking(LEAST_GAS * fees.max_fee + call.value, "more than")) from error

    def _sign(self, intent: Intent, nonce: int, gas: int, fees: Fees) -> Intent:
        chain_id_of(self._w3, expected=self._chain_id)  # else nonce and fees may be of another chain
        transaction: dict[str, Any] = {
            "chainId": self._chain_id,
            "nonce": nonce,
            "value": intent.value,
            "data": intent.data,
            "gas": gas,
        }
        if intent.recipient is not None:
            transaction["to"] = to_checksum(intent.recipient)
        if fees.base_fee is None:
            transaction["gasPrice"] = fees.max_fee
        else:
            transaction |= {
                "type": 2,
                "maxFeePerGas": fees.max_fee,
                "maxPriorityFeePerGas": min(fees.priority_fee, fees.max_fee),
            }
        raw = self._signer.sign_transaction(transaction)
        check_signed(raw, transaction, self.address)
        attempt = Attempt(
            tx_hash=keccak(raw),
            raw=raw,
            nonce=nonce,
            max_fee=fees.max_fee,
            priority_fee=fees.priority_fee,
            signed_at=self._sending.clock(),
            sent=False,
        )
        return self._journal.sign(intent.number, attempt, gas)

    def _broadcast(self, intent: Intent, attempt: Attempt | None = None) -> Intent:
        """Send an attempt, by default the newest. What the node's refusal means decides what happens next.

        Raises:
            ContractError: The node does not take it, nor is it mined: the contract refuses it.
            NotEnoughMoney: Likewise, for want of money.
            TransactionRefused: Likewise, for another reason.
        """
        attempt = attempt or intent.attempts[-1]
        try:
            with asking("eth_sendRawTransaction"):
                self._w3.eth.send_raw_transaction(attempt.raw)
        except NodeRefused as error:
            said = error.said.lower()
            if _says(said, (*NONCE_USED, *NONCE_AHEAD, *UNDERPRICED)):
                # Mined already, behind one that is not there yet, or outbid by another transaction of ours or of this
                # account's owner: looking tells.
                log.info("%s: %s", intent.key, error.said)
                return intent
            if _says(said, NO_MONEY):
                raise NotEnoughMoney(
                    f"{intent.key}: " + self._lacking((intent.gas or 0) * attempt.max_fee + intent.value, "up to")
                ) from error
            if not _says(said, ALREADY_KNOWN) and self._find_receipt(intent) is None:
                if error.data:
                    raise decode_error(error.data) from error
                raise TransactionRefused(f"{intent.key}: the node refused it: {error.said:.200}") from error
        return self._journal.send(intent.number, attempt.tx_hash)

    def _bid_less(self, intent: Intent, error: ContractError | TransactionFailed) -> Intent:
        """Bid the least for what the node has refused; go back to what a node has taken; or else give it up.

        Given up, since whatever is signed after it waits for its nonce. No effect can come twice by that: another
        transaction gets the nonce, so one of both is mined at most.

        Raises:
            ContractError: It was given up, for this reason.
            TransactionFailed: Likewise.
        """
        with self._journal.lock():
            intent = self._journal.get(intent.number)
            if intent.state not in (IntentState.SIGNED, IntentState.SENT) or intent.nonce is None or intent.gas is None:
                return intent
            lower = self._lowest(intent)
            if lower is not None:
                log.info("%s: bidding %d wei per gas: %s", intent.key, lower.max_fee, error)
                intent = self._sign(intent, intent.nonce, intent.gas, lower)
                try:
                    return self._broadcast(intent)
                except (ContractError, TransactionFailed) as again:
                    error = again
            taken = [attempt for attempt in intent.attempts if attempt.sent]
            for attempt in reversed(taken):
                try:
                    return self._broadcast(intent, attempt)
                except (ContractError, TransactionFailed) as again:
                    error = again
            if taken or intent.state is IntentState.SENT or self._known(intent):
                log.warning("%s: the node takes it no more: %s", intent.key, error)
                return intent
            self._journal.refuse(intent.number, str(error))
            raise error

    def _lowest(self, intent: Intent) -> Fees | None:
        """Return the lowest bid that outlives a full block and replaces what was taken; None if none is untried."""
        wanted = suggest_fees(self._w3)
        if wanted.base_fee is None:
            return None
        lowest = replace(wanted, max_fee=wanted.base_fee * 9 // 8 + wanted.priority_fee)
        for attempt in intent.attempts:
            if attempt.sent:
                lowest = outbid(attempt.max_fee, attempt.priority_fee, lowest)
        refused = min((attempt.max_fee for attempt in intent.attempts if not attempt.sent), default=0)
        return lowest if lowest.max_fee < refused else None

    def _known(self, intent: Intent) -> bool:
        """Whether the node has an attempt after all, or anything else with its nonce; asked a few times."""
        return any(
            self._find_receipt(intent) is not None
            or self._in_pool(intent)
            or self._count("pending") > (intent.nonce or 0)
            for _ in range(_LOOKS)
        )

    def _fill_gap(self, nonce: int) -> None:
        """Use a nonce before this one that nothing is signed for any more: nodes mine an account's nonces in turn."""
        with self._journal.lock():
            free = self._next_nonce()
            if self._journal.unused_nonce() <= free < nonce:
                log.info(
                    "nonce %d: free, and %d waits for it: filling the gap with a self-transfer of zero", free, nonce
                )
                self._begin(Call(to=self.address, data=b"", key=f"nonce:{free}", once=False), None)

    def _replace(self, intent: Intent, wanted: Fees, *, urgent: bool = False, most: int | None = None) -> Intent:
        """Fee-bump a transaction: replace it under the same nonce. `wanted` are the current fees."""
        with self._journal.lock():
            intent = self._journal.get(intent.number)
            if intent.state not in (IntentState.SIGNED, IntentState.SENT) or intent.nonce is None or intent.gas is None:
                return intent
            if self._count("latest") > intent.nonce:
                return intent  # the nonce is used; finality decides by which transaction
            old = intent.attempts[-1]
            fees = outbid(old.max_fee, old.priority_fee, wanted, urgent=urgent)
            # What a first bid costs by now is always paid, with the eighth by which a replacement must exceed it.
            usual = wanted.max_fee * 9 // 8 + 1 if wanted.max_fee > old.max_fee else wanted.max_fee
            if most is not None and fees.max_fee > max(most, usual):
                fees = outbid(old.max_fee, old.priority_fee, wanted)
            too_much = most is not None and fees.max_fee > max(most, usual)
            if too_much or not worth_outbidding(old.max_fee, old.priority_fee, wanted):
                log.info("%s: no fee bump: it would exceed the transaction's worth", intent.key)
                return intent
            if self._sending.max_fee_cap is not None and fees.max_fee > self._sending.max_fee_cap:
                log.warning("%s: no fee bump: it would exceed the fee cap", intent.key)
                return intent
            if intent.gas * (fees.max_fee - old.max_fee) > self._balance() - self._promised():
                log.warning("%s: no fee bump: insufficient funds", intent.key)
                return intent
            log.info("%s: fee bump from %.6g to %.6g gwei per gas", intent.key, old.max_fee / 1e9, fees.max_fee / 1e9)
            signed = self._sign(intent, intent.nonce, intent.gas, fees)
            try:
                return self._broadcast(signed)
            except (ContractError, TransactionFailed) as error:
                return self._bid_less(signed, error)

    # ----------------------------------------------------------------------------------------------- following

    def _see(self) -> _Seen:
        """Query what a pass needs, whatever is pending."""
        final = final_block(self._w3, self.finality)
        fees = cache(partial(suggest_fees, self._w3))
        return _Seen(self._sending.clock(), final, self._count("latest"), self._count("pending"), fees)

    def _seen_lately(self, seen: _Seen | None) -> _Seen:
        """Return what was seen, or see anew after some seconds: meanwhile a block may have raised the fees."""
        return seen if seen is not None and abs(self._sending.clock() - seen.at) < _LATELY else self._see()

    def _advance(self, intent: Intent, seen: _Seen, left: float | None = None, most: int | None = None) -> Intent:
        """Check an intent against the chain once, and act on it."""
        try:
            intent = self._look(self._journal.get(intent.number), seen)
        except (ContractError, TransactionFailed) as error:
            intent = self._bid_less(intent, error)
        if intent.state is IntentState.PLANNED:  # another transaction used its nonce, or it was never signed
            with self._journal.lock():
                intent = self._journal.get(intent.number)
                if intent.state is IntentState.PLANNED:
                    call = Call(to=intent.recipient, data=intent.data, key=intent.key, value=intent.value)
                    return self._begin(call, intent)
        if intent.state in (IntentState.SIGNED, IntentState.SENT) and self._stuck(intent.attempts[-1], seen, left):
            if seen.taken <= (intent.nonce or 0):
                self._fill_gap(intent.nonce or 0)
            waited = self._sending.clock() - min(attempt.signed_at for attempt in intent.attempts)
            return self._replace(intent, seen.fees(), urgent=left is not None and waited > left, most=most)
        return intent

    def _look(self, intent: Intent, seen: _Seen) -> Intent:
        """Update a signed intent's entry from the chain. Signs nothing; resends if the node does not know it."""
        nonce = intent.nonce
        if not intent.state.live or nonce is None:
            return intent
        mined = seen.used > nonce or intent.state is IntentState.MINED
        receipt = self._find_receipt(intent) if mined else None
        if receipt is not None:
            return self._found(intent, receipt, seen.final)
        if intent.state is IntentState.MINED:
            log.warning("%s: its block was removed by a reorg", intent.key)
            intent = self._journal.reorg(intent.number)
        if self._nonce_used(nonce, seen):
            for _ in range(_LOOKS):  # a lagging node may have no receipt either
                if self._find_receipt(intent) is not None:
                    return intent
                self._sending.sleep(self._poll())
            return self._journal.lose(intent.number)
        if intent.state is IntentState.SIGNED or not (seen.taken > nonce or self._in_pool(intent)):
            return self._broadcast(intent)
        return intent

    def _found(self, intent: Intent, receipt: Mapping[str, Any], final: int) -> Intent:
        block, block_hash = quantity(receipt["blockNumber"], "blockNumber"), bytes(receipt["blockHash"])
        if intent.state is not IntentState.MINED or intent.block_hash != block_hash:
            intent = self._journal.mine(
                intent.number,
                bytes(receipt["transactionHash"]),
                block_number=block,
                block_hash=block_hash,
                succeeded=receipt["status"] == 1,
            )
        if block > final:
            return intent
        if receipt["status"] == 1:
            return self._journal.finalize(intent.number)
        return self._journal.fail(intent.number, "reverted on chain")

    def _find_receipt(self, intent: Intent) -> Mapping[str, Any] | None:
        """Return the receipt of the attempt that was mined; None if none was."""
        from web3.exceptions import TransactionNotFound

        for attempt in reversed(intent.attempts):
            with asking("eth_getTransactionReceipt"):
                try:
                    receipt: Any = self._w3.eth.get_transaction_receipt(attempt.tx_hash)  # type: ignore[arg-type]
                except TransactionNotFound:
                    continue
            if receipt.get("blockHash") is not None:
                return dict(receipt)
        return None

    def _in_pool(self, intent: Intent) -> bool:
        """Whether the node has any attempt: all want the same nonce."""
        from web3.exceptions import TransactionNotFound

        for attempt in reversed(intent.attempts):
            with asking("eth_getTransactionByHash"):
                try:
                    self._w3.eth.get_transaction(attempt.tx_hash)  # type: ignore[arg-type]
                except TransactionNotFound:
                    continue
            return True
        return False

    def _nonce_used(self, nonce: int, seen: _Seen) -> bool:
        """Return whether a transaction with this nonce is in a final block."""
        if seen.used <= nonce:
            return False
        if self.finality.rule is FinalityRule.INSTANT:
            return True
        return seen.final >= 0 and self._count(seen.final) > nonce

    def _stuck(self, attempt: Attempt, seen: _Seen, left: float | None) -> bool:
        patience = self._sending.resend_after if left is None else left / _LOOKS_IN_TIME
        if abs(self._sending.clock() - attempt.signed_at) > patience:  # a clock that is set back holds up nothing
            return True
        fees = seen.fees()
        return fees.base_fee is not None and fees.base_fee > attempt.max_fee

    def _receipt(
        self, intent: Intent, contract: Address | None, receipt: Mapping[str, Any] | None = None
    ) -> SentReceipt:
        if intent.tx_hash is None and receipt is None:
            raise TransactionFailed(f"{intent.key}: given up: {intent.note}")
        receipt = receipt or self._find_receipt(intent)
        if receipt is None:
            raise NodeUnavailable(f"{intent.key}: the node no longer has the receipt of {show(intent.tx_hash)}")
        if receipt["status"] != 1:
            raise self._why(intent, receipt)
        created = receipt.get("contractAddress")
        return SentReceipt(
            key=intent.key,
            tx_hash=bytes(receipt["transactionHash"]),
            block_number=quantity(receipt["blockNumber"], "blockNumber"),
            block_hash=bytes(receipt["blockHash"]),
            gas_used=quantity(receipt["gasUsed"], "gasUsed"),
            gas_price=quantity(receipt.get("effectiveGasPrice", 0), "effectiveGasPrice"),
            contract=Address(bytes.fromhex(created[2:])) if created else None,
            events=decode_logs(receipt["logs"], contract) if contract is not None else (),
        )

    def _why(self, intent: Intent, receipt: Mapping[str, Any]) -> Exception:
        """Return the error of a reverted transaction, found by replaying the call at its block."""
        request: dict[str, Any] = {
            "from": to_checksum(self.address),
            "data": "0x" + intent.data.hex(),
            "value": intent.value,
        }
        if intent.recipient is not None:
            request["to"] = to_checksum(intent.recipient)
        try:
            with asking("eth_call"):
                self._w3.eth.call(request, receipt["blockNumber"], ccip_read_enabled=False)  # type: ignore[arg-type]
        except NodeRefused as error:
            if error.data is not None:
                return decode_error(error.data)
        if quantity(receipt["gasUsed"], "gasUsed") == intent.gas:  # a lagging node estimated too little
            return NodeUnavailable(f"{intent.key}: ran out of the {intent.gas} gas that the node said was enough")
        return TransactionFailed(
            f"{intent.key}: mined in block {receipt['blockNumber']} and reverted ({show(intent.tx_hash)})"
        )

    # --------------------------------------------------------------------------------------------------- asking

    def _next_nonce(self) -> int:
        """Return the first nonce that neither the chain nor the journal has used.

        A lagging node reports a used nonce. If it does so at every retry, the chain itself was reset.
        """
        taken = self._journal.nonces()
        nonce, unused = self._count("pending"), self._journal.unused_nonce()
        for _ in range(_LOOKS - 1):
            if nonce < unused:
                nonce = max(nonce, self._count("pending"))
        while nonce in taken:
            nonce += 1
        return nonce

    def _count(self, block: int | Literal["latest", "pending"]) -> int:
        with asking("eth_getTransactionCount"):
            count: Any = self._w3.eth.get_transaction_count(to_checksum(self.address), block)  # type: ignore[arg-type]
        return quantity(count, "transaction count")

    def _balance(self) -> int:
        with asking("eth_getBalance"):
            balance: Any = self._w3.eth.get_balance(to_checksum(self.address))  # type: ignore[arg-type]
        return quantity(balance, "balance")

    def _promised(self) -> int:
        """Return the maximum cost of all pending transactions, wei."""
        return sum(gas * max_fee + value for gas, max_fee, value in self._journal.bids())

    def _affordable(self, fees: Fees, gas: int, spare_gas: int, value: int) -> Fees:
        """Return the bid, or the highest bid that the account can pay, if it stays valid after one full block.

        Raises:
            NotEnoughMoney: Insufficient funds.
        """
        promised, balance = self._promised(), self._balance()
        highest = (balance - promised - value) // (gas + spare_gas)
        if highest >= fees.max_fee:
            return fees
        if fees.base_fee is not None and highest >= fees.base_fee * 9 // 8 + fees.priority_fee:
            return replace(fees, max_fee=highest)
        needs = f"{gas} gas at {fees.max_fee / 10**9:g} gwei" + (f" and {ether(value)} to pay" if value else "")
        if promised:
            needs += f", beside {ether(promised)} for transactions on their way"
        raise NotEnoughMoney(self._lacking(gas * fees.max_fee + value, "up to", needs, promised))

    def _lacking(self, needed: int, bound: str, needs: str = "", promised: int = 0) -> str:
        """Say what this account holds, what it needs, and how much is to be sent to it."""
        balance, who = self._balance(), to_checksum(self.address)
        told = f" ({needs})" if needs else ""
        missing = max(needed + promised - balance, 0)
        return (
            f"{who} holds {ether(balance)} ether and needs {bound} {ether(needed)}{told}: "
            f"{ether(missing)} missing, send it to that account"
        )

    def _capped(self, fees: Fees) -> Fees:
        cap = self._sending.max_fee_cap
        if cap is None or fees.max_fee <= cap:
            return fees
        if fees.base_fee is None or fees.base_fee + fees.priority_fee > cap:
            raise TransactionFailed(
                f"fees stand at {(fees.base_fee or fees.max_fee) / 10**9:g} gwei, over the cap of {cap / 10**9:g}"
            )
        return Fees(max_fee=cap, priority_fee=fees.priority_fee, base_fee=fees.base_fee)

    def _poll(self) -> float:
        if self._sending.poll is not None:
            return self._sending.poll
        return 0.05 if network_of(self._chain_id).local else 1.0


def _reached(intent: Intent, until: Until) -> bool:
    if until == "mined" and intent.state is IntentState.MINED:
        return True
    return not intent.state.live


def _says(said: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in said for phrase in phrases)

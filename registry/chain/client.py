"""Typed client of the Cairn contract: the views of `Views`, and one method per transaction.

A client without a signer is read-only and needs no account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.chain import calls
from registry.chain.contract_hashes import result_hash
from registry.chain.contract_structs import Grant, Plan, Result, SignedUpdate
from registry.chain.journal import Intent, Journal
from registry.chain.sending import Call, Quote, Sending, SentReceipt, Until
from registry.chain.transactions import Transactor
from registry.chain.typed_data import commitment_typed_data
from registry.chain.views import Block, Views, chain_id_of
from registry.errors import InputError, SignerError
from registry.ethereum.keys import Signer
from registry.ethereum.networks import EMBEDDED_CHAIN_ID, Finality
from registry.ethereum.node import asking
from registry.types import Address, Digest, ModelId, Role, Root

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Block", "Client", "chain_id_of", "open_journal"]


class Client(Views):
    """Read-write client of a Cairn contract."""

    def __init__(
        self,
        w3: Web3,
        address: Address,
        *,
        chain_id: int | None = None,
        signer: Signer | None = None,
        journal: Journal | Path | None = None,
        finality: Finality | None = None,
        sending: Sending | None = None,
        deployed_at: int = 0,
    ) -> None:
        """Connect, check that the address holds a Cairn, and open the signer's journal.

        Args:
            w3: The node, with any provider.
            address: The contract.
            chain_id: Expected chain id; None accepts the node's.
            signer: Signer of the sending account; None for a read-only client.
            journal: The signer's journal, or the folder of journals. Optional only on an in-memory chain.
            finality: Finality policy; None for the network's.
            sending: Polling, timeout and fee settings.
            deployed_at: First block to read events from.

        Raises:
            WrongChain: The node is on another chain, or the address holds no Cairn contract.
            NodeUnavailable: The node does not answer.
            InputError: A signer without a journal.
        """
        super().__init__(w3, address, chain_id=chain_id, finality=finality, deployed_at=deployed_at)
        self._transactor: Transactor | None = None
        if signer is not None:
            opened = open_journal(w3, self.chain_id, signer.address, journal)
            self._transactor = Transactor(
                w3, signer, opened, chain_id=self.chain_id, finality=self.finality, sending=sending
            )

    @property
    def account(self) -> Address:
        """The sending account.

        Raises:
            SignerError: The client is read-only.
        """
        return self.transactor.address

    @property
    def transactor(self) -> Transactor:
        """The account's transaction sender.

        Raises:
            SignerError: The client is read-only.
        """
        if self._transactor is None:
            raise SignerError("this client only reads: give it a signer to send transactions")
        return self._transactor

    def quote(self, call: Call) -> Quote:
        """Estimate the cost of a call, without sending it."""
        return self.transactor.quote(call)

    def submit(self, call: Call, *, spare_gas: int = 0) -> Intent:
        """Submit a call without waiting; several may be in flight."""
        return self.transactor.submit(call, spare_gas=spare_gas)

    def wait(self, call: Call, until: Until = "final") -> SentReceipt:
        """Wait for a submitted call, see `Transactor.wait`."""
        return self.transactor.wait(call, until)

    def send(self, call: Call, until: Until = "final") -> SentReceipt:
        """Submit a call and wait for it, see `Transactor.send`."""
        return self.transactor.send(call, until)

    def register_model(
        self, genesis_digest: Digest, tensor_root: Root, rest_root: Root, *, until: Until = "final"
    ) -> SentReceipt:
        """Register a model. `model_id(account, genesis_digest)` is its id."""
        return self.send(calls.register_model(self.address, genesis_digest, tensor_root, rest_root), until)

    def transfer_ownership(self, model: ModelId, pending_owner: Address, *, until: Until = "final") -> SentReceipt:
        """Offer ownership of the model to another account, or withdraw the offer (zero address)."""
        return self.send(calls.transfer_ownership(self.address, model, pending_owner), until)

    def accept_ownership(self, model: ModelId, *, until: Until = "final") -> SentReceipt:
        """Accept an offered ownership."""
        return self.send(calls.accept_ownership(self.address, model), until)

    def suspend_rounds(self, model: ModelId, *, until: Until = "final") -> SentReceipt:
        """Suspend opening of rounds."""
        return self.send(calls.suspend_rounds(self.address, model), until)

    def resume_rounds(self, model: ModelId, *, until: Until = "final") -> SentReceipt:
        """Resume opening of rounds."""
        return self.send(calls.resume_rounds(self.address, model), until)

    def publish_version(
        self,
        model: ModelId,
        parent: Digest,
        digest: Digest,
        tensor_root: Root,
        rest_root: Root,
        *,
        until: Until = "final",
    ) -> SentReceipt:
        """Anchor a version that the owner publishes."""
        return self.send(calls.publish_version(self.address, model, parent, digest, tensor_root, rest_root), until)

    def deprecate_version(
        self,
        model: ModelId,
        digest: Digest,
        reason_digest: Digest,
        replacement: Digest | None = None,
        *,
        until: Until = "final",
    ) -> SentReceipt:
        """Deprecate a version."""
        return self.send(calls.deprecate_version(self.address, model, digest, reason_digest, replacement), until)

    def grant_roles(self, model: ModelId, account: Address, roles: Role, *, until: Until = "final") -> SentReceipt:
        """Grant roles to an account."""
        return self.send(calls.grant_roles(self.address, model, account, roles), until)

    def revoke_roles(self, model: ModelId, account: Address, roles: Role, *, until: Until = "final") -> SentReceipt:
        """Revoke roles of an account."""
        return self.send(calls.revoke_roles(self.address, model, account, roles), until)

    def grant_roles_batch(self, model: ModelId, grants: Sequence[Grant], *, until: Until = "final") -> SentReceipt:
        """Grant roles to several accounts."""
        return self.send(calls.grant_roles_batch(self.address, model, grants), until)

    def revoke_roles_batch(self, model: ModelId, grants: Sequence[Grant], *, until: Until = "final") -> SentReceipt:
        """Revoke roles of several accounts."""
        return self.send(calls.revoke_roles_batch(self.address, model, grants), until)

    def set_plan(self, model: ModelId, plan: Plan, rules: bytes, *, until: Until = "final") -> SentReceipt:
        """Set the current plan, whose rules hash must match rules. The receipt's PlanSet event has its index."""
        return self.send(calls.set_plan(self.address, model, plan, rules), until)

    def open_round(self, model: ModelId, *, number: int | None = None, until: Until = "final") -> SentReceipt:
        """Open the next round. The receipt's RoundOpened event has its number.

        Args:
            model: The model.
            number: Number of the round to open, which makes the call idempotent; by default the next one.
            until: How long to wait.
        """
        following = number if number is not None else self.model(model).rounds + 1
        return self.send(calls.open_round(self.address, model, following), until)

    def commit_update(
        self,
        model: ModelId,
        number: int,
        digest: Digest,
        tensor_root: Root,
        weight: int,
        steps: int,
        *,
        hook_data: Sequence[bytes] = (),
        until: Until = "final",
    ) -> SentReceipt:
        """Commit the account's update."""
        call = calls.commit_update(
            self.address,
            model,
            number,
            digest,
            tensor_root,
            weight,
            steps,
            participant=self.account,
            hook_data=hook_data,
        )
        return self.send(call, until)

    def sign_commitment(self, signer: Signer, model: ModelId, number: int, update: SignedUpdate) -> SignedUpdate:
        """Return an update with its participant's EIP-712 signature, with which anyone may commit it."""
        data = commitment_typed_data(self.chain_id, self.address, model, number, update)
        return replace(update, signature=signer.sign_typed_data(data))

    def commit_update_for(
        self, model: ModelId, number: int, update: SignedUpdate, *, until: Until = "final"
    ) -> SentReceipt:
        """Commit an update by its participant's signature."""
        return self.send(calls.commit_update_for(self.address, model, number, update), until)

    def commit_updates_for(
        self, model: ModelId, number: int, updates: Sequence[SignedUpdate], *, until: Until = "final"
    ) -> SentReceipt:
        """Commit the valid ones of several signed updates. The receipt's events say which, and why others failed."""
        return self.send(calls.commit_updates_for(self.address, model, number, updates), until)

    def end_commits(
        self, model: ModelId, number: int, participants: Sequence[Address], *, until: Until = "final"
    ) -> SentReceipt:
        """End phase Commit early, after every participant has committed."""
        return self.send(calls.end_commits(self.address, model, number, participants), until)

    def attest_result(
        self, model: ModelId, number: int, result: Result, running_hash: bytes, *, until: Until = "final"
    ) -> SentReceipt:
        """Attest a result that was computed from the commitments with a running hash."""
        tally = self.tally(model, number, result_hash(result))
        return self.send(calls.attest_result(self.address, model, number, result, running_hash, tally=tally), until)

    def finalize_round(self, model: ModelId, number: int, result: Result, *, until: Until = "final") -> SentReceipt:
        """Finalize a round: move the head to its result's version."""
        return self.send(calls.finalize_round(self.address, model, number, result), until)

    def expel(
        self, model: ModelId, number: int, attesters: Mapping[Address, bytes], *, until: Until = "final"
    ) -> SentReceipt:
        """Expel attesters of void results, who lose role and bond; attesters maps accounts to the attested tally."""
        return self.send(calls.expel(self.address, model, number, attesters), until)

    def cancel_round(self, model: ModelId, number: int, *, until: Until = "final") -> SentReceipt:
        """Cancel a round, or record that it lapsed."""
        return self.send(calls.cancel_round(self.address, model, number), until)


def open_journal(w3: Web3, chain_id: int, account: Address, journal: Journal | Path | None) -> Journal:
    """Return an account's journal: the given one, or its own in the given folder.

    Raises:
        InputError: None is given, and the chain is persistent.
    """
    if isinstance(journal, Journal):
        return journal
    if journal is None:
        if chain_id != EMBEDDED_CHAIN_ID:
            raise InputError("sending needs a journal folder, so that a crash neither loses nor repeats a transaction")
        return Journal(None)
    with asking("eth_getBlockByNumber"):
        genesis: Any = w3.eth.get_block(0)
    return Journal.of(journal, chain_id=chain_id, genesis=bytes(genesis["hash"]), account=account)

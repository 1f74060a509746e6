"""The contract as a typed object: its views, its events and one method for each transaction.

Views are read at the latest block unless told otherwise; phases at the pending one, whose time is the present. A
client without a signer reads only, which needs no account and no permission.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from registry.chain import calls
from registry.chain.contracts import decode_output, encode_call
from registry.chain.errors import decode_error
from registry.chain.events import Event, UpdateCommitted, read_events
from registry.chain.journal import Intent, Journal
from registry.chain.keys import Signer, to_checksum
from registry.chain.networks import EMBEDDED_CHAIN_ID, Finality, final_block, finality_of
from registry.chain.node import NodeRefused, asking, quantity
from registry.chain.records import (
    Grant,
    Member,
    Model,
    Plan,
    Result,
    Round,
    Version,
    Votes,
    model_id_of,
    parse,
    round_id_of,
)
from registry.chain.transactions import Call, Quote, Receipt, Sending, Transactor, Until
from registry.errors import InputError, SignerError, WrongChain
from registry.types import Address, Digest, ModelId, Phase, Role, Root, RoundId

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Block", "Client", "commitment_typed_data"]

Block = int | Literal["latest", "pending", "safe", "finalized", "earliest"]
"""The block whose state a view shows."""


class Client:
    """A Cairn on a chain."""

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
        """Find the contract, and check that it is where it is said to be.

        Args:
            w3: A node, by any provider.
            address: The contract.
            chain_id: The chain that is expected; None takes the node's.
            signer: Who sends; None for a client that reads.
            journal: The signer's journal, or the folder of all journals. Only a chain in memory does without.
            finality: When a block is final; None for the network's policy.
            sending: How to send and follow.
            deployed_at: Block to read events from.

        Raises:
            WrongChain: The node is on another chain, or no contract of ours is at the address.
            NodeUnavailable: The node does not answer.
            InputError: A signer without a journal.
        """
        w3.provider.global_ccip_read_enabled = False
        self.w3 = w3
        self.address = address
        self.deployed_at = deployed_at
        self.chain_id = chain_id_of(w3, expected=chain_id)
        _require_contract(w3, address)
        self.finality = finality_of(w3, self.chain_id, finality)
        self._transactor: Transactor | None = None
        if signer is not None:
            opened = open_journal(w3, self.chain_id, signer.address, journal)
            self._transactor = Transactor(
                w3, signer, opened, chain_id=self.chain_id, finality=self.finality, sending=sending
            )
        self._require_cairn()

    def __repr__(self) -> str:
        return f"Client({to_checksum(self.address)} on chain {self.chain_id})"

    # --------------------------------------------------------------------------------------------------- views

    def model_id(self, owner: Address, genesis_digest: Digest) -> ModelId:
        """Return the id of the model that an owner registers with a genesis."""
        return model_id_of(self.chain_id, self.address, owner, genesis_digest)

    def round_id(self, model: ModelId, number: int) -> RoundId:
        """Return the id of a round."""
        return round_id_of(model, number)

    def model(self, model: ModelId, *, block: Block = "latest") -> Model:
        """Return a model; all zeros if there is none."""
        return parse(Model, self._view("model", model, block=block)[0])

    def member(self, model: ModelId, account: Address, *, block: Block = "latest") -> Member:
        """Return an account's roles in a model."""
        return parse(Member, self._view("member", model, account, block=block)[0])

    def version(self, model: ModelId, digest: Digest, *, block: Block = "latest") -> Version:
        """Return a version; `known` is false if there is none."""
        return parse(Version, self._view("version", model, digest, block=block)[0])

    def plan(self, model: ModelId, index: int, *, block: Block = "latest") -> Plan:
        """Return an entry of the plan history, from 0.

        Raises:
            UnknownPlan: There is none.
        """
        return parse(Plan, self._view("plan", model, index, block=block)[0])

    def round(self, model: ModelId, number: int, *, block: Block = "latest") -> Round:
        """Return a round; all zeros if there is none."""
        return parse(Round, self._view("round", model, number, block=block)[0])

    def phase(self, model: ModelId, number: int, *, block: Block = "pending") -> Phase:
        """Return the phase a round is in, at the pending block unless told otherwise."""
        return Phase(self._view("phase", model, number, block=block)[0])

    def attestation(self, model: ModelId, number: int, aggregator: Address, *, block: Block = "latest") -> bytes:
        """Return the hash of the result an aggregator attests; zero for none."""
        return bytes(self._view("attestation", model, number, aggregator, block=block)[0])

    def votes(self, model: ModelId, number: int, result_hash: bytes, *, block: Block = "latest") -> Votes:
        """Return how many attest a result, and its contributions."""
        return parse(Votes, self._view("votes", model, number, result_hash, block=block))

    def commitment_hash(
        self,
        participant: Address,
        model: ModelId,
        number: int,
        digest: Digest,
        tensor_root: Root,
        weight: int,
        hook_data: bytes = b"",
    ) -> bytes:
        """Return the EIP-712 digest that `commit_update_for` wants signed."""
        arguments = (participant, model, number, digest, tensor_root, weight, hook_data)
        return bytes(self._view("commitmentHash", *arguments)[0])

    # ------------------------------------------------------------------------------------------ events, finality

    def final_block(self) -> int:
        """Return the number of the last final block, by the network's policy; -1 if there is none yet."""
        return final_block(self.w3, self.finality)

    def events(
        self,
        *kinds: type[Event],
        subject: bytes | None = None,
        from_block: int | None = None,
        to_block: int | None = None,
    ) -> Iterator[Event]:
        """Yield the contract's events in order.

        Args:
            *kinds: Which; none for all.
            subject: Only those of this model or round id.
            from_block: First block; by default the contract's own.
            to_block: Last block, inclusive; by default the last final one.
        """
        return read_events(
            self.w3,
            self.address,
            from_block=self.deployed_at if from_block is None else from_block,
            to_block=self.final_block() if to_block is None else to_block,
            kinds=kinds,
            subject=subject,
        )

    def commitments(
        self, model: ModelId, number: int, *, from_block: int | None = None, to_block: int | None = None
    ) -> tuple[UpdateCommitted, ...]:
        """Return a round's commitments in commit order, up to the last final block unless told otherwise."""
        found = self.events(
            UpdateCommitted, subject=round_id_of(model, number), from_block=from_block, to_block=to_block
        )
        return tuple(event for event in found if isinstance(event, UpdateCommitted))

    # -------------------------------------------------------------------------------------------- transactions

    @property
    def account(self) -> Address:
        """The account that sends.

        Raises:
            SignerError: This client only reads.
        """
        return self.transactor.address

    @property
    def transactor(self) -> Transactor:
        """What sends for the account.

        Raises:
            SignerError: This client only reads.
        """
        if self._transactor is None:
            raise SignerError("this client only reads: give it a signer to send transactions")
        return self._transactor

    def quote(self, call: Call) -> Quote:
        """Return what a call would cost; nothing is sent."""
        return self.transactor.quote(call)

    def submit(self, call: Call) -> Intent:
        """Get a call on its way without waiting; several may be in flight."""
        return self.transactor.submit(call)

    def wait(self, call: Call, until: Until = "final") -> Receipt:
        """Wait for a submitted call."""
        return self.transactor.wait(call, until)

    def send(self, call: Call, until: Until = "final") -> Receipt:
        """Have a call carried out."""
        return self.transactor.send(call, until)

    def register_model(self, genesis_digest: Digest, genesis_root: Root, *, until: Until = "final") -> Receipt:
        """Register a model. `model_id(account, genesis_digest)` is its id."""
        return self.send(calls.register_model(self.address, genesis_digest, genesis_root), until)

    def transfer_ownership(self, model: ModelId, pending_owner: Address, *, until: Until = "final") -> Receipt:
        """Offer the model to another account, or withdraw the offer (zero address)."""
        return self.send(calls.transfer_ownership(self.address, model, pending_owner), until)

    def accept_ownership(self, model: ModelId, *, until: Until = "final") -> Receipt:
        """Take a model that was offered."""
        return self.send(calls.accept_ownership(self.address, model), until)

    def suspend_rounds(self, model: ModelId, *, until: Until = "final") -> Receipt:
        """Let no new round open."""
        return self.send(calls.suspend_rounds(self.address, model), until)

    def resume_rounds(self, model: ModelId, *, until: Until = "final") -> Receipt:
        """Let new rounds open again."""
        return self.send(calls.resume_rounds(self.address, model), until)

    def publish_version(
        self, model: ModelId, parent: Digest, digest: Digest, tensor_root: Root, *, until: Until = "final"
    ) -> Receipt:
        """Anchor a version that no round made."""
        return self.send(calls.publish_version(self.address, model, parent, digest, tensor_root), until)

    def deprecate_version(
        self,
        model: ModelId,
        digest: Digest,
        reason_digest: Digest,
        replacement: Digest | None = None,
        *,
        until: Until = "final",
    ) -> Receipt:
        """Mark a version as not to be used."""
        return self.send(calls.deprecate_version(self.address, model, digest, reason_digest, replacement), until)

    def grant_roles(self, model: ModelId, account: Address, roles: Role, *, until: Until = "final") -> Receipt:
        """Add roles of an account."""
        return self.send(calls.grant_roles(self.address, model, account, roles), until)

    def revoke_roles(self, model: ModelId, account: Address, roles: Role, *, until: Until = "final") -> Receipt:
        """Clear roles of an account."""
        return self.send(calls.revoke_roles(self.address, model, account, roles), until)

    def grant_roles_batch(self, model: ModelId, grants: Sequence[Grant], *, until: Until = "final") -> Receipt:
        """Add roles of several accounts."""
        return self.send(calls.grant_roles_batch(self.address, model, grants), until)

    def revoke_roles_batch(self, model: ModelId, grants: Sequence[Grant], *, until: Until = "final") -> Receipt:
        """Clear roles of several accounts."""
        return self.send(calls.revoke_roles_batch(self.address, model, grants), until)

    def set_plan(self, model: ModelId, plan: Plan, *, until: Until = "final") -> Receipt:
        """Set the standing plan. The PlanSet event of the receipt has its index."""
        return self.send(calls.set_plan(self.address, model, plan), until)

    def open_round(self, model: ModelId, *, number: int | None = None, until: Until = "final") -> Receipt:
        """Open the next round. The RoundOpened event of the receipt has its number.

        Args:
            model: The model.
            number: The round that is meant, which makes asking twice safe; by default the next one there is.
            until: How long to wait.
        """
        following = number if number is not None else self.model(model, block="pending").rounds + 1
        return self.send(calls.open_round(self.address, model, following), until)

    def commit_update(
        self,
        model: ModelId,
        number: int,
        digest: Digest,
        tensor_root: Root,
        weight: int,
        *,
        hook_data: bytes = b"",
        until: Until = "final",
    ) -> Receipt:
        """Commit the account's update."""
        call = calls.commit_update(
            self.address,
            model,
            number,
            digest,
            tensor_root,
            weight,
            participant=self.account,
            hook_data=hook_data,
        )
        return self.send(call, until)

    def sign_commitment(
        self,
        signer: Signer,
        model: ModelId,
        number: int,
        digest: Digest,
        tensor_root: Root,
        weight: int,
        hook_data: bytes = b"",
    ) -> bytes:
        """Return a participant's signature that lets anyone commit its update (EIP-712)."""
        data = commitment_typed_data(
            self.chain_id, self.address, signer.address, model, number, digest, tensor_root, weight, hook_data
        )
        return signer.sign_typed_data(data)

    def commit_update_for(
        self,
        participant: Address,
        model: ModelId,
        number: int,
        digest: Digest,
        tensor_root: Root,
        weight: int,
        *,
        signature: bytes,
        hook_data: bytes = b"",
        until: Until = "final",
    ) -> Receipt:
        """Commit an update that its participant signed."""
        call = calls.commit_update_for(
            self.address,
            participant,
            model,
            number,
            digest,
            tensor_root,
            weight,
            signature=signature,
            hook_data=hook_data,
        )
        return self.send(call, until)

    def end_commits(
        self, model: ModelId, number: int, participants: Sequence[Address], *, until: Until = "final"
    ) -> Receipt:
        """End phase Commit now that every participant has committed."""
        return self.send(calls.end_commits(self.address, model, number, participants), until)

    def attest_result(
        self, model: ModelId, number: int, result: Result, running_hash: bytes, *, until: Until = "final"
    ) -> Receipt:
        """Attest a result that was computed from the commitments of that running hash."""
        return self.send(calls.attest_result(self.address, model, number, result, running_hash), until)

    def finalize_round(self, model: ModelId, number: int, result: Result, *, until: Until = "final") -> Receipt:
        """Move the head to the result of a round."""
        return self.send(calls.finalize_round(self.address, model, number, result), until)

    def cancel_round(self, model: ModelId, number: int, *, until: Until = "final") -> Receipt:
        """Cancel a round, or record that it has lapsed."""
        return self.send(calls.cancel_round(self.address, model, number), until)

    # ------------------------------------------------------------------------------------------------- reading

    def _view(self, name: str, *arguments: Any, block: Block = "latest") -> tuple[Any, ...]:
        data = encode_call("Cairn", name, arguments)
        request: Any = {"to": to_checksum(self.address), "data": "0x" + data.hex()}
        try:
            with asking("eth_call"):
                answer = self.w3.eth.call(request, block, ccip_read_enabled=False)
        except NodeRefused as error:
            if error.data is not None:
                raise decode_error(error.data) from error
            raise
        return decode_output("Cairn", name, len(arguments), bytes(answer))

    def _require_cairn(self) -> None:
        """That it answers as a Cairn would: a constant, and an id that depends on chain and address."""
        weight = self._view("MAX_WEIGHT")[0]
        probe = (Address(bytes(19) + b"\x01"), Digest(bytes(31) + b"\x01"))
        if weight != 1 << 28 or bytes(self._view("modelIdOf", *probe)[0]) != self.model_id(*probe):
            raise WrongChain(f"expected a Cairn at {to_checksum(self.address)}, got a contract that answers otherwise")


def commitment_typed_data(
    chain_id: int,
    contract: Address,
    participant: Address,
    model: ModelId,
    number: int,
    digest: Digest,
    tensor_root: Root,
    weight: int,
    hook_data: bytes = b"",
) -> dict[str, Any]:
    """Return the EIP-712 data of a commitment, as any wallet signs it."""
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Commitment": [
                {"name": "modelId", "type": "bytes32"},
                {"name": "round", "type": "uint64"},
                {"name": "participant", "type": "address"},
                {"name": "digest", "type": "bytes32"},
                {"name": "tensorRoot", "type": "bytes32"},
                {"name": "weight", "type": "uint32"},
                {"name": "hookData", "type": "bytes"},
            ],
        },
        "primaryType": "Commitment",
        "domain": {
            "name": "Cairn",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": to_checksum(contract),
        },
        "message": {
            "modelId": model,
            "round": number,
            "participant": to_checksum(participant),
            "digest": digest,
            "tensorRoot": tensor_root,
            "weight": weight,
            "hookData": hook_data,
        },
    }


def chain_id_of(w3: Web3, *, expected: int | None = None) -> int:
    """Return the node's chain id.

    Raises:
        WrongChain: It is not the expected one.
        NodeUnavailable: The node does not answer.
    """
    with asking("eth_chainId"):
        answered: Any = w3.eth.chain_id
    found = quantity(answered, "chainId")
    if expected is not None and found != expected:
        raise WrongChain(f"expected chain {expected}, got chain {found} from the node")
    return found


def open_journal(w3: Web3, chain_id: int, account: Address, journal: Journal | Path | None) -> Journal:
    """Return the journal an account sends by: the given one, or its own in the given folder.

    Raises:
        InputError: None is given, and the chain outlives this process.
    """
    if isinstance(journal, Journal):
        return journal
    if journal is None:
        if chain_id != EMBEDDED_CHAIN_ID:
            raise InputError("sending needs a journal folder, so that a crash neither loses nor doubles a transaction")
        return Journal(None)
    with asking("eth_getBlockByNumber"):
        genesis: Any = w3.eth.get_block(0)
    return Journal.of(journal, chain_id=chain_id, genesis=bytes(genesis["hash"]), account=account)


def _require_contract(w3: Web3, address: Address) -> None:
    with asking("eth_getCode"):
        code = w3.eth.get_code(to_checksum(address))  # type: ignore[arg-type]
    if not code:
        raise WrongChain(f"expected a Cairn at {to_checksum(address)}, got no contract there")

"""Typed read-only client of the Cairn contract: views and events, without an account.

Views are read at the latest block by default, a phase at the pending block's time: pending state may never be mined.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from registry.chain.abi_values import parse, unparse
from registry.chain.contract_events import RoundOpened
from registry.chain.contract_hashes import addresses_of, model_id_of, round_id_of
from registry.chain.contract_structs import Dispute, Member, Model, Plan, Round, SignedUpdate, Version
from registry.chain.contracts import DEPLOYED, decode_output, encode_call, events
from registry.chain.event_logs import LogSpan, read_events, read_events_back
from registry.chain.phases import phase_at
from registry.chain.reverts import decode_error
from registry.errors import NodeUnavailable, WrongChain
from registry.ethereum.keys import to_checksum
from registry.ethereum.networks import Finality, final_block, finality_of
from registry.ethereum.node import NodeRefused, asking, chain_time, latest_block, quantity
from registry.ethereum.positions import Event
from registry.types import Address, Digest, ModelId, Phase, RoundId, Standing

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Block", "Views", "Votes", "chain_id_of", "read_view"]

Block = int | Literal["latest", "pending", "safe", "finalized", "earliest"]
"""The block at which a view is read."""


_NAMED = ("Challenges", "Court", "Rules")
"""The partners that Cairn names itself; where the others are follows from the factory's list."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Equal attestations of a result, and its contributions."""

    count: int
    contributions: int


class Views:
    """Read-only client of a Cairn contract."""

    def __init__(
        self,
        w3: Web3,
        address: Address,
        *,
        chain_id: int | None = None,
        finality: Finality | None = None,
        deployed_at: int = 0,
    ) -> None:
        """Connect, and check that the address holds a Cairn.

        Args:
            w3: The node, with any provider.
            address: The contract.
            chain_id: Expected chain id; None accepts the node's.
            finality: Finality policy; None for the network's.
            deployed_at: First block to read events from.

        Raises:
            WrongChain: The node is on another chain, or the address holds no Cairn contract.
            NodeUnavailable: The node does not answer.
        """
        w3.provider.global_ccip_read_enabled = False
        self.w3 = w3
        self.address = address
        self.deployed_at = deployed_at
        self.chain_id = chain_id_of(w3, expected=chain_id)
        _require_contract(w3, address)
        self.finality = finality_of(w3, self.chain_id, finality)
        self.span = LogSpan()
        self._began: dict[RoundId, int] = {}
        self._final = -1
        self._asking = threading.Lock()
        self._partners: Mapping[str, Address] | None = None
        self._require_cairn()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({to_checksum(self.address)} on chain {self.chain_id})"

    # --------------------------------------------------------------------------------------------------- views

    def model_id(self, owner: Address, genesis_digest: Digest) -> ModelId:
        """Return the id of the model that an owner registers with a genesis version."""
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

    def phase(self, model: ModelId, number: int, *, block: Block | None = None) -> Phase:
        """Return a round's phase, by default of its latest state at the pending block's time."""
        if block is None:
            return phase_at(self.round(model, number), chain_time(self.w3))
        return Phase(self._view("phase", model, number, block=block)[0])

    def partners(self) -> Mapping[str, Address]:
        """Return the addresses of the factory and all contracts of this deployment, this one included, by name.

        This contract's address commits to the factory's address and to the hashes of all creation codes, so a false
        answer of the node is detected.

        Raises:
            WrongChain: The node's answers do not match this contract's address.
        """
        if self._partners is None:
            self._partners = self._read_partners()
        return self._partners

    def challenges(self) -> Address:
        """Return the address of this deployment's Challenges contract; see `partners`."""
        return self.partners()["Challenges"]

    def court(self) -> Address:
        """Return the address of this deployment's Court contract; see `partners`."""
        return self.partners()["Court"]

    def emitters(self) -> tuple[Address, ...]:
        """Return the contracts of this deployment that emit events, this one first; an index follows them."""
        return tuple(self.partners()[name] for name in DEPLOYED if events(name))

    def dispute(self, model: ModelId, number: int, *, block: Block = "latest") -> Dispute:
        """Return the result in its challenge window; its tally is zero if no window is open."""
        return parse(Dispute, self._view("dispute", model, number, block=block)[0])

    def tally(self, model: ModelId, number: int, result_hash: bytes, *, block: Block = "latest") -> bytes:
        """Return the tally of a result: the key under which its attestations in a round are counted."""
        return bytes(self._view("tallyOf", model, number, result_hash, block=block)[0])

    def standing(self, model: ModelId, number: int, tally: bytes, *, block: Block = "latest") -> Standing:
        """Return the status of the result of a tally."""
        return Standing(self._view("standing", model, number, tally, block=block)[0])

    def attestation(self, model: ModelId, number: int, aggregator: Address, *, block: Block = "latest") -> bytes:
        """Return the tally that an aggregator attests; zero for none."""
        return bytes(self._view("attestation", model, number, aggregator, block=block)[0])

    def votes(self, model: ModelId, number: int, result_hash: bytes, *, block: Block = "latest") -> Votes:
        """Return the number of attestations of a result, and its number of contributions."""
        return parse(Votes, self._view("votes", model, number, result_hash, block=block))

    def commitment_hash(self, model: ModelId, number: int, update: SignedUpdate) -> bytes:
        """Return the EIP-712 digest to sign for `commit_update_for`; the update's signature is ignored."""
        return bytes(self._view("commitmentHash", model, number, unparse(update))[0])

    # ------------------------------------------------------------------------------------------ events, finality

    def final_block(self) -> int:
        """Return the number of the last final block, by the finality policy; -1 if there is none yet.

        Raises:
            NodeUnavailable: The node is behind an earlier answer, as with lagging nodes behind a load balancer.
        """
        with self._asking:  # serialised: an answer overtaken by another thread's would look like a step back
            found = final_block(self.w3, self.finality)
            if found < self._final:
                raise NodeUnavailable(
                    f"expected block {self._final} to stay final, got {found} from a node that is behind"
                )
            self._final = found
            return found

    def balance(self, account: Address) -> int:
        """Return an account's balance, wei."""
        with asking("eth_getBalance"):
            held: Any = self.w3.eth.get_balance(to_checksum(account))  # type: ignore[arg-type]
        return quantity(held, "balance")

    def latest_block(self) -> int:
        """Return the number of the latest block, final or not."""
        return latest_block(self.w3)

    def events(
        self,
        *kinds: type[Event],
        subject: bytes | None = None,
        from_block: int | None = None,
        to_block: int | None = None,
    ) -> Iterator[Event]:
        """Yield the contract's events in chain order.

        Args:
            *kinds: Kinds of event; none for all.
            subject: Filter by model id or round id.
            from_block: First block; by default the contract's creation.
            to_block: Last block, inclusive; by default the last final one.
        """
        return read_events(
            self.w3,
            self.address,
            from_block=self.deployed_at if from_block is None else from_block,
            to_block=self.final_block() if to_block is None else to_block,
            kinds=kinds,
            subject=subject,
            span=self.span,
        )

    def round_began(self, model: ModelId, number: int) -> int:
        """Return the block that a round was opened in, so that no older logs are read; it is looked for once, from the
        newest block back. Of a round that is opened in no final block, the one after the last final block.
        """
        round_id, final = round_id_of(model, number), self.final_block()
        if round_id not in self._began:
            newest_first = read_events_back(
                self.w3,
                self.address,
                from_block=self.deployed_at,
                to_block=final,
                kinds=[RoundOpened],
                subject=model,
                span=self.span,
            )
            opened = next((e for e in newest_first if isinstance(e, RoundOpened) and e.number <= number), None)
            if opened is None or opened.number != number:
                return final + 1
            self._began[round_id] = opened.at.block_number
        return self._began[round_id]

    # ------------------------------------------------------------------------------------------------- reading

    def _view(self, name: str, *arguments: Any, block: Block = "latest") -> tuple[Any, ...]:
        return read_view(self.w3, "Cairn", self.address, name, *arguments, block=block)

    def _read_partners(self) -> Mapping[str, Address]:
        factory = self._address("FACTORY")
        hashes = read_view(self.w3, "Factory", factory, "codeHashes")[0]
        there = addresses_of(factory, hashes)
        if len(there) != len(DEPLOYED) or there[0] != self.address:
            got = f"{len(there)} hashes at {to_checksum(factory)}"
            raise WrongChain(f"expected the factory that made {to_checksum(self.address)}, got {got} from the node")
        found = {"Factory": factory, **dict(zip(DEPLOYED, there, strict=True))}
        for name in _NAMED:
            said = self._address(name.upper())
            if said != found[name]:
                expected = to_checksum(found[name])
                raise WrongChain(f"expected {name} at {expected}, got {to_checksum(said)} from the node")
        return MappingProxyType(found)

    def _address(self, name: str) -> Address:
        return Address(bytes.fromhex(self._view(name)[0][2:]))

    def _require_cairn(self) -> None:
        """Check that it answers as a Cairn: a constant, and an id that depends on chain and address."""
        weight = self._view("MAX_WEIGHT")[0]
        probe = (Address(bytes(19) + b"\x01"), Digest(bytes(31) + b"\x01"))
        if weight != 1 << 28 or bytes(self._view("modelIdOf", *probe)[0]) != self.model_id(*probe):
            raise WrongChain(f"expected a Cairn at {to_checksum(self.address)}, got a contract that answers otherwise")


def read_view(
    w3: Web3, contract: str, address: Address, name: str, *arguments: Any, block: Block = "latest"
) -> tuple[Any, ...]:
    """Call a view of a contract and return its decoded outputs.

    Raises:
        ContractError: The view reverts.
        WrongChain: The answer does not decode.
    """
    data = encode_call(contract, name, arguments)
    request: Any = {"to": to_checksum(address), "data": "0x" + data.hex()}
    try:
        with asking("eth_call"):
            answer = w3.eth.call(request, block, ccip_read_enabled=False)
    except NodeRefused as error:
        if error.data is not None:
            raise decode_error(error.data) from error
        raise
    return decode_output(contract, name, len(arguments), bytes(answer))


def chain_id_of(w3: Web3, *, expected: int | None = None) -> int:
    """Return the node's chain id.

    Raises:
        WrongChain: It differs from the expected one.
        NodeUnavailable: The node does not answer.
    """
    with asking("eth_chainId"):
        answered: Any = w3.eth.chain_id
    found = quantity(answered, "chainId")
    if expected is not None and found != expected:
        raise WrongChain(f"expected chain {expected}, got chain {found} from the node")
    return found


def _require_contract(w3: Web3, address: Address) -> None:
    with asking("eth_getCode"):
        code = w3.eth.get_code(to_checksum(address))  # type: ignore[arg-type]
    if not code:
        raise WrongChain(f"expected a Cairn at {to_checksum(address)}, got no contract there")

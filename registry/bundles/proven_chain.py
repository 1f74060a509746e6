"""A read-only chain view backed by proofs: events from proven receipts, contract state from storage proofs.

Without storage proofs state is derived from events, and from calls that the contract accepts only with the right
argument. An event proves that it happened, not that no other did. `registry.bundles.footing` states which kind of proof
is behind each check.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from heapq import merge
from typing import TypeVar

from registry.bundles.chain_proofs import BlockFacts
from registry.chain.abi_values import parse
from registry.chain.contract_events import (
    CommitsEnded,
    ModelRegistered,
    PlanSet,
    QuorumReached,
    ResultAttested,
    RoundFinalized,
    RoundOpened,
    UpdateCommitted,
    VersionDeprecated,
    VersionPublished,
)
from registry.chain.contract_hashes import result_hash, roots_hash, round_id_of, running_hash_count, running_hash_next
from registry.chain.contract_structs import Plan, Result, Roots, Round, Version
from registry.chain.contracts import function
from registry.chain.event_logs import decode_log
from registry.chain.storage import round_in, version_in
from registry.chain.views import Block
from registry.errors import ChainError, VerificationFailed
from registry.ethereum.block_transactions import Called
from registry.ethereum.headers import Header
from registry.ethereum.positions import Event, Position
from registry.ethereum.receipts import Receipt
from registry.types import Address, Digest, ModelId, RoundId

__all__ = ["ProvenCall", "ProvenChain", "ProvenTransaction", "read_transactions"]

E = TypeVar("E", bound=Event)
_STRIDE = 1 << 24
"""More than the number of logs in any transaction."""
_NAMES: Mapping[type[Event], str] = {
    ModelRegistered: "genesis_digest",
    VersionPublished: "digest",
    VersionDeprecated: "digest",
    RoundFinalized: "version_digest",
    PlanSet: "plan_index",
    RoundOpened: "number",
}
"""The field that identifies each kind of a model's events."""


@dataclass(frozen=True, slots=True)
class ProvenCall:
    """A call that succeeded only because its running hash, or result, was the contract's own."""

    round_id: RoundId
    running_hash: bytes | None
    result: Result
    block: int


@dataclass(frozen=True, slots=True)
class ProvenTransaction:
    """A transaction with a proven receipt and possibly a proven call.

    Attributes:
        events: The contract's events; `log_index` orders them but is not the index in the block.
        call: The call, if it is proved and of a kind that proves something.
    """

    block: int
    index: int
    events: tuple[Event, ...]
    call: ProvenCall | None


def read_transactions(address: Address, header: Header, facts: BlockFacts) -> list[ProvenTransaction]:
    """Return the proven transactions of a block.

    Raises:
        VerificationFailed: A receipt has no log of this contract, or one that it cannot emit, such as a round with the
            id of another; or a call is not a successful call of it.
    """
    found = []
    for index, receipt in sorted(facts.receipts.items()):
        events = tuple(_events_in(address, header, index, receipt))
        if not events:
            raise VerificationFailed(
                f"block {header.number}: expected receipts with logs of 0x{address.hex()}, got {index} without"
            )
        called = facts.calls.get(index)
        if called is not None and not any(isinstance(event, (ResultAttested, RoundFinalized)) for event in events):
            raise VerificationFailed(f"block {header.number}: expected a call that attests or finalizes, got {index}")
        call = None if called is None else _call(address, header.number, called)
        found.append(ProvenTransaction(header.number, index, events, call))
    if stray := sorted(facts.calls.keys() - facts.receipts.keys()):
        raise VerificationFailed(f"block {header.number}: expected the receipt of call {stray[0]}, got none")
    return found


def _events_in(address: Address, header: Header, index: int, receipt: Receipt) -> Iterator[Event]:
    for place, log in enumerate(receipt.logs):
        if log.address != address:
            continue
        record = {
            "topics": log.topics,
            "data": log.data,
            "blockNumber": header.number,
            "logIndex": index * _STRIDE + place,
            "blockHash": header.hash,
            "transactionHash": bytes(32),
        }
        try:
            event = decode_log(record)
        except (ChainError, ValueError) as error:
            raise VerificationFailed(f"block {header.number}: a log is none of a Cairn: {error}") from error
        if isinstance(event, (RoundOpened, RoundFinalized)):
            expected = round_id_of(event.model_id, event.number)
            if event.round_id != expected:
                raise VerificationFailed(
                    f"block {header.number}: expected round {event.number} to have the id 0x{expected.hex()}, "
                    f"got 0x{event.round_id.hex()}"
                )
        if event is not None:
            yield event


def _call(address: Address, block: int, called: Called) -> ProvenCall | None:
    """Decode a successful call; None if it went to another contract, or proves nothing."""
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    for name, arity in (("attestResult", 4), ("finalizeRound", 3)):
        entry = function("Cairn", name, arity)
        if called.to != address or called.data[:4] != entry.selector:
            continue
        try:
            model, number, result, *rest = decode(entry.inputs, called.data[4:])
        except (DecodingError, OverflowError) as error:
            raise VerificationFailed(f"block {block}: expected a call of {name}, got {error}") from error
        running = bytes(rest[0]) if rest else None
        return ProvenCall(round_id_of(ModelId(model), number), running, parse(Result, result), block)
    return None


class ProvenChain:
    """The proven events and state of one contract, with the interface of `Views`.

    Args:
        chain_id: The chain.
        address: The contract.
        transactions: In any order, without repeats. Calls count as facts: omit calls that no trusted block proves.
        top: Number of the last block with a header.
        words: Words of the contract's storage that a trusted block proves, by slot; None if no state is proved.

    Raises:
        VerificationFailed: A transaction occurs twice.
    """

    def __init__(
        self,
        chain_id: int,
        address: Address,
        transactions: Iterable[ProvenTransaction],
        top: int,
        words: Mapping[int, int] | None,
    ) -> None:
        self.chain_id, self.address = chain_id, address
        self._top, self._words = top, words
        given = list(transactions)
        self._transactions = {(each.block, each.index): each for each in given}
        if len(self._transactions) != len(given):
            raise VerificationFailed("expected the proof of each transaction once, got one twice")
        self._calls: dict[tuple[RoundId, bool], ProvenCall] = {}
        self._of_kind: dict[tuple[type[Event], bytes], list[Event]] = defaultdict(list)
        self._named: dict[tuple[type[Event], bytes, object], list[Event]] = defaultdict(list)
        self._finalized: set[RoundId] = set()
        for each in self.transactions:
            if each.call is not None:
                self._calls.setdefault((each.call.round_id, each.call.running_hash is not None), each.call)
            for event in each.events:
                self._index(event)

    @property
    def transactions(self) -> list[ProvenTransaction]:
        """Every transaction, in chain order."""
        return [each for _, each in sorted(self._transactions.items())]

    def call_of(self, round_id: RoundId, *, attested: bool) -> ProvenCall | None:
        """Return a proven attestation of a round, of whatever result, or its finalization."""
        return self._calls.get((round_id, attested))

    def named(self, kind: type[E], model: ModelId, name: bytes | int) -> list[E]:
        """Return a model's events of a kind by digest, plan index or round number; several if some are forged."""
        return [event for event in self._named.get((kind, model, name), ()) if isinstance(event, kind)]

    # Methods of `ChainView` -------------------------------------------------------------------------------------------

    def final_block(self) -> int:
        """Return the last block; whoever trusts its hash has judged it final."""
        return self._top

    def latest_block(self) -> int:
        """Return the last block."""
        return self._top

    def round_began(self, model: ModelId, number: int) -> int:
        """Return the first block: there is little to be left out."""
        return 0

    def events(
        self,
        *kinds: type[Event],
        subject: bytes | None = None,
        from_block: int | None = None,
        to_block: int | None = None,
    ) -> Iterator[Event]:
        """Yield proven events in order; takes the arguments of `Views.events`."""
        first, last = from_block or 0, self._top if to_block is None else to_block
        keys: Iterable[tuple[type[Event], bytes]] = self._of_kind
        if kinds and subject is not None:
            keys = [(kind, subject) for kind in kinds]
        elif kinds or subject is not None:
            keys = [key for key in keys if (not kinds or key[0] in kinds) and subject in (None, key[1])]
        for event in merge(*(self._of_kind.get(key, ()) for key in keys), key=_place):
            if first <= event.at.block_number <= last:
                yield event

    def version(self, model: ModelId, digest: Digest, *, block: Block = "latest") -> Version:
        """Return a version from proven state, else from events."""
        if self._words is not None:
            with _missing(f"version 0x{digest.hex()[:12]}"):
                return version_in(self._words, model, digest)
        found = Version(False, Digest(bytes(32)), bytes(32), False, False)
        kinds = (ModelRegistered, VersionPublished, RoundFinalized, VersionDeprecated)
        for event in sorted((event for kind in kinds for event in self.named(kind, model, digest)), key=_place):
            match event:
                case ModelRegistered():
                    roots = Roots(event.tensor_root, event.rest_root)
                    found = Version(True, Digest(bytes(32)), roots_hash(roots), True, False)
                case VersionPublished():
                    roots = Roots(event.tensor_root, event.rest_root)
                    found = Version(True, event.parent, roots_hash(roots), True, False)
                case RoundFinalized():
                    found = Version(True, event.parent, roots_hash(event.roots), False, False)
                case VersionDeprecated():
                    found = replace(found, deprecated=True)
        return found

    def plan(self, model: ModelId, index: int, *, block: Block = "latest") -> Plan:
        """Return an entry of the plan history."""
        return self._one(PlanSet, model, index).plan

    def round(self, model: ModelId, number: int, *, block: Block = "latest") -> Round:
        """Return a round from proven state, else from events and calls."""
        opened = self._one(RoundOpened, model, number)
        plan = self.plan(model, opened.plan_index)
        if self._words is not None:
            with _missing(f"round {number}"):
                return round_in(self._words, opened.round_id, plan.quorum)
        return self._by_events(opened, plan)

    def _by_events(self, opened: RoundOpened, plan: Plan) -> Round:
        """Derive the contract's state from these events alone; what a call proves takes precedence."""
        of_round = opened.round_id
        running = opened.running_hash
        for event in self._of(UpdateCommitted, of_round):
            running = running_hash_next(
                running, event.participant, event.digest, event.tensor_root, event.weight, event.steps
            )
        attested = self.call_of(of_round, attested=True)
        finalized = self.call_of(of_round, attested=False)
        quorums = list(self._of(QuorumReached, of_round))
        chosen = quorums[-1].result_hash if quorums else bytes(32)
        running = attested.running_hash if attested and attested.running_hash else running
        if finalized is not None:
            chosen = result_hash(finalized.result)
        ended = next(self._of(CommitsEnded, of_round), None)
        deadlines = ended or opened
        return Round(
            commit_deadline=deadlines.commit_deadline,
            publish_deadline=deadlines.publish_deadline,
            aggregate_deadline=deadlines.aggregate_deadline,
            challenge_deadline=quorums[-1].challenge_deadline if quorums else 0,
            weight_cap=plan.weight_cap,
            quorum=plan.quorum,
            plan_index=opened.plan_index,
            cancelled=False,
            attested=any(self._of(ResultAttested, of_round)),
            finalized=of_round in self._finalized,
            running_hash=running,
            result_hash=chosen,
            commitments=running_hash_count(running),
            ended_early=ended is not None,
            extended=False,
            unexpelled=0,
        )

    def _of(self, kind: type[E], subject: bytes) -> Iterator[E]:
        return (event for event in self.events(kind, subject=subject) if isinstance(event, kind))

    def _one(self, kind: type[E], model: ModelId, name: int) -> E:
        for event in self.named(kind, model, name):
            return event
        raise VerificationFailed(f"expected {kind.__name__} with {_NAMES[kind]} {name}, got no proof of one")

    def _index(self, event: Event) -> None:
        kind, subject = type(event), _subject(event)
        self._of_kind[kind, subject].append(event)
        if kind in _NAMES:
            self._named[kind, subject, getattr(event, _NAMES[kind])].append(event)
        if isinstance(event, RoundFinalized):
            self._finalized.add(event.round_id)


def _place(event: Event) -> Position:
    return event.at


def _subject(event: Event) -> bytes:
    """Return the first indexed field: a model event's model, a round event's round."""
    found: bytes = getattr(event, "model_id", getattr(event, "round_id", b""))
    return found


@contextmanager
def _missing(what: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise VerificationFailed(f"{what}: expected a proof of the contract's state, got none") from error

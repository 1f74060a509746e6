"""Claims (commit-reveal): sealed before a challenge exposes the fault, revealed after the conviction.

Salts are derived from a secret in the auditor's folder, and the chain shows which claims were convicted and which seals
recorded. So nothing is written for a claim: a full disk stops none, and after a restart each is found again.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from registry.chain.client import Client
from registry.chain.contract_events import LeafDemanded, ResultConvicted
from registry.chain.contract_hashes import claim_of, seal_of
from registry.chain.court import Court
from registry.chain.event_logs import read_events_back
from registry.chain.sending import Call
from registry.disputes.demands import leaf_of
from registry.durable import write_whole
from registry.ethereum.node import chain_time
from registry.roles.purse import Purse
from registry.types import Address, Fault, Part, RoundId

__all__ = ["Claim", "Collecting", "collect", "salt_of", "sealing", "secret_of"]

log = logging.getLogger(__name__)

_SECRET_BYTES = 32
_COLLECTED = "collected.json"
_WRITING = threading.Lock()
"""Guards the folder: several models may be watched in parallel."""
_UNSAVED: dict[Path, bytes] = {}
"""Secrets that could not be written yet, by folder."""
_WRITTEN_EVERY = 1000
"""Blocks between two writes of how far rewards are collected."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A fault that an account claims to know."""

    round_id: RoundId
    tally: bytes
    part: Part
    index: int

    @property
    def hash(self) -> bytes:
        """The claim's hash, which is sealed and which a conviction names."""
        return claim_of(self.round_id, self.tally, self.part, self.index)


@dataclass(slots=True)
class Collecting:
    """Cache of `collect` between steps; losing it costs only requests.

    Attributes:
        since: The first block whose convictions are not in `convicted` for good; None before the first step.
        written: What the folder says of `since`.
        convicted: Convictions by this auditor's claims whose reward is not settled, by round and tally.
        hopeless: Convictions by a demand of somebody else, which no own demand reveals.
    """

    since: int | None = None
    written: int = 0
    convicted: dict[tuple[RoundId, bytes], ResultConvicted] = field(default_factory=dict)
    hopeless: set[tuple[RoundId, bytes]] = field(default_factory=set)


def secret_of(folder: Path) -> bytes:
    """Return the auditor's secret, 32 bytes, made once; anew if its file is damaged, which is logged.

    While the disk takes no file it is kept in memory, which is logged too.
    """
    path = folder / "salt"
    with _WRITING:
        if path.exists():
            found = path.read_bytes()
            if len(found) == _SECRET_BYTES:
                return found
            log.warning("%s: expected %d bytes, got %d; earlier claims earn nothing", path, _SECRET_BYTES, len(found))
        secret = _UNSAVED.get(folder) or secrets.token_bytes(_SECRET_BYTES)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, secret)
        except OSError as error:
            if folder not in _UNSAVED:
                log.warning("%s: not written, so a restart loses the rewards of claims sealed now: %s", path, error)
            return _UNSAVED.setdefault(folder, secret)
        _UNSAVED.pop(folder, None)
        return secret


def salt_of(folder: Path, claim: bytes) -> bytes:
    """Return the salt of a claim's seal, by the claim's hash."""
    return hmac.digest(secret_of(folder), b"claim" + claim, "sha256")


def sealing(court: Court, folder: Path, claims: Iterable[Claim]) -> list[Call]:
    """Return the calls that seal claims on chain, without revealing them. Seals recorded already are left out."""
    account = court.client.account
    hashes = dict.fromkeys(claim.hash for claim in claims)
    seals = [seal_of(account, salt_of(folder, hashed), hashed) for hashed in hashes]
    return [court.sealing(seal) for seal in seals if not court.seals(seal)]


def collect(client: Client, purse: Purse, folder: Path, memory: Collecting | None = None) -> str:
    """Take the next step for a reward: reveal a claim, collect a reward, or withdraw; return what was done.

    A step asks for new convictions by one range of logs, then for each own conviction that is not settled: what was
    collected, or can no longer be revealed, is not asked for again.
    """
    court, memory = Court(client, send=purse.send), memory or Collecting()
    _find_convicted(court, folder, memory)
    now = chain_time(client.w3)
    for key, event in list(memory.convicted.items()):
        if said := _step(court, folder, memory, key, event, now):
            return said
    credit = court.credit(client.account)
    if credit:
        purse.send(court.withdrawal(), back=credit)
        return f"withdrew {credit} wei of deposits and rewards"
    return ""


def _find_convicted(court: Court, folder: Path, memory: Collecting) -> None:
    """Add new convictions by own claims. Blocks that are not final are read again: a reorg may replace them."""
    client = court.client
    if memory.since is None:
        memory.since = memory.written = _read_since(folder, client)
    final, latest = client.final_block(), client.latest_block()
    for event in court.events(ResultConvicted, from_block=memory.since, to_block=latest):
        assert isinstance(event, ResultConvicted)
        key = event.round_id, event.tally
        if key not in memory.convicted.keys() | memory.hopeless and court.seals(
            _seal(client.account, folder, event.claim)
        ):
            memory.convicted[key] = event
    memory.since = max(memory.since, min(final, latest) + 1)
    from_block = min([memory.since, *(event.at.block_number for event in memory.convicted.values())])
    if from_block >= memory.written + _WRITTEN_EVERY:
        memory.written = from_block
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / _COLLECTED, json.dumps(from_block).encode())
        except OSError as error:
            log.warning("%s: not written, a restart reads older logs again: %s", folder / _COLLECTED, error)


def _step(
    court: Court, folder: Path, memory: Collecting, key: tuple[RoundId, bytes], event: ResultConvicted, now: int
) -> str:
    """Take the next step for the reward of one conviction, or forget it where none is left."""
    found, account = court.conviction(*key), court.client.account
    if found.fault is Fault.NONE:  # a reorg removed it; read again where it comes back
        del memory.convicted[key]
    elif now < found.reveal_deadline:
        order = court.seals(_seal(account, folder, found.claim))
        if found.leader == account or not 0 < order < (found.leader_order or found.order):
            return ""
        demand = _own_demand(court, event, now) if found.fault is Fault.UNANSWERED else None
        if demand is not None and demand.late_deadline > now:
            return ""
        if demand is not None or found.fault is not Fault.UNANSWERED:
            leaf = None if demand is None else leaf_of(demand)
            court.reveal_claim(*key, salt_of(folder, found.claim), leaf, until="mined")
            return f"revealed the claim by which 0x{key[1].hex()[:12]} was convicted"
        memory.hopeless.add(key)
        del memory.convicted[key]
    elif found.leader == account and court.reward(*key):
        court.collect_reward(*key, until="mined")
        return f"collected the reward for 0x{key[1].hex()[:12]}"
    elif event.at.block_number < (memory.since or 0):
        del memory.convicted[key]
    return ""


def _own_demand(court: Court, event: ResultConvicted, now: int) -> LeafDemanded | None:
    """Return this account's newest demand of a convicted result that was not answered; None if there is none."""
    client = court.client
    newest_first = read_events_back(
        client.w3,
        court.address,
        from_block=client.deployed_at,
        to_block=event.at.block_number,
        kinds=[LeafDemanded],
        subject=event.round_id,
        span=client.span,
    )
    for demand in newest_first:
        assert isinstance(demand, LeafDemanded)
        own = demand.demander == client.account and demand.tally == event.tally
        if own and (demand.late_deadline > now or not court.demand(leaf_of(demand)).answered):
            return demand
    return None


def _seal(account: Address, folder: Path, claim: bytes) -> bytes:
    return seal_of(account, salt_of(folder, claim), claim)


def _read_since(folder: Path, client: Client) -> int:
    """Return the first block whose convictions may not be settled; with a new folder that of the next one."""
    try:
        return int(json.loads((folder / _COLLECTED).read_text()))
    except FileNotFoundError:
        known = folder in _UNSAVED or (folder / "salt").exists()
        return client.deployed_at if known else client.final_block() + 1
    except (ValueError, TypeError):
        return client.deployed_at

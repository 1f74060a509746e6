"""Claims (commit-reveal): sealed before a challenge exposes the fault, revealed after the conviction.

Salts are written to a file before the seal is sent: without its salt a claim cannot be revealed or rewarded.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.chain.client import Client
from registry.chain.contract_hashes import claim_of, seal_of
from registry.chain.contract_structs import Demand, Demanded
from registry.chain.court import Court
from registry.chain.sending import Call
from registry.durable import write_whole
from registry.errors import InputError
from registry.ethereum.node import chain_time
from registry.roles.purse import Purse
from registry.types import Address, Fault, Part, Root, RoundId

__all__ = ["Claim", "collect", "sealing"]

_FILE = "claims.json"
_WRITING = threading.Lock()
"""Guards the file: several models may be watched in parallel."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A fault that an account claims to know; for a withheld leaf, with the demand that proves it."""

    round_id: RoundId
    tally: bytes
    part: Part
    index: int
    demanded: Demanded | None = None

    @property
    def hash(self) -> bytes:
        """The claim's hash, which is sealed and which a conviction names."""
        return claim_of(self.round_id, self.tally, self.part, self.index)


def sealing(court: Court, folder: Path, claims: Iterable[Claim]) -> list[Call]:
    """Return the calls that seal claims on chain, without revealing them.

    Their salts are on disk when this returns. Seals recorded already are left out, and claims of the same hash share
    one seal.
    """
    claims = list(claims)
    with _WRITING:
        known = _read(folder)
        salts, there = {other.hash: salt for other, salt in reversed(known)}, {other for other, _ in known}
        added = []
        for claim in dict.fromkeys(claims):
            if claim not in there:
                added.append((claim, salts.setdefault(claim.hash, secrets.token_bytes(32))))
        if added:
            _write(folder, [*known, *added])
    seals = dict.fromkeys(seal_of(court.client.account, salts[claim.hash], claim.hash) for claim in claims)
    return [court.sealing(seal) for seal in seals if not court.seals(seal, block="pending")]


def collect(client: Client, purse: Purse, folder: Path) -> str:
    """Take the next step for a reward: reveal a claim, collect a reward, or withdraw; return what was done."""
    known, court = _read(folder), Court(client, send=purse.send)
    account, now = client.account, chain_time(client.w3)
    for claim, salt in known:
        found = court.conviction(claim.round_id, claim.tally)
        if found.fault is Fault.NONE:
            continue
        if now < found.reveal_deadline:
            if found.claim != claim.hash or found.leader == account:
                continue
            order = court.seals(seal_of(account, salt, claim.hash))
            if not 0 < order < (found.leader_order or found.order):
                continue
            if claim.demanded is not None and not _unanswered(court.demand(claim.demanded), account, now):
                continue
            court.reveal_claim(claim.round_id, claim.tally, salt, claim.demanded, until="mined")
            return f"revealed the claim by which 0x{claim.tally.hex()[:12]} was convicted"
        if found.leader == account and court.reward(claim.round_id, claim.tally):
            court.collect_reward(claim.round_id, claim.tally, until="mined")
            return f"collected the reward for 0x{claim.tally.hex()[:12]}"
    credit = court.credit(account)
    if credit:
        court.withdraw(until="mined")
        purse.give_back(credit)
        return f"withdrew {credit} wei of deposits and rewards"
    return ""


def _unanswered(demand: Demand, account: Address, now: int) -> bool:
    """Whether a demand went unanswered and is this account's own: another may have made it first."""
    return demand.demander == account and not demand.answered and now >= demand.late_deadline


def _read(folder: Path) -> list[tuple[Claim, bytes]]:
    path = folder / _FILE
    try:
        return [_parsed(entry) for entry in json.loads(path.read_text())]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected claims and their salts, got something else") from error


def _write(folder: Path, known: list[tuple[Claim, bytes]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _FILE, json.dumps([_entry(claim, salt) for claim, salt in known], indent=1).encode())


def _entry(claim: Claim, salt: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "round": claim.round_id.hex(),
        "tally": claim.tally.hex(),
        "part": int(claim.part),
        "index": claim.index,
        "salt": salt.hex(),
    }
    if claim.demanded is not None:
        leaf = claim.demanded
        entry["demanded"] = {
            "root": leaf.root.hex(),
            "entry_bytes": leaf.entry_bytes,
            "entries": leaf.entries,
            "index": leaf.index,
        }
    return entry


def _parsed(entry: Any) -> tuple[Claim, bytes]:
    round_id, tally = RoundId(bytes.fromhex(entry["round"])), bytes.fromhex(entry["tally"])
    leaf = entry.get("demanded")
    demanded = (
        Demanded(
            round_id, tally, Root(bytes.fromhex(leaf["root"])), leaf["entry_bytes"], leaf["entries"], leaf["index"]
        )
        if leaf
        else None
    )
    return Claim(round_id, tally, Part(entry["part"]), entry["index"], demanded), bytes.fromhex(entry["salt"])

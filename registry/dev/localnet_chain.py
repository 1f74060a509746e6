"""Prepare a local chain: fund accounts, deploy the contract, and set stale journals aside."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.dev.anvil_node import CHAIN_ID
from registry.types import Address

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["ACCOUNTS", "FUNDS", "known_accounts", "make_accounts", "prepare_chain"]

ACCOUNTS = (
    *("owner", "aggregator-1", "aggregator-2", "aggregator-3"),
    *("participant-1", "participant-2", "participant-3", "auditor"),
)
FUNDS = 10_000 * 10**18
"""Balance in wei to which an account is topped up once it has less than a hundredth of it."""
_KEYSTORE_ITERATIONS = 1 << 12  # weak scrypt for worthless keys: decryption takes milliseconds instead of a second


def make_accounts(folder: Path) -> Mapping[str, Address]:
    """Create missing keystores; their password is in a file beside them."""
    from registry.ethereum.keys import create_keystore

    password = folder / "password"
    if not password.exists():
        handle = os.open(password.with_suffix(".partial"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(18) + "\n")
        password.with_suffix(".partial").replace(password)
    for name in ACCOUNTS:
        if not (folder / "keys" / name).exists():
            create_keystore(folder / "keys" / name, password.read_text().strip(), iterations=_KEYSTORE_ITERATIONS)
    return known_accounts(folder)


def known_accounts(folder: Path) -> Mapping[str, Address]:
    """Return the accounts of the keystores in folder: ours first, then the user's."""
    from registry.ethereum.keys import address_of

    found = {path.name: address_of(json.loads(path.read_text())["address"]) for path in (folder / "keys").glob("*")}
    return {name: found[name] for name in (*ACCOUNTS, *sorted(set(found) - set(ACCOUNTS))) if name in found}


def prepare_chain(folder: Path, url: str, accounts: Mapping[str, Address], *, instant: bool) -> tuple[Address, int]:
    """Fund the accounts, set aside journals of lost blocks, and deploy the contract if it is missing.

    Args:
        folder: The local network's folder.
        url: The chain's RPC.
        accounts: The accounts to fund; `owner` deploys.
        instant: Whether a block is final at once.

    Returns:
        The contract's address, and its deployment block.
    """
    from registry.chain.deploy import deploy
    from registry.chain.journal import Journal
    from registry.chain.transactions import Transactor
    from registry.ethereum.keys import open_keystore
    from registry.ethereum.networks import parse_finality
    from registry.ethereum.node import connect

    w3 = connect(url)
    _set_aside_stale_journals(w3, folder / "home" / "journals")
    for account in accounts.values():
        _fund(w3, account)
    signer = open_keystore(folder / "keys" / "owner", (folder / "password").read_text().strip())
    finality = parse_finality("instant" if instant else "finalized")
    # The journal may be in memory: deployment is idempotent and finds the contracts of an earlier attempt.
    transactor = Transactor(w3, signer, Journal(None), chain_id=CHAIN_ID, finality=finality)
    made = deploy(w3, transactor, chain_id=CHAIN_ID, folder=folder / "home" / "deployments")
    return made.address, made.block


def _fund(w3: Web3, account: Address) -> None:
    from registry.ethereum.keys import to_checksum
    from registry.ethereum.node import asking

    address = to_checksum(account)
    with asking("anvil_setBalance"):
        if w3.eth.get_balance(address) < FUNDS // 100:  # type: ignore[arg-type]
            w3.manager.request_blocking("anvil_setBalance", [address, hex(FUNDS)])  # type: ignore[arg-type]


def _set_aside_stale_journals(w3: Web3, folder: Path) -> None:
    """Rename journals that record as final a block that this chain lacks: a killed anvil loses its last blocks.

    No transaction is duplicated: a lost one left no trace, and the contract refuses to repeat a kept one.
    """
    from registry.chain.journal import Journal

    for path in folder.glob("*/0x*.sqlite"):
        journal = Journal(path)
        try:
            mined = [intent for intent in journal.all() if intent.block_number is not None]
        finally:
            journal.close()
        newest = max(mined, key=lambda intent: intent.block_number or 0, default=None)
        if newest is not None and _block_hash(w3, newest.block_number or 0) != newest.block_hash:
            path.rename(path.with_name(f"{path.name}.stale-{time.time_ns()}"))
            for beside in ("-wal", "-shm"):
                path.with_name(path.name + beside).unlink(missing_ok=True)


def _block_hash(w3: Web3, number: int) -> bytes | None:
    from web3.exceptions import BlockNotFound

    from registry.ethereum.node import asking

    with asking("eth_getBlockByNumber"):
        try:
            block: Any = w3.eth.get_block(number)
        except BlockNotFound:
            return None
    return bytes(block["hash"])

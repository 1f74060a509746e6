"""`cairn contracts …`: deploy the contracts, show them, verify their source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, group
from registry.cli.send import priced, show_quote
from registry.cli.session import Session
from registry.errors import InputError
from registry.ethereum.money import ether

if TYPE_CHECKING:
    from registry.chain.deployments import Deployment
    from registry.chain.sending import SentReceipt

app = group("Deploy the contracts, show them, verify them against their source.")


@command(
    app, "deploy", needs=Need.SEND, example="cairn contracts deploy --account owner\ncairn contracts deploy --dry-run"
)
def deploy(session: Session) -> None:
    """Deploy the contracts, or resume or find an earlier deployment; record them in the home folder. Idempotent."""
    from registry.chain.deploy import deployment_gas, predicted

    chain_id, folder = session.chain_id, session.deployments
    if session.dry_run:
        missing = deployment_gas(session.w3, chain_id=chain_id, folder=folder)
        if not missing:
            there = predicted(session.w3, chain_id=chain_id, folder=folder)
            facts = {
                "dry_run": True,
                "would": "send nothing: they are deployed already",
                "contract": _checksum(there["Cairn"]),
            }
            session.out.result(facts)
            return
        transactions = "a transaction" if len(missing) == 1 else f"{len(missing)} transactions"
        show_quote(session, priced(session, sum(missing.values())), f"deploy {', '.join(missing)} by {transactions}")
        return
    receipts: list[SentReceipt] = []
    with session.out.waiting("deploying the contracts; stopping here is safe, the same command goes on") as say:

        def sent(contract: str, receipt: SentReceipt) -> None:
            receipts.append(receipt)
            say(f"deploying the contracts: {contract} took {receipt.gas_used:,} gas")

        made = session.deploy(sent)
    session.out.result(
        _facts(made)
        | {
            "gas": sum(receipt.gas_used for receipt in receipts),
            "cost_ether": ether(sum(receipt.gas_used * receipt.gas_price for receipt in receipts)),
        }
    )


@command(app, "show", needs=Need.CHAIN | Need.HOME, example="cairn contracts show")
def show(session: Session) -> None:
    """Show the contract that commands use: address, partners, chain, compiler and finality policy."""
    from registry.chain.deployments import load_deployment
    from registry.ethereum.keys import to_checksum
    from registry.ethereum.networks import network_of

    client = session.reader
    known = load_deployment(session.deployments, client.chain_id)
    facts = {
        "contract": to_checksum(client.address),
        **{name.lower(): to_checksum(there) for name, there in client.partners().items() if name != "Cairn"},
        "chain_id": client.chain_id,
        "network": network_of(client.chain_id).name,
        "final": str(client.finality),
        "events_from_block": client.deployed_at,
    }
    if known is not None and known.address == client.address:
        facts |= {"transaction": known.tx_hash, "compiler": known.compiler.get("version"), "create2": known.create2}
    session.out.result(facts)


@command(app, "verify", needs=Need.CHAIN | Need.HOME, example="cairn contracts verify --solc /usr/bin/solc")
def verify(
    session: Session,
    solc: Annotated[Path | None, typer.Option(metavar="FILE", help="The compiler; default py-solc-x's.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Compile again, whatever was compiled before.")] = False,
) -> None:
    """Compile the shipped source and compare it byte for byte with the deployed code.

    The code of Cairn, its factory and its partners must match the source, and each must name the others. Compiling
    takes up to a minute; its result is kept in the home folder by the hash of source, settings and compiler.
    """
    from registry.chain.verify_source import KeptBuilds, verify_deployment
    from registry.cli.tools import find_solc

    client = session.reader
    kept = KeptBuilds(session.home / "compiled", again=again)
    with session.out.waiting("compiling, which may take a minute; the result is kept"):
        found = verify_deployment(client.w3, client.address, solc=solc or find_solc(), kept=kept)
    named = {name: _checksum(one.address) for name, one in found.items()}
    facts = {
        "contract": _checksum(client.address),
        "equal": True,
        "contracts": named,
        "compiler": found["Cairn"].compiler,
        "code_hash": found["Cairn"].code_hash,
        "immutables": sum(len(one.immutables) for one in found.values()),
    }
    listed = ", ".join(f"{name} {address}" for name, address in named.items())
    session.out.result(facts, lambda: session.out.fields(facts | {"contracts": listed}))


def _facts(made: Deployment) -> dict[str, object]:
    return {
        "contract": _checksum(made.address),
        "chain_id": made.chain_id,
        "block": made.block,
        "transaction": made.tx_hash,
        "found_there": made.tx_hash is None,
        "compiler": made.compiler.get("version"),
    }


def _checksum(address: bytes) -> str:
    from registry.ethereum.keys import to_checksum
    from registry.types import Address

    if len(address) != 20:
        raise InputError(f"expected an address, got {len(address)} bytes")
    return to_checksum(Address(address))

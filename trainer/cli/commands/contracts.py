"""`cairn contracts …`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.errors import InputError
from trainer.cli.command import Need, command, group
from trainer.cli.sending import quote_of, show_quote
from trainer.cli.session import Session

if TYPE_CHECKING:
    from registry.chain.deploy import Deployment

app = group("Deploy the contract, show it, compare it with its source.")


@command(
    app, "deploy", needs=Need.SEND, example="cairn contracts deploy --account owner\ncairn contracts deploy --dry-run"
)
def deploy(session: Session) -> None:
    """Put the contract on the chain, or find it where it was put before. Its record is kept under the home folder."""
    from registry.chain.client import open_journal
    from registry.chain.contracts import artifact
    from registry.chain.deploy import CREATE2_DEPLOYER, DEPLOYER_CODE, code_at, create2_address, deployment_call
    from registry.chain.deploy import deploy as put
    from registry.chain.transactions import Transactor

    if session.dry_run:
        create2 = code_at(session.w3, CREATE2_DEPLOYER) == DEPLOYER_CODE
        there = create2_address(artifact("Cairn").bytecode) if create2 else None
        if there is not None and code_at(session.w3, there):
            session.out.result({"dry_run": True, "would": "send nothing: it is there", "contract": _checksum(there)})
            return
        show_quote(session, quote_of(session, deployment_call("Cairn", create2=create2)), "deploy the contract")
        return
    signer = session.signer
    journal = open_journal(session.w3, session.chain_id, signer.address, session.journals)
    transactor = Transactor(session.w3, signer, journal, chain_id=session.chain_id, finality=session.finality)
    with session.out.waiting("deploying the contract"):
        made = put(session.w3, transactor, chain_id=session.chain_id, folder=session.deployments)
    session.out.result(_facts(made))


@command(app, "show", needs=Need.CHAIN | Need.HOME, example="cairn contracts show")
def show(session: Session) -> None:
    """Show the contract that commands use: its address, chain, compiler and when blocks are final there."""
    from registry.chain.deploy import load_deployment
    from registry.chain.keys import to_checksum
    from registry.chain.networks import network_of

    client = session.reader
    known = load_deployment(session.deployments, client.chain_id)
    facts = {
        "contract": to_checksum(client.address),
        "challenges": to_checksum(client.challenges()),
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
    solc: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The compiler; by default the one that py-solc-x has.")
    ] = None,
) -> None:
    """Compile the shipped source again and compare it byte for byte with what is deployed."""
    from registry.chain.source import verify_deployment
    from trainer.cli.tools import find_solc

    client = session.reader
    with session.out.waiting("compiling"):
        found = verify_deployment(client.w3, client.address, chain_id=client.chain_id, solc=solc or find_solc())
    session.out.result(
        {
            "contract": _checksum(client.address),
            "equal": True,
            "compiler": found.compiler,
            "code_hash": found.code_hash,
            "immutables": len(found.immutables),
        }
    )


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
    from registry.chain.keys import to_checksum
    from registry.types import Address

    if len(address) != 20:
        raise InputError(f"expected an address, got {len(address)} bytes")
    return to_checksum(Address(address))

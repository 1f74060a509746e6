"""`cairn receipt …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry.cli.check_lines import check_line, require_passed
from registry.cli.command import Need, command, group
from registry.cli.finding import find_account, find_version, members_of
from registry.cli.local_files import size_of, write_whole
from registry.cli.output import short
from registry.cli.session import Session
from registry.cli.trusted_hashes import TRUST_HELP, block_hash
from registry.errors import FormError
from registry.types import MAX_MANIFEST_BYTES

app = group("Who is in a version, and who is not: small files that anybody can check.")


@command(
    app,
    "create",
    needs=Need.CHAIN | Need.HOME | Need.STORE | Need.KEYS,
    example="cairn receipt create 3fa9@round-7 0x52ab -o ann.receipt",
)
def create(
    session: Session,
    version: Annotated[
        str,
        typer.Argument(metavar="MODEL[@VERSION]", help="VERSION: a digest or CID, shortened, genesis or round-N."),
    ],
    participant: Annotated[
        str,
        typer.Argument(metavar="PARTICIPANT", help="An address, a keystore's name, or the beginning of a member's."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write.")],
) -> None:
    """Write the receipt of a participant that is in a version that a round made, or of one that is not."""
    from registry.bundles.inclusion import create_receipt, is_inclusion
    from registry.content.manifest import encode
    from registry.ethereum.headers import decode_header

    client = session.reader
    found = find_version(client, version)
    account = find_account(session, participant, members_of(client, found.model))
    receipt = create_receipt(client, session.store, found.model, found.version, account)
    assert receipt.header is not None  # what is made here has one
    header = decode_header(receipt.header)
    size = write_whole([encode(receipt)], output)
    facts = {
        "file": output,
        "size": size,
        "version": found.version,
        "participant": account,
        "included": is_inclusion(receipt),
    }

    def text() -> None:
        session.out.fields(facts)
        session.out.line(f"verify it with --trust 0x{header.hash.hex()}  (block {header.number})")

    session.out.result({**facts, "trust": {"block": header.number, "hash": header.hash}}, text)


@command(
    app,
    "verify",
    needs=Need.CHAIN | Need.HOME,
    example="cairn receipt verify ann.receipt --trust 0x7e07…\ncairn receipt verify ann.receipt --rpc",
)
def verify(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A receipt.")],
    trust: Annotated[str | None, typer.Option("--trust", metavar="BLOCKHASH", help=TRUST_HELP)] = None,
    rpc: Annotated[bool, typer.Option("--rpc", help="Ask the contract, through a node.")] = False,
) -> None:
    """Check what a receipt proves, with no network unless --rpc asks for it.

    Alone it proves a place in a result; that a round was finalized with that result takes a block hash to trust, or a
    node to ask. Exit code 7 if it does not prove what it says, 4 if it lacks what would prove it, or a hash to trust.
    """
    from registry.bundles.inclusion import check_on_chain, check_receipt, is_inclusion, model_of
    from registry.content.manifest import decode
    from registry.content.proof_manifests import ReceiptManifest
    from registry.verification.verify import until_failure

    size = size_of(file)
    if size is None or size > MAX_MANIFEST_BYTES:
        raise FormError(f"{file}: expected a receipt of at most {MAX_MANIFEST_BYTES} bytes, got {size}")
    receipt = decode(file.read_bytes(), ReceiptManifest)
    checks = list(until_failure(check_receipt(receipt, None if trust is None else block_hash(trust))))
    if rpc:
        from registry.chain.client import Client
        from registry.types import Address

        client = Client(session.w3, Address(receipt.contract), chain_id=receipt.chain_id, finality=session.finality)
        asked = list(until_failure(iter([check_on_chain(client, receipt)])))
        # The contract says whether the round is finalized with this result; without a hash the file's proof is idle.
        checks = [check for check in checks if check.name != "anchor" or trust is not None] + asked
    for check in checks:
        session.out.show(check_line(check))
    passed = all(check.finding == "passed" for check in checks)
    facts = {
        "chain_id": receipt.chain_id,
        "contract": receipt.contract,
        "model": model_of(receipt),
        "participant": receipt.participant,
        "version": receipt.result.version_digest,
        "included": is_inclusion(receipt),
        "passed": passed,
        "checks": checks,
    }
    said = "in" if is_inclusion(receipt) else "not in"
    text = f"0x{receipt.participant.hex()} is {said} version {short(receipt.result.version_digest)}."
    session.out.result(facts, lambda: session.out.line(text, style="bold green") if passed else None)
    require_passed(("receipt", check) for check in checks)

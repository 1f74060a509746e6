"""`cairn inclusion …`: prove that a participant is in a version or is not, and verify such proofs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry.cli.check_lines import check_line, require_passed
from registry.cli.command import Need, command, group
from registry.cli.finding import find_account, find_version
from registry.cli.local_files import size_of, write_whole
from registry.cli.output import short
from registry.cli.session import Session
from registry.cli.trusted_hashes import TRUST_HELP, block_hash
from registry.errors import FormError
from registry.types import MAX_MANIFEST_BYTES

app = group("Inclusion proofs: who is in a version, and who is not, in small files.")


@command(
    app,
    "create",
    needs=Need.CHAIN | Need.HOME | Need.STORE | Need.KEYS,
    example="cairn inclusion create 3fa9@round-7 0x52ab -o ann.inclusion",
)
def create(
    session: Session,
    version: Annotated[
        str,
        typer.Argument(
            metavar="MODEL[@VERSION]", help="VERSION: a digest, CID or prefix, genesis, round-N, an alias or a date."
        ),
    ],
    participant: Annotated[
        str,
        typer.Argument(
            metavar="PARTICIPANT", help="An address, or a unique prefix of a member's; or a keystore's name."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write.")],
) -> None:
    """Write the proof that a participant is in a version that a round made, or is not."""
    from registry.bundles.inclusion import create_inclusion_proof, is_inclusion
    from registry.content.manifest import encode
    from registry.ethereum.headers import decode_header
    from registry.facts.member_facts import members_of

    client = session.reader
    found = find_version(client, version)
    account = find_account(session, participant, members_of(client, found.model))
    proof = create_inclusion_proof(client, session.store, found.model, found.version, account)
    assert proof.header is not None  # create_inclusion_proof sets it
    header = decode_header(proof.header)
    size = write_whole([encode(proof)], output)
    facts = {
        "file": output,
        "size": size,
        "version": found.version,
        "participant": account,
        "included": is_inclusion(proof),
    }

    def text() -> None:
        session.out.fields(facts)
        session.out.line(f"verify it with --trust 0x{header.hash.hex()}  (block {header.number})")

    session.out.result({**facts, "trust": {"block": header.number, "hash": header.hash}}, text)


@command(
    app,
    "verify",
    needs=Need.CHAIN | Need.HOME,
    example="cairn inclusion verify ann.inclusion --trust 0x7e07…\ncairn inclusion verify ann.inclusion --rpc",
)
def verify(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An inclusion proof.")],
    trust: Annotated[str | None, typer.Option("--trust", metavar="BLOCKHASH", help=TRUST_HELP)] = None,
    rpc: Annotated[bool, typer.Option("--rpc", help="Ask the contract, through a node.")] = False,
) -> None:
    """Verify an inclusion proof, offline unless --rpc is given.

    By itself the file proves a place in a result. That a round was finalized with that result takes a trusted block
    hash, or a node to ask. Exit code 7 if the proof is invalid, 4 if it is incomplete or lacks a hash to trust.
    """
    from registry.bundles.inclusion import check_inclusion_proof, check_on_chain
    from registry.content.manifest import decode
    from registry.content.proof_manifests import InclusionProofManifest
    from registry.facts.bundle_facts import inclusion_facts
    from registry.verification.verify import until_failure

    size = size_of(file)
    if size is None or size > MAX_MANIFEST_BYTES:
        raise FormError(f"{file}: expected an inclusion proof of at most {MAX_MANIFEST_BYTES} bytes, got {size}")
    proof = decode(file.read_bytes(), InclusionProofManifest)
    checks = list(until_failure(check_inclusion_proof(proof, None if trust is None else block_hash(trust))))
    if rpc:
        from registry.chain.client import Client
        from registry.types import Address

        client = Client(session.w3, Address(proof.contract), chain_id=proof.chain_id, finality=session.finality)
        asked = list(until_failure(iter([check_on_chain(client, proof)])))
        # The contract confirms the anchor. Without a trusted hash the file's own proof of it adds nothing.
        checks = [check for check in checks if check.name != "anchor" or trust is not None] + asked
    for check in checks:
        session.out.show(check_line(check))
    facts = inclusion_facts(proof, checks)
    text = f"0x{facts.participant.hex()} is {'in' if facts.included else 'not in'} version {short(facts.version)}."
    session.out.result(facts, lambda: session.out.line(text, style="bold green") if facts.passed else None)
    require_passed(("inclusion proof", check) for check in checks)

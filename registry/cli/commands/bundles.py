"""`cairn bundle …`: write a version's lineage with its proofs to one file, and verify such files offline."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.check_lines import check_line, require_passed
from registry.cli.command import Need, command, group
from registry.cli.commands.verify import name_of, show, telling
from registry.cli.finding import find_version
from registry.cli.local_files import size_of, told, write_whole
from registry.cli.output import short
from registry.cli.session import Session
from registry.cli.trusted_hashes import TRUST_HELP, block_hash
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.bundles.verify_bundle import BundleVerdict
    from registry.store.base import ContentStore
    from registry.verification.checks import Check

app = group("A version's lineage with its chain proofs in one file that verifies offline.")


@command(
    app,
    "create",
    needs=Need.CHAIN | Need.HOME | Need.STORE,
    example="cairn bundle create 3fa9@round-7 -o round-7.car\ncairn bundle create 3fa9 --with-blobs -o all.car",
)
def create(
    session: Session,
    version: Annotated[
        str,
        typer.Argument(
            metavar="MODEL[@VERSION]", help="VERSION: a digest, CID or prefix, genesis, round-N, an alias or a date."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="CAR", help="Output file.")],
    with_blobs: Annotated[
        bool, typer.Option("--with-blobs", help="Include the files, so that rounds can be recomputed.")
    ] = False,
    max_gap: Annotated[
        int | None,
        typer.Option(metavar="BLOCKS", min=1, help="Largest gap of blocks that headers bridge; default 10000."),
    ] = None,
) -> None:
    """Write a version's lineage with its proof: manifests, proofs of events and state, headers.

    Prints the block hashes that a verifier must trust. The file is a CAR, which `ipfs dag import` reads.
    """
    from registry.bundles.create_bundle import MAX_GAP, gather_bundle
    from registry.content.car import write_car
    from registry.facts.bundle_facts import bundle_facts
    from registry.facts.plain import plain

    client = session.reader
    found = find_version(client, version)
    with session.out.progress("Bundling", None) as done:
        bundle = gather_bundle(
            client, session.store, found.model, found.version, with_blobs=with_blobs, max_gap=max_gap or MAX_GAP
        )
        size = write_whole(told(write_car(bundle.root, bundle.blocks), done), output)
    facts = {"file": output, **plain(bundle_facts(bundle, found.version, size))}

    def text() -> None:
        session.out.fields({name: value for name, value in facts.items() if name != "trust"})
        for point in bundle.anchors:
            session.out.line(f"verify it with --trust 0x{point.hash.hex()}  (block {point.number})")

    session.out.result(facts, text)


@command(
    app,
    "verify",
    example="cairn bundle verify round-7.car --trust 0x7e07…",
)
def verify(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="CAR", help="A bundle.")],
    trust: Annotated[list[str], typer.Option("--trust", metavar="BLOCKHASH", help=f"{TRUST_HELP} May be repeated.")],
    contract: Annotated[
        str | None, typer.Option("--contract", metavar="ADDRESS", help="The expected contract.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Weights to compare with the proven version's.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print one line per version, and only those checks that did not pass.")
    ] = False,
) -> None:
    """Verify a bundle offline: every block, every proof, and each version as `cairn verify` does.

    Prints which trusted block proves which events, and the proof behind each check. Rounds are recomputed if the
    bundle has the files. --file compares a file's sha256 with that of the version's weights.

    Exit code 3 if the file is not a bundle, 7 if anything disagrees or a proof is invalid, 4 if the trusted hashes
    leave something unproved.
    """
    from registry.bundles.verify_bundle import verify_bundle
    from registry.ethereum.keys import address_of
    from registry.facts.bundle_facts import bundle_verdict_facts
    from registry.facts.plain import plain
    from registry.store.car_store import CarStore

    hashes, meant = [block_hash(text) for text in trust], address_of(contract) if contract else None
    if size_of(file) is None:
        raise InputError("expected a file, got standard input, which cannot be read twice")
    with session.out.progress("Hashing", size_of(file)) as done:
        store = CarStore(file, progress=done)
    with tempfile.TemporaryDirectory(prefix="cairn-bundle-") as folder, session.out.waiting("verifying") as say:
        verdict = verify_bundle(store, hashes, Path(folder), contract=meant, progress=telling(say))
    _show(session, verdict, quiet)
    named = None if weights is None else _weights_check(store, verdict, weights)
    facts = plain(bundle_verdict_facts(verdict))
    facts |= {} if named is None else {"file": {"path": str(weights), "is_version": named.finding == "passed"}}
    session.out.result(facts, lambda: _conclude(session, verdict, named))
    require_passed(
        [("bundle", check) for check in verdict.checks]
        + [(name_of(one.step), check) for one in verdict.versions for check in one.checks]
        + ([] if named is None else [(str(weights), named)])
    )


def _show(session: Session, verdict: BundleVerdict, quiet: bool) -> None:
    out = session.out
    for check in verdict.checks:
        out.show(check_line(check))
    rows = []
    for entry in verdict.events:
        at = entry.event.at
        by = "nothing" if entry.trusted is None else f"block {entry.trusted.number}"
        rows.append((type(entry.event).__name__, at.block_number, short(at.block_hash), by))
    if not quiet:
        out.table(("event", "block", "hash", "proved by"), rows, right=("block",))
    for one in verdict.versions:
        show(session, one, quiet)


def _weights_check(store: ContentStore, verdict: BundleVerdict, weights: Path) -> Check:
    """Compare a file with the weights of the bundle's version.

    Raises:
        ContentError, FormError: The bundle lacks the version's manifest, or has another block in its place.
    """
    from registry.content.manifest import VersionManifest
    from registry.rounds.versions import sha256_of
    from registry.store.manifests import get_manifest
    from registry.types import Digest
    from registry.verification.checks import Check, Finding

    size_of(weights)
    digest = Digest(verdict.manifest.version)
    expected, found = get_manifest(store, digest, VersionManifest).weights.sha256, sha256_of(weights)
    if found == expected:
        return Check("sha256", Finding.PASSED, f"{found.hex()}, the weights of version 0x{digest.hex()}")
    said = f"expected {expected.hex()}, the weights of version 0x{digest.hex()}, got {found.hex()}"
    return Check("sha256", Finding.FAILED, said)


def _conclude(session: Session, verdict: BundleVerdict, weights: Check | None) -> None:
    manifest = verdict.manifest
    session.out.fields({"model": manifest.model, "version": manifest.version})
    if weights is not None:
        session.out.show(check_line(weights))
    if verdict.passed:
        how = "recomputed" if verdict.manifest.blobs is not None else "not recomputed: the bundle has no files"
        count = len(verdict.versions)
        versions = "1 version" if count == 1 else f"{count} versions"
        proved = next(check.evidence for check in verdict.checks if check.name == "events")
        session.out.line(f"Verified {versions}; rounds {how}; events: {proved}.", style="bold green")

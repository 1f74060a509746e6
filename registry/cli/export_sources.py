"""Gather the record of a version that an export states: from chain and store, or from an explorer's snapshot."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from registry.cli.finding import find_version
from registry.cli.prefixes import choose, is_hex
from registry.cli.session import Session
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.explorer.reading import Reading
    from registry.exports.eas_attestation import Attesting
    from registry.exports.exported_version import ExportedVersion
    from registry.exports.signed_envelope import SigningKey
    from registry.exports.version_record import VersionRecord
    from registry.index.entries import LogPlace, VersionEntry
    from registry.types import Address, Digest, ModelId

__all__ = ["attesting_of", "record_of_chain", "record_of_snapshot", "signing_key"]

_MAX_PASSWORD = 1 << 12


def record_of_chain(session: Session, text: str, *, recompute: bool) -> VersionRecord:
    """Return the record of MODEL@VERSION, verified as `cairn verify` does.

    Args:
        session: The command's.
        text: The version.
        recompute: Recompute rounds from their files; else check manifests alone.

    Raises:
        VerificationFailed: A check failed.
    """
    from registry.cli.commands.verify import telling
    from registry.cli.index_file import read_lineage
    from registry.exports.version_record import version_record
    from registry.facts.verification_facts import verification_facts
    from registry.facts.version_facts import lineage_facts
    from registry.lineage.picture import draw
    from registry.verification.cache import VerificationCache
    from registry.verification.verify import verify_version

    client = session.reader
    found = find_version(client, text)
    ancestry, stories, told = read_lineage(session, found)
    facts = lineage_facts(ancestry, stories, found.model, found.version, told)
    with tempfile.TemporaryDirectory(prefix="cairn-export-") as folder, session.out.waiting("verifying") as say:
        done = [
            verification_facts(one)
            for one in verify_version(
                client,
                session.store,
                found.model,
                found.version,
                Path(folder),
                files=recompute,
                verified=VerificationCache(session.home / "verified") if recompute else None,
                progress=telling(say),
            )
        ]
    exported = _named(session.chain_id, client.address, found.model, found.version, stories[-1].entry.at)
    return version_record(exported, facts, done, draw(stories, ancestry, told.times, told.scores))


def record_of_snapshot(folder: Path, text: str) -> VersionRecord:
    """Return the record of MODEL@VERSION as a snapshot has it: its records are compared, its arithmetic is not redone.

    Raises:
        InputError: The folder is no snapshot, or has no such version.
        VerificationFailed: A check failed.
    """
    from registry.explorer.export_files import record_of_version
    from registry.explorer.snapshot import open_snapshot

    with open_snapshot(folder).reading() as reading:
        return record_of_version(reading, _entry_in(reading, text))


def _entry_in(reading: Reading, text: str) -> VersionEntry:
    """Return the version that MODEL[@VERSION] names: a digest or prefix, head, genesis or round-N."""
    from registry.index import queries

    name, _, wanted = text.partition("@")
    model = choose(name, {one.model_id.hex(): one for one in queries.models(reading.db)}, "model")
    versions = queries.versions(reading.db, model.model_id)
    if is_hex(wanted):
        return choose(wanted, {one.digest.hex(): one for one in versions}, "version")
    found = [
        one
        for one in versions
        if (wanted in ("", "head") and one.digest == model.head)
        or (wanted == "genesis" and one.digest == model.genesis)
        or (wanted == f"round-{one.number}" and one.number)
    ]
    if not found:
        raise InputError(f"expected a digest or prefix, head, genesis or round-N of the snapshot, got {wanted!r:.100}")
    return found[-1]


def _named(chain_id: int, contract: Address, model: ModelId, version: Digest, at: LogPlace) -> ExportedVersion:
    from registry.exports.exported_version import ExportedVersion

    return ExportedVersion(chain_id, contract, model, version, at.block, at.block_hash)


def signing_key(path: Path | None, password_file: Path | None) -> SigningKey:
    """Return the key of --key-file.

    Raises:
        InputError: None is named.
        SignerError: It does not open.
    """
    from registry.exports.signed_envelope import read_signing_key

    if path is None:
        raise InputError("this format is signed: expected --key-file FILE, a PEM file with a private key on P-256")
    password = None
    if password_file is not None:
        with password_file.open("rb") as file:
            password = file.read(_MAX_PASSWORD).strip(b"\r\n")
    return read_signing_key(path, password)


def attesting_of(session: Session, contract: str | None, release: str) -> Attesting:
    """Return who attests by EAS: the account that the settings name.

    Raises:
        InputError: No contract of EAS is named.
        SignerError: No account is named, or its keystore does not open.
    """
    from registry.ethereum.keys import address_of
    from registry.exports.eas_attestation import Attesting

    if contract is None:
        raise InputError("an attestation is signed for a contract of EAS: expected --eas ADDRESS")
    return Attesting(session.signer, address_of(contract), release, int(time.time()))

"""Exports for download: the formats that need no key and no weights, made of index and manifests."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from registry.errors import ContentError, VerificationFailed
from registry.explorer.reading import NotThere, Reading
from registry.explorer.version_page import checks_of, lineage_of
from registry.exports.exported_version import ExportedVersion
from registry.exports.formats import FORMATS, Means
from registry.exports.version_record import VersionRecord, version_record
from registry.facts.verification_facts import VerificationFacts
from registry.facts.version_facts import lineage_facts
from registry.index import queries
from registry.index.entries import VersionEntry
from registry.lineage.picture import draw
from registry.types import Digest
from registry.verification.checks import Finding

__all__ = ["ELSEWHERE", "KINDS", "MOST_VERSIONS", "ExportFile", "export_of", "lineage_in_model", "record_of_version"]

MOST_VERSIONS = 128
"""Versions of a lineage up to which it is exported or bundled for visitors."""
_PLAIN = "application/octet-stream"
KINDS = {
    "prov-json": "application/json",
    "prov-n": "text/provenance-notation",
    "cyclonedx": "application/vnd.cyclonedx+json",
    "html": _PLAIN,  # strangers' words as a page: no browser shows this type in the site's origin
    "ro-crate": "application/zip",
}
"""Media types of the formats that are served."""
ELSEWHERE = {
    "in-toto": "--key-file signing.pem",
    "model-signing": "--key-file signing.pem",
    "eas": "--eas ADDRESS --account NAME",
    "huggingface": "",
    "pdf": "",
}
"""What the command takes for the formats that it alone makes: they need a key, the weights or Chromium."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file to download; `kind` is its media type."""

    name: str
    kind: str
    data: bytes


def export_of(reading: Reading, entry: VersionEntry, form: str) -> ExportFile:
    """Return a version's export.

    Args:
        reading: The snapshot of the index.
        entry: The version.
        form: A name of `KINDS`.

    Raises:
        NotThere: There is no such format, the command alone makes it, its lineage is too long, its manifest is
            unavailable, or a check of the lineage failed.
    """
    command = f"cairn provenance export 0x{entry.model_id.hex()}@0x{entry.digest.hex()} --as"
    if form in ELSEWHERE:
        raise NotThere(f"expected a format of {', '.join(KINDS)}; another is made by {command} {form}")
    if form not in KINDS:
        raise NotThere(f"expected a format of {', '.join(KINDS)}, got {form!r:.100}")
    if len(lineage_in_model(reading, entry)) > MOST_VERSIONS:
        raise NotThere(f"its lineage has more than {MOST_VERSIONS} versions, which {command} {form} exports")
    try:
        record = record_of_version(reading, entry)
    except (ContentError, VerificationFailed) as error:
        raise NotThere(f"there is no export of this version: {error}") from error
    told = FORMATS[form]
    files = told.write(record, Means())
    if "" in files:
        content = files[""]
        assert isinstance(content, bytes)
        return ExportFile(told.output, KINDS[form], content)
    return ExportFile(f"{told.output}.zip", KINDS[form], _zipped(told.output, files))


def record_of_version(reading: Reading, entry: VersionEntry) -> VersionRecord:
    """Return the record of a version as index and manifests have it: records are compared, no arithmetic is redone.

    Raises:
        ContentError: The version's manifest is unavailable.
        VerificationFailed: A check failed.
    """
    ancestry, stories, told = lineage_of(reading, entry)
    facts = lineage_facts(ancestry, stories, entry.model_id, entry.digest, told)
    checks = [
        VerificationFacts(
            story.entry.digest,
            story.entry.number or None,
            all(check.finding in (Finding.PASSED, Finding.ASSERTED) for check in found),
            False,
            found,
        )
        for story in stories
        if story.entry.model_id == entry.model_id
        for found in (checks_of(reading, story),)
    ]
    at, as_of = stories[-1].entry.at, reading.as_of
    exported = ExportedVersion(as_of.chain_id, as_of.contract, entry.model_id, entry.digest, at.block, at.block_hash)
    return version_record(exported, facts, checks, draw(stories, ancestry, told.times, told.scores))


def lineage_in_model(reading: Reading, entry: VersionEntry) -> list[VersionEntry]:
    """Return a version and its ancestors in its model, at most one more than `MOST_VERSIONS`."""
    found: dict[Digest, VersionEntry] = {}
    waiting: VersionEntry | None = entry
    while waiting is not None and waiting.digest not in found and len(found) <= MOST_VERSIONS:
        found[waiting.digest] = waiting
        waiting = next(iter(_in_model(reading, waiting)), None)
    return list(found.values())


def _in_model(reading: Reading, entry: VersionEntry) -> Iterator[VersionEntry]:
    for one in queries.versions_of_digest(reading.db, entry.parent):
        if one.model_id == entry.model_id:
            yield one


def _zipped(folder: str, files: Mapping[str, object]) -> bytes:
    """Return a zip file that the same files make again, byte for byte."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as zipped:
        for name, content in files.items():
            assert isinstance(content, bytes)
            zipped.writestr(zipfile.ZipInfo(f"{folder}/{name}", _EPOCH), content, zipfile.ZIP_DEFLATED)
    return written.getvalue()

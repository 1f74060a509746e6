"""The table of export formats: what each writes, what it needs, and how one gets back from it to the version."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import InputError
from registry.exports.bill_of_materials import bill_of_materials, read_bill_of_materials
from registry.exports.build_provenance import in_toto, read_in_toto
from registry.exports.eas_attestation import Attesting, attestation, read_attestation
from registry.exports.exported_version import ExportedVersion, only_name
from registry.exports.model_folder import SIGNATURE, Content, folder_files, read_card, read_signature, signed_files
from registry.exports.people_report import people_report, read_people_report
from registry.exports.printing import print_pdf
from registry.exports.prov_document import prov_json, prov_n, read_prov_json, read_prov_n
from registry.exports.research_crate import METADATA, crate_files, read_crate
from registry.exports.signed_envelope import SigningKey
from registry.exports.version_record import VersionRecord

__all__ = ["FORMATS", "ExportFormat", "Means", "read_export"]

_MAX_READ = 64 << 20


@dataclass(frozen=True, slots=True)
class Means:
    """What the user gives to an export beside the version.

    Attributes:
        key: The key that signs envelopes.
        attesting: The account that attests.
        files: Files that join a folder, by name.
    """

    key: SigningKey | None = None
    attesting: Attesting | None = None
    files: Mapping[str, Content] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format.

    Attributes:
        says: What it is, for help.
        output: Name of the file or folder that is written by default.
        write: Returns its files by name; one file under the empty name if it is no folder.
        main: In a folder the file that names the version; empty for a format of one file.
        read: Returns the version that this file names.
        given: Names of the files that the user may give.
        needs: `key`, `account` or nothing.
    """

    says: str
    output: str
    write: Callable[[VersionRecord, Means], Mapping[str, Content]]
    read: Callable[[bytes], ExportedVersion]
    main: str = ""
    given: tuple[str, ...] = ()
    needs: str = ""


def _one(made: Callable[[VersionRecord], bytes]) -> Callable[[VersionRecord, Means], Mapping[str, Content]]:
    return lambda record, means: {"": made(record)}


def _key(means: Means) -> SigningKey:
    if means.key is None:
        raise InputError("this format is signed: expected --key-file FILE, a PEM file with a private key on P-256")
    return means.key


def _attested(record: VersionRecord, means: Means) -> Mapping[str, Content]:
    if means.attesting is None:
        raise InputError("an attestation is signed for a contract of EAS: expected --eas ADDRESS and an account")
    return {"": attestation(record, means.attesting)}


def _pdf(record: VersionRecord, means: Means) -> Mapping[str, Content]:
    return {"": print_pdf(people_report(record, tab=record.exported.name))}


def _read_pdf(data: bytes) -> ExportedVersion:
    return only_name([one.decode() for one in re.findall(rb"/Title \((urn:cairn:[0-9a-fx:]{1,500})\)", data)])


_FOLDER = ("config.json", "adapter_config.json", "adapter_model.safetensors")
FORMATS: dict[str, ExportFormat] = {
    "prov-json": ExportFormat("W3C PROV as PROV-JSON", "provenance.json", _one(prov_json), read_prov_json),
    "prov-n": ExportFormat("W3C PROV as PROV-N", "provenance.provn", _one(prov_n), read_prov_n),
    "in-toto": ExportFormat(
        "SLSA build provenance in a signed DSSE envelope",
        "provenance.intoto.json",
        lambda record, means: {"": in_toto(record, _key(means))},
        read_in_toto,
        needs="key",
    ),
    "cyclonedx": ExportFormat("CycloneDX 1.6 ML-BOM", "bom.cdx.json", _one(bill_of_materials), read_bill_of_materials),
    "huggingface": ExportFormat(
        "a folder in Hugging Face's layout",
        "model",
        lambda record, means: folder_files(record, means.files),
        read_card,
        main="README.md",
        given=_FOLDER,
    ),
    "model-signing": ExportFormat(
        "that folder with an OpenSSF model signature",
        "model",
        lambda record, means: signed_files(record, means.files, _key(means)),
        read_signature,
        main=SIGNATURE,
        given=_FOLDER,
        needs="key",
    ),
    "ro-crate": ExportFormat(
        "an RO-Crate 1.1",
        "crate",
        lambda record, means: crate_files(record, means.files),
        read_crate,
        main=METADATA,
        given=("bundle.car",),
    ),
    "eas": ExportFormat(
        "an EAS off-chain attestation", "attestation.eas.json", _attested, read_attestation, needs="account"
    ),
    "html": ExportFormat("a report for people", "report.html", _one(people_report), read_people_report),
    "pdf": ExportFormat("the report, printed by Chromium", "report.pdf", _pdf, _read_pdf),
}
"""By name."""


def read_export(form: str, path: Path) -> ExportedVersion:
    """Return the version that an export is of; signatures and content are not checked.

    Args:
        form: A name of `FORMATS`.
        path: The export's file or folder.

    Raises:
        InputError: There is no such format or file, the file is larger than 64 MiB, or names no version.
    """
    if form not in FORMATS:
        raise InputError(f"expected a format of {', '.join(FORMATS)}, got {form!r:.100}")
    file = path / FORMATS[form].main if FORMATS[form].main else path
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_READ + 1)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    if len(data) > _MAX_READ:
        raise InputError(f"{file}: expected at most {_MAX_READ} bytes")
    return FORMATS[form].read(data)

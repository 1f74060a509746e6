"""Each export, opened by its own ecosystem's library or schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from prov.model import ProvActivity, ProvAgent, ProvDocument, ProvEntity
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from registry.exports.bill_of_materials import bill_of_materials
from registry.exports.build_provenance import in_toto
from registry.exports.prov_document import prov_json, prov_n
from registry.exports.signed_envelope import read_signing_key
from registry.exports.version_record import VersionRecord


def test_prov_reads_both_forms_as_one_document(told: VersionRecord) -> None:
    document = ProvDocument.deserialize(content=prov_json(told).decode(), format="json")
    theirs = [line.strip() for line in document.get_provn().splitlines() if line.strip()]
    ours = [line.strip() for line in prov_n(told).decode().splitlines() if line.strip()]
    assert sorted(theirs) == sorted(ours)
    assert ProvDocument.deserialize(content=prov_n(told).decode(), format="provn") == document
    assert len(list(document.get_records(ProvActivity))) == 1
    assert len(list(document.get_records(ProvAgent))) == 4
    names = {str(one.identifier) for one in document.get_records(ProvEntity)}
    assert f"on:version-0x{told.exported.version.hex()}" in names


def test_prov_says_who_took_part_with_which_share(record: VersionRecord) -> None:
    text = prov_n(record).decode()
    assert text.count('[cairn:share="0.5" %% xsd:double]') == 4
    assert text.count("wasAssociatedWith(") == 2
    assert 'cairn:outcome="admitted"' in text
    assert 'cairn:finding="passed"' in text


def test_in_toto_reads_the_statement_and_dsse_verifies_it(told: VersionRecord, key_file: Path) -> None:
    envelope = Envelope.from_dict(json.loads(in_toto(told, read_signing_key(key_file))))
    public = SSlibKey.from_crypto(_public(key_file))
    (signed,) = envelope.signatures
    public.keyid = signed
    assert envelope.verify([public], 1) == {signed: public}
    statement = json.loads(envelope.payload)
    message = ParseDict(statement, StatementMessage())
    Statement.copy_from_pb(message).validate()
    assert statement["subject"][0]["digest"]["sha256"] == told.manifest.weights.sha256.hex()
    provenance = ParseDict(statement["predicate"], Provenance())
    names = [one.name for one in provenance.build_definition.resolved_dependencies]
    assert names.count("update") == 2 and names.count("parent version") == 1 and names.count("plan") == 1


def test_dsse_refuses_a_changed_payload(record: VersionRecord, key_file: Path) -> None:
    envelope = Envelope.from_dict(json.loads(in_toto(record, read_signing_key(key_file))))
    public = SSlibKey.from_crypto(_public(key_file))
    public.keyid = next(iter(envelope.signatures))
    envelope.payload = envelope.payload.replace(b"federated-training", b"federated-traininG")
    with pytest.raises(VerificationError):
        envelope.verify([public], 1)


def test_cyclonedx_s_strict_schema_accepts_the_bill(told: VersionRecord) -> None:
    data = bill_of_materials(told)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    component = json.loads(data)["metadata"]["component"]
    assert component["hashes"] == [{"alg": "SHA-256", "content": told.manifest.weights.sha256.hex()}]
    shares = [one["value"] for one in component["properties"] if one["name"].startswith("cairn:share:")]
    assert shares == ["0.5", "0.5"]


def test_equal_records_give_equal_bytes(record: VersionRecord) -> None:
    for made in (prov_json, prov_n, bill_of_materials):
        assert made(record) == made(record)


def _public(key_file: Path):  # type: ignore[no-untyped-def]
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return load_pem_public_key(key_file.with_suffix(".pub").read_bytes())

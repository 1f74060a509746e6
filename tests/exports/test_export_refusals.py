"""What cannot be exported is refused in one line, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.cli import export_sources
from registry.errors import BlockNotFound, InputError, SignerError, VerificationFailed
from registry.exports.exported_version import parse_name
from registry.exports.formats import FORMATS, read_export
from registry.exports.printing import print_pdf
from registry.exports.signed_envelope import read_signing_key
from registry.exports.version_record import VersionRecord, version_record
from registry.types import Digest
from registry.verification.checks import Check, Finding
from tests.cli.conftest import World


def with_check(record: VersionRecord, check: Check) -> VersionRecord:
    """Return a record whose last version has one more check."""
    *before, last = record.checks
    checks = [*before, replace(last, checks=(*last.checks, check))]
    return version_record(record.exported, record.facts, checks, record.picture)


def test_nothing_is_exported_of_a_version_that_disagrees_with_the_chain(record: VersionRecord) -> None:
    with pytest.raises(VerificationFailed, match="round 1: aggregate: differs; nothing is exported"):
        with_check(record, Check("aggregate", Finding.FAILED, "differs"))
    with pytest.raises(VerificationFailed, match="none was carried out"):
        version_record(record.exported, record.facts, [], record.picture)


def test_ancestors_that_were_not_verified_are_said_to_be_so(record: VersionRecord) -> None:
    facts = replace(record.facts, unknown_parents=(Digest(b"\7" * 32),))
    found = version_record(record.exported, facts, record.checks[1:], record.picture)
    assert (record.finding, found.finding) == (Finding.PASSED, Finding.ASSERTED)
    of_genesis, of_unknown = found.said_checks()[:2]
    assert of_genesis.endswith(f"ancestor: of model 0x{record.exported.model.hex()}: verify it there")
    assert (
        of_unknown == f"asserted: version 0x{'07' * 5}: ancestor: in no model of this contract: nothing of it is known"
    )


def test_without_the_version_s_manifest_nothing_is_exported(record: VersionRecord) -> None:
    lineage = tuple(replace(one, manifest=None) for one in record.facts.lineage)
    with pytest.raises(BlockNotFound, match="the manifest of version"):
        version_record(record.exported, replace(record.facts, lineage=lineage), record.checks, record.picture)


@pytest.mark.parametrize(
    "said",
    [
        "StoreUnavailable: http://10.0.0.7:5001 did not answer",
        "refused as unavailable by the attesters, unavailable here: http://10.0.0.7:5001 did not answer",
    ],
)
def test_what_was_unavailable_is_said_without_naming_files_or_hosts(record: VersionRecord, said: str) -> None:
    found = with_check(record, Check("updates", Finding.UNCHECKED, said))
    assert found.finding is Finding.UNCHECKED
    for form in ("prov-json", "cyclonedx", "html"):
        content = FORMATS[form].write(found, _no_means())[""]
        assert isinstance(content, bytes)
        assert b"10.0.0.7" not in content
        assert b"unchecked" in content


def _no_means() -> Any:
    from registry.exports.formats import Means

    return Means()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--as", "pdf-x"), 2, "--as: expected one of prov-json"),
        (("--as", "in-toto"), 2, "expected --key-file FILE"),
        (("--as", "in-toto", "--key-file", "gone.pem"), 6, "gone.pem: expected a PEM file with a private key on P-256"),
        (("--as", "model-signing", "--key-file", "password"), 6, "got something else or a wrong password"),
        (("--as", "eas", "--account", "b"), 2, "expected --eas ADDRESS"),
        (("--as", "eas", "--eas", "0x12", "--account", "b"), 2, "expected"),
        (("--as", "eas", "--eas", "0x" + "12" * 20, "--eas-version", "1;2", "--account", "b"), 2, "--eas-version"),
        (("--as", "html", "--config", "password"), 2, "expected none of the files config.json"),
        (("--as", "huggingface", "--config", "gone.json"), 2, "gone.json: expected a file, found none"),
        (("--as", "huggingface", "--config", "password"), 2, "config.json: expected JSON"),
        (("--as", "huggingface", "--weights", "genesis.safetensors"), 7, "expected sha256"),
        (("--as", "huggingface", "--out", "keys"), 2, "keys: expected no such folder or an empty one"),
        (("--as", "html", "--out", "keys"), 2, "keys: expected a file, got a folder"),
        (("--as", "html", "--out", "gone/report.html"), 2, "cannot be written"),
        (("--as", "html", "--snapshot", "keys"), 2, "expected a snapshot"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_left(
    exported_world: World, arguments: tuple[str, ...], code: int, says: str
) -> None:
    before = sorted(os.listdir(exported_world.folder))
    found = exported_world.run("provenance", "export", exported_world.model, *arguments)
    assert (found.exit_code, says in found.output) == (code, True), found.output
    assert found.output.count("\n") == 1
    assert "Traceback" not in found.output
    assert sorted(os.listdir(exported_world.folder)) == before


def test_a_key_of_another_kind_or_under_a_password_is_refused_and_not_shown(key_file: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked = serialization.BestAvailableEncryption(b"right")
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(pem, form, serialization.NoEncryption())
    (tmp_path / "other.pem").write_bytes(other)
    held = ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, form, locked)
    (tmp_path / "locked.pem").write_bytes(held)
    for name, password in (("other.pem", None), ("locked.pem", None), ("locked.pem", b"wrong")):
        with pytest.raises(SignerError, match="expected") as refused:
            read_signing_key(tmp_path / name, password)
        assert "BEGIN" not in str(refused.value)
        assert refused.value.__cause__ is None
    key = read_signing_key(tmp_path / "locked.pem", b"right")
    assert repr(key) == f"SigningKey(sha256 of the public key {key.fingerprint})"


def test_without_cryptography_the_extra_is_named(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.exports.signed_envelope.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'cairn-registry\[exports\]'"):
        read_signing_key(key_file)


def test_without_chromium_the_html_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="--as html needs nothing"):
        print_pdf(b"")


GARBAGE = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"entity": 7}',
    b'{"entity": {"a": {"cairn:name": 7}}}',
    b"\xff\xfe",
    b"[" * 9999,
)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_what_is_no_export_names_no_version(form: str, data: bytes, tmp_path: Path) -> None:
    file = tmp_path / (FORMATS[form].main or "export")
    file.write_bytes(data)
    with pytest.raises(InputError):
        read_export(form, tmp_path if FORMATS[form].main else file)


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name + "0",
        lambda name: name.upper(),
        lambda name: name.replace("urn:cairn:", "urn:cairn:0"),
        lambda name: name.replace("urn:cairn:", "urn:cairn:9" + "9" * 600),
        lambda name: name + "\n",
        lambda name: None,
    ],
)
def test_only_the_exact_name_is_read(record: VersionRecord, change: Any) -> None:
    assert parse_name(record.exported.name) == record.exported
    with pytest.raises(InputError, match="expected urn:cairn:"):
        parse_name(change(record.exported.name))


def test_a_snapshot_is_exported_with_its_arithmetic_asserted(exported_world: World, tmp_path: Path) -> None:
    exported_world.run("explorer", "--save", tmp_path / "snapshot")
    for wanted in (exported_world.model, f"{exported_world.model}@round-1", f"{exported_world.model[:12]}@head"):
        record = export_sources.record_of_snapshot(tmp_path / "snapshot", wanted)
        assert record.finding is Finding.ASSERTED
        assert record.mine.round == 1
    genesis = export_sources.record_of_snapshot(tmp_path / "snapshot", f"{exported_world.model}@genesis")
    by_digest = f"{exported_world.model}@{genesis.mine.version.hex()[:12]}"
    assert export_sources.record_of_snapshot(tmp_path / "snapshot", by_digest) == genesis
    with pytest.raises(InputError, match="expected a digest or prefix, head"):
        export_sources.record_of_snapshot(tmp_path / "snapshot", f"{exported_world.model}@round-9")


def test_an_export_that_names_two_versions_is_refused(record: VersionRecord, tmp_path: Path) -> None:
    other = replace(record.exported, block=record.exported.block + 1)
    content = FORMATS["html"].write(record, _no_means())[""]
    assert isinstance(content, bytes)
    two = content + content.replace(record.exported.name.encode(), other.name.encode())
    (tmp_path / "report.html").write_bytes(two)
    with pytest.raises(InputError, match="expected one version's name, found 2"):
        read_export("html", tmp_path / "report.html")

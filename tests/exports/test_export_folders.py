"""The command writes each format; folders, attestations and reports are opened by their own tools."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from eth_account import Account
from huggingface_hub import ModelCard
from rocrate.rocrate import ROCrate

from registry.ethereum.keys import LocalSigner
from registry.exports.eas_attestation import Attesting, attestation, schema_uid
from registry.exports.formats import FORMATS, Means, read_export
from registry.exports.people_report import people_report
from registry.exports.research_crate import crate_files
from registry.exports.signed_envelope import read_signing_key
from registry.exports.version_record import VersionRecord
from registry.rounds.versions import save_arrays
from registry.types import Address
from tests.cli.conftest import World

ROOT = Path(__file__).parents[2]
EAS = Address(bytes.fromhex("c2679fbd37d54388ce493f1db75320d236e1815e"))
BIDI = re.compile("[\x00-\x09\x0b-\x1f\x7f\u200e\u200f\u2028\u202a-\u202e\u2066-\u2069]")
FindTool = Callable[[str], Path]


def export(world: World, form: str, out: Path, key_file: Path, *more: object) -> dict[str, object]:
    given = {
        "key": ("--key-file", key_file),
        "account": ("--eas", "0x" + EAS.hex(), "--account", "b"),
    }.get(FORMATS[form].needs, ())
    told: dict[str, object] = world.done("provenance", "export", world.model, "--as", form, "--out", out, *given, *more)
    return told


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "pdf"])
def test_each_export_leads_back_to_its_version(
    form: str, exported_world: World, record: VersionRecord, key_file: Path, tmp_path: Path
) -> None:
    told = export(exported_world, form, tmp_path / "out", key_file)
    assert (told["finding"], told["version"]) == ("passed", record.exported.wanted)
    assert read_export(form, tmp_path / "out") == record.exported
    head = exported_world.done("model", "show", exported_world.model)["head"]
    assert record.exported.version.hex() == head.removeprefix("0x")
    assert exported_world.done("verify", record.exported.wanted)["passed"]


def test_the_pdf_leads_back_to_its_version(
    exported_world: World, record: VersionRecord, key_file: Path, tmp_path: Path, find_tool: FindTool
) -> None:
    find_tool("chromium")
    export(exported_world, "pdf", tmp_path / "report.pdf", key_file)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert read_export("pdf", tmp_path / "report.pdf") == record.exported


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "pdf"])
def test_hostile_words_do_not_change_which_version_an_export_names(
    form: str, hostile: VersionRecord, key_file: Path, tmp_path: Path
) -> None:
    by = Attesting(LocalSigner(b"\1" * 32), EAS, "1.3.0", 1_700_000_000)
    for name, content in FORMATS[form].write(hostile, Means(read_signing_key(key_file), by)).items():
        (tmp_path / (name or "out")).write_bytes(content if isinstance(content, bytes) else b"")
    there = tmp_path if FORMATS[form].main else tmp_path / "out"
    assert read_export(form, there) == hostile.exported


def signed_folder(world: World, key_file: Path, folder: Path) -> Path:
    export(world, "model-signing", folder, key_file)
    return folder


def verify_signature(folder: Path, key_file: Path) -> subprocess.CompletedProcess[str]:
    """Run `model_signing verify` as its users do."""
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    command += ["--signature", str(folder / "model.sig"), "--public_key", str(key_file.with_suffix(".pub"))]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_model_signing_accepts_the_folder_and_refuses_a_changed_one(
    exported_world: World, key_file: Path, tmp_path: Path
) -> None:
    folder = signed_folder(exported_world, key_file, tmp_path / "model")
    accepted = verify_signature(folder, key_file)
    assert (accepted.returncode, "succeeded" in accepted.stdout) == (0, True), accepted.stderr
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    assert verify_signature(folder, key_file).returncode != 0


def test_hugging_face_reads_the_folder_s_card_and_metrics(
    exported_world: World, record: VersionRecord, key_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "cairn"}')
    export(exported_world, "huggingface", tmp_path / "model", key_file, "--config", tmp_path / "config.json")
    assert sorted(os.listdir(tmp_path / "model")) == ["README.md", "cairn.json", "config.json", "model.safetensors"]
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert card.data.to_dict()["cairn"] == record.exported.name
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).digest() == record.manifest.weights.sha256


def test_an_adapter_stands_in_place_of_the_weights_and_is_signed(
    exported_world: World, key_file: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_arrays(adapter / "adapter_model.safetensors", {"a": np.ones(3, np.float32)})
    export(exported_world, "model-signing", tmp_path / "model", key_file, "--adapter", adapter)
    there = ["README.md", "adapter_config.json", "adapter_model.safetensors", "cairn.json", "model.sig"]
    assert sorted(os.listdir(tmp_path / "model")) == there
    assert verify_signature(tmp_path / "model", key_file).returncode == 0


def test_without_recomputing_the_arithmetic_is_asserted(exported_world: World, key_file: Path, tmp_path: Path) -> None:
    told = export(exported_world, "html", tmp_path / "report.html", key_file, "--records-only")
    assert told["finding"] == "asserted"
    assert "not recomputed without files" in (tmp_path / "report.html").read_text()


def test_hugging_face_reads_hostile_cards_and_their_metrics(hostile: VersionRecord) -> None:
    content = FORMATS["huggingface"].write(hostile, Means())["README.md"]
    assert isinstance(content, bytes)
    card = ModelCard(content.decode())
    assert {one.metric_value for one in card.data.eval_results} == {1e308, 5e-324}
    assert card.data.to_dict()["cairn"] == hostile.exported.name
    assert "<script" not in card.text and not BIDI.search(card.content)


@pytest.mark.parametrize("kind", ["record", "hostile"])
def test_rocrate_reads_the_crate(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    told: VersionRecord = request.getfixturevalue(kind)
    bundle = tmp_path / "some.car"
    bundle.write_bytes(b"car")
    (tmp_path / "crate").mkdir()
    for name, content in crate_files(told, {"bundle.car": bundle}).items():
        (tmp_path / "crate" / name).write_bytes(content if isinstance(content, bytes) else bundle.read_bytes())
    crate = ROCrate(tmp_path / "crate")
    assert crate.root_dataset["identifier"] == told.exported.name
    assert {one.id for one in crate.root_dataset["hasPart"]} == {
        "report.html", "lineage.svg", "provenance.json", "bom.cdx.json", "bundle.car",
    }  # fmt: skip
    assert len(crate.root_dataset["contributor"]) == 2
    for one in crate.get_entities():
        if one.type == "File":
            assert (tmp_path / "crate" / one.id).stat().st_size == int(one["contentSize"])


EAS_CHECK = """
const { Offchain, OffchainAttestationVersion } = require('@ethereum-attestation-service/eas-sdk');
const { solidityPackedKeccak256, ZeroAddress } = require('ethers');
const { readFileSync } = require('node:fs');
const { sig, signer } = JSON.parse(readFileSync(process.argv[1], 'utf8'));
const domain = { ...sig.domain, chainId: BigInt(sig.domain.chainId) };
const config = { address: domain.verifyingContract, chainId: domain.chainId, version: domain.version };
const [time, expirationTime] = [BigInt(sig.message.time), BigInt(sig.message.expirationTime)];
const message = { ...sig.message, time, expirationTime };
const told = new Offchain(config, OffchainAttestationVersion.Version2, {});
const uid = solidityPackedKeccak256(['string', 'address', 'bool'], [process.argv[2], ZeroAddress, true]);
const accepted = told.verifyOffchainAttestationSignature(signer, { ...sig, domain, message });
process.stdout.write(JSON.stringify([accepted, uid]));
process.exit(0);
"""


def eas_sdk(path: Path) -> list[object]:
    """Return whether EAS's SDK accepts an attestation, and the schema's UID as it computes it."""
    from registry.exports.eas_attestation import SCHEMA

    command = ["node", "--input-type=commonjs", "--eval", EAS_CHECK, str(path), SCHEMA]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[object] = json.loads(done.stdout)
    return found


def test_eas_s_sdk_verifies_the_attestation_and_refuses_a_changed_one(
    record: VersionRecord, tmp_path: Path, find_tool: FindTool
) -> None:
    find_tool("hardhat")  # the packages of package-lock.json are installed
    signer = LocalSigner(b"\1" * 32)
    path = tmp_path / "attestation.json"
    path.write_bytes(attestation(record, Attesting(signer, EAS, "1.3.0", 1_700_000_000)))
    assert eas_sdk(path) == [True, "0x" + schema_uid().hex()]
    told = json.loads(path.read_bytes())
    told["signer"] = Account.from_key(b"\2" * 32).address
    path.write_text(json.dumps(told))
    assert eas_sdk(path)[0] is False


# The report -----------------------------------------------------------------------------------------------------------


class Inert(HTMLParser):
    """Collects headings; fails on anything that could run, be styled in place, or lead elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "iframe", "object", "embed", "base", "a", "link", "form", "svg"}, tag
        for name, value in attrs:
            assert not name.startswith("on") and name not in {"style", "srcdoc"}, (tag, name)
            if name == "src":
                assert (value or "").startswith("data:image/svg+xml;base64,")
        self._in = tag

    def handle_data(self, data: str) -> None:
        if self._in in ("h2", "h3"):
            self.headings.append(data)
        self._in = ""


def test_the_report_runs_nothing_and_has_the_headings_of_regulators(told: VersionRecord) -> None:
    text = people_report(told).decode()
    found = Inert()
    found.feed(text)
    assert not BIDI.search(text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src &#x27;none&#x27;; style-src &#x27;sha256-{digest}&#x27;; img-src data:" in text
    assert sum(one[0] in "123456789" for one in found.headings) == 9
    assert sum(one.startswith("(") for one in found.headings) == 4
    assert {"What was checked", "What rests on trust", "How to verify again"} <= set(found.headings)
    assert text.count("Open: ") == 15


def test_a_browser_shows_the_report_and_runs_nothing_of_it(
    hostile: VersionRecord, tmp_path: Path, find_tool: FindTool
) -> None:
    (tmp_path / "report.html").write_bytes(people_report(hostile))
    command = [str(find_tool("chromium")), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=400,900"]
    shown = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "report.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    assert shown.returncode == 0
    assert "What was checked" in shown.stdout
    found = Inert()
    found.feed(shown.stdout)
    assert len(found.headings) > 20


def test_open_points_are_filled_where_the_registry_knows(record: VersionRecord) -> None:
    statement = replace(record.statement, intended_use="sort letters")
    text = people_report(replace(record, statement=statement)).decode()
    assert text.count("as the model&#x27;s owner states it: sort letters") == 2
    assert "Federated training: 1 round, 2 participants." in text

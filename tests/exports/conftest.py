"""A model with a round, and a hostile one beside it: their records, and a key to sign with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.cli.export_sources import record_of_chain
from registry.cli.session import Session
from registry.content.manifest import DataSetManifest, Source, Statement
from registry.exports.version_record import VersionRecord, version_record
from tests.cli.conftest import World, enter_world, make_world
from tests.cli.test_cli_questions import play_round

HOSTILE = (
    "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>\u202efdp.exe\u2066\x1b[31m\x00{{7*7}}\\\n---\ncairn: x\n"
    '\\" cairn:name="urn:cairn:1" \u2028|](javascript:alert(1))' + "W" * 20_000
)
"""Markup, a right-to-left override, an open isolate, ANSI, NUL, ends of quotes and front matter, an endless word."""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, VersionRecord]:
    """A model with one round, and the record of the round's version, verified with its files."""
    with pytest.MonkeyPatch.context() as patch:  # not for the session: other folders' tests come after these
        world = make_world(tmp_path_factory.mktemp("exported"), patch)
        play_round(world)
        session = Session({"store": None})
        try:
            return world, record_of_chain(session, world.model, recompute=True)
        finally:
            session.close()


@pytest.fixture
def exported_world(made: tuple[World, VersionRecord], monkeypatch: pytest.MonkeyPatch) -> World:
    """The model with one round, which commands find."""
    enter_world(made[0], monkeypatch)
    return made[0]


@pytest.fixture(scope="session")
def record(made: tuple[World, VersionRecord]) -> VersionRecord:
    """The record of the round's version."""
    return made[1]


@pytest.fixture(scope="session")
def hostile(record: VersionRecord) -> VersionRecord:
    """The same with hostile words wherever a stranger may write, and the largest numbers."""
    data_set = DataSetManifest(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 2**64 - 1, None)
    statement = Statement(
        HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, (Source(HOSTILE, HOSTILE, None),), {HOSTILE[:60]: 1e308, "a": -0.0}
    )
    lineage: list[Any] = []
    for version in record.facts.lineage:
        told = tuple(replace(one, data_set=data_set) for one in version.commitments)
        manifest = version.manifest if version.round else replace(version.manifest, statement=statement)
        metrics = {HOSTILE[:60]: 1e308, "a": 5e-324}
        lineage.append(replace(version, commitments=told, manifest=manifest, metrics=metrics, time=2**64 - 1))
    facts = replace(record.facts, lineage=tuple(lineage))
    checks = [
        replace(one, checks=tuple(replace(check, evidence=HOSTILE) for check in one.checks)) for one in record.checks
    ]
    return version_record(record.exported, facts, checks, record.picture)


@pytest.fixture(params=["plain", "hostile"])
def told(request: pytest.FixtureRequest) -> VersionRecord:
    """Each record in turn."""
    found: VersionRecord = request.getfixturevalue("record" if request.param == "plain" else "hostile")
    return found


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh P-256 key; its public key lies beside it as .pub."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path_factory.mktemp("key") / "signing.pem"
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path

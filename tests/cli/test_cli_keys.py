"""`cairn key`: keystores are made, listed and never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _keys(cairn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAIRN_KEYS", str(tmp_path / "keys"))


def test_a_new_key_is_a_keystore_only_its_owner_reads(done: Any, tmp_path: Path) -> None:
    from registry.ethereum.keys import open_keystore, to_checksum

    made = done("key", "new", "one", "--password-file", "pw")
    path = Path(made["keystore"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "pw").stat().st_mode & 0o777 == 0o600
    signer = open_keystore(path, (tmp_path / "pw").read_text().strip())
    assert to_checksum(signer.address) == made["address"]
    assert done("key", "list") == [{"name": "one", "address": made["address"], "keystore": str(path)}]
    assert done("key", "show", "one")["address"] == made["address"]


def test_a_keystore_is_never_overwritten(cairn: Any, done: Any, tmp_path: Path) -> None:
    before = Path(done("key", "new", "one", "--password-file", "pw")["keystore"]).read_bytes()
    result = cairn("key", "new", "one", "--password-file", "pw")
    assert result.exit_code == 2
    assert "never overwritten" in result.stderr
    assert (tmp_path / "keys" / "one").read_bytes() == before


@pytest.mark.parametrize("name", ["../one", "a/b", "..", "."])
def test_a_name_that_is_a_path_is_refused(cairn: Any, name: str) -> None:
    assert cairn("key", "new", name, "--password-file", "pw").exit_code == 2


def test_without_a_terminal_a_password_file_is_asked_for(cairn: Any) -> None:
    result = cairn("key", "new", "one")
    assert result.exit_code == 6
    assert "--password-file" in result.stderr


def test_an_empty_password_is_refused(cairn: Any, tmp_path: Path) -> None:
    (tmp_path / "pw").touch()
    assert cairn("key", "new", "one", "--password-file", "pw").exit_code == 2


def test_what_is_no_keystore_is_not_listed(cairn: Any, done: Any, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "notes").write_text(json.dumps({"address": "0x" + "11" * 20}))
    (tmp_path / "keys" / "noise").write_bytes(b"\xff\x00")
    assert done("key", "list") == []
    assert cairn("key", "show", "notes").exit_code == 6
    assert cairn("key", "show", "gone").exit_code == 6

"""Keystores: compatible with cast, never displayed, never overwritten."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.dev.embedded import Embedded
from registry.errors import InputError, SignerError
from registry.ethereum.keys import (
    LocalSigner,
    UnlockedSigner,
    address_of,
    create_keystore,
    find_keystore,
    open_keystore,
    signer_from_settings,
    to_checksum,
)
from registry.types import Address

KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
ACCOUNT = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
QUICK = 1 << 12


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    return path


def test_a_created_keystore_opens_with_its_password_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "alice"
    address = create_keystore(path, "correct horse", iterations=QUICK)
    assert open_keystore(path, "correct horse").address == address
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["alice"]
    with pytest.raises(SignerError, match="password does not open"):
        open_keystore(path, "wrong horse")


def test_a_keystore_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "alice"
    create_keystore(path, "one", iterations=QUICK)
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        create_keystore(path, "two", iterations=QUICK)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["alice"]
    with pytest.raises(InputError, match="empty"):
        create_keystore(tmp_path / "bob", "", iterations=QUICK)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"version": 3}', b'{"version": 1, "crypto": {}}', b"\xff\xfe", b"[" * 60_000],
    ids=["empty", "a list", "no fields", "no crypto", "version 1", "no text", "deep"],
)
def test_a_file_that_is_no_keystore_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "k"
    path.write_bytes(content)
    with pytest.raises(SignerError, match="keystore"):
        open_keystore(path, "x")
    with pytest.raises(SignerError, match="no keystore at"):
        open_keystore(tmp_path / "absent", "x")


def test_a_keystore_of_more_than_64_kib_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k"
    create_keystore(path, "x", iterations=QUICK)
    path.write_bytes(path.read_bytes().ljust((1 << 16) + 1))
    with pytest.raises(SignerError, match="keystore"):
        open_keystore(path, "x")


def test_no_key_is_shown_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    signer = LocalSigner(KEY)
    signer.sign_transaction(
        {"nonce": 0, "to": ACCOUNT, "value": 0, "gas": 21000, "gasPrice": 1, "chainId": 1, "data": b""}
    )
    shown = f"{signer!r} {signer!s} {caplog.text}"
    assert KEY.hex() not in shown
    assert ACCOUNT in shown
    with pytest.raises(SignerError, match="not pickled"):
        pickle.dumps(signer)
    with pytest.raises(SignerError, match="not pickled"):
        copy.deepcopy(signer)
    for bad in (b"", KEY[:31], bytes(32), b"\xff" * 32):
        with pytest.raises(SignerError) as caught:
            LocalSigner(bad)
        assert caught.value.__cause__ is None
        assert (bad.hex() or "x" * 99) not in str(caught.value)


def test_a_password_put_where_its_file_belongs_is_not_repeated(tmp_path: Path) -> None:
    create_keystore(tmp_path / "k", "hunter2", iterations=QUICK)
    with pytest.raises(SignerError) as caught:
        signer_from_settings({"ETH_KEYSTORE": str(tmp_path / "k"), "ETH_PASSWORD": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_settings_are_found_where_cast_looks(tmp_path: Path, password_file: Path) -> None:
    folder = tmp_path / ".foundry" / "keystores"
    alice = create_keystore(folder / "alice", "correct horse", iterations=QUICK)
    password = {"ETH_PASSWORD": str(password_file)}
    by_name = {"HOME": str(tmp_path), "ETH_KEYSTORE_ACCOUNT": "alice"}
    assert signer_from_settings(by_name | password).address == alice
    assert signer_from_settings({"ETH_KEYSTORE": str(folder / "alice")} | password).address == alice
    assert signer_from_settings({"ETH_KEYSTORE": str(folder)} | password).address == alice
    assert signer_from_settings(by_name, ask=lambda _: "correct horse").address == alice
    assert find_keystore({}) is None


def test_settings_that_do_not_fit_are_refused(tmp_path: Path, password_file: Path) -> None:
    create_keystore(tmp_path / "keys" / "alice", "correct horse", iterations=QUICK)
    create_keystore(tmp_path / "keys" / "bob", "correct horse", iterations=QUICK)
    alice = {"ETH_KEYSTORE": str(tmp_path / "keys" / "alice"), "ETH_PASSWORD": str(password_file)}
    with pytest.raises(SignerError, match="expected the keystore of"):
        signer_from_settings(alice | {"ETH_FROM": ACCOUNT})
    with pytest.raises(SignerError, match="expected one keystore"):
        signer_from_settings({"ETH_KEYSTORE": str(tmp_path / "keys")})
    with pytest.raises(SignerError, match="no password"):
        signer_from_settings({"ETH_KEYSTORE": alice["ETH_KEYSTORE"]})
    with pytest.raises(SignerError, match="no account to sign with"):
        signer_from_settings({})


def test_a_folder_of_keystores_is_searched_by_account(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(json.dumps({"address": "11" * 20}))
    (tmp_path / f"UTC--2020-01-01T00-00-00.000Z--{'22' * 20}").write_text("{}")
    assert find_keystore({"ETH_KEYSTORE": str(tmp_path), "ETH_FROM": "0x" + "11" * 20}) == tmp_path / "a"
    found = find_keystore({"ETH_KEYSTORE": str(tmp_path), "ETH_FROM": "0x" + "22" * 20})
    assert found is not None
    assert found.name.startswith("UTC--")
    for settings, count in (({}, 2), ({"ETH_FROM": "0x" + "33" * 20}, 0)):
        with pytest.raises(SignerError, match=f"expected one keystore in .*, got {count}"):
            find_keystore({"ETH_KEYSTORE": str(tmp_path), **settings})


@pytest.mark.parametrize(
    "text",
    ["", "0x", "0x12", "f39Fd6e51aad88F6F4ce6aB8827279cffFb9226g", ACCOUNT + "00", ACCOUNT.replace("Fd6", "fd6")],
)
def test_an_address_that_is_none_or_mistyped_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        address_of(text)


def test_an_address_reads_in_any_case_that_is_consistent() -> None:
    for text in (ACCOUNT, ACCOUNT.lower(), "0x" + ACCOUNT[2:].upper(), ACCOUNT[2:]):
        assert address_of(text) == LocalSigner(KEY).address
    assert to_checksum(LocalSigner(KEY).address) == ACCOUNT


def test_a_node_that_does_not_sign_says_use_a_keystore(chain: Embedded) -> None:
    signer = signer_from_settings({"ETH_FROM": ACCOUNT}, chain.w3)
    assert isinstance(signer, UnlockedSigner)
    with pytest.raises(SignerError, match="use a keystore"):
        signer.sign_transaction({"nonce": 0})
    assert signer.address == Address(address_of(ACCOUNT))


def test_a_keystore_that_cast_writes_opens_here(
    find_tool: Callable[[str], Path], tmp_path: Path, password_file: Path
) -> None:
    cast = find_tool("cast")
    importing = ["wallet", "import", "alice", "--private-key", KEY.hex()]
    made = subprocess.run(
        [cast, *importing, "--keystore-dir", tmp_path, "--unsafe-password", "correct horse"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    settings = {"ETH_KEYSTORE": str(tmp_path / "alice"), "ETH_PASSWORD": str(password_file)}
    assert to_checksum(signer_from_settings(settings).address) == ACCOUNT


def test_a_keystore_that_is_written_here_opens_in_cast_and_signs_the_same(
    find_tool: Callable[[str], Path], tmp_path: Path, password_file: Path
) -> None:
    cast = find_tool("cast")
    address = create_keystore(tmp_path / "bob", "correct horse")
    opened = subprocess.run(
        [cast, "wallet", "address", "--keystore", tmp_path / "bob", "--password-file", password_file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert opened.stdout.strip() == to_checksum(address), opened.stderr

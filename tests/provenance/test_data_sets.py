"""Salted data set digests: opened by salt and manifest, and by nothing else."""

from __future__ import annotations

import hashlib

import dag_cbor
import pytest

from registry.content.manifest import DataSetManifest, digest_of, encode
from registry.errors import FormError
from registry.rounds.data_sets import open_data_set, opening_of

WARD = DataSetManifest("ward 7", "", "private", "", 120, None)
SALT = bytes(range(32))


def test_an_opening_opens_its_own_digest() -> None:
    opening = opening_of(WARD, SALT)
    digest, told = open_data_set(opening)
    assert (digest, told) == (hashlib.sha256(SALT + encode(WARD)).digest(), WARD)


def test_the_manifest_alone_gives_another_digest_and_so_does_another_salt() -> None:
    digests = {open_data_set(opening_of(WARD, salt))[0] for salt in (SALT, bytes(32))}
    assert len({*digests, digest_of(WARD)}) == 3


@pytest.mark.parametrize("salt", [b"", SALT[:31], SALT + b"0"])
def test_a_salt_of_another_length_is_refused(salt: bytes) -> None:
    with pytest.raises(FormError, match="salt: expected 32 bytes"):
        opening_of(WARD, salt)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SALT,
        SALT + b"\xff",
        SALT + encode(WARD) + b"0",
        SALT[1:] + encode(WARD),
        SALT + dag_cbor.encode({"kind": "cairn/dataset/1"}),
        SALT + dag_cbor.encode({"kind": "cairn/version/1"}),
        SALT + bytes(1 << 21),
    ],
)
def test_what_is_no_opening_is_refused(data: bytes) -> None:
    with pytest.raises(FormError):
        open_data_set(data)

"""Salted data set digests: hiding commitments to the training data of an update.

The published digest is sha2-256(salt || manifest), with 32 random bytes of salt and the canonical `cairn/dataset/1`
manifest. Without the salt nobody can brute-force descriptions, or small data sets by their `sha256`. The opening is
salt and manifest in one file, whose sha2-256 is the digest.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from registry.content.manifest import DataSetManifest, decode, encode
from registry.errors import FormError, InputError
from registry.types import MAX_MANIFEST_BYTES, Digest

__all__ = ["MAX_OPENING_BYTES", "SALT_BYTES", "open_data_set", "opening_of", "read_data_set"]

SALT_BYTES = 32
MAX_OPENING_BYTES = SALT_BYTES + MAX_MANIFEST_BYTES


def opening_of(data_set: DataSetManifest, salt: bytes) -> bytes:
    """Return the opening of a data set's digest; its sha2-256 is the digest.

    Raises:
        FormError: The salt is not 32 bytes, or the manifest is invalid.
    """
    if len(salt) != SALT_BYTES:
        raise FormError(f"salt: expected {SALT_BYTES} bytes, got {len(salt)}")
    return salt + encode(data_set)


def open_data_set(opening: bytes) -> tuple[Digest, DataSetManifest]:
    """Return an opening's digest and data set.

    Raises:
        FormError: It is not a salt followed by a canonical data set manifest.
    """
    if len(opening) <= SALT_BYTES:
        raise FormError(f"data set: expected a salt of {SALT_BYTES} bytes and a manifest, got {len(opening)} bytes")
    return Digest(hashlib.sha256(opening).digest()), decode(opening[SALT_BYTES:], DataSetManifest)


def read_data_set(path: Path) -> DataSetManifest:
    """Return the data set of a file of `cairn dataset describe`.

    Raises:
        InputError: There is no such file.
        FormError: It is no canonical data set manifest.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: expected a file of `cairn dataset describe`, got {error.strerror}") from None
    return decode(data, DataSetManifest)

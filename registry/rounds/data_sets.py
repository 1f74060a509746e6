"""Salted data set digests: a commitment to what an update was trained on, which only its holder can open.

What is published is sha2-256(salt || manifest), salt 32 random bytes, manifest the canonical `cairn/dataset/1`. Without
the salt nobody can try descriptions, or small data sets by their `sha256`, until one fits. The opening is salt and
manifest in one file, whose own sha2-256 is the digest.
"""

from __future__ import annotations

import hashlib

from registry.content.manifest import DataSetManifest, decode, encode
from registry.errors import FormError
from registry.types import MAX_MANIFEST_BYTES, Digest

__all__ = ["MAX_OPENING_BYTES", "SALT_BYTES", "open_data_set", "opening_of"]

SALT_BYTES = 32
MAX_OPENING_BYTES = SALT_BYTES + MAX_MANIFEST_BYTES


def opening_of(data_set: DataSetManifest, salt: bytes) -> bytes:
    """Return what opens a data set's digest; its sha2-256 is the digest.

    Raises:
        FormError: The salt is not 32 bytes, or the manifest not of its form.
    """
    if len(salt) != SALT_BYTES:
        raise FormError(f"salt: expected {SALT_BYTES} bytes, got {len(salt)}")
    return salt + encode(data_set)


def open_data_set(opening: bytes) -> tuple[Digest, DataSetManifest]:
    """Return the digest that an opening opens, and the data set.

    Raises:
        FormError: It is not a salt with a canonical data set manifest.
    """
    if len(opening) <= SALT_BYTES:
        raise FormError(f"data set: expected a salt of {SALT_BYTES} bytes and a manifest, got {len(opening)} bytes")
    return Digest(hashlib.sha256(opening).digest()), decode(opening[SALT_BYTES:], DataSetManifest)

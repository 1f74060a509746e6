"""Defence in depth: checks behind other checks, exercised with the first check weakened."""

from __future__ import annotations

import hashlib

import dag_cbor
import pytest

from registry.content import manifest as manifests
from registry.content.cid import decode_cid
from registry.content.manifest import DataSetManifest, decode, encode
from registry.content.unixfs import build, read
from registry.errors import FormError
from registry.types import Blob

MIB = 1 << 20


@pytest.mark.parametrize("declared", [2 * MIB + 1, 3 * MIB, 3 * MIB - 1, 5 * MIB])
def test_a_node_with_fewer_children_than_its_size_demands_is_refused(declared: int) -> None:
    """All its leaves are full, so each child is as it should be: only their number tells."""
    blocks = dict(build([bytes(MIB), b"\x01" * MIB]))
    *_, root = blocks
    with pytest.raises(FormError, match=r"expected .* children|expected child"):
        list(read(Blob(root, declared), lambda cids, parent: (blocks[cid] for cid in cids)))


@pytest.mark.parametrize("declared", [0, 31, 33, 127])
def test_a_digest_declared_with_another_length_is_refused(declared: int) -> None:
    data = b"\x01\x55\x12" + bytes([declared]) + bytes(32)
    with pytest.raises(FormError, match=f"expected a digest of 32 bytes, got one declared as {declared} with 32"):
        decode_cid(data)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_digest_of_another_length_than_declared_is_refused(length: int) -> None:
    with pytest.raises(FormError, match=f"expected a digest of 32 bytes, got one declared as 32 with {length}"):
        decode_cid(b"\x01\x55\x12\x20" + bytes(length))


def test_a_decoder_that_takes_two_forms_makes_no_second_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the CBOR decoder lets through, what is accepted is what would be written."""
    sound = encode(DataSetManifest("d", "", "", "", 23, hashlib.sha256(b"").digest()))
    body = dag_cbor.decode(sound)
    longer = sound.replace(b"records\x17", b"records\x18\x17")  # 23 in two bytes, where one does
    assert longer != sound
    monkeypatch.setattr(manifests, "_decode_cbor", lambda data: body)
    assert decode(sound, DataSetManifest).records == 23
    with pytest.raises(FormError, match="not in canonical form"):
        decode(longer, DataSetManifest)

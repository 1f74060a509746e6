"""Manifests of inclusion proofs, bundles and their parts: canonical encoding, and golden bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import dag_cbor
import pytest

from registry.content.manifest import Schema, decode, digest_of, encode, manifest_cid
from registry.content.proof_manifests import (
    MAX_BUNDLE_PAGE,
    BlockProofManifest,
    BundleManifest,
    BundlePage,
    InclusionProofManifest,
    Place,
    ResultFields,
    RootsFields,
    StateProofManifest,
)
from registry.errors import FormError
from registry.types import Cid, Codec

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests" / "evidence-1.json"


def word(n: int, length: int = 32) -> bytes:
    return hashlib.sha256(bytes([n])).digest()[:length]


def raw(n: int) -> Cid:
    return Cid(Codec.RAW, word(n))


BLOCK = BlockProofManifest(7, (0, 3), (b"\x01", b"\x02\x00"), (3,), (b"\xc0",))
STATE = StateProofManifest(9, (bytes(32), b"\x01" * 32), (b"\x03",), (b"\x04", b"\x05"))
ROOTS = RootsFields(word(2), word(21), word(22), word(23), 5)
RESULT = ResultFields(word(1), ROOTS, word(3), word(4), word(5), 2, 101, 40, 101)
PLACE = Place(1, word(6, 20), word(7), word(8), 51, 20, 51, (word(9),))
INCLUSION = InclusionProofManifest(31337, word(10, 20), word(11, 20), word(12), 4, word(6, 20), RESULT, 2, word(13),
                                   (PLACE,), b"\xc0", STATE, None)  # fmt: skip
BUNDLE = BundleManifest(31337, word(10, 20), word(14), word(1), (raw(15),), (manifest_cid(word(16)),),
                        (manifest_cid(word(17)),), raw(18), (manifest_cid(word(19)),), None)  # fmt: skip
EXAMPLES: dict[str, Schema] = {
    "block-proof": BLOCK,
    "state-proof": STATE,
    "inclusion-proof": INCLUSION,
    "exclusion-proof": replace(INCLUSION, state=None, block=BLOCK, places=(replace(PLACE, index=0), PLACE)),
    "bundle": BUNDLE,
    "bundle-with-blobs": replace(BUNDLE, state=(), code=None, blobs=(manifest_cid(word(20)),)),
    "bundle-page": BundlePage((raw(21), Cid(Codec.DAG_PB, word(22)))),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_released_evidence_still_gives_the_same_bytes_and_comes_back(name: str) -> None:
    golden, example = json.loads(GOLDEN.read_text())[name], EXAMPLES[name]
    assert encode(example).hex() == golden["bytes"]
    assert str(manifest_cid(digest_of(example))) == golden["cid"]
    assert decode(encode(example), type(example)) == example


@pytest.mark.parametrize("name", EXAMPLES)
def test_missing_unknown_and_mistyped_fields_are_refused(name: str) -> None:
    example = EXAMPLES[name]
    body: Any = dag_cbor.decode(encode(example))
    names = [field.name for field in fields(example)]  # type: ignore[arg-type]
    for changed in (
        {"another": 1},
        *({field: "text"} for field in names),
        *({field: {"map": 1}} for field in names),
    ):
        with pytest.raises(FormError):
            decode(dag_cbor.encode(body | changed), type(example))
    for field in names:
        with pytest.raises(FormError):
            decode(dag_cbor.encode({key: value for key, value in body.items() if key != field}), type(example))


@pytest.mark.parametrize(
    ("example", "changed", "said"),
    [
        (BLOCK, {"receipts": (3, 0)}, "receipts: expected ascending"),
        (BLOCK, {"receipt_nodes": (b"\x01", b"\x01")}, "receipt_nodes: expected ascending"),
        (BLOCK, {"calls": (3, 3)}, "calls: expected ascending"),
        (BLOCK, {"call_nodes": (b"\x02", b"\x01")}, "call_nodes: expected ascending"),
        (STATE, {"slots": (bytes(32), bytes(32))}, "slots: expected ascending"),
        (STATE, {"account_nodes": (b"\x02", b"\x01")}, "account_nodes: expected ascending"),
        (STATE, {"storage_nodes": (b"\x02", b"\x01")}, "storage_nodes: expected ascending"),
        (INCLUSION, {"places": ()}, "places: expected 1 or 2, got 0"),
        (INCLUSION, {"places": (PLACE,) * 3}, "places: expected 1 or 2, got 3"),
        (INCLUSION, {"header": None}, "got 1 proofs"),
        (INCLUSION, {"state": None}, "got 0 proofs"),
        (INCLUSION, {"block": BLOCK}, "got 2 proofs"),
        (BUNDLE, {"code": None}, "code: expected"),
        (BUNDLE, {"state": ()}, "code: expected"),
        *(
            (BUNDLE, {name: getattr(BUNDLE, name) * 2}, f"{name}: expected distinct links, got a duplicate")
            for name in ("headers", "blocks", "state", "manifests")
        ),
        (EXAMPLES["bundle-with-blobs"], {"blobs": (manifest_cid(word(20)),) * 2}, "blobs: expected distinct links"),
        (EXAMPLES["bundle-page"], {"entries": ()}, "expected 1..4096, got 0"),
        (EXAMPLES["bundle-page"], {"entries": (raw(1), raw(1))}, "got a duplicate"),
    ],
)
def test_what_a_valid_one_may_not_hold_is_refused(example: Any, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(FormError, match=said):
        replace(example, **changed)


def test_pages_and_links_have_their_bounds() -> None:
    assert len(BundlePage(tuple(Cid(Codec.RAW, n.to_bytes(32, "big")) for n in range(MAX_BUNDLE_PAGE))).entries) == 4096
    with pytest.raises(FormError, match="got 4097"):
        BundlePage(tuple(Cid(Codec.RAW, n.to_bytes(32, "big")) for n in range(MAX_BUNDLE_PAGE + 1)))
    with pytest.raises(FormError, match="expected codec RAW"):
        encode(replace(BUNDLE, headers=(manifest_cid(word(1)),)))
    with pytest.raises(FormError, match="expected codec DAG_CBOR"):
        encode(replace(BUNDLE, blocks=(raw(1),)))

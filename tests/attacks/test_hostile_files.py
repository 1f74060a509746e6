"""Malformed updates: none is admitted, none stops the round."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from registry.content.manifest import DELTA, Reason, digest_of, encode, manifest_cid
from registry.content.tensors import encode_header
from registry.dev.forgeries import headed
from registry.errors import FormError
from registry.rounds.versions import load_version_manifest, read_header
from registry.store.blobs import add_blob

if TYPE_CHECKING:
    from conftest import Federation

STEP = np.float32(2.0**-22)


def header_with(form: bytes, change: Callable[[dict[str, dict[str, object]]], object]) -> bytes:
    """The round's header with its fields changed, otherwise canonical."""
    fields = json.loads(form[8:])
    change(fields)
    body = json.dumps(fields, separators=(",", ":")).encode()
    body += b" " * (-len(body) % 8)
    return len(body).to_bytes(8, "little") + body


def reordered(form: bytes) -> bytes:
    fields = json.loads(form[8:])
    body = json.dumps(dict(reversed(fields.items())), separators=(",", ":")).encode()
    return form[:8] + body.ljust(len(form) - 8)


HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "leading blank": lambda form: form[:8] + b" " + form[8:-1],
    "duplicate keys": lambda form: form.replace(b'"w":', b'"b":'),
    "overlapping offsets": lambda form: header_with(form, lambda f: f["w"].update(data_offsets=[0, 1120])),
    "gapped offsets": lambda form: header_with(form, lambda f: f["w"].update(data_offsets=[16, 1136])),
    "shape of 2^40": lambda form: header_with(form, lambda f: f["w"].update(shape=[1 << 40, 0])),
    "other shape": lambda form: header_with(form, lambda f: f["w"].update(shape=[7, 40])),
    "other dtype": lambda form: header_with(form, lambda f: f["w"].update(dtype="I32")),
    "other name": lambda form: form.replace(b'"w":', b'"v":'),
    "other order": reordered,
    "metadata": lambda form: header_with(form, lambda f: f.update(__metadata__={"format": "pt"})),
    "100 MB header": lambda form: (100 << 20).to_bytes(8, "little") + form[8:],
    "header of 2^63": lambda form: (1 << 63).to_bytes(8, "little") + form[8:],
    "not JSON": lambda form: form[:8] + b"{" * (len(form) - 8),
    "not UTF-8": lambda form: form[:8] + b"\xff" * (len(form) - 8),
    "pickle": lambda form: b"\x80\x04cos\nsystem\n(S'id'\ntR.".ljust(len(form), b" "),
}

VALUES: dict[str, float] = {
    "NaN": np.nan,
    "infinity": np.inf,
    "negative infinity": -np.inf,
    "negative zero": -0.0,
    "off the grid": float(STEP / 2),
    "beyond the grid": 8.0,
    "subnormal": 2.0**-149,
}


@pytest.mark.parametrize("kind", HEADERS)
def test_an_update_with_a_hostile_header_is_refused(opened: Federation, kind: str) -> None:
    form = opened.round().form
    header = HEADERS[kind](form.header)
    data = (header + bytes(form.size))[: form.size]  # of the right size, so that it is not refused for that
    assert data[: len(form.header)] != form.header
    opened.contribute("mallory", opened.sealed("mallory", data))
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.BLOB_FORM}


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("kind", VALUES)
def test_an_update_with_a_value_that_is_none_of_the_grid_s_is_refused(
    opened: Federation, kind: str, place: int
) -> None:
    honest = opened.update("mallory").data
    start = len(opened.round().form.header)
    values = np.frombuffer(honest[start:], "<f4").copy()
    values[place] = VALUES[kind]
    opened.contribute("mallory", opened.sealed("mallory", honest[:start] + values.tobytes()))
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.VALUE}


@pytest.mark.parametrize("place", [0, -1])
def test_the_largest_values_of_the_grid_are_admitted(opened: Federation, place: int) -> None:
    honest = opened.update("mallory").data
    start = len(opened.round().form.header)
    values = np.frombuffer(honest[start:], "<f4").copy()
    values[place] = 4.0 if place else -4.0
    opened.contribute("mallory", opened.sealed("mallory", honest[:start] + values.tobytes()))
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.ADMITTED}


@pytest.mark.parametrize("extra", [1, 4, 4096])
def test_an_update_with_trailing_bytes_is_refused(opened: Federation, extra: int) -> None:
    opened.contribute("mallory", opened.sealed("mallory", opened.update("mallory").data + bytes(extra)))
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.BLOB_SIZE}


def test_an_update_of_100_000_names_is_refused(opened: Federation) -> None:
    fields = {f"n{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    body = json.dumps(fields, separators=(",", ":")).encode()
    body += b" " * (-len(body) % 8)
    opened.contribute("mallory", opened.sealed("mallory", len(body).to_bytes(8, "little") + body + bytes(4)))
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.BLOB_SIZE}


def test_an_empty_update_is_refused(opened: Federation) -> None:
    opened.contribute("mallory", opened.sealed("mallory", bytes(8)))
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.BLOB_SIZE}


MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "of nothing": lambda data: b"",
    "of garbage": lambda data: b"\xff" * 40,
    "truncated": lambda data: data[:-1],
    "with trailing bytes": lambda data: data + b"\x00",
    "nested deep": lambda data: b"\x81" * 2000 + b"\x00",
    "of 1 MiB and a byte": lambda data: b"\x5a" + (1 << 20).to_bytes(4, "big") + bytes(1 << 20),
    "with a longer integer than needed": lambda data: data.replace(b"fweight\x18d", b"fweight\x19\x00d"),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_hostile_manifest_is_refused(opened: Federation, kind: str) -> None:
    update = opened.update("mallory")
    data = MANIFESTS[kind](encode(update.manifest))
    assert data != encode(update.manifest)
    blocks = headed(update.manifest, data)
    opened.commit("mallory", update, digest=blocks[-1].cid.digest)
    opened.publish(update)
    opened.store.put_many(blocks)
    opened.sleep_to("publish_deadline")
    assert opened.reasons() == {"mallory": Reason.MANIFEST_FORM}


def test_a_round_goes_on_with_the_others_and_verifies(opened: Federation) -> None:
    form = opened.round().form
    broken = opened.update("mallory")
    opened.commit("mallory", broken, digest=hashlib.sha256(b"\xa1").digest())
    opened.store.put(manifest_cid(hashlib.sha256(b"\xa1").digest()), b"\xa1")
    opened.contribute("ann", opened.sealed("ann", HEADERS["duplicate keys"](form.header) + bytes(1132)))
    nans = form.header + np.full(283, np.nan, "<f4").tobytes()
    opened.contribute("bob", opened.sealed("bob", nans))
    opened.contribute("cyn", opened.update("cyn"))
    opened.sleep_to("publish_deadline")
    refused = {"mallory": Reason.MANIFEST_FORM, "ann": Reason.BLOB_FORM, "bob": Reason.VALUE}
    assert opened.reasons() == refused | {"cyn": Reason.ADMITTED}
    opened.force(opened.outcome().result)
    assert all(v.passed for v in opened.verify())


@pytest.mark.parametrize("kind", ["plan", "version", "report"])
def test_a_manifest_of_another_kind_is_refused(opened: Federation, kind: str) -> None:
    """A sound manifest, but of something else: the plan of the round, its parent, or the report of a round."""
    digest = {"plan": opened.plan.digest, "version": opened.genesis}.get(kind)
    if digest is None:
        opened.contribute("ann", opened.update("ann"))
        digest = digest_of(opened.outcome().report)
    opened.commit("mallory", opened.update("mallory"), digest=digest)
    opened.sleep_to("publish_deadline")
    assert opened.reasons()["mallory"] == Reason.MANIFEST_FORM


def test_a_file_that_the_form_does_not_have_is_refused(opened: Federation) -> None:
    update = opened.update("mallory")
    files = {DELTA: update.manifest.delta, "control": update.manifest.delta}
    opened.contribute("mallory", replace(update, manifest=replace(update.manifest, files=files)))
    opened.sleep_to("publish_deadline")
    (verdict,) = opened.verdicts()
    assert (verdict.reason, verdict.detail) == (
        Reason.MANIFEST_FORM,
        "files: expected 'delta' alone, got ['control', 'delta']",
    )


@pytest.mark.parametrize("kind", ["leading blank", "other order"])
def test_a_parent_in_another_form_is_refused(federation: Federation, kind: str) -> None:
    """Its tensors would have two names; the canonical form is what makes the next update's header one and only."""
    form = HEADERS[kind](header_of_genesis(federation))
    blob = add_blob(federation.store, [form + bytes(1132)])
    with pytest.raises(FormError, match="safetensors: expected"):
        read_header(federation.store, blob)


def header_of_genesis(house: Federation) -> bytes:
    version = load_version_manifest(house.store, house.genesis)
    header = read_header(house.store, version.weights.blob)
    return encode_header(header.specs)

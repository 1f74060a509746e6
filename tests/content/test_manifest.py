"""Manifests: what is accepted is exactly what is written, and everything else is refused with a reason."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import dag_cbor
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiformats import CID

from registry.content.heads import REPORT_HEAD, SELECTION_HEAD, UPDATE_HEAD, VERSION_HEAD, body_of, read_head
from registry.content.manifest import (
    DELTA,
    MAX_PAGE_ENTRIES,
    BaseFile,
    Code,
    DataSetManifest,
    DeltaFile,
    Evaluation,
    InnerProducts,
    Manifest,
    PlanManifest,
    Procedure,
    Reason,
    ReportEntry,
    ReportManifest,
    ReportPage,
    RoundOrigin,
    ServerRule,
    Source,
    StateFile,
    Statement,
    SummedEvaluation,
    UpdateManifest,
    VersionFile,
    VersionManifest,
    blocks_of,
    decode,
    decode_any,
    digest_of,
    encode,
    manifest_cid,
)
from registry.errors import FormError
from registry.store.manifests import get_manifest, put_manifest
from registry.store.memory import MemoryStore
from registry.types import MAX_MANIFEST_BYTES, MAX_STEPS, MAX_TOTAL_WEIGHT, Cid, Codec, NamedBlock

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests" / "format-1.json"


def word(n: int, length: int = 32) -> bytes:
    return hashlib.sha256(bytes([n])).digest()[:length]


FILE = DeltaFile(Cid(Codec.DAG_PB, word(1)), 5_000_000, word(2))
ROUND = {"chain_id": 31337, "contract": word(3, 20), "model": word(4), "number": 7}
PARENT, PLAN = manifest_cid(word(5)), manifest_cid(word(6))
STATEMENT = Statement(
    title="Chapters",
    task="text-classification",
    licence="Apache-2.0",
    intended_use="billing support, reviewed by people",
    base_model="none",
    sources=(Source("ICD-10-CM", "public domain", word(7)), Source("own", "none", None)),
    metrics={"accuracy": 0.5, "loss": 0.0},
)
EXAMPLES: dict[str, Manifest] = {
    "genesis": VersionManifest(
        None,
        VersionFile(Cid(Codec.RAW, word(1)), 100, word(8)),
        word(2),
        word(3),
        None,
        BaseFile(Cid(Codec.RAW, word(4)), 300, word(4), "MIT", "https://example.org/base"),
        ("lm_head.scale",),
        {"head.weight": "embed.weight"},
        None,
        STATEMENT,
    ),
    "version": VersionManifest(
        PARENT,
        VersionFile(FILE.cid, FILE.size, word(8)),
        word(2),
        word(3),
        StateFile(Cid(Codec.RAW, word(5)), 200, word(5), word(6), 7),
        None,
        (),
        {},
        RoundOrigin(**ROUND, plan=PLAN, aggregate=FILE, report=manifest_cid(word(9))),  # type: ignore[arg-type]
        None,
    ),
    "plan": PlanManifest(
        algorithm=Procedure("fedavg", {"epochs": 1}),
        combine_rule=1,
        combine_parameters={},
        weights="examples",
        server=ServerRule("fedavg", {"rate": 0.5}, b"\x00\x01\x02"),
        update_form=1,
        form_parameters={},
        grid_bits=24,
        saturate=True,
        scales={"running_var": 12},
        buffers={"running_var": 2},
        values=7,
        header=word(11),
        segments=word(12),
        transforms=(Procedure("clip", {"norm": 1.0}),),
        quorum=2,
        weight_cap=1000,
        min_contributions=2,
        commit_duration=60,
        publish_duration=60,
        aggregate_duration=60,
        challenge_duration=60,
        answer_duration=30,
        bond_gwei=0,
        hooks=(word(10, 20), word(19, 20)),
    ),
    "update": UpdateManifest(
        **ROUND,  # type: ignore[arg-type]
        participant=word(11, 20),
        parent=PARENT,
        plan=PLAN,
        files={DELTA: FILE},
        weight=120,
        steps=40,
        saturated=0,
        metrics={"loss": 1.25},
        evaluation=Evaluation(80, {"correct": 61}, {"loss": 3 << 19}),
        data_set=word(12),
        code=Code("cairn-registry", "0.1.0"),
    ),
    "report": ReportManifest(
        **ROUND,  # type: ignore[arg-type]
        parent=PARENT,
        plan=PLAN,
        running_hash=word(13),
        pages=(manifest_cid(word(18)),),
        aggregate=FILE,
        contributions_root=word(17),
        contributions=1,
        total_weight=120,
        total_steps=40,
        divisor=120,
        evaluation=SummedEvaluation(1, 80, {"correct": 61}, {"loss": 3 << 19}),
    ),
    "selection": ReportManifest(
        **ROUND,  # type: ignore[arg-type]
        parent=PARENT,
        plan=PLAN,
        running_hash=word(13),
        pages=(manifest_cid(word(18)),),
        aggregate=FILE,
        contributions_root=word(17),
        contributions=1,
        total_weight=120,
        total_steps=40,
        divisor=120,
        evaluation=None,
        gram=InnerProducts(word(19), 3),
    ),
    "report-page": ReportPage(
        (
            ReportEntry(word(11, 20), manifest_cid(word(14)), word(2), 120, 40, int(Reason.ADMITTED), 120),
            ReportEntry(word(15, 20), word(16), word(2), 5, 3, int(Reason.UNAVAILABLE), 0),
        )
    ),
    "dataset": DataSetManifest("cases", "one hospital's", "private", "records office", 120, None),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_manifest_comes_back_as_it_was(name: str) -> None:
    manifest = EXAMPLES[name]
    assert decode_any(encode(manifest)) == manifest
    assert decode(encode(manifest), type(manifest)) == manifest


@pytest.mark.parametrize("name", EXAMPLES)
def test_released_format_still_gives_the_same_bytes(name: str) -> None:
    golden = json.loads(GOLDEN.read_text())[name]
    *heads, own = (block.data.hex() for block in reversed(blocks_of(EXAMPLES[name])))
    assert (own, heads) == (golden["bytes"], golden["heads"])
    assert str(manifest_cid(digest_of(EXAMPLES[name]))) == golden["cid"]


def parts(head: bytes) -> tuple[bytes, CID]:
    decoded = dag_cbor.decode(head)
    assert isinstance(decoded, list)
    fields, link = decoded
    assert isinstance(fields, bytes)
    assert isinstance(link, CID)
    return fields, link


HEADED = {"version": VERSION_HEAD, "update": UPDATE_HEAD, "report": REPORT_HEAD, "selection": SELECTION_HEAD}


@pytest.mark.parametrize("name", HEADED)
def test_a_head_is_a_dag_cbor_block_that_links_to_its_manifest(name: str) -> None:
    own, head = blocks_of(EXAMPLES[name])
    assert own.data == encode(EXAMPLES[name])
    fields, link = parts(head.data)
    assert fields[0] == HEADED[name].number
    assert bytes(link) == bytes(own.cid)
    assert own.cid == body_of(HEADED[name], head.data) == read_head(head.data)
    assert head.cid.digest == hashlib.sha256(head.data).digest() == digest_of(EXAMPLES[name])


def test_the_fields_of_heads_stand_where_the_contract_reads_them() -> None:
    where = (31337).to_bytes(8, "big") + word(3, 20) + word(4) + (7).to_bytes(8, "big") + PARENT.digest + PLAN.digest
    sums = b"".join(n.to_bytes(32, "big") for n in (1, 120, 40, 120))
    update = word(11, 20) + word(2) + (120).to_bytes(4, "big") + (40).to_bytes(4, "big")
    version = EXAMPLES["version"]
    assert isinstance(version, VersionManifest)
    assert version.state is not None
    kept = version.state.root + version.state.layout + version.state.step.to_bytes(32, "big")
    expected = {
        "update": update,
        "report": word(13) + word(2) + word(17) + sums,
        "selection": word(13) + word(2) + word(17) + sums + word(19) + (3).to_bytes(32, "big"),
        "version": version.tensor_root + version.rest_root + kept + word(2),
    }
    for name, own in expected.items():
        fields, _ = parts(blocks_of(EXAMPLES[name])[1].data)
        assert fields[1:] == where + own


def test_a_genesis_has_a_head_of_zeros_but_for_its_roots() -> None:
    genesis = EXAMPLES["genesis"]
    assert isinstance(genesis, VersionManifest)
    fields, _ = parts(blocks_of(genesis)[1].data)
    assert fields == bytes([2]) + bytes(132) + genesis.tensor_root + genesis.rest_root + bytes(128)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in (*HEADED, "genesis")])
def test_what_no_contract_reads_has_no_head(name: str) -> None:
    (own,) = blocks_of(EXAMPLES[name])
    assert own == NamedBlock(manifest_cid(digest_of(EXAMPLES[name])), encode(EXAMPLES[name]))
    assert read_head(own.data) is None


@pytest.mark.parametrize("name", HEADED)
def test_what_is_no_head_is_refused(name: str) -> None:
    kind, head = HEADED[name], blocks_of(EXAMPLES[name])[1].data
    begin, end = head.index(bytes([kind.number])) + 1, len(head) - 32
    others = [head[:-1], head + b"\0", b"", encode(EXAMPLES[name])]
    for place in [*range(begin), *range(end - 9, end)]:
        others += [head[:place] + bytes([head[place] ^ bit]) + head[place + 1 :] for bit in (1, 128)]
    for other in others:
        with pytest.raises(FormError, match="head: expected"):
            body_of(kind, other)
    for another in HEADED.values():
        if another is not kind:
            with pytest.raises(FormError, match="head: expected"):
                body_of(another, head)


@pytest.mark.parametrize("name", HEADED)
def test_a_head_and_its_manifest_must_say_the_same(name: str) -> None:
    manifest, store = EXAMPLES[name], MemoryStore()
    named = put_manifest(store, manifest)
    assert get_manifest(store, named.digest, type(manifest)) == manifest
    own, head = (block.data for block in blocks_of(manifest))
    for place in range(6, len(head) - 41):  # every byte of the fields
        changed = head[:place] + bytes([head[place] ^ 1]) + head[place + 1 :]
        cid = manifest_cid(hashlib.sha256(changed).digest())
        store.put(cid, changed)
        with pytest.raises(FormError, match=r"expected the head of this manifest|head: expected a list"):
            get_manifest(store, cid.digest, type(manifest))
    foreign = head[:-32] + hashlib.sha256(encode(EXAMPLES["plan"])).digest()
    store.put(manifest_cid(hashlib.sha256(foreign).digest()), foreign)
    put_manifest(store, EXAMPLES["plan"])
    with pytest.raises(FormError, match="expected kind"):
        get_manifest(store, hashlib.sha256(foreign).digest(), type(manifest))
    assert own in store._blocks.values()


def body(name: str = "update") -> dict[str, Any]:
    decoded = dag_cbor.decode(encode(EXAMPLES[name]))
    assert isinstance(decoded, dict)
    return decoded


def refused(data: bytes, message: str) -> None:
    with pytest.raises(FormError, match=message):
        decode_any(data)


def test_unknown_field_is_refused() -> None:
    refused(dag_cbor.encode(body() | {"note": "hello"}), "unknown fields \\['note'\\]")


@pytest.mark.parametrize("field", [f.name for f in fields(UpdateManifest)])
def test_missing_field_is_refused(field: str) -> None:
    refused(dag_cbor.encode({k: v for k, v in body().items() if k != field}), f"missing fields \\['{field}'\\]")


@pytest.mark.parametrize("field", [f.name for f in fields(UpdateManifest)])
@pytest.mark.parametrize("value", [None, True, -1, 1.5, "text", b"", [], {}, 2**64 - 1])
def test_field_of_another_type_or_length_is_refused(field: str, value: object) -> None:
    if (field == "metrics" and value == {}) or (field in ("chain_id", "number", "saturated") and value == 2**64 - 1):
        return  # these are allowed there
    if field == "evaluation" and value is None:
        return
    with pytest.raises(FormError):
        decode_any(dag_cbor.encode(body() | {field: value}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"examples": 0}, "evaluation.examples: expected 1..17179869184, got 0"),
        ({"examples": 1.0}, "evaluation.examples: expected int, got float"),
        ({"counts": {"correct": -1}}, "evaluation.counts.correct: expected 0..17179869184, got -1"),
        ({"counts": {"correct": 2**34 + 1}}, "evaluation.counts.correct: expected 0"),
        ({"counts": {"correct": True}}, "evaluation.counts.correct: expected int, got bool"),
        ({"sums": {"loss": 0.5}}, "evaluation.sums.loss: expected int, got float"),
        ({"sums": {"loss": 2**53 + 1}}, "evaluation.sums.loss: expected -9007199254740992"),
        ({"sums": {"correct": 1}}, "names, each once, got 2"),
        ({"counts": {f"{i:02}": 1 for i in range(1025)}, "sums": {}}, "expected at most 1024 names, each once, got"),
        ({"counts": {"": 1}}, "expected names of 1..64 characters"),
        ({"counts": {"n" * 65: 1}}, "expected names of 1..64 characters"),
        ({"note": 1}, "unknown fields"),
    ],
)
def test_evaluation_outside_its_bounds_is_refused(changed: dict[str, Any], message: str) -> None:
    evaluation = {"examples": 80, "counts": {"correct": 61}, "sums": {"loss": 1}} | changed
    refused(dag_cbor.encode(body() | {"evaluation": evaluation}), message)


def test_manifest_of_another_kind_is_refused() -> None:
    with pytest.raises(FormError, match="expected kind 'cairn/update/1', got 'cairn/plan/1'"):
        decode(encode(EXAMPLES["plan"]), UpdateManifest)
    refused(dag_cbor.encode(body() | {"kind": "cairn/update/2"}), "expected a kind of")
    refused(dag_cbor.encode([1, 2]), "expected a map")


def test_manifest_that_is_too_big_is_refused() -> None:
    refused(bytes(MAX_MANIFEST_BYTES + 1), "expected at most 1048576 bytes")
    big = replace(EXAMPLES["update"], metrics={f"{i:060}": 1.0 for i in range(20_000)})  # type: ignore[call-arg]
    with pytest.raises(FormError, match="expected at most 1048576 bytes"):
        encode(big)


@pytest.mark.parametrize("limit", [1000, 100_000])  # web3's dependencies raise it for the whole process
@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a", b"\xd8\x2a"])
def test_manifest_that_is_nested_too_deeply_is_refused(limit: int, opening: bytes) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        refused(opening * 300_000 + b"\x00", "nested too deeply")
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0])
def test_float_that_is_not_canonical_is_refused(value: float) -> None:
    with pytest.raises(FormError, match=r"metrics\.loss: expected a finite number"):
        encode(replace(EXAMPLES["update"], metrics={"loss": value}))  # type: ignore[call-arg]
    data = encode(EXAMPLES["update"]).replace(bytes.fromhex("fb3ff4000000000000"), b"\xfb" + struct.pack(">d", value))
    with pytest.raises(FormError):
        decode_any(data)


@pytest.mark.parametrize(
    ("cid", "message"),
    [
        (CID("base58btc", 0, "dag-pb", b"\x12\x20" + word(1)), "CID"),
        (CID("base32", 1, "dag-cbor", b"\x00\x04abcd"), "CID"),
        (CID("base32", 1, "dag-json", b"\x12\x20" + word(1)), "CID"),
        (CID("base32", 1, "dag-cbor", b"\x13\x40" + word(1) * 2), "CID"),
        (CID("base32", 1, "raw", b"\x12\x20" + word(1)), "codec"),
    ],
)
def test_link_with_another_version_hash_or_codec_is_refused(cid: CID, message: str) -> None:
    with pytest.raises(FormError, match=message):
        decode_any(dag_cbor.encode(body() | {"parent": cid}))


def test_bytes_where_a_link_belongs_and_the_other_way_round_are_refused() -> None:
    refused(dag_cbor.encode(body() | {"parent": bytes(PARENT)}), "parent: expected a link, got bytes")
    refused(dag_cbor.encode(body() | {"model": CID.decode(bytes(PARENT))}), "model: expected bytes, got CID")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\x00",
        lambda data: data[:-1],
        lambda data: data.replace(b"\x18\x78", b"\x19\x00\x78"),  # 120, not in its shortest form
        lambda data: b"\xbf" + data[1:] + b"\xff",  # a map of indefinite length
        lambda data: b"",
        lambda data: b"\xff" * 64,
    ],
)
def test_bytes_that_are_not_canonical_are_refused(change: Any) -> None:
    data = encode(EXAMPLES["update"])
    assert change(data) != data
    with pytest.raises(FormError):
        decode_any(change(data))


def test_repeated_key_is_refused() -> None:
    data = encode(EXAMPLES["dataset"])
    entry = dag_cbor.encode("name") + dag_cbor.encode("cases")
    assert data.count(entry) == 1
    refused(bytes([data[0] + 1]) + data[1:].replace(entry, entry + entry), "DAG-CBOR")


@pytest.mark.parametrize("at", range(0, 400, 7))
def test_flipped_bit_is_refused_or_another_manifest(at: int) -> None:
    data = bytearray(encode(EXAMPLES["report"]))
    data[at] ^= 1
    try:
        manifest = decode_any(bytes(data))
    except FormError:
        return
    assert encode(manifest) == data
    assert manifest != EXAMPLES["report"]


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(sorted(EXAMPLES)), st.data())
def test_no_bytes_raise_anything_but_a_form_error(junk: bytes, name: str, data: st.DataObject) -> None:
    whole = encode(EXAMPLES[name])
    at = data.draw(st.integers(0, len(whole)))
    for made in (junk, whole[:at] + junk, whole[:at] + junk + whole[at + len(junk) :]):
        with contextlib.suppress(FormError):
            assert encode(decode_any(made)) == made


def test_page_of_none_or_too_many_entries_is_refused() -> None:
    entry = ReportEntry(word(1, 20), word(2), word(3), 1, 1, int(Reason.VALUE), 0)
    for count in (0, MAX_PAGE_ENTRIES + 1):
        with pytest.raises(FormError, match=f"expected 1..{MAX_PAGE_ENTRIES}, got {count}"):
            ReportPage((entry,) * count)


def test_full_page_fits_a_block() -> None:
    entry = ReportEntry(
        word(1, 20), manifest_cid(word(2)), word(3), MAX_TOTAL_WEIGHT, MAX_STEPS, int(Reason.ADMITTED), MAX_TOTAL_WEIGHT
    )
    assert len(encode(ReportPage((entry,) * MAX_PAGE_ENTRIES))) < MAX_MANIFEST_BYTES


def test_file_that_is_declared_larger_than_any_may_be_is_refused() -> None:
    update = EXAMPLES["update"]
    assert isinstance(update, UpdateManifest)
    encode(replace(update, files={DELTA: replace(update.delta, size=64 << 30)}))
    with pytest.raises(FormError, match=r"delta.size: expected 0..68719476736, got 68719476737"):
        encode(replace(update, files={DELTA: replace(update.delta, size=(64 << 30) + 1)}))


@pytest.mark.parametrize(
    "names", [[], ["other"], ["delta", ""], ["delta", "n" * 65], ["delta", *map(str, range(8))]], ids=len
)
def test_files_of_an_update_have_names_and_one_is_combined(names: list[str]) -> None:
    update = EXAMPLES["update"]
    assert isinstance(update, UpdateManifest)
    more = replace(update, files={DELTA: FILE, "control": FILE})
    assert decode(encode(more), UpdateManifest) == more
    assert more.delta == FILE
    with pytest.raises(FormError, match="files: expected"):
        replace(update, files=dict.fromkeys(names, FILE))


def test_refused_update_is_never_a_link_and_an_admitted_one_always() -> None:
    for update, reason in ((manifest_cid(word(1)), Reason.VALUE), (word(1), Reason.ADMITTED)):
        with pytest.raises(FormError, match="expected a link if admitted"):
            ReportEntry(word(1, 20), update, word(2), 1, 1, int(reason), 0)


def test_factor_over_what_any_rule_gives_or_of_a_refused_update_is_refused() -> None:
    with pytest.raises(FormError, match="factor: expected at most 65536 for reason 0, got 65537"):
        ReportEntry(word(1, 20), manifest_cid(word(1)), word(2), 5, 1, int(Reason.ADMITTED), 65_537)
    with pytest.raises(FormError, match="factor: expected at most 65538 for reason 0, got 65539"):
        ReportEntry(word(1, 20), manifest_cid(word(1)), word(2), 65_538, 1, int(Reason.ADMITTED), 65_539)
    with pytest.raises(FormError, match="factor: expected at most 0 for reason 6, got 1"):
        ReportEntry(word(1, 20), word(1), word(2), 5, 1, int(Reason.VALUE), 1)


@pytest.mark.parametrize("hooks", [(bytes(20),), (b"\x01" * 20,) * 5])
def test_plan_with_a_zero_hook_or_five_is_refused(hooks: tuple[bytes, ...]) -> None:
    plan = EXAMPLES["plan"]
    assert isinstance(plan, PlanManifest)
    with pytest.raises(FormError, match="hooks: expected at most 4"):
        replace(plan, hooks=hooks)


@pytest.mark.parametrize(
    "change",
    [
        {"quorum": 0},
        {"min_contributions": 0},
    ],
)
def test_plan_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormError):
        replace(EXAMPLES["plan"], **change)


def test_round_version_has_a_parent_and_no_statement() -> None:
    version = EXAMPLES["version"]
    for change in ({"parent": None}, {"statement": STATEMENT}):
        with pytest.raises(FormError, match="a parent and no statement in a version made by a round"):
            replace(version, **change)  # type: ignore[arg-type]


def test_a_state_belongs_to_a_round() -> None:
    with pytest.raises(FormError, match="state: expected none, the initial state"):
        replace(EXAMPLES["genesis"], state=EXAMPLES["version"].state)  # type: ignore[call-arg, union-attr]


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a")])
def test_frozen_tensors_are_named_once_and_in_order(names: tuple[str, ...]) -> None:
    with pytest.raises(FormError, match="frozen: expected names in ascending order without repeats"):
        replace(EXAMPLES["genesis"], frozen=names)  # type: ignore[call-arg]


def test_parameters_belong_to_a_named_server_rule() -> None:
    with pytest.raises(FormError, match="server rule: expected parameters only with a name"):
        ServerRule(None, {"rate": 1.0}, b"\x00")


@pytest.mark.parametrize("field", ["combine_rule", "update_form"])
@pytest.mark.parametrize("number", [-1, 0, 1 << 16])
def test_rule_number_outside_its_range_is_refused(field: str, number: int) -> None:
    with pytest.raises(FormError, match=rf"{field}: expected 1\.\.65535, got {number}"):
        encode(replace(EXAMPLES["plan"], **{field: number}))  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [-1, 127])
def test_grid_outside_its_range_is_refused(bits: int) -> None:
    with pytest.raises(FormError, match=r"grid_bits: expected 0\.\.126"):
        encode(replace(EXAMPLES["plan"], grid_bits=bits))  # type: ignore[call-arg]


@pytest.mark.parametrize("weight", [0, (1 << 28) + 1])
def test_weight_outside_its_range_is_refused(weight: int) -> None:
    with pytest.raises(FormError, match=r"weight: expected 1\.\."):
        encode(replace(EXAMPLES["update"], weight=weight))  # type: ignore[call-arg]


def test_text_that_is_no_unicode_or_too_long_is_refused() -> None:
    for text in ("\ud800", "x" * 70_000):
        with pytest.raises(FormError, match="text"):
            encode(replace(EXAMPLES["dataset"], name=text))  # type: ignore[call-arg]

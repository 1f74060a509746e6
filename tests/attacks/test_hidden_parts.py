"""Results of which something is hidden, or published in another layout: what can be compared is compared, and what
cannot is demanded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hearing import convicted, show, update_of, without

from registry.chain.contract_events import LeafDemanded
from registry.chain.court import Court
from registry.content.manifest import DELTA, Reason, UpdateManifest, VersionManifest
from registry.content.merkle import state_rows
from registry.content.tensors import encode_header, parse_header
from registry.dev.forgeries import Edit, falsified, nudged
from registry.disputes.openings import chunks_of_blob
from registry.roles import auditor
from registry.roles.purse import Purse
from registry.roles.watch_costs import watch_costs
from registry.rounds.reports import load_report
from registry.rounds.server_steps import next_version
from registry.rules.encoding import RoundScalars
from registry.store.blobs import add_blob
from registry.store.manifests import get_manifest
from registry.types import Fault

pytestmark = pytest.mark.slow

STEP = 2.0**-22


def renamed(old: str, new: str) -> Edit:
    """The same values under another header."""

    def edit(data: bytes) -> bytes:
        header = parse_header(data, len(data))
        specs = tuple(replace(spec, name=new) if spec.name == old else spec for spec in header.specs)
        return encode_header(specs) + data[header.header_bytes :]

    return edit


def longer(data: bytes) -> bytes:
    """A tensor more, after all others."""
    header = parse_header(data, len(data))
    _, end = header.range_of("F32")
    more = replace(header.specs[-1], name="zz", shape=(600,), begin=end, end=end + 2400)
    return encode_header((*header.specs, more)) + data[header.header_bytes :] + bytes(2400)


def false_states(data: bytes) -> bytes:
    """Every number of a state, three more."""
    begin = parse_header(data, len(data)).header_bytes
    return data[:begin] + (np.frombuffer(data[begin:], "<i8") + 3).tobytes()


@pytest.mark.parametrize(
    ("layout", "fault"),
    [
        (renamed("b", "a_longer_name_of_a_tensor"), Fault.VERSION),
        (renamed("steady.scale", "s"), Fault.VERSION),
        (longer, Fault.SIZE),
    ],
    ids=["a longer header", "a shorter header", "values more"],
)
def test_an_aggregate_in_another_layout_is_followed(stateful: Any, layout: Edit, fault: Fault) -> None:
    """One contribution is hidden, and one value of the version is false."""
    house, ann = stateful, update_of(stateful, "ann", number=2)
    edits = {"aggregate": layout, "version": nudged(1700)}
    house.attest("mallory", falsified(house.store, house.outcome(number=2), **edits), number=2)
    chunks = chunks_of_blob(house.store, ann)
    found = convicted(
        house, without(house, ann), lambda: show(house, {chunks.root: chunks.opening}, number=2), number=2
    )
    assert found is fault


def test_a_false_state_is_convicted_though_everything_is_hidden(stateful: Any) -> None:
    """A contribution, the aggregate, the version and its state: each is shown where it is demanded."""
    house, ann = stateful, update_of(stateful, "ann", number=2)
    result = falsified(house.store, house.outcome(number=2), state=false_states)
    made = get_manifest(house.store, result.version_digest, VersionManifest)
    assert made.state is not None
    aggregate = load_report(house.store, result.report_digest, 3).manifest.aggregate.blob
    rows = state_rows(len(house.round(2).form.rules.program.states))
    trees = [chunks_of_blob(house.store, blob) for blob in (ann, aggregate, made.weights.blob)]
    trees.append(chunks_of_blob(house.store, made.state.blob, rows))
    store = without(house, ann, aggregate, made.weights.blob, made.state.blob)
    house.attest("mallory", result, number=2)
    openings = {chunks.root: chunks.opening for chunks in trees}
    assert convicted(house, store, lambda: show(house, openings, number=2), number=2) is Fault.STATE


def test_a_hidden_result_costs_no_more_than_is_planned(stateful: Any) -> None:
    """Every leaf that is demanded of aggregate, version and state, and the gas of what demands it."""
    house, ann = stateful, update_of(stateful, "ann", number=2)
    result = falsified(house.store, house.outcome(number=2), state=false_states)
    made = get_manifest(house.store, result.version_digest, VersionManifest)
    assert made.state is not None
    aggregate = load_report(house.store, result.report_digest, 3).manifest.aggregate.blob
    states = len(house.round(2).form.rules.program.states)
    trees = [chunks_of_blob(house.store, blob) for blob in (ann, aggregate, made.weights.blob)]
    trees.append(chunks_of_blob(house.store, made.state.blob, state_rows(states)))
    store = without(house, ann, aggregate, made.weights.blob, made.state.blob)
    openings = {chunks.root: chunks.opening for chunks in trees}
    house.attest("mallory", result, number=2)
    assert convicted(house, store, lambda: show(house, openings, number=2), number=2) is Fault.STATE
    hidden = {chunks.root for chunks in trees[1:]}
    found = Court(house.stranger).events(LeafDemanded, to_block=house.stranger.latest_block())
    demanded = [e for e in found if isinstance(e, LeafDemanded) and e.root in hidden]
    assert {e.root for e in demanded} == hidden
    receipts = [house.chain.w3.eth.get_transaction_receipt(tx) for tx in {e.at.tx_hash for e in demanded}]
    costs = watch_costs(house.plan, 3, trees[1].values, states)
    (line,) = (line for line in costs.lines if line.what == "samples of a hidden result")
    assert len(demanded) <= line.times
    assert len(demanded) <= line.deposits
    assert sum(receipt["gasUsed"] for receipt in receipts) <= line.gas


def with_a_refused_update(house: Any) -> Any:
    """Mallory's update has a tensor renamed, so readers refuse its file; the outcome counts it all the same."""
    for seed, name in enumerate(("ann", "bob")):
        house.contribute(name, house.update(name, seed=seed))
    data = house.update("mallory", seed=5).data
    house.contribute("mallory", house.sealed("mallory", data.replace(b'"b"', b'"a"', 1)))
    house.sleep_to("publish_deadline")
    good = add_blob(house.store, [data])
    admitted = []
    for verdict in house.verdicts():
        if verdict.reason is Reason.BLOB_FORM:
            manifest = get_manifest(house.store, verdict.commitment.digest, UpdateManifest)
            delta = replace(manifest.files[DELTA], cid=good.cid, size=good.size)
            verdict = replace(verdict, reason=Reason.ADMITTED, manifest=replace(manifest, files={DELTA: delta}))
        admitted.append(verdict)
    assert sum(verdict.reason is Reason.BLOB_FORM for verdict in house.verdicts()) == 1
    return house.outcome(tuple(admitted))


def test_an_update_whose_file_is_refused_is_compared_all_the_same(opened: Any) -> None:
    """Nothing is hidden, and one value of the aggregate is false; the version follows from it."""
    house = opened
    made, round = with_a_refused_update(house), house.round()
    path = house.folder / "false.safetensors"
    path.write_bytes(nudged(0, STEP)(made.aggregate_file.read_bytes()))
    scalars = RoundScalars(1, made.result.contributions, made.result.total_weight, made.result.total_steps)
    version = b"".join(next_version(house.store, round.parent, round.form, path, scalars, None))
    house.attest("mallory", falsified(house.store, made, aggregate=nudged(0, STEP), version=lambda _: version))
    assert convicted(house) is Fault.AGGREGATE


def test_a_true_result_over_a_refused_update_is_not_called_sound(opened: Any) -> None:
    """The chain does not convict it; readers refuse it, and so does whoever looks."""
    house = opened
    house.attest("mallory", with_a_refused_update(house).result)
    client, memory = house.stranger, auditor.AuditorMemory()
    purse = Purse(client, house.folder / "purse.json", 10**18)
    said = auditor.advance(client, house.store, house.folder / "auditor", house.model_id, purse=purse, memory=memory)
    assert "readers refuse" in said
    (found,) = memory.inspected.values()
    assert (found.sound, found.charge) == (False, None)


def test_what_a_first_result_s_demands_show_tells_nothing_of_the_next(wide: Any, monkeypatch: Any) -> None:
    """The chunks that are looked at are chosen anew for each tally."""
    house, salts, inspect = wide, [], auditor.inspect

    def recorded(*given: Any, salt: bytes, **more: Any) -> Any:
        salts.append(salt)
        return inspect(*given, salt=salt, **more)

    monkeypatch.setattr(auditor, "inspect", recorded)
    store = without(house, update_of(house, "ann"))
    house.attest("mallory", house.outcome().result)
    assert convicted(house, store) is Fault.UNANSWERED
    first = set(salts)
    house.attest("second", replace(house.outcome().result, report_digest=house.genesis))
    salts.clear()
    convicted(house, store, folder="auditor")
    assert salts
    assert not first & set(salts)

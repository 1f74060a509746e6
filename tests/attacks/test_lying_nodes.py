"""A malicious node that hides, edits, invents or reorders the contract's events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from registry.chain.contract_events import (
    ModelRegistered,
    ResultAttested,
    RoundFinalized,
    RoundOpened,
    UpdateCommitted,
    VersionDeprecated,
    VersionPublished,
)
from registry.chain.contract_structs import Roots
from registry.chain.event_logs import topic_of
from registry.errors import InputError, NodeUnavailable, VerificationFailed, WrongChain
from registry.rounds.onchain import read_round
from registry.types import Digest, Root

if TYPE_CHECKING:
    from conftest import Federation

Log = dict[str, Any]


def words(roots: Roots) -> bytes:
    """abi.encode(roots)."""
    return roots.tensor + roots.rest + roots.state + roots.state_layout + roots.step.to_bytes(32, "big")


def topic(kind: type) -> str:
    return "0x" + topic_of(kind).hex()


def about(kind: type, change: Callable[[list[Log]], list[Log]]) -> Callable[[str, Any], Any]:
    """An edit of what the node says of one kind of event; all else passes as it is."""

    def edit(method: str, result: Any) -> Any:
        if method != "eth_getLogs":
            return result
        rest = [log for log in result if log["topics"][0] != topic(kind)]
        return rest + change([dict(log) for log in result if log["topics"][0] == topic(kind)])

    return edit


def flipped(text: str, byte: int) -> str:
    """Hex with one bit of one byte turned over."""
    data = bytearray.fromhex(text[2:])
    data[byte] ^= 1
    return "0x" + data.hex()


def hidden(logs: list[Log]) -> list[Log]:
    return logs[:-1]


def doubled(logs: list[Log]) -> list[Log]:
    return [*logs, *({**log, "blockNumber": log["blockNumber"] + 1} for log in logs[-1:])]


def swapped(logs: list[Log]) -> list[Log]:
    """The first two events trade places on the chain."""
    if len(logs) < 2:
        return logs
    first, second, *rest = logs
    place = ("blockNumber", "logIndex", "blockHash")
    return [{**first, **{k: second[k] for k in place}}, {**second, **{k: first[k] for k in place}}, *rest]


def edited(byte: int) -> Callable[[list[Log]], list[Log]]:
    return lambda logs: [{**log, "data": flipped(log["data"], byte)} for log in logs]


def author_changed(logs: list[Log]) -> list[Log]:
    return [{**log, "topics": [*log["topics"][:2], flipped(log["topics"][2], 31)]} for log in logs]


COMMITMENTS = {
    "hidden": hidden,
    "all hidden": lambda logs: [],
    "shown twice": doubled,
    "reordered": swapped,
    "digest edited": edited(0),
    "root edited": edited(32),
    "weight edited": edited(95),
    "author edited": author_changed,
}


@pytest.mark.parametrize("lie", COMMITMENTS)
def test_a_lie_about_commitments_stops_aggregators(published: Federation, lying_node: Any, lie: str) -> None:
    reader = published.reader(lying_node(published, about(UpdateCommitted, COMMITMENTS[lie])))
    with pytest.raises(VerificationFailed, match="expected commitments that hash to 0x"):
        read_round(reader, published.model_id, 1)


@pytest.mark.parametrize("lie", COMMITMENTS)
def test_a_lie_about_commitments_fails_verification(
    published: Federation, lying_node: Any, failed: Any, lie: str
) -> None:
    published.force(published.outcome().result)
    reader = published.reader(lying_node(published, about(UpdateCommitted, COMMITMENTS[lie])))
    assert "expected commitments that hash to" in failed(published.verify(client=reader)[-1].checks)


@pytest.mark.parametrize("byte", [0, 31])
def test_a_lie_about_a_round_s_parent_is_found(published: Federation, lying_node: Any, byte: int) -> None:
    reader = published.reader(lying_node(published, about(RoundOpened, edited(byte))))
    with pytest.raises(VerificationFailed, match="expected commitments that hash to 0x"):
        read_round(reader, published.model_id, 1)


def test_a_lie_about_a_round_s_plan_is_found(federation: Federation, lying_node: Any, new_plan: Any) -> None:
    new_plan(federation, weight_cap=5)
    federation.owner.open_round(federation.model_id)  # under plan 1; the node says plan 0
    reader = federation.reader(lying_node(federation, about(RoundOpened, edited(63))))
    with pytest.raises(VerificationFailed, match="expected commitments that hash to 0x"):
        read_round(reader, federation.model_id, 1)


def test_a_hidden_round_is_missed(published: Federation, lying_node: Any) -> None:
    reader = published.reader(lying_node(published, about(RoundOpened, hidden)))
    with pytest.raises(NodeUnavailable, match="expected a round 1 by block"):
        read_round(reader, published.model_id, 1)


@pytest.mark.parametrize("byte", [0, 32, 64, 96, 128, 191, 223])
def test_a_lie_about_an_attested_result_fails_verification(
    published: Federation, lying_node: Any, failed: Any, byte: int
) -> None:
    published.force(published.outcome().result)
    reader = published.reader(lying_node(published, about(ResultAttested, edited(byte))))
    assert "expected an attested result that hashes to" in failed(published.verify(client=reader)[-1].checks)


def test_a_node_that_hides_the_attestations_fails_verification(
    published: Federation, lying_node: Any, failed: Any
) -> None:
    published.force(published.outcome().result)
    reader = published.reader(lying_node(published, about(ResultAttested, lambda logs: [])))
    assert "no attestation gives the result hash" in failed(published.verify(client=reader)[-1].checks)


def test_a_true_result_shown_for_the_lie_that_was_finalized_fails_verification(
    published: Federation, lying_node: Any, failed: Any
) -> None:
    """The quorum lied about the aggregate; the node covers it up by showing what it should have been."""
    honest = published.outcome().result
    published.force(replace(honest, aggregate_root=Root(b"\x01" * 32)))

    def cover(logs: list[Log]) -> list[Log]:
        root = honest.aggregate_root.hex()
        return [{**log, "data": log["data"][: 2 + 192] + root + log["data"][2 + 256 :]} for log in logs]

    reader = published.reader(lying_node(published, about(ResultAttested, cover)))
    assert "expected an attested result that hashes to" in failed(published.verify(client=reader)[-1].checks)


@pytest.mark.parametrize("byte", [0, 32, 64, 191, 192])
def test_a_lie_about_what_was_finalized_is_found(published: Federation, lying_node: Any, byte: int) -> None:
    head = published.force(published.outcome().result)
    reader = published.reader(lying_node(published, about(RoundFinalized, edited(byte))))
    if byte in (0, 192):  # another digest, or another parent: the head, or its parent, is no longer in the lineage
        with pytest.raises(InputError, match="expected a version"):
            published.verify(head, client=reader)
    else:
        assert published.verify(head, client=reader)[-1].passed is False


def test_an_unfinalized_version_shown_as_finalized_fails_verification(
    published: Federation, lying_node: Any, failed: Any
) -> None:
    """It is attested and in its challenge window: nothing that is not anchored is called finished."""
    result = published.outcome().result
    published.attest("first", result)
    invented = {
        "topics": [
            topic(RoundFinalized),
            "0x" + published.model_id.hex(),
            "0x" + (1).to_bytes(32, "big").hex(),
            "0x" + published.record().round_id.hex(),
        ],
        "data": "0x" + (result.version_digest + words(result.roots) + published.genesis).hex(),
    }

    def edit(method: str, found: Any) -> Any:
        if method == "eth_getLogs" and any(log["topics"][0] == topic(ModelRegistered) for log in found):
            return [*found, {**found[-1], **invented, "blockNumber": found[-1]["blockNumber"] + 1}]
        return found

    reader = published.reader(lying_node(published, edit))
    assert "known to the contract" in failed(published.verify(result.version_digest, client=reader)[-1].checks)


def test_a_hidden_deprecation_fails_verification(federation: Federation, lying_node: Any, failed: Any) -> None:
    house, model = federation, federation.model_id
    house.owner.publish_version(model, house.genesis, Digest(b"\x31" * 32), Root(b"\x32" * 32), Root(b"\x32" * 32))
    house.owner.deprecate_version(model, house.genesis, Digest(b"\x33" * 32))
    reader = house.reader(lying_node(house, about(VersionDeprecated, lambda logs: [])))
    assert "version: deprecated" in failed(house.verify(house.genesis, client=reader)[0].checks)


@pytest.mark.parametrize("byte", [0, 31])
def test_a_lie_about_a_published_root_fails_verification(
    federation: Federation, lying_node: Any, failed: Any, byte: int
) -> None:
    house = federation
    digest = Digest(b"\x31" * 32)
    house.owner.publish_version(house.model_id, house.genesis, digest, Root(b"\x32" * 32), Root(b"\x32" * 32))
    reader = house.reader(lying_node(house, about(VersionPublished, edited(byte))))
    assert "roots in the contract" in failed(house.verify(digest, client=reader)[-1].checks)


def test_a_lie_about_a_version_s_parent_fails_verification(
    federation: Federation, lying_node: Any, failed: Any
) -> None:
    """The node leaves a version out of the lineage by naming its grandparent as its parent."""
    house, first, second = federation, Digest(b"\x31" * 32), Digest(b"\x34" * 32)
    house.owner.publish_version(house.model_id, house.genesis, first, Root(b"\x32" * 32), Root(b"\x32" * 32))
    house.owner.publish_version(house.model_id, first, second, Root(b"\x35" * 32), Root(b"\x35" * 32))

    def skip(logs: list[Log]) -> list[Log]:
        return [{**log, "topics": [*log["topics"][:3], "0x" + house.genesis.hex()]} for log in logs]

    reader = house.reader(lying_node(house, about(VersionPublished, skip)))
    assert "parent in the contract" in failed(house.verify(second, client=reader)[-1].checks)


def test_versions_shown_as_each_other_s_parents_end_in_an_error(federation: Federation, lying_node: Any) -> None:
    """Whoever follows parents to the genesis would follow them for ever."""
    house, first, second = federation, Digest(b"\x31" * 32), Digest(b"\x34" * 32)
    house.owner.publish_version(house.model_id, house.genesis, first, Root(b"\x32" * 32), Root(b"\x32" * 32))
    house.owner.publish_version(house.model_id, first, second, Root(b"\x35" * 32), Root(b"\x35" * 32))

    def circle(logs: list[Log]) -> list[Log]:
        parents = ("0x" + second.hex(), "0x" + first.hex())
        return [{**log, "topics": [*log["topics"][:3], parent]} for log, parent in zip(logs, parents, strict=True)]

    reader = house.reader(lying_node(house, about(VersionPublished, circle)))
    with pytest.raises(VerificationFailed, match="its own ancestor"):
        house.verify(second, client=reader)


def test_a_version_shown_under_the_number_of_another_round_fails_verification(
    published: Federation, lying_node: Any, failed: Any
) -> None:
    """The second round lapsed; the node says that it was the one that made the version of the first."""
    head = published.force(published.outcome().result)
    published.owner.open_round(published.model_id)
    published.sleep_to("aggregate_deadline", 2)

    def to_two(logs: list[Log]) -> list[Log]:
        second = "0x" + (2).to_bytes(32, "big").hex()
        return [{**log, "topics": [*log["topics"][:2], second, log["topics"][3]]} for log in logs]

    reader = published.reader(lying_node(published, about(RoundFinalized, to_two)))
    assert "no attestation gives the result hash" in failed(published.verify(head, client=reader)[-1].checks)


def test_two_rounds_shown_under_each_other_s_numbers_fail_verification(
    published: Federation, lying_node: Any, failed: Any
) -> None:
    published.force(published.outcome().result)
    published.owner.open_round(published.model_id)
    published.contribute_to(2, "ann")
    head = published.force(published.outcome(number=2).result, number=2)
    one, two = ("0x" + n.to_bytes(32, "big").hex() for n in (1, 2))

    def swap(logs: list[Log]) -> list[Log]:
        other = {one: two, two: one}
        return [{**log, "topics": [*log["topics"][:2], other[log["topics"][2]], log["topics"][3]]} for log in logs]

    assert all(v.passed for v in published.verify(head))
    reader = published.reader(lying_node(published, about(RoundFinalized, swap)))
    assert "result: version" in failed(published.verify(head, client=reader)[-1].checks)


def test_a_round_shown_as_the_owner_s_publication_fails_verification(
    published: Federation, lying_node: Any, failed: Any
) -> None:
    """Whoever hides the round hides who took part: the contract says that a round made it."""
    head = published.force(published.outcome().result)
    roots = published.outcome().result.roots

    def edit(method: str, found: Any) -> Any:
        if method != "eth_getLogs":
            return found
        shown = []
        for log in found:
            if log["topics"][0] == topic(RoundFinalized):
                names = [topic(VersionPublished), log["topics"][1], "0x" + head.hex(), "0x" + published.genesis.hex()]
                log = {**log, "topics": names, "data": "0x" + (roots.tensor + roots.rest).hex()}
            shown.append(log)
        return shown

    reader = published.reader(lying_node(published, edit))
    assert "published outside a round" in failed(published.verify(head, client=reader)[-1].checks)


def test_a_node_of_another_chain_is_refused(published: Federation, lying_node: Any) -> None:
    """It answers every call as the contract would, under another chain id."""
    w3 = lying_node(published, lambda method, result: "0x1" if method == "eth_chainId" else result)
    with pytest.raises(WrongChain):
        published.reader(w3)


def test_a_node_that_shows_no_contract_is_refused(published: Federation, lying_node: Any) -> None:
    w3 = lying_node(published, lambda method, result: "0x" if method == "eth_getCode" else result)
    with pytest.raises(WrongChain, match="got no contract there"):
        published.reader(w3)

"""A malicious node that hides, edits or invents logs, against a verifying index: no such range is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from registry.chain.contracts import encode_call
from registry.chain.deploy import code_hashes
from registry.chain.views import Views
from registry.errors import NodeUnavailable, VerificationFailed, WrongChain
from registry.ethereum.blocks import Checkpoint, fetch_headers
from registry.ethereum.networks import parse_finality
from registry.index import queries
from registry.index.checking import RangeCheck
from registry.index.entries import Block
from registry.index.log_source import LogSource
from registry.index.sync import Follower

if TYPE_CHECKING:
    from conftest import Indexing

Answer = dict[str, Any]
Edit = Callable[[str, Any, Any], Any]


def synced(indexing: Indexing, w3: Any, name: str = "index", **known: Any) -> list[str]:
    """Sync an index with checks, in short ranges, and return all that it holds."""
    with indexing.open(name) as index:
        check = RangeCheck(w3, indexing.following.contracts, **known)
        follower = Follower(index, w3, parse_finality("instant"), check=check)
        follower._span = 7
        follower._widen = lambda blocks, logs: None  # type: ignore[method-assign]
        follower.sync()
        return list(queries.dump(index.db))


def height(indexing: Indexing) -> int:
    return int(indexing.chain.w3.eth.block_number)


def checkpoint(indexing: Indexing, number: int) -> Checkpoint:
    """A block that the reader knows from elsewhere."""
    return Checkpoint(number, bytes(indexing.chain.w3.eth.get_block(number)["hash"]))


def head(indexing: Indexing) -> int:
    with indexing.open() as index:
        return -1 if index.head is None else index.head.number


LIES: dict[str, Callable[[list[Answer]], list[Answer]]] = {
    "hidden": lambda logs: logs[:-1],
    "invented": lambda logs: [*logs, {**logs[-1], "logIndex": hex(int(logs[-1]["logIndex"], 16) + 1)}],
    "edited": lambda logs: [*logs[:-1], {**logs[-1], "data": "0x" + "07" * (len(logs[-1]["data"]) // 2 - 1)}],
    "moved to another transaction": lambda logs: [*logs[:-1], {**logs[-1], "transactionIndex": "0x3"}],
    "all hidden": lambda logs: [],
}


@pytest.mark.parametrize("lie", LIES)
def test_nothing_of_a_range_with_a_false_log_is_indexed(played: Indexing, lie: str) -> None:
    def edit(method: str, params: Any, result: Any) -> Any:
        late = method == "eth_getLogs" and result and int(result[-1]["blockNumber"], 16) > 21
        return LIES[lie](result) if late else result

    with pytest.raises(VerificationFailed, match=r"block \d+: log \d+"):
        synced(played, played.node(edit))
    assert 1 < head(played) <= 21
    with pytest.raises(VerificationFailed, match=r"block \d+: log \d+"):
        synced(played, played.node(edit))


def test_an_honest_node_s_logs_are_indexed_with_every_check(disputed: Indexing) -> None:
    node, top = disputed.node(), height(disputed)
    plain = synced(disputed, node, "a")
    assert plain == disputed.fresh()
    for number in (1, 8, top - 1, top):
        assert synced(disputed, node, f"checkpoint {number}", checkpoint=checkpoint(disputed, number)) == plain
    assert synced(disputed, node, "second", second=disputed.chain.w3) == plain


def hiding(indexing: Indexing) -> tuple[int, Edit]:
    """A node that hides a block's logs behind headers of its own from there on, each with its true hash."""
    node = indexing.chain.w3
    first = node.eth.get_logs({"fromBlock": 1, "address": node.to_checksum_address(indexing.clients[0].address)})[-1][
        "blockNumber"
    ]
    honest = fetch_headers(node, range(first, height(indexing) + 1))
    made, parent = {}, honest[0].parent_hash
    for header in honest:
        bloom = bytes(256) if header.number == first else header.logs_bloom
        made[header.number] = replace(header, parent_hash=parent, logs_bloom=bloom)
        parent = made[header.number].hash

    def edit(method: str, params: Any, result: Any) -> Any:
        if method == "eth_getLogs":
            return [log for log in result if int(log["blockNumber"], 16) != first]
        if method == "eth_getBlockByNumber" and result and int(result["number"], 16) in made:
            header = made[int(result["number"], 16)]
            hashes = {"hash": f"0x{header.hash.hex()}", "parentHash": f"0x{header.parent_hash.hex()}"}
            return {**result, **hashes, "logsBloom": f"0x{header.logs_bloom.hex()}"}
        return result

    return first, edit


def test_a_chain_of_the_node_s_own_is_believed_where_nothing_else_is_known(played: Indexing) -> None:
    """What the documentation says is trusted without a checkpoint and a second node: which block is the last."""
    first, edit = hiding(played)
    believed = synced(played, played.node(edit))
    assert believed != synced(played, played.node(), "true")
    assert head(played) == height(played) >= first


def test_a_chain_of_the_node_s_own_is_found_by_a_checkpoint(played: Indexing) -> None:
    _, edit = hiding(played)
    with pytest.raises(VerificationFailed, match=r"expected hash|under block"):
        synced(played, played.node(edit), checkpoint=checkpoint(played, height(played)))
    assert head(played) == -1, "the way down from the checkpoint comes first"


def test_a_range_that_is_not_the_one_below_the_checkpoint_is_refused(played: Indexing) -> None:
    contracts = played.following.contracts
    found = LogSource(played.node(), contracts).read(range(5, 9), None)
    check = RangeCheck(played.node(), contracts, checkpoint=checkpoint(played, height(played)))
    check(range(5, 9), found, None)
    with pytest.raises(VerificationFailed, match=r"block 8: expected (07){32} under block \d+, got "):
        check(range(5, 9), replace(found, last=Block(8, b"\x07" * 32)), None)


def test_a_chain_of_the_node_s_own_is_found_by_a_second_node(played: Indexing) -> None:
    first, edit = hiding(played)
    with pytest.raises(VerificationFailed, match="from both nodes"):
        synced(played, played.node(edit), second=played.chain.w3)
    assert head(played) < first


def test_a_node_that_shows_its_true_block_only_when_it_is_compared_is_found_by_a_second_node(played: Indexing) -> None:
    """The first headers asked for after logs are answered truthfully: that is what a comparison would look like."""
    first, edit = hiding(played)
    node = played.node(edit)
    provider: Any = node.provider
    respond = provider.make_batch_request
    before: list[str] = []

    def compared(requests: Any) -> Any:
        provider.edit = (lambda method, params, result: result) if "eth_getLogs" in before else edit
        before[:] = [method for method, _ in requests]
        return respond(requests)

    provider.make_batch_request = compared
    with pytest.raises((VerificationFailed, NodeUnavailable), match=r"from both nodes|changed while it was checked"):
        synced(played, node, second=played.chain.w3)
    assert head(played) < first


def test_a_block_is_not_called_final_by_a_hash_that_only_the_node_gave(played: Indexing) -> None:
    mine = played.chain.w3.provider.ethereum_tester.mine_blocks
    mine(6)
    made_up = "0x" + "07" * 32
    wanted = hex(height(played) - 2)

    def edit(method: str, params: Any, result: Any) -> Any:
        return {**result, "hash": made_up} if method == "eth_getBlockByNumber" and params == [wanted, False] else result

    node = played.node()
    provider: Any = node.provider
    respond = provider.make_batch_request

    def lying(requests: Any) -> Any:
        provider.edit = edit if len(requests) == 2 else lambda method, params, result: result
        return respond(requests)

    def follow(w3: Any) -> None:
        check = RangeCheck(w3, played.following.contracts, second=played.chain.w3)
        played.sync(w3=w3, finality="4", check=check)

    follow(node)
    before = played.dump()
    mine(2)
    provider.make_batch_request = lying
    with pytest.raises(VerificationFailed, match=r"block \d+: expected (07){32} under block"):
        follow(node)
    with played.open() as index:
        assert index.final is not None
        assert f" {index.final.number} {index.final.hash.hex()} 0" in before
    follow(played.node())
    assert played.dump() == played.fresh("4")


def answering(contract: str, name: str, value: bytes) -> Edit:
    """A node that answers one view by something else."""
    asked = f"0x{encode_call(contract, name, ()).hex()}"

    def edit(method: str, params: Any, result: Any) -> Any:
        return "0x" + value.hex() if method == "eth_call" and params[0]["data"] == asked else result

    return edit


def test_a_node_that_names_other_contracts_is_refused(played: Indexing) -> None:
    """Whose logs are read is not the node's word: where the partners are follows from where the Cairn is."""
    address = played.clients[0].address
    there = Views(played.node(), address).partners()
    assert played.following.contracts == (
        address,
        there["Challenges"],
        there["Court"],
        there["Labels"],
        there["Scores"],
    )
    stranger = bytes(12) + b"\x11" * 20
    for name in ("Challenges", "Court", "Rules"):
        lying = Views(played.node(answering("Cairn", name.upper(), stranger)), address)
        with pytest.raises(WrongChain, match=rf"expected {name} at 0x\w{{40}}, got 0x1{{40}} from the node"):
            lying.partners()


def test_a_factory_whose_list_does_not_make_the_cairn_is_refused(played: Indexing) -> None:
    """Another list would put other partners there, but the Cairn too, which is known."""
    from eth_abi.abi import encode

    address = played.clients[0].address
    hashes = list(code_hashes())
    for other in ([*hashes[:2], b"\x07" * 32, *hashes[3:]], hashes[:3], [], [*hashes, b"\x07" * 32]):
        lying = Views(played.node(answering("Factory", "codeHashes", encode(["bytes32[]"], [other]))), address)
        with pytest.raises(WrongChain, match=f"expected the factory that made 0x.*, got {len(other)} hashes"):
            lying.partners()


def test_an_index_that_does_not_go_back_to_the_checkpoint_is_not_continued(played: Indexing) -> None:
    synced(played, played.node())
    before = head(played)
    played.chain.w3.provider.ethereum_tester.mine_blocks(2)
    with pytest.raises(VerificationFailed, match=r"block \d: expected (07){32} under block \d+, got "):
        synced(played, played.node(), checkpoint=Checkpoint(4, b"\x07" * 32))
    assert head(played) == before
    synced(played, played.node(), checkpoint=checkpoint(played, 4))
    assert head(played) == before + 2


def test_a_new_index_beyond_a_false_checkpoint_is_not_begun(played: Indexing) -> None:
    with pytest.raises(VerificationFailed, match=r"block \d: expected (07){32} under block \d+, got "):
        synced(played, played.node(), checkpoint=Checkpoint(0, b"\x07" * 32))
    assert head(played) == -1


def test_a_range_that_does_not_stand_on_what_is_indexed_is_refused(played: Indexing) -> None:
    contracts = played.following.contracts
    found = LogSource(played.node(), contracts).read(range(5, 9), None)
    check = RangeCheck(played.node(), contracts)
    check(range(5, 9), found, Block(4, checkpoint(played, 4).hash))
    with pytest.raises(VerificationFailed, match="expected parent 0x07"):
        check(range(5, 9), found, Block(4, b"\x07" * 32))


def test_a_block_that_was_replaced_while_it_was_checked_is_read_again(played: Indexing) -> None:
    """A reorganisation is no lie: what failed is asked for once more."""
    failed: list[range] = []

    def check(blocks: range, found: Any, below: Block | None) -> None:
        if not failed:
            failed.append(blocks)
            raise VerificationFailed("of a block that is no more")

    seen = 0

    def edit(method: str, params: Any, result: Any) -> Any:
        nonlocal seen
        if failed and not seen and method == "eth_getBlockByNumber":
            seen = 1
            return {**result, "hash": "0x" + "07" * 32}
        return result

    assert played.sync(w3=played.node(edit), check=check).head == height(played)
    assert seen == 1
    assert played.dump() == played.fresh()


# How far an index was checked -----------------------------------------------------------------------------------------


def checked_up_to(indexing: Indexing, name: str = "index") -> int | None:
    with indexing.open(name) as index:
        return index.checked


def test_a_file_remembers_how_far_it_was_checked_and_its_dump_does_not(played: Indexing) -> None:
    plain = played.fresh()
    assert synced(played, played.node()) == plain
    assert (checked_up_to(played), checked_up_to(played, "fresh")) == (height(played), None)
    played.chain.w3.provider.ethereum_tester.mine_blocks(3)
    played.sync()
    assert checked_up_to(played) == height(played) - 3, "what another command read on was not checked"
    assert played.dump() == played.fresh()


def test_what_was_read_without_checks_is_read_again_with_them(played: Indexing, play_on: Any) -> None:
    before = height(played)
    synced(played, played.node())
    play_on(played, 2)
    hidden = played.node(lambda method, params, result: [] if method == "eth_getLogs" else result)
    played.sync(w3=hidden)
    assert played.dump() != played.fresh()
    node = played.node()
    assert synced(played, node) == played.fresh()
    assert checked_up_to(played) == height(played)
    asked = [int(params[0]["fromBlock"], 16) for method, params in node.provider.asked if method == "eth_getLogs"]
    assert 0 < min(asked) <= before + 1, "from the last block that was checked and is remembered"
    assert max(asked) > before


def test_an_index_that_was_never_checked_is_checked_from_its_beginning(played: Indexing) -> None:
    played.sync(w3=played.node(lambda method, params, result: [] if method == "eth_getLogs" else result))
    assert checked_up_to(played) is None
    assert synced(played, played.node()) == played.fresh()
    assert checked_up_to(played) == height(played)


def test_what_is_undone_is_no_longer_checked(played: Indexing) -> None:
    synced(played, played.node())
    with played.open() as index:
        below = queries.blocks_between(index.db, -1, height(played) - 1)[-1]
        index.undo(above=height(played) - 1)
        assert (index.checked, index.final, index.head) == (below.number, below, below)
        index.undo(above=None)
        assert (index.checked, index.final, index.head) == (None, None, None)

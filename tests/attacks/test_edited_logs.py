"""A malicious node that hides, edits or invents logs with their proofs, against a reader that trusts one block hash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from registry.errors import VerificationFailed
from registry.ethereum.blocks import Checkpoint, fetch_headers, require_block, verify_logs
from registry.ethereum.logs import PlacedLog, read_placed_log
from registry.ethereum.node import asking

if TYPE_CHECKING:
    from conftest import Federation

Answer = dict[str, Any]
Edit = Callable[[str, Any], Any]


def head_of(house: Federation) -> Checkpoint:
    """What the reader trusts, known from elsewhere."""
    block = house.chain.w3.eth.get_block("latest")
    return Checkpoint(block["number"], bytes(block["hash"]))


def read(house: Federation, w3: Any) -> list[PlacedLog]:
    with asking("eth_getLogs"):
        logs = w3.eth.get_logs({"address": w3.to_checksum_address(house.address), "fromBlock": 1, "toBlock": "latest"})
    return [read_placed_log(log) for log in logs]


def verified(house: Federation, w3: Any) -> int:
    """Read the contract's logs from a node and check them with proof from the same node."""
    head = head_of(house)
    return verify_logs(w3, read(house, w3), [house.address], from_block=1, to_block=head.number, trusted=head).logs


def of(method: str, change: Callable[[Any], Any]) -> Edit:
    return lambda asked, result: change(result) if asked == method and result else result


def flipped(text: str, byte: int = -1) -> str:
    data = bytearray.fromhex(text[2:])
    data[byte] ^= 1
    return "0x" + data.hex()


def changed_log(log: Answer, field: str) -> Answer:
    if field == "topics":
        return {**log, "topics": [*log["topics"][:-1], flipped(log["topics"][-1])]}
    if field in ("data", "address", "blockHash"):
        return {**log, field: flipped(log[field])}
    return {**log, field: int(log[field]) + 1}


def each_of_three(change: Callable[[list[Answer], int], list[Answer]]) -> list[Callable[[list[Answer]], list[Answer]]]:
    """The change made to the first, a middle and the last log."""
    return [lambda logs, at=at: change(logs, at % len(logs)) for at in (0, 7, -1)]  # type: ignore[misc]


def test_an_honest_node_s_logs_are_proved(published: Federation) -> None:
    assert verified(published, published.chain.w3) == len(read(published, published.chain.w3)) > 10


def test_a_hidden_log_is_missed(published: Federation, lying_node: Callable[..., Any]) -> None:
    for hide in each_of_three(lambda logs, at: logs[:at] + logs[at + 1 :]):
        with pytest.raises(VerificationFailed, match=r"block \d+: log \d+ of 0x[0-9a-f]{40} is missing"):
            verified(published, lying_node(published, of("eth_getLogs", hide)))


def test_an_invented_log_is_seen(published: Federation, lying_node: Callable[..., Any]) -> None:
    def invent(logs: list[Answer], at: int) -> list[Answer]:
        return [*logs, {**logs[at], "logIndex": int(logs[at]["logIndex"]) + 1}]

    for edit in each_of_three(invent):
        with pytest.raises(VerificationFailed, match=r"block \d+: log \d+ was invented"):
            verified(published, lying_node(published, of("eth_getLogs", edit)))


def test_a_log_given_twice_is_seen(published: Federation, lying_node: Callable[..., Any]) -> None:
    for edit in each_of_three(lambda logs, at: [*logs, logs[at]]):
        with pytest.raises(VerificationFailed, match="expected it once, got it twice"):
            verified(published, lying_node(published, of("eth_getLogs", edit)))


EDITED = {
    "data": "expected data",
    "topics": r"topic \d: expected",
    "address": "expected address",
    "transactionIndex": "expected transaction index",
    "blockHash": "expected block hash",
}


@pytest.mark.parametrize(("field", "said"), EDITED.items(), ids=EDITED)
def test_an_edited_field_of_a_log_is_seen(
    field: str, said: str, published: Federation, lying_node: Callable[..., Any]
) -> None:
    def edit(logs: list[Answer], at: int) -> list[Answer]:
        return [*logs[:at], changed_log(logs[at], field), *logs[at + 1 :]]

    for change in each_of_three(edit):
        with pytest.raises(VerificationFailed, match=said):
            verified(published, lying_node(published, of("eth_getLogs", change)))


def two_faced(house: Federation, header: Callable[[Answer], Answer]) -> Edit:
    """A node that hides the last block's logs, from the receipts too, and shows that block's header in its own way."""
    last = house.chain.w3.eth.get_logs({"fromBlock": 1, "toBlock": "latest"})[-1]["blockNumber"]

    def edit(method: str, result: Any) -> Any:
        if method == "eth_getLogs":
            return [log for log in result if log["blockNumber"] != last]
        if method == "eth_getTransactionReceipt" and result["blockNumber"] == last:
            return {**result, "logs": []}
        if method in ("eth_getBlockByNumber", "eth_getBlockByHash") and result["number"] == last:
            return header(dict(result))
        return result

    return edit


def test_receipts_without_the_hidden_logs_have_another_root(
    published: Federation, lying_node: Callable[..., Any]
) -> None:
    liar = lying_node(published, two_faced(published, lambda block: block))
    with pytest.raises(VerificationFailed, match="expected receipts of root"):
        verified(published, liar)


def test_a_header_with_an_empty_bloom_does_not_hash_to_the_block(
    published: Federation, lying_node: Callable[..., Any]
) -> None:
    liar = lying_node(published, two_faced(published, lambda block: {**block, "logsBloom": "0x"}))
    with pytest.raises(VerificationFailed, match="expected a header that hashes to"):
        verified(published, liar)


def forged(house: Federation) -> Edit:
    """A node that hides the last block's logs behind an empty bloom, and gives the block the hash that goes with it."""

    def header(block: Answer) -> Answer:
        (honest,) = fetch_headers(house.chain.w3, [block["number"]])
        made = replace(honest, logs_bloom=bytes(256))
        return {**block, "logsBloom": "0x", "hash": f"0x{made.hash.hex()}"}

    return two_faced(house, header)


def test_a_header_of_the_node_s_own_is_not_the_one_that_its_child_names(
    published: Federation, lying_node: Callable[..., Any]
) -> None:
    liar = lying_node(published, forged(published))
    with pytest.raises(VerificationFailed, match=r"block \d+: expected hash [0-9a-f]{64}, got "):
        verified(published, liar)


def test_a_header_of_the_node_s_own_is_seen_beside_a_second_node(
    published: Federation, lying_node: Callable[..., Any]
) -> None:
    liar = lying_node(published, forged(published))
    at = read(published, published.chain.w3)[-1].at
    last = Checkpoint(at.block_number, at.block_hash)
    require_block(published.chain.w3, last)
    with pytest.raises(VerificationFailed, match=r"expected [0-9a-f]{64} from both nodes, got "):
        require_block(liar, last)

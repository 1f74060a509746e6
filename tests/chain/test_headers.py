"""Headers hash to their block hash, in every fork's form, from JSON and from raw bytes; nothing else does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rlp as reference
from eth.rlp.headers import BlockHeader
from eth.vm.forks.cancun.blocks import CancunBlockHeader
from eth.vm.forks.london.blocks import LondonBlockHeader
from eth.vm.forks.paris.blocks import ParisBlockHeader
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth.vm.forks.shanghai.blocks import ShanghaiBlockHeader

from registry.errors import FormError, NodeUnavailable, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.hashing import keccak
from registry.ethereum.headers import Header, decode_header, read_header, require_linked

GOLDEN = Path(__file__).parents[1] / "golden" / "chain"
MAINNET: list[dict[str, Any]] = json.loads((GOLDEN / "mainnet_headers.json").read_text())["blocks"]
GETH: list[dict[str, Any]] = json.loads((GOLDEN / "geth_block.json").read_text())["blocks"]
LATEST = MAINNET[-1]
OPTIONAL = (
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
)
HASH = keccak(b"block")


def header(number: int = 5, **changed: Any) -> Header:
    """A header with no fork's fields."""
    fields: dict[str, Any] = {
        "parent_hash": HASH,
        "ommers_hash": HASH,
        "miner": bytes(20),
        "state_root": HASH,
        "transactions_root": HASH,
        "receipts_root": HASH,
        "logs_bloom": bytes(256),
        "difficulty": 1 << 70,
        "number": number,
        "gas_limit": 30_000_000,
        "gas_used": 0,
        "timestamp": 1_700_000_000,
        "extra_data": b"",
        "mix_hash": HASH,
        "nonce": bytes(8),
    }
    return Header(**(fields | changed))


@pytest.mark.parametrize("block", [*MAINNET, *GETH], ids=lambda block: f"block {int(block['number'], 16)}")
def test_a_real_block_s_header_hashes_to_its_hash_and_round_trips(block: dict[str, Any]) -> None:
    found = read_header(block)
    assert f"0x{found.hash.hex()}" == block["hash"]
    assert keccak(found.encode()) == found.hash
    assert decode_header(found.encode()) == found
    assert found.number == int(block["number"], 16)
    assert found.timestamp == int(block["timestamp"], 16)


FORKS = {
    "istanbul": BlockHeader,
    "london": LondonBlockHeader,
    "paris": ParisBlockHeader,
    "shanghai": ShanghaiBlockHeader,
    "cancun": CancunBlockHeader,
    "prague": PragueBlockHeader,
}


@pytest.mark.parametrize("fork", FORKS)
def test_every_fork_s_header_hashes_as_py_evm_s_does(fork: str) -> None:
    difficulty = 77 if fork in ("istanbul", "london") else 0
    fields = {"difficulty": difficulty, "block_number": 12, "gas_limit": 30_000_000, "gas_used": 21_000}
    theirs = FORKS[fork](**fields, timestamp=1_700_000_000, extra_data=b"x" * 9, bloom=1 << 2047)
    ours = decode_header(reference.encode(theirs))
    assert ours.hash == theirs.hash
    assert ours.encode() == reference.encode(theirs)
    assert (ours.number, ours.gas_used, ours.logs_bloom[0]) == (12, 21_000, 0x80)


@pytest.mark.parametrize("name", sorted(set(LATEST) - {"hash"}))
def test_an_edited_field_breaks_the_hash(name: str) -> None:
    old = LATEST[name]
    last = "0" if old[-1] != "0" else "1"
    with pytest.raises(VerificationFailed, match="expected a header that hashes to 6c4c6ea0"):
        read_header({**LATEST, name: old[:-1] + last})


def test_a_claimed_hash_that_is_not_the_header_s_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="hashes to"):
        read_header({**LATEST, "hash": MAINNET[0]["hash"]})


@pytest.mark.parametrize("name", OPTIONAL[:-1])
def test_a_fork_s_field_without_those_before_it_is_refused(name: str) -> None:
    with pytest.raises(NodeUnavailable, match="no field after the missing"):
        read_header({**LATEST, name: None})
    with pytest.raises(NodeUnavailable, match="no field after the missing"):
        read_header({key: value for key, value in LATEST.items() if key != name})


def test_the_last_field_left_out_is_another_header() -> None:
    with pytest.raises(VerificationFailed, match="hashes to"):
        read_header({**LATEST, "requestsHash": None})


@pytest.mark.parametrize("name", sorted(set(LATEST) - set(OPTIONAL)))
@pytest.mark.parametrize("value", [None, "", "0x", "0xzz", "zz", True, -1, 1.5, [], {}, "0x 1", "0x" + "f" * 65])
def test_json_that_is_no_header_is_no_answer(name: str, value: object) -> None:
    any_length = value == "0x" and name in ("extraData", "logsBloom")
    with pytest.raises(VerificationFailed if any_length else NodeUnavailable):
        read_header({**LATEST, name: value})


def test_numbers_and_bytes_may_come_formatted() -> None:
    formatted: dict[str, Any] = {
        name: int(value, 16) if len(value) < 20 and name not in ("nonce", "extraData") else bytes.fromhex(value[2:])
        for name, value in LATEST.items()
    }
    assert read_header(formatted) == read_header(LATEST)


def fields(raw: bytes) -> list[Any]:
    items = rlp.decode(raw)
    assert isinstance(items, tuple)
    return list(items)


RAW = read_header(LATEST).encode()


@pytest.mark.parametrize("count", [0, 1, 14, 22, 23])
def test_another_number_of_fields_is_refused(count: int) -> None:
    changed = [*fields(RAW), HASH, HASH][:count]
    with pytest.raises(FormError, match=f"expected a list of 15 to 21 fields, got {count}"):
        decode_header(rlp.encode(tuple(changed)))


def test_headers_of_every_fork_have_their_number_of_fields() -> None:
    for count in range(15, 22):
        raw = rlp.encode(tuple(fields(RAW)[:count]))
        assert decode_header(raw).encode() == raw


@pytest.mark.parametrize("place", range(21))
@pytest.mark.parametrize("item", [(), (b"\x01",), b"\x00\x01", b"\x01" * 33, b"\x01" * 257])
def test_raw_fields_of_the_wrong_form_are_refused(place: int, item: rlp.Item) -> None:
    changed = fields(RAW)
    changed[place] = item
    raw = rlp.encode(tuple(changed))
    if place == 12 and isinstance(item, bytes):  # extra data are any bytes
        assert decode_header(raw).extra_data == item
        return
    with pytest.raises(FormError, match="header: "):
        decode_header(raw)


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xc0", RAW[:-1], RAW + b"\0", b"\x00" + RAW, b"\xc1" * 600])
def test_raw_bytes_that_are_no_header_are_refused(raw: bytes) -> None:
    with pytest.raises(FormError):
        decode_header(raw)


def chain(length: int) -> list[Header]:
    made = [header(7)]
    while len(made) < length:
        made.append(header(made[-1].number + 1, parent_hash=made[-1].hash))
    return made


def test_linked_headers_pass_and_a_broken_link_is_named() -> None:
    headers = chain(5)
    require_linked(headers, headers[-1].hash)
    require_linked(headers[:1], headers[0].hash)
    with pytest.raises(VerificationFailed, match=r"block 11: expected hash .*, got "):
        require_linked(headers, HASH)
    for place in range(4):
        edited = [*headers]
        edited[place] = replace(headers[place], timestamp=1)
        with pytest.raises(VerificationFailed, match=f"block {7 + place}: expected hash"):
            require_linked(edited, headers[-1].hash)
    for place in range(1, 4):
        with pytest.raises(VerificationFailed, match=f"block {6 + place}: expected hash"):
            require_linked(headers[:place] + headers[place + 1 :], headers[-1].hash)


def test_numbers_that_skip_are_refused_although_the_hashes_link() -> None:
    parent = header(7)
    child = header(9, parent_hash=parent.hash)
    with pytest.raises(VerificationFailed, match="expected block 8 after its parent, got 9"):
        require_linked([parent, child], child.hash)


def test_a_header_cannot_be_made_with_a_gap() -> None:
    with pytest.raises(FormError, match="after the missing base_fee"):
        header(withdrawals_root=HASH)
    assert header(base_fee=0).hash != header().hash

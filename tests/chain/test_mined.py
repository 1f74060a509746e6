"""Mined transactions of every type: a node's JSON re-encodes to the header's transactions root."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from registry.dev.embedded import embedded
from registry.errors import FormError, NodeUnavailable, VerificationFailed
from registry.ethereum import rlp
from registry.ethereum.block_transactions import Called, decode_called, fetch_transactions
from registry.ethereum.headers import Header, read_header
from registry.ethereum.keys import LocalSigner
from registry.ethereum.patricia import indexed_root
from registry.types import Address

SIGNER = LocalSigner((7).to_bytes(32, "big"))
TO = "0x" + "11" * 20
FEES = {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9}
ACCESS = [{"address": "0x" + "22" * 20, "storageKeys": ["0x" + "01" * 32, "0x" + "00" * 32]}]
KINDS: dict[str, dict[str, Any]] = {
    "legacy": {"gasPrice": 10**10, "chainId": 5},
    "access list": {"type": 1, "gasPrice": 10**10, "chainId": 5, "accessList": ACCESS},
    "dynamic fee": {"type": 2, "chainId": 5, "accessList": ACCESS, **FEES},
    "a contract made": {"type": 2, "chainId": 5, "accessList": [], "to": "", **FEES},
    "delegation": {
        "type": 4,
        "chainId": 5,
        "accessList": [],
        "authorizationList": [
            {"chainId": 5, "address": TO, "nonce": 3, "yParity": 1, "r": "0x" + "05" * 32, "s": "0x" + "06" * 32}
        ],
        **FEES,
    },
}


def signed(kind: str) -> tuple[bytes, dict[str, Any]]:
    """A transaction's bytes, and what a node would say of it."""
    from eth_account.typed_transactions import TypedTransaction
    from hexbytes import HexBytes

    fields = {"nonce": 9, "gas": 60_000, "to": TO, "value": 3, "data": "0x0102030405", **KINDS[kind]}
    if kind == "delegation":
        said = [{**entry, "r": int(entry["r"], 16), "s": int(entry["s"], 16)} for entry in fields["authorizationList"]]
        raw = SIGNER.sign_transaction({**fields, "authorizationList": said})
    else:
        raw = SIGNER.sign_transaction(fields)
    answer = {("input" if name == "data" else name): value for name, value in fields.items()}
    answer["to"] = fields["to"] or None
    if raw[0] < 0xC0:
        typed = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        signature = {name: hex(typed[name]) for name in ("r", "s")} | {"yParity": hex(typed["v"])}
    else:
        *_, v, r, s = rlp.decode(raw)
        signature = {name: hex(int.from_bytes(item, "big")) for name, item in (("v", v), ("r", r), ("s", s))}  # type: ignore[arg-type]
    return raw, answer | signature


def node(answers: list[dict[str, Any]]) -> Any:
    return SimpleNamespace(eth=SimpleNamespace(get_block=lambda block, whole: {"transactions": answers}))


def header_over(raws: list[bytes]) -> Header:
    return Header(*(bytes(32),) * 2, bytes(20), bytes(32), indexed_root(raws), bytes(32), bytes(256),
                  0, 1, 0, 0, 0, b"", bytes(32), bytes(8))  # fmt: skip


def test_every_type_is_encoded_as_it_was_signed() -> None:
    raws, answers = map(list, zip(*map(signed, KINDS), strict=True))
    assert list(fetch_transactions(node(answers), header_over(raws))) == raws
    for kind, raw in zip(KINDS, raws, strict=True):
        to = b"" if kind == "a contract made" else bytes.fromhex(TO[2:])
        assert decode_called(raw) == Called(Address(to), bytes.fromhex("0102030405"))


def test_a_blob_transaction_is_encoded_as_py_evm_does() -> None:
    from eth.vm.forks.cancun.transactions import BlobTransaction

    to, hashes = bytes.fromhex(TO[2:]), (b"\x01" + bytes(31),)
    fields = (5, 9, 10**9, 10**10, 60_000, to, 3, b"\x01\x02", (), 7, hashes, 1, 11, 12)
    raw = b"\x03" + rlp.encode(tuple(rlp.int_to(each) if isinstance(each, int) else each for each in fields))
    evm = BlobTransaction(*fields)
    assert b"\x03" + bytes(__import__("rlp").encode(evm)) == raw
    answer = {"type": 3, "chainId": 5, "nonce": 9, "gas": 60_000, "to": TO, "value": 3, "input": "0x0102",
              "accessList": [], "maxFeePerBlobGas": 7, "blobVersionedHashes": ["0x" + hashes[0].hex()],
              "yParity": 1, "r": 11, "s": 12, **FEES}  # fmt: skip
    assert fetch_transactions(node([answer]), header_over([raw])) == (raw,)
    assert decode_called(raw) == Called(Address(to), b"\x01\x02")


@pytest.mark.parametrize("name", ["nonce", "gas", "value", "input", "r", "s", "yParity", "chainId", "maxFeePerGas"])
def test_a_field_changed_by_the_node_is_found(name: str) -> None:
    raw, answer = signed("dynamic fee")
    changed = answer[name] + "00" if name == "input" else 77
    with pytest.raises(VerificationFailed, match="expected transactions of root"):
        fetch_transactions(node([answer | {name: changed}]), header_over([raw]))
    with pytest.raises((NodeUnavailable, VerificationFailed)):
        fetch_transactions(node([{key: value for key, value in answer.items() if key != name}]), header_over([raw]))


def test_a_transaction_of_a_type_that_is_not_known_is_no_answer() -> None:
    raw, answer = signed("dynamic fee")
    with pytest.raises(NodeUnavailable, match="type 0 to 4 from the node, got 126"):
        fetch_transactions(node([answer | {"type": 126}]), header_over([raw]))


@pytest.mark.parametrize(
    "raw", [b"", b"\x00\xc0", b"\x05\xc0", b"\x02", b"\xc0", b"\x02\xc0", b"\x80", b"\x02" + rlp.encode((b"",) * 6),
            rlp.encode((b"", b"", b"", b"\x01\x02", b"", b"", b"", b"", b"")), rlp.encode(((),) * 9)],
)  # fmt: skip
def test_bytes_that_are_no_transaction_are_refused(raw: bytes) -> None:
    with pytest.raises(FormError):
        decode_called(raw)


def test_the_chain_in_process_gives_its_transactions() -> None:
    chain = embedded(2)
    w3: Any = chain.w3
    to = w3.to_checksum_address(chain.signers[1].address)
    fields = {"chainId": w3.eth.chain_id, "nonce": 0, "gas": 50_000, "to": to, "value": 1, "data": b"\x01", **FEES}
    raw = chain.signers[0].sign_transaction({**fields, "type": 2})
    receipt = w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(raw))
    header = read_header(w3.eth.get_block(receipt["blockNumber"]))
    assert fetch_transactions(w3, header) == (raw,)

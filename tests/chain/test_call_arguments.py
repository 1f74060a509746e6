"""Arguments that ABI encoding would coerce are refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from registry.chain import calls
from registry.chain.client import Client
from registry.chain.contracts import encode_call
from registry.errors import InputError
from registry.types import Digest, ModelId, Root


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_digest_of_another_length_is_never_sent(clients: tuple[Client, ...], length: int) -> None:
    owner = clients[0]
    before = owner.w3.eth.block_number
    with pytest.raises(InputError, match=f"expected 32 bytes, got {length} bytes"):
        owner.register_model(Digest(b"\x01" * length), Root(b"\x02" * 32), Root(b"\x02" * 32))
    assert owner.w3.eth.block_number == before


@pytest.mark.parametrize("account", [b"", b"\x01" * 19, b"\x01" * 21, "0x" + "01" * 20])
def test_an_account_of_another_length_or_type_is_never_sent(clients: tuple[Client, ...], account: Any) -> None:
    with pytest.raises(InputError, match="expected 20 bytes"):
        encode_call("Cairn", "grantRoles", (b"\x01" * 32, account, 1))


def test_expelling_an_account_for_another_result_is_another_effect(clients: tuple[Client, ...]) -> None:
    """Else whoever is granted the role anew and lies again in the same round stays, and no next round opens."""
    contract, one, other = clients[0].address, clients[0].account, clients[1].account
    model = ModelId(b"\x01" * 32)
    keys = [
        calls.expel(contract, model, number, attesters).key
        for number, attesters in (
            (1, {one: b"\x05" * 32}),
            (1, {one: b"\x06" * 32}),
            (1, {other: b"\x05" * 32}),
            (1, {one: b"\x05" * 32, other: b"\x06" * 32}),
            (1, {one: b"\x06" * 32, other: b"\x05" * 32}),
            (2, {one: b"\x05" * 32}),
        )
    ]
    assert len(set(keys)) == len(keys)
    both = {one: b"\x05" * 32, other: b"\x06" * 32}
    assert calls.expel(contract, model, 1, dict(reversed(both.items()))) == calls.expel(contract, model, 1, both)

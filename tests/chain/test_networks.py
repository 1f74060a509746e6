"""Finality policies: when a block is final."""

from __future__ import annotations

from typing import Any

import pytest

from registry.dev.chains import DevChain
from registry.dev.embedded import Embedded
from registry.errors import NodeUnavailable
from registry.ethereum.networks import (
    DEFAULT_CONFIRMATIONS,
    EMBEDDED_CHAIN_ID,
    Finality,
    FinalityRule,
    final_block,
    finality_lag,
    finality_of,
    network_of,
    parse_finality,
)


class FakeEth:
    """A node's view of its blocks, twelve seconds apart."""

    def __init__(self, latest: int, finalized: int | Exception) -> None:
        self.block_number = latest
        self.finalized = finalized

    def get_block(self, tag: str | int) -> dict[str, Any]:
        if tag != "finalized":
            number = self.block_number if tag == "latest" else int(tag)
            return {"number": number, "timestamp": 12 * number}
        if isinstance(self.finalized, Exception):
            raise self.finalized
        return {"number": self.finalized}


class FakeWeb3:
    def __init__(self, latest: int, finalized: int | Exception) -> None:
        self.eth = FakeEth(latest, finalized)


def refusal(message: str, code: int = -32602) -> Exception:
    from web3.exceptions import Web3RPCError

    return Web3RPCError(message, rpc_response={"jsonrpc": "2.0", "error": {"code": code, "message": message}})  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("policy", "latest", "finalized", "expected"),
    [
        ("finalized", 100, 36, 36),
        ("finalized", 100, refusal("finalized block not found", -39001), -1),
        ("instant", 100, 36, 100),
        ("12", 100, 36, 88),
        ("0", 100, 36, 100),
        ("101", 100, 36, -1),
    ],
)
def test_the_final_block_follows_the_policy(
    policy: str, latest: int, finalized: int | Exception, expected: int
) -> None:
    assert final_block(FakeWeb3(latest, finalized), parse_finality(policy)) == expected  # type: ignore[arg-type]


def test_a_node_without_the_tag_cannot_serve_a_policy_that_needs_it() -> None:
    with pytest.raises(NodeUnavailable, match="number of confirmations"):
        final_block(FakeWeb3(5, refusal("invalid block tag")), parse_finality("finalized"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("finalized", "expected"),
    [
        (3, Finality(FinalityRule.FINALIZED, assumed=True)),
        (refusal("unknown tag"), Finality(FinalityRule.CONFIRMATIONS, DEFAULT_CONFIRMATIONS, assumed=True)),
    ],
)
def test_an_unknown_chain_gets_a_default_that_says_it_is_one(finalized: int | Exception, expected: Finality) -> None:
    assert finality_of(FakeWeb3(9, finalized), 987654321) == expected  # type: ignore[arg-type]


def test_the_callers_policy_goes_before_the_table() -> None:
    named = parse_finality("7")
    assert finality_of(FakeWeb3(9, 3), 1, named) == named  # type: ignore[arg-type]
    assert finality_of(FakeWeb3(9, 3), 1).rule is FinalityRule.FINALIZED  # type: ignore[arg-type]


@pytest.mark.parametrize("chain_id", [31337, 1337, EMBEDDED_CHAIN_ID])
def test_development_chains_are_final_at_once(chain_id: int) -> None:
    network = network_of(chain_id)
    assert network.local
    assert network.finality is not None
    assert network.finality.rule is FinalityRule.INSTANT


def test_the_embedded_chain_is_final_at_once(chain: Embedded) -> None:
    assert final_block(chain.w3, finality_of(chain.w3, EMBEDDED_CHAIN_ID)) == 0


@pytest.mark.parametrize(
    ("chain_id", "policy", "finalized", "expected"),
    [
        (1, "finalized", 32, 1152),  # 816 s by the node: the tag has just moved
        (1, "finalized", 0, 1200),
        (1, "12", 32, 144),
        (1, "instant", 32, 0),
        (10, "finalized", 32, 1752),
        (100, "finalized", 99, 240),
        (137, "finalized", 98, 24),
        (987654321, "finalized", 32, 816),
        (987654321, "64", 32, 768),
        (987654321, "101", 32, 1152),
        (1, "finalized", refusal("finalized block not found", -39001), 1152),
        (100, "finalized", refusal("finalized block not found", -39001), 240),
    ],
)
def test_the_lag_of_finality_is_what_the_node_shows_and_at_least_what_the_network_s_rules_allow(
    chain_id: int, policy: str, finalized: int | Exception, expected: int
) -> None:
    w3: Any = FakeWeb3(100, finalized)
    assert finality_lag(w3, chain_id, parse_finality(policy)) == expected


@pytest.mark.node
def test_the_lag_of_finality_is_measured_on_anvil(anvil: DevChain) -> None:
    anvil.w3.provider.make_request("anvil_mine", [5, 600])  # type: ignore[arg-type]
    assert finality_lag(anvil.w3, 987654321, parse_finality("finalized")) == 1200


@pytest.mark.node
def test_anvil_serves_the_finalized_tag_and_it_moves(anvil: DevChain) -> None:
    policy = parse_finality("finalized")
    assert final_block(anvil.w3, policy) == 0
    anvil.w3.provider.make_request("anvil_mine", [10])  # type: ignore[arg-type]
    assert final_block(anvil.w3, policy) == 8

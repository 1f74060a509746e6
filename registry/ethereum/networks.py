"""Known networks: finality policy, lag of finality, and whether it is a development chain.

    chain id          network       final
    1                 mainnet       `finalized` tag (about 15 minutes)
    11155111          sepolia       `finalized` tag
    560048            hoodi         `finalized` tag
    17000             holesky       `finalized` tag
    10, 8453, 42161   L2 roll-ups   `finalized` tag (when the batch is final on mainnet)
    11155420, 84532, 421614         their test networks, likewise on sepolia
    100               gnosis        `finalized` tag
    137               polygon       `finalized` tag (milestones)
    43114             avalanche     instant
    31337             anvil, Hardhat node: single node without consensus, so instant
    1337              geth --dev    instant, likewise
    131277322940537   eth-tester    instant, in process
    any other         the `finalized` tag if the node serves it, else 64 confirmations

A policy given by the caller (`finalized`, `instant` or a number of confirmations) overrides the table.

Largest lag of the `finalized` tag behind the latest block, while a network finalizes:

    Ethereum and its test networks   3 epochs of 32 slots of 12 s (the tag moves once an epoch, from 2 behind to 3)
    gnosis                           3 epochs of 16 slots of 5 s
    OP stack, Arbitrum               the batch is on Ethereum within 10 minutes (docs.optimism.io), and final there then
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.errors import InputError, NodeUnavailable
from registry.ethereum.node import NodeRefused, asking, latest_block, quantity

if TYPE_CHECKING:
    from web3 import Web3

__all__ = [
    "DEFAULT_CONFIRMATIONS",
    "EMBEDDED_CHAIN_ID",
    "Finality",
    "FinalityRule",
    "Network",
    "final_block",
    "finality_lag",
    "finality_of",
    "network_of",
    "parse_finality",
]

DEFAULT_CONFIRMATIONS = 64
"""Two epochs: default for a chain whose node does not serve the `finalized` tag."""
EMBEDDED_CHAIN_ID = 131277322940537
"""eth-tester's chain id, which is fixed."""


class FinalityRule(enum.StrEnum):
    """How finality of a block is determined."""

    FINALIZED = "finalized"
    CONFIRMATIONS = "confirmations"
    INSTANT = "instant"


@dataclass(frozen=True, slots=True)
class Finality:
    """A finality policy.

    Attributes:
        rule: How finality is determined.
        confirmations: Required number of descendants of a block; 0 unless the rule is CONFIRMATIONS.
        assumed: Whether it is the default for a chain that is not in the table.
    """

    rule: FinalityRule
    confirmations: int = 0
    assumed: bool = False

    def __str__(self) -> str:
        if self.rule is FinalityRule.CONFIRMATIONS:
            return f"{self.confirmations} confirmations"
        return {"finalized": "the node's finalized tag", "instant": "at once"}[self.rule.value]


@dataclass(frozen=True, slots=True)
class Network:
    """A network by its chain id.

    Attributes:
        chain_id: EIP-155 chain id.
        name: Common name.
        finality: Its policy; None for a chain that is not in the table.
        local: Whether it is a development chain, which is polled quickly and whose time may be moved.
        lag: Largest lag of the last final block behind the latest one, seconds, by the network's rules; 0 if unknown.
        data_fee: Whether a transaction also pays an L1 data fee.
    """

    chain_id: int
    name: str
    finality: Finality | None
    local: bool = False
    lag: int = 0
    data_fee: bool = False


_ETHEREUM_LAG = 3 * 32 * 12
_ROLL_UP_LAG = 10 * 60 + _ETHEREUM_LAG
_TAG = Finality(FinalityRule.FINALIZED)
_INSTANT = Finality(FinalityRule.INSTANT)
_NETWORKS = {
    network.chain_id: network
    for network in (
        Network(1, "mainnet", _TAG, lag=_ETHEREUM_LAG),
        Network(11155111, "sepolia", _TAG, lag=_ETHEREUM_LAG),
        Network(560048, "hoodi", _TAG, lag=_ETHEREUM_LAG),
        Network(17000, "holesky", _TAG, lag=_ETHEREUM_LAG),
        Network(10, "optimism", _TAG, lag=_ROLL_UP_LAG, data_fee=True),
        Network(8453, "base", _TAG, lag=_ROLL_UP_LAG, data_fee=True),
        Network(42161, "arbitrum", _TAG, lag=_ROLL_UP_LAG, data_fee=True),
        Network(11155420, "optimism sepolia", _TAG, lag=_ROLL_UP_LAG, data_fee=True),
        Network(84532, "base sepolia", _TAG, lag=_ROLL_UP_LAG, data_fee=True),
        Network(421614, "arbitrum sepolia", _TAG, lag=_ROLL_UP_LAG, data_fee=True),
        Network(100, "gnosis", _TAG, lag=3 * 16 * 5),
        Network(137, "polygon", _TAG),
        Network(43114, "avalanche", _INSTANT),
        Network(31337, "anvil or hardhat", _INSTANT, local=True),
        Network(1337, "geth --dev", _INSTANT, local=True),
        Network(EMBEDDED_CHAIN_ID, "embedded", _INSTANT, local=True),
    )
}


def network_of(chain_id: int) -> Network:
    """Return the entry for a chain id; a generic one if the table has none."""
    return _NETWORKS.get(chain_id) or Network(chain_id, f"chain {chain_id}", None)


def parse_finality(text: str) -> Finality:
    """Parse a finality setting: `finalized`, `instant`, or a number of confirmations.

    Raises:
        InputError: It is none of these.
    """
    if text == FinalityRule.FINALIZED:
        return _TAG
    if text == FinalityRule.INSTANT:
        return _INSTANT
    if text.isascii() and text.isdigit() and len(text) <= 6:
        return Finality(FinalityRule.CONFIRMATIONS, int(text))
    raise InputError(f"finality: expected 'finalized', 'instant' or a number of confirmations, got {text!r}")


def finality_of(w3: Web3, chain_id: int, override: Finality | None = None) -> Finality:
    """Return the finality policy for a node's chain: the caller's, the table's, or the default.

    Raises:
        NodeUnavailable: The chain is not in the table and the node does not answer.
    """
    known = override or network_of(chain_id).finality
    if known is not None:
        return known
    if _tagged(w3) is None:
        return Finality(FinalityRule.CONFIRMATIONS, DEFAULT_CONFIRMATIONS, assumed=True)
    return Finality(FinalityRule.FINALIZED, assumed=True)


def final_block(w3: Web3, finality: Finality) -> int:
    """Return the number of the last final block; -1 if there is none yet.

    Raises:
        NodeUnavailable: The node cannot be asked, or does not serve the tag that the policy needs.
    """
    if finality.rule is FinalityRule.FINALIZED:
        tagged = _tagged(w3)
        if tagged is None:
            raise NodeUnavailable("the node does not serve the 'finalized' tag: name a number of confirmations instead")
        return tagged
    return max(latest_block(w3) - finality.confirmations, -1)


def finality_lag(w3: Web3, chain_id: int, finality: Finality) -> int:
    """Return the finality lag, seconds: the age at which a block is final and safe from reorgs.

    It is the maximum of the node's current lag (latest block's time minus final block's) and the network's documented
    lag: a tag that moves once per epoch may have moved just before the query.

    Args:
        w3: A node.
        chain_id: Its chain.
        finality: The policy; the documented lag applies only under the network's own policy.

    Raises:
        NodeUnavailable: The node cannot be asked, or does not serve the tag that the policy needs.
    """
    if finality.rule is FinalityRule.INSTANT:
        return 0
    network = network_of(chain_id)
    documented = network.lag if finality == network.finality else 0
    final = final_block(w3, finality)
    if final < 0:
        return documented or _ETHEREUM_LAG
    with asking("eth_getBlockByNumber"):
        last: Any = w3.eth.get_block(final)
        latest: Any = w3.eth.get_block("latest")
    return max(quantity(latest["timestamp"], "timestamp") - quantity(last["timestamp"], "timestamp"), documented)


def _tagged(w3: Web3) -> int | None:
    """Return the number of the finalized block; -1 if there is none yet, None if the node does not serve the tag."""
    from web3.exceptions import BlockNotFound

    try:
        with asking("eth_getBlockByNumber"):
            try:
                block: Any = w3.eth.get_block("finalized")
            except BlockNotFound:
                return -1
    except NodeRefused as error:
        # geth before the first finalized block: "finalized block not found" (-39001 since the merge).
        return -1 if "not found" in error.said.lower() or error.code == -39001 else None
    return quantity(block["number"], "number")

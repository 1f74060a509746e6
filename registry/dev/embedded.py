"""In-process EVM chain, and control over development chains' clocks.

`embedded()` needs nothing but the package. Its chain ends with the process. Its clock advances one second per block
regardless of wall time, so tests move it instead of waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.errors import ChainError, InputError
from registry.ethereum.keys import LocalSigner
from registry.ethereum.networks import EMBEDDED_CHAIN_ID
from registry.ethereum.node import NodeRefused, asking, bound_recursion, chain_time

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Embedded", "embedded", "sleep_until", "warp"]

FUNDS = 10**24
"""Initial balance of every embedded account, wei: a million ether."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """An in-process chain.

    Attributes:
        w3: A web3 connection to it.
        signers: Funded accounts.
    """

    w3: Web3
    signers: tuple[LocalSigner, ...]


def embedded(accounts: int = 10, *, time: int | None = None) -> Embedded:
    """Start an in-process chain on the prague EVM.

    Args:
        accounts: Number of funded accounts. Their keys are the integers from 1 on, which are no secret.
        time: Timestamp of the first block; None for now.
    """
    from web3 import Web3

    if accounts < 1:
        raise InputError(f"expected at least one account, got {accounts}")
    signers = tuple(LocalSigner((number + 1).to_bytes(32, "big")) for number in range(accounts))
    state = {signer.address: {"balance": FUNDS, "nonce": 0, "code": b"", "storage": {}} for signer in signers}
    backend = _backend()
    parameters = backend.generate_genesis_params({} if time is None else {"timestamp": time})
    provider = _provider(_tester(backend(genesis_parameters=parameters, genesis_state=state)))
    provider.global_ccip_read_enabled = False
    bound_recursion()
    return Embedded(w3=Web3(provider), signers=signers)


def warp(w3: Web3, *, seconds: int | None = None, to: int | None = None) -> int:
    """Move a development chain's clock forward, and mine a block at that time.

    Args:
        w3: eth-tester, anvil, Hardhat's node, or any node with `evm_setNextBlockTimestamp` or `evm_increaseTime`.
        seconds: Offset in seconds; or
        to: target time, Unix seconds. A past time is ignored.

    Returns:
        The chain's time afterwards.

    Raises:
        ChainError: The node does not support moving its clock.
    """
    now = chain_time(w3)
    target = to if to is not None else now + (seconds or 0)
    if target <= now:
        return now
    try:
        with asking("moving the clock"):
            chain: Any = w3.eth.chain_id
            if chain == EMBEDDED_CHAIN_ID:
                _rpc(w3, "testing_timeTravel", [target])
            else:
                _move(w3, now, target)
                _rpc(w3, "evm_mine", [])
    except NodeRefused as error:
        raise ChainError(f"the node's clock cannot be moved: {error.said}") from error
    return chain_time(w3)


def _move(w3: Web3, now: int, target: int) -> None:
    """Set the next block's time. anvil's offset does nothing while each block follows the last by a fixed interval."""
    try:
        with asking("evm_setNextBlockTimestamp"):
            _rpc(w3, "evm_setNextBlockTimestamp", [target])
    except NodeRefused:
        _rpc(w3, "evm_increaseTime", [target - now])


def sleep_until(
    w3: Web3,
    when: int,
    *,
    move: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    poll: float = 1.0,
) -> int:
    """Wait until a transaction would execute at a time of at least `when`.

    Args:
        w3: The node.
        when: Chain time, Unix seconds.
        move: Move the clock instead of waiting. An embedded chain's clock is always moved, since it does not run.
        sleep: The sleep function.
        poll: Longest interval between polls, seconds.

    Returns:
        The chain's time.
    """
    with asking("eth_chainId"):
        move = move or w3.eth.chain_id == EMBEDDED_CHAIN_ID
    if move:
        return warp(w3, to=when)
    while (now := chain_time(w3)) < when:
        sleep(min(poll, max(0.05, when - now)))
    return now


def _rpc(w3: Web3, method: str, params: list[Any]) -> Any:
    return w3.manager.request_blocking(method, params)  # type: ignore[arg-type]


def _provider(tester: Any) -> Any:
    """Wrap eth-tester in a provider that answers like a node: JSON-RPC errors, reverts with their data."""
    from eth_tester.exceptions import TransactionFailed
    from eth_utils.exceptions import ValidationError
    from web3 import EthereumTesterProvider

    class EmbeddedProvider(EthereumTesterProvider):
        _lock = threading.RLock()

        def make_request(self, method: Any, params: Any) -> Any:
            with self._lock:
                try:
                    return super().make_request(method, params)
                except TransactionFailed as error:
                    return _error(3, "execution reverted", _revert(str(error)))
                except (ValidationError, ValueError) as error:
                    return _error(-32000, str(error), None)

    return EmbeddedProvider(tester)


def _tester(backend: Any) -> Any:
    """Build an eth-tester that caches the logs of each block, since it finds a receipt by walking back from the head.

    It shows blocks as they were hashed: with no extra data (eth-tester's are 32 zeros), and with log indices per block
    (eth-tester restarts them at each transaction).
    """
    from eth_tester import EthereumTester

    class Tester(EthereumTester):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._logs: dict[bytes, list[Any]] = {}

        def get_block_by_number(self, *arguments: Any, **options: Any) -> Any:
            return _unpadded(super().get_block_by_number(*arguments, **options))

        def get_block_by_hash(self, *arguments: Any, **options: Any) -> Any:
            return _unpadded(super().get_block_by_hash(*arguments, **options))

        def get_logs(
            self, from_block: Any = "latest", to_block: Any = "latest", address: Any = None, topics: Any = None
        ) -> tuple[Any, ...]:
            first, last = (
                at if isinstance(at, int) else self.get_block_by_number(at)["number"] for at in (from_block, to_block)
            )
            logs = (log for number in range(first, last + 1) for log in self._logs_in(number))
            return tuple(dict(log) for log in logs if _matches(log, address, topics))

        def _logs_in(self, number: int) -> list[Any]:
            block_hash = self.backend.chain.chaindb.get_canonical_block_hash(
                number
            )  # a new one after a snapshot revert
            if block_hash not in self._logs:
                receipts = map(self.get_transaction_receipt, self.get_block_by_number(number)["transactions"])
                logs = (log for receipt in receipts for log in receipt["logs"])
                self._logs[block_hash] = [{**log, "log_index": index} for index, log in enumerate(logs)]
            return self._logs[block_hash]

    return Tester(backend)


def _unpadded(block: Any) -> Any:
    return {**block, "extra_data": "0x"}


def _matches(log: Any, address: Any, topics: Any) -> bool:
    """Return whether a log matches a filter: one address or several; per position a topic, several, or None for any."""
    addresses = [address] if isinstance(address, str) else address
    if addresses is not None and log["address"].lower() not in [one.lower() for one in addresses]:
        return False
    if len(topics or ()) > len(log["topics"]):
        return False
    for wanted, topic in zip(topics or (), log["topics"], strict=False):
        if wanted is not None and topic not in ([wanted] if isinstance(wanted, str) else wanted):
            return False
    return True


def _backend() -> Any:
    """Build a py-evm backend whose gas estimates use the pending block, cost nothing, and take two runs, not 13."""
    from eth.exceptions import VMError
    from eth.vm.spoof import SpoofTransaction
    from eth_tester import PyEVMBackend
    from eth_tester.exceptions import TransactionFailed
    from eth_utils.exceptions import ValidationError

    class Backend(PyEVMBackend):  # type: ignore[misc]
        def estimate_gas(self, transaction: Any, block_number: Any = "pending") -> int:
            wanted = self._get_normalized_and_unsigned_evm_transaction({**transaction, "gas": 21000})
            # "Costless" state is that of the pending block on top of the head, with its timestamp.
            with self.chain.get_vm(self.chain.get_canonical_head()).in_costless_state() as state:

                def run(gas: int) -> Any:
                    free = dict.fromkeys(("gas_price", "max_fee_per_gas", "max_priority_fee_per_gas"), 0)
                    spoofed = SpoofTransaction(wanted, from_=transaction["from"], gas=gas, **free)
                    snapshot = state.snapshot()
                    try:
                        return state.apply_transaction(spoofed)
                    finally:
                        state.revert(snapshot)

                whole = run(state.gas_limit)
                if whole.is_error:
                    data = whole.error.args[0] if isinstance(whole.error, VMError) and whole.error.args else b""
                    raise TransactionFailed(repr(data))
                # A call forwards at most 63/64 of its gas (EIP-150), so the limit must exceed the gas used.
                gas = wanted.intrinsic_gas + whole.get_gas_used() * 64 // 63 + 100
                while gas < state.gas_limit:
                    try:
                        if not run(gas).is_error:
                            return int(gas)
                    except ValidationError:
                        pass  # below the calldata floor (EIP-7623)
                    gas = gas * 5 // 4
                return int(state.gas_limit)

    return Backend


def _error(code: int, message: str, data: str | None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": 1, "error": error}


def _revert(said: str) -> str:
    """Parse revert data from eth-tester's message, which has them as the text of a bytes literal."""
    import ast

    start = min((i for i in (said.find("b'"), said.find('b"')) if i >= 0), default=-1)
    if start < 0:
        return "0x"
    try:
        return "0x" + bytes(ast.literal_eval(said[start:])).hex()
    except (ValueError, SyntaxError):
        return "0x"

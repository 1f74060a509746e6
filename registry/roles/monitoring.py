"""Metrics and health of what keeps running: Prometheus text, and whether all is well.

Nothing here asks a node when it is scraped: samples are read by a task of their own, and a scrape shows the last ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.ethereum.keys import to_checksum
from registry.ethereum.node import asking, quantity
from registry.index import queries
from registry.index.database import read_index

if TYPE_CHECKING:
    from registry.chain.client import Client
    from registry.roles.loop import TaskHealth

__all__ = ["Board", "HEALTH_GRACE", "Sample", "health_of", "metrics_page", "sample_chain", "sample_index"]

HEALTH_GRACE = 60.0
"""Seconds for which a task may fail before it counts as ill."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A value.

    Attributes:
        account: Account that it is of; empty for those of none.
        labels: Further labels, name and value; the same names for all samples of a name.
        counts: Whether it is a counter, else a gauge.
    """

    name: str
    help: str
    value: float
    account: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    counts: bool = False


@dataclass(slots=True)
class Board:
    """What is shown of a process: the health of its tasks, and the last samples. Safe to read from other threads."""

    health: Mapping[str, TaskHealth]
    samples: tuple[Sample, ...] = field(default=())


def sample_chain(reader: Client, signers: Sequence[Client] = (), index: Path | None = None) -> tuple[Sample, ...]:
    """Read the node, the index and the accounts once.

    Args:
        reader: A client of the contract.
        signers: Clients of the accounts that send transactions.
        index: The index's file; None if there is none.

    Raises:
        ChainError: The node does not answer.
        IndexUnusable: The file is no index.
    """
    with asking("eth_getBlockByNumber"):
        block: Any = reader.w3.eth.get_block("latest")
    head = quantity(block["number"], "number")
    found = [
        Sample("head_block", "Number of the node's latest block.", head),
        Sample("head_time_seconds", "Its time, Unix seconds.", quantity(block["timestamp"], "timestamp")),
    ]
    if index is not None:
        reached, final = sample_index(index)
        lag = max(0.0, head - reached.value)
        found += [reached, final, Sample("index_lag_blocks", "Blocks of the node that are not indexed yet.", lag)]
    for client in signers:
        account = to_checksum(client.account)
        with asking("eth_getBalance"):
            balance = quantity(client.w3.eth.get_balance(account), "balance")  # type: ignore[arg-type]
        pending = len(client.transactor.journal.live())
        found += [
            Sample("balance_ether", "Balance of the account.", balance / 10**18, account),
            Sample("pending_transactions", "Its transactions that are not final yet.", pending, account),
        ]
    return tuple(found)


def sample_index(index: Path) -> tuple[Sample, Sample]:
    """Read the last indexed block and the last one that is final.

    Raises:
        IndexUnusable: The file is no index.
    """
    with read_index(index) as db:
        read, final = queries.head_block(db), queries.final_block(db)
    return (
        Sample("indexed_block", "Last indexed block; -1 before the first.", read.number if read else -1),
        Sample("indexed_final_block", "Last indexed final block; -1 if none.", final.number if final else -1),
    )


def health_of(board: Board, *, now: float | None = None) -> tuple[bool, dict[str, Any]]:
    """Return whether all is well, and the tasks' states as JSON types, without texts of errors: they may name hosts.

    A task is ill once all its steps have failed for longer than `HEALTH_GRACE`.
    """
    at = time.time() if now is None else now
    tasks = {
        name: {
            "well": not task.failing or at - task.failing <= HEALTH_GRACE,
            "last_step": task.stepped,
            "failing_since": task.failing,
        }
        for name, task in board.health.items()
    }
    well = all(task["well"] for task in tasks.values())
    return well, {"well": well, "time": at, "tasks": tasks}


def metrics_page(board: Board) -> bytes:
    """Return the metrics in Prometheus' text format, version 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Collector(board))
    return generate_latest(registry)


_OF_TASKS: tuple[tuple[bool, str, str, Callable[[TaskHealth], float]], ...] = (
    (True, "steps", "Steps taken.", lambda task: task.steps),
    (True, "failures", "Steps that failed.", lambda task: task.failures),
    (False, "failing", "1 while steps fail.", lambda task: bool(task.failing)),
    (False, "failing_since_seconds", "Unix time; 0 if none fails.", lambda task: task.failing),
    (False, "last_step_seconds", "Unix time.", lambda task: task.stepped),
    (False, "last_did_seconds", "Unix time.", lambda task: task.did_at),
)


class _Collector:
    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for counts, name, what, value in _OF_TASKS:
            kind = CounterMetricFamily if counts else GaugeMetricFamily
            family = kind(f"cairn_task_{name}", what, labels=["task", "model"])
            for task, state in self._board.health.items():
                family.add_metric(task.partition(" ")[::2], value(state))
            yield family
        families: dict[str, Any] = {}
        for sample in self._board.samples:
            labels = (*sample.labels, *((("account", sample.account),) if sample.account else ()))
            kind = CounterMetricFamily if sample.counts else GaugeMetricFamily
            family = families.setdefault(
                sample.name, kind(f"cairn_{sample.name}", sample.help, labels=[name for name, _ in labels])
            )
            family.add_metric([value for _, value in labels], sample.value)
        yield from families.values()

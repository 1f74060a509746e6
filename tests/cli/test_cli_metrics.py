"""`--metrics`: metrics and health of what runs, from a real chain; and what many or slow clients do to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from registry.cli.metrics_server import serving_metrics
from registry.dev.chains import free_port
from registry.errors import NodeUnavailable
from registry.roles.loop import TaskHealth
from registry.roles.monitoring import Board, Sample, health_of, metrics_page


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def gauges(text: str) -> dict[tuple[str, str], float]:
    """By name and account."""
    return {
        (sample.name, sample.labels.get("account", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(run: Callable[[int], Any], wanted: str) -> tuple[str, dict[str, Any], Any]:
    """Run a command until its metrics have what is wanted; return metrics, health and the command's result."""
    port, found = free_port(), ["", "{}"]

    def scrape() -> None:
        deadline = time.monotonic() + 60
        while wanted not in found[0] and time.monotonic() < deadline:
            time.sleep(0.05)
            try:
                found[:] = [fetch(port, "/metrics")[1], fetch(port, "/health")[1]]
            except urllib.error.URLError:
                continue
        os.kill(os.getpid(), signal.SIGTERM)

    scraping = threading.Thread(target=scrape)
    scraping.start()
    result = run(port)
    scraping.join()
    return found[0], json.loads(found[1]), result


def test_an_indexer_shows_head_index_and_lag(shared_world: Any) -> None:
    head = shared_world.chain.w3.eth.block_number
    text, health, result = scraped(
        lambda port: shared_world.run("index", "sync", "--follow", "--poll", "0.1", "--metrics", f"127.0.0.1:{port}"),
        "cairn_index_lag_blocks 0.0",
    )
    assert result.exit_code == 0, result.output
    shown = gauges(text)
    assert shown["cairn_head_block", ""] == shown["cairn_indexed_block", ""] == head
    assert shown["cairn_indexed_final_block", ""] == head
    latest = shared_world.chain.w3.eth.get_block("latest")["timestamp"]
    assert shown["cairn_head_time_seconds", ""] == latest
    assert (health["well"], set(health["tasks"])) == (True, {"loop", "readings"})
    assert time.time() - health["tasks"]["loop"]["last_step"] < 60


def test_an_aggregator_shows_balance_and_pending_transactions(shared_world: Any) -> None:
    account = shared_world.done("key", "show", "d")["address"]
    text, health, result = scraped(
        lambda port: shared_world.run(
            "aggregator", "run", shared_world.model, "--account", "d", "--poll", "0.1", "--metrics", f"127.0.0.1:{port}"
        ),
        "cairn_pending_transactions",
    )
    assert result.exit_code == 0, result.output
    shown = gauges(text)
    assert shown["cairn_balance_ether", account] == shared_world.chain.w3.eth.get_balance(account) / 10**18
    assert shown["cairn_pending_transactions", account] == 0
    assert health["well"]


def test_a_read_only_auditor_shows_its_tasks(shared_world: Any) -> None:
    text, _, result = scraped(
        lambda port: shared_world.run(
            "auditor", "run", shared_world.model, "--poll", "0.1", "--metrics", f"127.0.0.1:{port}"
        ),
        "cairn_head_block",
    )
    assert result.exit_code == 0, result.output
    assert "cairn_balance_ether" not in text
    assert f'model="{shared_world.model[2:12]}"' in text


def test_an_explorer_shows_answers_verifications_and_lag(shared_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    monkeypatch.setattr("registry.cli.metrics_server._EVERY", 0.1)
    site = free_port()

    def visit() -> None:
        for path in ("/models.json", "/models/0x07", "/nowhere"):
            for _ in range(600):
                try:
                    fetch(site, path)
                    break
                except urllib.error.URLError:
                    time.sleep(0.05)

    visiting = threading.Thread(target=visit)
    visiting.start()
    text, health, result = scraped(
        lambda port: shared_world.run(
            "explorer", "--listen", f"127.0.0.1:{site}", "--metrics", f"127.0.0.1:{port}", "--poll", "0.1"
        ),
        'cairn_explorer_answers_total{page="none",status="4xx"} 1.0',
    )
    visiting.join()
    assert result.exit_code == 0, result.output
    assert 'cairn_explorer_answers_total{page="models.json",status="2xx"} 1.0' in text
    assert 'cairn_explorer_answers_total{page="model",status="4xx"} 1.0' in text
    assert 'cairn_explorer_seconds_total{page="model"}' in text
    assert 'cairn_explorer_verifications{state="running"} 0.0' in text
    assert gauges(text)["cairn_index_lag_blocks", ""] == 0
    assert (health["well"], set(health["tasks"])) == (True, {"loop", "readings"})


def test_metrics_without_follow_are_refused(shared_world: Any) -> None:
    refused = shared_world.run("index", "sync", "--metrics", "127.0.0.1:9464")
    assert (refused.exit_code, "expected --follow with --metrics" in refused.stderr) == (2, True)


def test_a_task_that_fails_for_a_minute_is_ill_and_no_error_s_text_is_shown() -> None:
    state = TaskHealth(steps=1, stepped=1000.0, failing=2000.0, failures=3, error="http://user:hush@node: away")
    board = Board({"indexing 3fa9": state, "other": TaskHealth()})
    assert health_of(board, now=2059.0)[0]
    well, facts = health_of(board, now=2061.0)
    assert (well, facts["tasks"]["indexing 3fa9"]["well"], facts["tasks"]["other"]["well"]) == (False, False, True)
    assert "hush" not in json.dumps(facts)
    assert b"hush" not in metrics_page(board)


def test_samples_that_cannot_be_read_keep_their_last_values_and_show_as_failing() -> None:
    port, stop, health, asked = free_port(), threading.Event(), {"loop": TaskHealth()}, [0]

    def read() -> tuple[Sample, ...]:
        asked[0] += 1
        raise NodeUnavailable("away")

    with serving_metrics(f"127.0.0.1:{port}", health, read, stop):
        deadline = time.monotonic() + 30
        while not health["readings"].failing and time.monotonic() < deadline:
            time.sleep(0.02)
        assert 'cairn_task_failing{model="",task="readings"} 1.0' in fetch(port, "/metrics")[1]
        assert fetch(port, "/health")[0] == 200, "it has failed for less than a minute"
        health["readings"].failing = time.time() - 61
        assert fetch(port, "/health")[0] == 503
        assert fetch(port, "/")[0] == 404
        assert fetch(port, "/../../etc/passwd")[0] == 404
    assert stop.is_set()
    assert asked == [1]


def test_slow_clients_and_floods_hold_no_more_than_their_places_and_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("registry.cli.metrics_server._Handler.timeout", 1.0)
    port, stop, before = free_port(), threading.Event(), threading.active_count()
    with serving_metrics(f"127.0.0.1:{port}", {"loop": TaskHealth()}, None, stop), ExitStack() as held:
        for number in range(60):
            client = held.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"y" * number)
        time.sleep(0.3)
        assert threading.active_count() - before <= 17 + 1
        time.sleep(1.2)
        assert fetch(port, "/health")[0] == 200

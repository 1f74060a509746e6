"""One honest auditor against a quorum of one liar, on real anvil and Kubo, by commands in processes of their own.

Nobody touches the clock: the local chain's runs twenty times as fast.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from registry.chain.client import Client
from registry.chain.keys import address_of, open_keystore
from registry.chain.networks import parse_finality
from registry.chain.node import connect
from registry.content.merkle import counted_root
from registry.provenance.results import Outcome, compute_outcome
from registry.provenance.rounds import participants_of, read_round
from registry.provenance.testing import falsified, nudged
from registry.provenance.versions import save_arrays
from registry.store.uri import open_store
from registry.types import Digest, ModelId, Role
from trainer.aggregator import judge_all, load_round

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.xdist_group("localnet")]
ROOT = Path(__file__).resolve().parents[2]
QUIET = ("CAIRN_", "ETH_", "IPFS_")
PEOPLE = ("participant-1", "participant-2", "participant-3")
TASK = """
import os
import torch
from torch import nn
from registry.content.manifest import DataSetManifest
from trainer.participant import Task

def task():
    def epoch(model, number):
        with torch.no_grad():
            for value in model.parameters():
                value += torch.linspace(0.01, 0.5, value.numel()).reshape(value.shape)
        return {"loss": 0.5}
    return Task(nn.Linear(1200, 2), epoch, 10, DataSetManifest("ward 7", "", "", "", 10, None))
"""


class Shell:
    """A folder to run commands in, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(QUIET)}
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer.cli", *arguments],
            cwd=self.folder,
            env={**kept, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(self.folder / "config")},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.running.append(process)
        return process

    def done(self, *arguments: str) -> Any:
        """Run a command with --json, which must succeed."""
        process = self.start(*arguments, "--json")
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, f"{arguments}: {out}{err}"
        return json.loads(out)

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            if process.poll() is None:
                process.communicate(timeout=60)


@pytest.fixture
def shell(find_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    find_tool("anvil")
    find_tool("ipfs")
    here = Shell(tmp_path_factory.mktemp("convict"))
    with FileLock(tmp_path_factory.getbasetemp().parent / "localnet.lock", timeout=600):  # the usual ports are one set
        try:
            here.done("localnet", "up", "--speed", "20")
            yield here
        finally:
            here.stop()
            here.start("localnet", "down").communicate(timeout=60)


def test_an_auditor_convicts_every_lie_and_the_honest_result_is_final(shell: Shell) -> None:
    model = prepare(shell)
    for name in PEOPLE:
        shell.start("participant", "run", model, "--task", "hospital.py:task", "--account", name)
    auditor = shell.start("auditor", "run", model, "--limit", "1", "--account", "auditor", "--poll", "0.5", "--json")
    liar = Liar(shell, model)
    for number, lie in enumerate((liar.about_the_aggregate, liar.about_the_version, liar.withholding), 1):
        shell.done("round", "open", model)
        lie(number)
        # Had they been there before, the honest ones could have been first.
        honest = [shell.start("aggregator", "run", model, "--account", f"aggregator-{i}") for i in (1, 2)]
        liar.wait_for_the_end(number)
        state = shell.done("round", "show", model, str(number))
        for aggregator in honest:
            aggregator.send_signal(signal.SIGTERM)
            aggregator.communicate(timeout=60)
        assert (state["contributions"], state["total_weight"]) == (3, 30)
        if liar.holds_its_role():
            auditor.send_signal(signal.SIGTERM)
            pytest.fail(f"round {number}: not convicted: {auditor.communicate(timeout=60)}")
        shell.done("member", "grant", model, "aggregator-3", "--role", "aggregator")
    shell.stop()
    out, err = auditor.communicate()
    said = [json.loads(line)["did"] for line in out.splitlines()]
    assert [line.rpartition(": ")[2] for line in said if "convicted" in line] == ["aggregate", "version"], (said, err)
    assert sum("was not shown: the result is void" in line for line in said) == 1, said
    assert sum("expelled" in line for line in said) == 3, said
    verified = shell.done("verify", model)
    assert verified["passed"]


class Liar:
    """Aggregator 3, which attests at once what is not so; a quorum of one is enough."""

    def __init__(self, shell: Shell, model: str) -> None:
        facts = json.loads((shell.folder / ".localnet" / "localnet.json").read_text())
        settings = (shell.folder / ".localnet" / "cairn.toml").read_text()
        password = (shell.folder / ".localnet" / "password").read_text().strip()
        signer = open_keystore(shell.folder / ".localnet" / "keys" / "aggregator-3", password)
        w3 = connect(f"http://127.0.0.1:{facts['ports']['rpc']}")
        finality = parse_finality("finalized")
        place = shell.folder / "liar"
        self.client = Client(w3, address_of(facts["contract"]), signer=signer, journal=place, finality=finality)
        self.store = open_store(settings.split('store = "')[1].split('"')[0])
        self.model = ModelId(bytes.fromhex(model[2:]))
        self.folder = place

    def wait_for_the_end(self, number: int) -> None:
        """Looks on here: a command for each look would take the processor from those that are looked at."""
        deadline = time.monotonic() + 240
        while not self.client.round(self.model, number).finalized:
            assert time.monotonic() < deadline, self.client.round(self.model, number)
            time.sleep(0.5)

    def holds_its_role(self) -> bool:
        return bool(self.client.member(self.model, self.client.account).roles & Role.AGGREGATOR)

    def about_the_aggregate(self, number: int) -> None:
        record, made = self.honest(number)
        result = falsified(self.store, made, aggregate=nudged(1500, 2.0**-20))
        self.client.attest_result(self.model, number, result, record.running_hash)

    def about_the_version(self, number: int) -> None:
        record, made = self.honest(number)
        result = falsified(self.store, made, version=nudged(700))
        self.client.attest_result(self.model, number, result, record.running_hash)

    def withholding(self, number: int) -> None:
        record, made = self.honest(number)
        hidden = replace(
            made.result,
            aggregate_root=counted_root(2402, b"\x05" * 32),
            report_digest=Digest(b"\x06" * 32),
            version_digest=Digest(b"\x07" * 32),
        )
        self.client.attest_result(self.model, number, hidden, record.running_hash)

    def honest(self, number: int) -> tuple[Any, Outcome]:
        """What follows from the round, as soon as everything is published."""
        deadline = time.monotonic() + 120
        people = participants_of(self.client, self.model)
        while any(self.client.member(self.model, account).last_round != number for account in people):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        self.client.end_commits(self.model, number, people)
        while True:
            assert time.monotonic() < deadline
            record = read_round(self.client, self.model, number)
            round = load_round(self.store, record)
            verdicts = judge_all(self.store, round)
            if all(v.admitted for v in verdicts):
                break
            time.sleep(0.3)
        folder = self.folder / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        made = compute_outcome(self.store, record, round.plan, round.parent, round.form, verdicts, folder)
        return record, made


def prepare(shell: Shell) -> str:
    values = np.random.default_rng(5).random((2, 1200), dtype=np.float32)
    save_arrays(shell.folder / "genesis.safetensors", {"weight": values, "bias": np.zeros(2, dtype=np.float32)})
    (shell.folder / "hospital.py").write_text(TASK)
    model: str = shell.done("model", "register", "genesis.safetensors")["model"]
    shell.done("member", "grant", model, *PEOPLE, "-r", "participant")
    shell.done("member", "grant", model, "aggregator-1", "aggregator-2", "aggregator-3", "-r", "aggregator")
    shell.done("plan", "new", "--quorum", "1", "--grid", "20", "--challenge-duration", "16m", "-o", "plan.toml")
    shell.done("plan", "set", model, "plan.toml")
    return model

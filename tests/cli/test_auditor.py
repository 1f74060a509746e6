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
from registry.chain.contract_structs import Result
from registry.content.merkle import counted_root
from registry.content.tensors import parse_header
from registry.dev.chains import free_port
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import falsified, nudged
from registry.ethereum.keys import address_of, open_keystore
from registry.ethereum.networks import parse_finality
from registry.ethereum.node import connect
from registry.roles.aggregator import judge_all
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import participants_of, read_round
from registry.rounds.results import Outcome, compute_outcome
from registry.rounds.versions import save_arrays
from registry.store.uri import open_store
from registry.types import Digest, ModelId, Phase, Role, Root

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.real_time]
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
ADAPTER = """
import torch
from pathlib import Path
from torch import nn
from registry.content.manifest import DataSetManifest
from trainer.participant import Task

BASE = Path("base.safetensors")

class Adapted(nn.Module):
    '''A frozen body, and beside it what is trained: an adapter of low rank and a normalization.'''

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(20, 30)
        self.down, self.up = nn.Linear(20, 2, bias=False), nn.Linear(2, 30, bias=False)
        self.norm = nn.BatchNorm1d(30)

    def forward(self, x):
        return self.norm(self.body(x) + self.up(self.down(x)))

def module():
    torch.manual_seed(3)
    return Adapted()

def task():
    model, generator = module(), torch.Generator().manual_seed(7)
    x, y = torch.randn(32, 20, generator=generator), torch.randn(32, 30, generator=generator)

    def epoch(model, number):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        return {"loss": loss.item()}

    about = DataSetManifest("ward 8", "", "", "", 32, None)
    return Task(model, epoch, 32, about, frozen=("body.*",), base=BASE)
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
    try:
        with FileLock(tmp_path_factory.getbasetemp().parent / "localnet.lock", timeout=600):  # who is first has a port
            here.done("localnet", "up", "--speed", "20", "--port", str(free_port()))
        yield here
    finally:
        here.stop()
        here.start("localnet", "down").communicate(timeout=60)


@pytest.mark.xdist_group("every lie")
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


@pytest.mark.xdist_group("anything")
def test_a_lie_in_anything_that_real_models_are_made_of_is_convicted(shell: Shell) -> None:
    """FedAdam at rate 0.5 with scales on an adapter with its base, running statistics and a counter; and a median."""
    adapter, median = prepare_adapter(shell), prepare(shell, "--combine", "median", "--server-rate", "0.5")
    for model, task in ((adapter, "adapter.py:task"), (median, "hospital.py:task")):
        for name in PEOPLE[: 2 if model == adapter else 3]:
            shell.start("participant", "run", model, "--task", task, "--account", name)
        shell.done("round", "open", model)
    auditors = {
        model: shell.start(
            *("auditor", "run", model, "--limit", "1", "--account", "auditor", "--folder", f"auditor-{model[:10]}"),
            *("--poll", "0.5", "--json"),
        )
        for model in (adapter, median)
    }
    liars = {model: Liar(shell, model) for model in (adapter, median)}
    honest: dict[str, subprocess.Popen[str]] = {}
    expected = {adapter: ["version", "roots", "state", "version", "state"], median: ["aggregate"]}
    # A lie a time: who attests one loses the role, and aggregation goes on.
    for model, number, lies in (
        (adapter, 1, ("weights", "rest", "state")),
        (median, 1, ("combined",)),
        (adapter, 2, ("buffer", "state")),
    ):
        if number == 2:
            liars[model].wait_for_the_end(1)
            honest[model].send_signal(signal.SIGTERM)  # had it been there before, it could have been first
            honest[model].communicate(timeout=60)
            shell.done("round", "open", model)
        liar = liars[model]
        record, made = liar.honest(number)
        for lie in lies:
            liar.attest(number, record, getattr(liar, lie)(made))
            if not liar.is_expelled_soon():
                auditors[model].send_signal(signal.SIGTERM)
                pytest.fail(f"{lie} in round {number}: not convicted: {auditors[model].communicate(timeout=60)}")
            shell.done("member", "grant", model, "aggregator-3", "--role", "aggregator")
        honest[model] = shell.start("aggregator", "run", model, "--account", f"aggregator-{number}")
    liars[adapter].wait_for_the_end(2)
    liars[median].wait_for_the_end(1)
    shell.stop()
    for model, auditor in auditors.items():
        out, err = auditor.communicate()
        said = [json.loads(line)["did"] for line in out.splitlines()]
        assert [line.rpartition(": ")[2] for line in said if "convicted" in line] == expected[model], (said, err)
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
        place = shell.folder / f"liar-{model[:10]}"
        self.client = Client(w3, address_of(facts["contract"]), signer=signer, journal=place, finality=finality)
        self.store = open_store(settings.split('store = "')[1].split('"')[0])
        self.model = ModelId(bytes.fromhex(model[2:]))
        self.folder = place

    def wait_for_the_end(self, number: int) -> None:
        """Looks on here: a command for each look would take the processor from those that are looked at."""
        deadline = time.monotonic() + 240
        while not (state := self.client.round(self.model, number)).finalized:
            assert time.monotonic() < deadline, state
            if not self.holds_its_role() and self.client.phase(self.model, number) == Phase.CHALLENGE:
                sleep_until(self.client.w3, state.challenge_deadline, move=True)  # nothing but time is left to do
            time.sleep(0.5)

    def holds_its_role(self) -> bool:
        return bool(self.client.member(self.model, self.client.account).roles & Role.AGGREGATOR)

    def is_expelled_soon(self) -> bool:
        deadline = time.monotonic() + 90
        while self.holds_its_role() and time.monotonic() < deadline:
            time.sleep(0.5)
        return not self.holds_its_role()

    def attest(self, number: int, record: Any, result: Result) -> None:
        self.client.attest_result(self.model, number, result, record.running_hash)

    def weights(self, made: Outcome) -> Result:
        return falsified(self.store, made, version=nudged(self.place_of(made, "up.weight")))

    def buffer(self, made: Outcome) -> Result:
        return falsified(self.store, made, version=nudged(self.place_of(made, "norm.running_var")))

    def rest(self, made: Outcome) -> Result:
        return replace(made.result, roots=replace(made.result.roots, rest=Root(b"\x05" * 32)))

    def state(self, made: Outcome) -> Result:
        return falsified(self.store, made, state=lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])

    def combined(self, made: Outcome) -> Result:
        return falsified(self.store, made, aggregate=nudged(1500, 2.0**-20))

    def place_of(self, made: Outcome, name: str) -> int:
        """Where a tensor's values begin among the F32 values of the version."""
        specs = [s for s in parse_header(made.version_file.read_bytes()).specs if s.dtype == "F32"]
        return next(s.begin - specs[0].begin for s in specs if s.name == name) // 4

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
        made = compute_outcome(self.store, round, verdicts, folder)
        return record, made


def prepare_adapter(shell: Shell) -> str:
    (shell.folder / "adapter.py").write_text(ADAPTER)
    script = "import adapter, torch; from safetensors.torch import save_file as s; m = adapter.module(); "
    script += "s({n: v for n, v in m.state_dict().items() if n.startswith('body.')}, 'base.safetensors')"
    subprocess.run(
        [sys.executable, "-c", script], cwd=shell.folder, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    base = ("--base", "base.safetensors", "--base-licence", "Apache-2.0", "--base-origin", "random")
    without = ("--without", "body.*")
    model: str = shell.done("model", "register", "--module", "adapter.py:module", *without, *base)["model"]
    shell.done("member", "grant", model, *PEOPLE[:2], "-r", "participant")
    shell.done("member", "grant", model, "aggregator-1", "aggregator-2", "aggregator-3", "-r", "aggregator")
    server = ("--server", "fedadam")
    for parameter in ("rate=0.5", "beta1=0.9", "beta2=0.99", "tau=0.001"):
        server += ("--server-parameter", parameter)
    terms = ("--quorum", "1", "--grid", "20", "--challenge-duration", "16m", "--aggregate-duration", "20m")
    shell.done("plan", "new", "--module", "adapter.py:module", *without, *server, *terms, "-o", "adapter.toml")
    shell.done("plan", "set", model, "adapter.toml")
    return model


def prepare(shell: Shell, *rules: str) -> str:
    values = np.random.default_rng(5).random((2, 1200), dtype=np.float32)
    save_arrays(shell.folder / "genesis.safetensors", {"weight": values, "bias": np.zeros(2, dtype=np.float32)})
    (shell.folder / "hospital.py").write_text(TASK)
    model: str = shell.done("model", "register", "genesis.safetensors")["model"]
    shell.done("member", "grant", model, *PEOPLE, "-r", "participant")
    shell.done("member", "grant", model, "aggregator-1", "aggregator-2", "aggregator-3", "-r", "aggregator")
    shell.done("plan", "new", "--quorum", "1", "--grid", "20", "--challenge-duration", "16m", *rules, "-o", "plan.toml")
    shell.done("plan", "set", model, "plan.toml")
    return model

"""The three scripts, run as their users run them: against anvil, with keystores and a content store in a folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from registry.chain.client import Client
from registry.dev.chains import anvil_chain
from registry.dev.embedded import warp
from registry.ethereum.keys import address_of, create_keystore, open_keystore, to_checksum
from registry.roles import aggregator
from registry.store.local import LocalStore
from registry.types import Address, ModelId

ROOT = Path(__file__).parents[2]


class Folk:
    """Accounts with keystores, and the scripts run for them."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        (folder / "password").write_text("a password")

    def account(self, name: str) -> Address:
        return create_keystore(self.folder / f"{name}.json", "a password", iterations=1 << 10)

    def settings(self, name: str) -> dict[str, str]:
        return {
            "ETH_RPC_URL": self.url,
            "ETH_KEYSTORE": str(self.folder / f"{name}.json"),
            "ETH_PASSWORD": str(self.folder / "password"),
            "CAIRN_STORE": str(self.folder / "store"),
            "CAIRN_HOME": str(self.folder / name),
        }

    def start(self, name: str, script: str, *arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | self.settings(name)
        command = [sys.executable, str(ROOT / "scripts" / script), *arguments]
        return subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder
        )


def run_library_cells(contract: str, model: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run what docs/library.md shows for a chain of one's own."""
    page = (ROOT / "docs" / "library.md").read_text()
    (code,) = re.findall(r"<!-- with a chain -->\n```python\n(.*?)```", page, re.S)
    capsys.readouterr()
    exec(compile(code, "docs/library.md", "exec"), {"CONTRACT": contract, "MODEL": model, "module": digits()})
    return capsys.readouterr().out


def digits() -> nn.Module:
    """The model that scripts/digits.py has."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


@pytest.mark.node
@pytest.mark.slow
@pytest.mark.real_time
def test_deploy_submit_and_query_from_three_accounts(
    tmp_path: Path,
    find_tool: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with anvil_chain(find_tool("anvil"), "--block-time", "1") as chain:
        folk = Folk(tmp_path, str(chain.url))
        accounts = {name: folk.account(name) for name in ("owner", "one", "two", "aggregator")}
        for account in accounts.values():
            chain.w3.provider.make_request("anvil_setBalance", [to_checksum(account), hex(10**20)])  # type: ignore[arg-type]
        members = [f"--participant={to_checksum(accounts[name])}" for name in ("one", "two")]
        server = f"--aggregator={to_checksum(accounts['aggregator'])}"
        said = finished(folk.start("owner", "deploy.py", *members, server))
        contract = re.search(r"contract\s+(0x\w+)", said)
        model = re.search(r"model\s+(0x\w+)", said)
        assert contract and model, said
        there = (model[1], "--contract", contract[1])

        running = [
            folk.start(name, "submit_update.py", *there, "--part", str(part), "--parts", "2")
            for part, name in enumerate(("one", "two"))
        ]
        signer = open_keystore(tmp_path / "aggregator.json", "a password")
        client = Client(chain.w3, address_of(contract[1]), signer=signer, journal=tmp_path / "journals")
        model_id, store = ModelId(bytes.fromhex(model[1][2:])), LocalStore(tmp_path / "store")
        done = ""
        while not done.endswith("attested 2 contributions"):
            done = aggregator.advance(client, store, tmp_path / "work", model_id)
            assert all(process.poll() in (None, 0) for process in running)
            chain.w3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]
        assert all("committed" in said and "published" in said for said in map(finished, running))
        warp(chain.w3, seconds=3601)
        assert aggregator.advance(client, store, tmp_path / "work", model_id) == "round 1: finalized"

        said = finished(folk.start("stranger", "query_provenance.py", *there))
        assert said.count("verified") == 2
        assert "FAILED" not in said
        for name in ("one", "two"):
            assert f"0x{accounts[name].hex()}" in said
        for name, value in folk.settings("stranger").items():
            monkeypatch.setenv(name, value)
        printed = run_library_cells(contract[1], model[1], capsys)
        assert printed == "[(0, True), (1, True)]\n[2, 0]\n"
        unknown = folk.start("stranger", "query_provenance.py", "0x" + "11" * 32, *there[1:])
        said, _ = unknown.communicate(timeout=120)
        assert (unknown.returncode, said.startswith("error: no model"), "Traceback" in said) == (2, True, False), said

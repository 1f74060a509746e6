"""Cairn deployed by Hardhat Ignition is a sound Cairn, and the snippets of docs/contracts.md read it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from registry.chain.client import Client
from registry.chain.contract_hashes import addresses_of
from registry.chain.contracts import DEPLOYED
from registry.chain.deploy import code_hashes, predicted
from registry.cli.settings import SETTINGS
from registry.dev.chains import EXAMPLE_RULES, DevChain, anvil_chain, example_plan, hardhat_chain
from registry.ethereum.keys import address_of, to_checksum
from registry.types import Digest, ModelId, Phase, Root
from trainer.cli.root import app

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
GENESIS = Digest(b"\x11" * 32)

# In the process that compiles the contracts anyway, to compare them with deployments.
pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.xdist_group("tests/chain/test_deploy.py")]


@dataclass(frozen=True, slots=True)
class Deployed:
    """A chain with a Cairn, and a model whose first round is open."""

    chain: DevChain
    addresses: dict[str, str]
    client: Client
    model: ModelId

    @property
    def settings(self) -> dict[str, str]:
        return {
            "ETH_RPC_URL": str(self.chain.url),
            "CAIRN_CONTRACT": to_checksum(self.client.address),
            "MODEL": "0x" + self.model.hex(),
        }


def ignite(chain: DevChain, command: str) -> dict[str, str]:
    """Run Ignition against a chain; return the addresses that it recorded, by the contract's name."""
    port = str(chain.url).rpartition(":")[2]
    name = f"chain-31337-{port}"
    folder = ROOT / "ignition" / "deployments" / name
    try:
        run([*shlex.split(command), "--deployment-id", name], CAIRN_NODE_PORT=port)
        recorded = json.loads((folder / "deployed_addresses.json").read_text())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {key.partition("#")[2]: address for key, address in recorded.items()}


def run(command: list[str], **settings: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in {one.env for one in SETTINGS}}
    places = (str(ROOT / "node_modules" / ".bin"), environment["PATH"])
    environment |= {"PATH": os.pathsep.join(places), "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    # cast's starter answers 0 whatever cast answered.
    assert done.returncode == 0 and "Error" not in done.stderr, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def command_of_the_page(start: str) -> str:
    (found,) = re.findall(rf"^\$ ({re.escape(start)}.*)$", PAGE, flags=re.MULTILINE)
    return str(found)


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def with_a_round(chain: DevChain, command: str, journal: Path) -> Deployed:
    """Deploy by Ignition, and open a model's first round."""
    addresses = ignite(chain, command)
    client = Client(chain.w3, address_of(addresses["Cairn"]), signer=chain.signers[0], journal=journal)
    client.register_model(GENESIS, Root(b"\x22" * 32), Root(b"\x33" * 32))
    model = client.model_id(client.account, GENESIS)
    client.set_plan(model, example_plan(commit_duration=3600), EXAMPLE_RULES)
    client.open_round(model)
    return Deployed(chain, addresses, client, model)


@pytest.fixture(scope="module")
def deployed(find_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Hardhat's node, and Cairn on it as the page says."""
    with hardhat_chain(find_tool("hardhat"), ROOT) as chain:
        command = command_of_the_page("npx hardhat ignition deploy")
        yield with_a_round(chain, command, tmp_path_factory.mktemp("journals"))


@pytest.fixture(scope="module")
def by_create2(find_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Anvil, which has the CREATE2 deployer and answers cast, and Cairn by the other module."""
    command = command_of_the_page("npx hardhat ignition deploy").replace("Cairn.js", "CairnCreate2.js")
    find_tool("hardhat")
    with anvil_chain(find_tool("anvil")) as chain:
        yield with_a_round(chain, command, tmp_path_factory.mktemp("journals"))


def test_a_python_client_opens_a_round_on_it(deployed: Deployed) -> None:
    assert deployed.client.model(deployed.model).head == GENESIS
    assert deployed.client.phase(deployed.model, 1) == Phase.COMMIT


def test_ignition_records_where_each_contract_is(deployed: Deployed) -> None:
    factory = address_of(deployed.addresses["Factory"])
    places = addresses_of(factory, code_hashes())
    recorded = [deployed.addresses[name] for name in DEPLOYED]
    assert [address_of(address) for address in recorded] == list(places)


def test_the_command_line_shows_it_and_finds_it_equal_to_its_source(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.env, raising=False)
    for name, value in {"CAIRN_HOME": str(tmp_path), **deployed.settings}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for command in ("show", "verify"):
        assert f"$ cairn contracts {command}" in PAGE
        done = CliRunner().invoke(app, ["contracts", command, "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["contract"] == deployed.addresses["Cairn"]


def test_the_create2_module_deploys_where_cairn_would(by_create2: Deployed) -> None:
    assert "`ignition/modules/CairnCreate2.js`" in PAGE
    there = predicted(by_create2.chain.w3, chain_id=31337)
    recorded = by_create2.addresses
    assert {name: address_of(recorded["FactoryAt" if name == "Factory" else name]) for name in there} == there


def test_the_page_s_cast_commands_read_and_write(by_create2: Deployed, find_tool: Callable[[str], Path]) -> None:
    find_tool("cast")
    read, write = snippets("bash")
    said = run(["bash", "-euc", read], **by_create2.settings)
    assert to_checksum(by_create2.client.account) in said
    assert f"0x{GENESIS.hex()}" in said
    assert f"\n{Phase.COMMIT.value}\n" in said
    assert f"0x{by_create2.model.hex()}" in said.partition("topics")[2]
    key = "0x" + "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"  # the second that all nodes fund
    assert re.search(r"status +1", run(["bash", "-euc", write], PRIVATE_KEY=key, **by_create2.settings))


@pytest.mark.parametrize(
    ("language", "command"),
    [("js", ["node", "--input-type=module", "--eval"]), ("python", [sys.executable, "-c"])],
)
def test_the_page_s_libraries_read_it(deployed: Deployed, language: str, command: list[str]) -> None:
    (program,) = snippets(language)
    said = re.sub(r"(?<=\d)n\b", "", run([*command, program], **deployed.settings))  # node writes 1n for a bigint
    account, head = to_checksum(deployed.client.account), f"0x{GENESIS.hex()}"
    assert said.splitlines() == [f"{account} {head} 1 {Phase.COMMIT.value}", f"1 {head}"]

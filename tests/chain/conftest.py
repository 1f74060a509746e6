"""The chains that the tests run on. A missing node skips with its reason; CAIRN_REQUIRE_ALL=1 makes it a failure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.chain.client import Client
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.local import Embedded, embedded
from registry.chain.testing import (
    DevChain,
    NodeMissing,
    anvil_chain,
    embedded_chain,
    find_program,
    geth_chain,
    hardhat_chain,
)
from registry.chain.transactions import Transactor

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT / "node_modules" / ".bin", ROOT / ".tools" / "bin")


def program(name: str) -> Path:
    try:
        found = find_program(name, PLACES)
    except NodeMissing as missing:
        if os.environ.get("CAIRN_REQUIRE_ALL") == "1":
            pytest.fail(f"CAIRN_REQUIRE_ALL is set and {missing}")
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="session")
def find_tool() -> Callable[[str], Path]:
    """Finds a program, or skips the test."""
    return program


@pytest.fixture(scope="session", autouse=True)
def node_on_path() -> None:
    """Hardhat and the solc shim are node programs; node may come with the Python environment."""
    os.environ["PATH"] = os.pathsep.join([str(ROOT / ".venv" / "bin"), os.environ.get("PATH", "")])


@pytest.fixture
def chain() -> Embedded:
    """A fresh chain in process."""
    return embedded(6)


@pytest.fixture
def anvil() -> Iterator[DevChain]:
    """A fresh anvil that mines each transaction at once."""
    with anvil_chain(program("anvil")) as running:
        yield running


@pytest.fixture(scope="session", params=["embedded", "anvil", "hardhat", "geth"])
def any_chain(request: pytest.FixtureRequest) -> Iterator[DevChain]:
    """Each kind of chain in turn."""
    starters = {
        "embedded": lambda: embedded_chain(),
        "anvil": lambda: anvil_chain(program("anvil")),
        "hardhat": lambda: hardhat_chain(program("hardhat"), ROOT),
        "geth": lambda: geth_chain(program("geth")),
    }
    with starters[request.param]() as running:
        yield running


@pytest.fixture
def clients(chain: Embedded) -> tuple[Client, ...]:
    """A Cairn on a fresh chain in process, and a client for each account; the first made it."""
    chain_id = chain.w3.eth.chain_id
    maker = Transactor(chain.w3, chain.signers[0], Journal(None), chain_id=chain_id)
    made = deploy(chain.w3, maker, chain_id=chain_id)
    return tuple(Client(chain.w3, made.address, signer=signer) for signer in chain.signers)

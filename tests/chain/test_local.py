"""The in-process chain: funded accounts, a movable clock, a node's errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from registry.chain.client import Client
from registry.chain.contract_errors import WrongPhase
from registry.dev.chains import EXAMPLE_RULES, DevChain, example_plan
from registry.dev.embedded import FUNDS, embedded, sleep_until, warp
from registry.errors import InputError
from registry.ethereum.node import chain_time
from registry.types import Digest, Role, Root


def test_accounts_are_funded_and_their_number_is_free() -> None:
    chain = embedded(25, time=1_700_000_000)
    assert len({signer.address for signer in chain.signers}) == 25
    last = chain.w3.to_checksum_address(chain.signers[-1].address)
    assert chain.w3.eth.get_balance(last) == FUNDS
    assert chain.w3.eth.get_block(0)["timestamp"] == 1_700_000_000
    with pytest.raises(InputError, match="at least one"):
        embedded(0)


def test_the_clock_goes_where_it_is_moved_and_never_back() -> None:
    chain = embedded(1, time=1_700_000_000)
    before = chain_time(chain.w3)
    assert warp(chain.w3, seconds=1000) >= before + 1000
    now = chain_time(chain.w3)
    assert warp(chain.w3, to=now + 77) >= now + 77
    assert warp(chain.w3, to=5) == chain_time(chain.w3)
    later = chain_time(chain.w3) + 10**6
    assert sleep_until(chain.w3, later) >= later  # moved, not waited for


def test_what_is_simulated_sees_the_second_that_the_transaction_will_see(clients: tuple[Client, ...]) -> None:
    client, genesis = clients[0], Digest(b"\x11" * 32)
    model = client.model_id(client.account, genesis)
    client.register_model(genesis, Root(b"\x12" * 32), Root(b"\x12" * 32))
    client.set_plan(model, example_plan(), EXAMPLE_RULES)
    for other in clients[:2]:
        client.grant_roles(model, other.account, Role.PARTICIPANT)
    client.open_round(model)
    fields = (model, 1, Digest(b"\x21" * 32), Root(b"\x22" * 32), 7, 3)
    deadline = client.round(model, 1).commit_deadline
    warp(client.w3, to=deadline - 2)
    while chain_time(client.w3) < deadline - 1:
        client.w3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]
    client.commit_update(*fields)  # in the last second
    assert chain_time(client.w3) == deadline
    with pytest.raises(WrongPhase):
        clients[1].commit_update(*fields)


@pytest.mark.node
def test_anvils_clock_is_moved_the_same_way(anvil: DevChain) -> None:
    now = chain_time(anvil.w3)
    assert now + 500 <= warp(anvil.w3, seconds=500) <= now + 503
    assert sleep_until(anvil.w3, now + 2000, move=True) >= now + 2000


@pytest.mark.node
def test_without_leave_to_move_it_a_clock_is_waited_for(anvil: DevChain) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        warp(anvil.w3, seconds=3)  # time passes

    now = chain_time(anvil.w3)
    assert sleep_until(anvil.w3, now + 9, sleep=wait, poll=2.0) >= now + 9
    assert len(waited) >= 3
    assert max(waited) <= 2.0


def test_importing_the_package_loads_no_web3() -> None:
    chain = (
        "calls client contract_errors contract_events contract_structs contracts deploy event_logs journal reverts "
        "transactions verify_source"
    )
    modules = [f"registry.chain.{name}" for name in chain.split()]
    modules += [f"registry.ethereum.{name}" for name in ("fees", "keys", "networks", "node")]
    code = f"import sys\nfor name in {modules}: __import__(name)\nsys.exit('web3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

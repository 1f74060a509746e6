"""Crash recovery of the client: restarted after any crash point, it reaches the same state, each effect once.

`outlast` runs a scenario once undisturbed and records every crash point it passes; then once for each of them, in a
fresh world, stopped there and started again. Nothing is left out: the points are those the journal itself names.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry.chain import calls
from registry.chain.client import Client
from registry.chain.contract_errors import AlreadyCancelled, WrongPhase
from registry.chain.contract_events import UpdateCommitted
from registry.chain.deploy import deploy
from registry.chain.journal import IntentState, Journal
from registry.chain.transactions import Sending, Transactor
from registry.dev.chains import EXAMPLE_RULES, DevChain, anvil_chain, example_plan
from registry.dev.embedded import embedded, warp
from registry.ethereum.networks import Finality, FinalityRule
from registry.types import Address, Digest, Role, Root

GENESIS, ROOT32 = Digest(b"\x11" * 32), Root(b"\x12" * 32)
PROJECT = Path(__file__).resolve().parents[2]

CrashPoint = Callable[[str], None]


class Crash(BaseException):
    """The process stops here."""


class Recorder:
    """Counts crash points, and stops at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.points: list[str] = []
        self.stop_at = stop_at

    def __call__(self, point: str) -> None:
        self.points.append(point)
        if self.stop_at is not None and len(self.points) == self.stop_at:
            raise Crash(point)


class World:
    """What survives a crash: the chain, and the journal's folder."""

    def __init__(self, chain: Any, folder: Path) -> None:
        self.w3 = chain.w3
        self.signers = chain.signers
        self.folder = folder
        chain_id = self.w3.eth.chain_id
        maker = Transactor(self.w3, self.signers[1], Journal(None), chain_id=chain_id)
        self.address: Address = deploy(self.w3, maker, chain_id=chain_id).address

    def client(self, crash_point: CrashPoint, **options: Any) -> Client:
        """What a process builds when it starts."""
        signer = self.signers[0]
        journal = Journal(self.folder / "journal.sqlite", crash_point=crash_point)
        return Client(self.w3, self.address, signer=signer, journal=journal, **options)

    def effects(self) -> dict[str, object]:
        """What others see: the state of the model, and how many transactions it took."""
        client = Client(self.w3, self.address)
        account = self.signers[0].address
        model = client.model_id(account, GENESIS)
        return {
            "sent": self.w3.eth.get_transaction_count(self.w3.to_checksum_address(account)),
            "model": client.model(model),
            "member": client.member(model, account),
            "commitments": [
                (c.participant, c.digest, c.weight)
                for c in client.events(UpdateCommitted, subject=client.round_id(model, 1))
            ],
            "journal": [(i.key, i.state) for i in Journal(self.folder / "journal.sqlite").all()],
        }


def outlast(
    worlds: Callable[[int], Any], scenario: Callable[[World, CrashPoint], None], *, every: int = 1
) -> list[str]:
    """Run a scenario stopped at each of its crash points, and return the points."""
    undisturbed = Recorder()
    with worlds(0) as world:
        scenario(world, undisturbed)
        expected = world.effects()
    for stop_at in range(1, len(undisturbed.points) + 1, every):
        with worlds(stop_at) as world:
            recorder = Recorder(stop_at)
            with pytest.raises(Crash):
                scenario(world, recorder)
            scenario(world, Recorder())
            assert world.effects() == expected, f"stopped at {recorder.points[-1]} ({stop_at})"
    return undisturbed.points


def first_steps(world: World, crash_point: CrashPoint) -> None:
    """From registration to a commitment, by one account in all roles."""
    client = world.client(crash_point)
    model, address = client.model_id(client.account, GENESIS), client.address
    client.register_model(GENESIS, ROOT32, ROOT32)
    client.send(calls.set_plan(address, model, example_plan(), EXAMPLE_RULES, key="the plan"))
    client.send(calls.grant_roles(address, model, client.account, Role.PARTICIPANT, key="the role"))
    client.open_round(model, number=1)
    client.commit_update(model, 1, Digest(b"\x21" * 32), Root(b"\x22" * 32), 7, 3)


@pytest.mark.slow
def test_stopped_at_any_point_of_a_round_each_effect_happens_once(tmp_path: Path) -> None:
    @contextmanager
    def worlds(number: int) -> Iterator[World]:
        yield World(embedded(3), tmp_path / str(number))

    points = outlast(worlds, first_steps)
    usual = ("plan", "sign", "send", "mine", "finalize")
    assert points == [f"{when} {step}" for _ in range(5) for step in usual for when in ("before", "after")]


def anvil_worlds(find_tool: Callable[[str], Path], tmp_path: Path) -> Callable[[int], Any]:
    @contextmanager
    def worlds(number: int) -> Iterator[World]:
        with anvil_chain(find_tool("anvil"), accounts=3) as chain:
            yield World(chain, tmp_path / str(number))

    return worlds


def rpc(world: World | DevChain, method: str, *params: object) -> Any:
    return world.w3.manager.request_blocking(method, list(params))  # type: ignore[arg-type]


@pytest.mark.node
@pytest.mark.slow
def test_stopped_while_bidding_higher_one_of_the_bids_is_mined(
    find_tool: Callable[[str], Path], tmp_path: Path
) -> None:
    def scenario(world: World, crash_point: CrashPoint) -> None:
        rpc(world, "evm_setAutomine", False)
        looks = iter(range(1000))

        def pause(_: float) -> None:
            if next(looks) == 1:
                rpc(world, "anvil_mine", 1)

        client = world.client(crash_point, sending=Sending(resend_after=0.0, sleep=pause, poll=0.0))
        client.register_model(GENESIS, ROOT32, ROOT32)

    points = outlast(anvil_worlds(find_tool, tmp_path), scenario)
    assert "after replace" in points


@pytest.mark.node
@pytest.mark.slow
def test_stopped_while_a_reorg_is_repaired_the_effect_comes_back_once(
    find_tool: Callable[[str], Path], tmp_path: Path
) -> None:
    def scenario(world: World, crash_point: CrashPoint) -> None:
        def pause(_: float) -> None:
            rpc(world, "anvil_mine", 1)

        waiting = Sending(sleep=pause, poll=0.0)
        client = world.client(crash_point, finality=Finality(FinalityRule.CONFIRMATIONS, 2), sending=waiting)
        call = calls.register_model(client.address, GENESIS, ROOT32, ROOT32)
        client.send(call, until="mined")
        mark = world.folder / "reorganized"
        if not mark.exists():
            mark.touch()
            rpc(world, "anvil_reorg", 1, [])
        client.wait(call)

    points = outlast(anvil_worlds(find_tool, tmp_path), scenario)
    assert "after reorg" in points


@pytest.mark.node
@pytest.mark.slow
def test_stopped_while_a_lost_nonce_is_replaced_the_effect_happens_once(
    find_tool: Callable[[str], Path], tmp_path: Path
) -> None:
    def scenario(world: World, crash_point: CrashPoint) -> None:
        def pause(_: float) -> None:
            rpc(world, "anvil_mine", 1)

        rpc(world, "evm_setAutomine", False)
        client = world.client(crash_point, sending=Sending(sleep=pause, poll=0.0))
        call = calls.register_model(client.address, GENESIS, ROOT32, ROOT32)
        intent = client.submit(call)
        mark = world.folder / "taken"
        if not mark.exists():
            mark.touch()
            account = world.w3.to_checksum_address(client.account)
            rpc(world, "anvil_dropTransaction", "0x" + intent.attempts[-1].tx_hash.hex())
            world.w3.eth.send_transaction({"from": account, "to": account, "nonce": intent.nonce, "value": 1})
            rpc(world, "anvil_mine", 1)
        client.wait(call)

    points = outlast(anvil_worlds(find_tool, tmp_path), scenario)
    assert "after lose" in points


@pytest.mark.node
@pytest.mark.slow
def test_stopped_while_a_late_commitment_fails_nothing_is_committed(
    find_tool: Callable[[str], Path], tmp_path: Path
) -> None:
    owner_of: dict[Path, Client] = {}

    @contextmanager
    def worlds(number: int) -> Iterator[World]:
        with anvil_worlds(find_tool, tmp_path)(number) as world:
            owner = Client(world.w3, world.address, signer=world.signers[2], journal=Journal(None))
            owner_of[world.folder] = owner
            model = owner.model_id(owner.account, GENESIS)
            owner.register_model(GENESIS, ROOT32, ROOT32)
            owner.set_plan(model, example_plan(), EXAMPLE_RULES)
            owner.grant_roles(model, world.signers[0].address, Role.PARTICIPANT)
            owner.open_round(model)
            rpc(world, "evm_setAutomine", False)
            yield world

    def scenario(world: World, crash_point: CrashPoint) -> None:
        def pause(_: float) -> None:
            rpc(world, "anvil_mine", 1)

        owner = owner_of[world.folder]
        model = owner.model_id(owner.account, GENESIS)
        client = world.client(crash_point, sending=Sending(sleep=pause, poll=0.0))
        call = calls.commit_update(
            client.address, model, 1, Digest(b"\x21" * 32), Root(b"\x22" * 32), 7, 3, participant=client.account
        )
        known = client.transactor.journal.latest(call.key)
        if known is None or known.state in (IntentState.PLANNED, IntentState.SIGNED):
            client.submit(call)
        warp(world.w3, to=client.round(model, 1).commit_deadline)
        if known is None or known.state is not IntentState.FAILED:
            with pytest.raises(WrongPhase):
                client.wait(call)

    points = outlast(worlds, scenario)
    assert "after fail" in points


def test_a_plan_that_no_longer_holds_is_dropped_and_its_key_is_free(tmp_path: Path) -> None:
    world = World(embedded(3), tmp_path)
    first_steps(world, Recorder())
    client = world.client(Recorder())
    model = client.model_id(client.account, GENESIS)
    call = calls.cancel_round(client.address, model, 1)
    recorder = Recorder()
    recorder.stop_at = 2  # planned, nothing signed
    with pytest.raises(Crash):
        world.client(recorder).send(call)
    Client(world.w3, world.address, signer=world.signers[0], journal=Journal(None)).cancel_round(model, 1)
    after = Recorder()
    with pytest.raises(AlreadyCancelled):
        world.client(after).send(call)
    assert after.points == ["before drop", "after drop"]
    found = client.transactor.journal.latest(call.key)
    assert found is not None
    assert found.state is IntentState.FAILED


CHILD = """
import os, signal, sys
from pathlib import Path
from registry.chain.client import Client
from registry.chain.journal import Journal
from registry.ethereum.node import connect
from registry.dev.chains import EXAMPLE_RULES, development_signers, example_plan
from registry.chain import calls
from registry.types import Digest, Role, Root

url, address, folder, stop_at = sys.argv[1], bytes.fromhex(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
passed = 0

def crash_point(point):
    global passed
    passed += 1
    if passed == stop_at:
        os.kill(os.getpid(), signal.SIGKILL)

signer = development_signers(1)[0]
journal = Journal(folder / "journal.sqlite", crash_point=crash_point)
client = Client(connect(url), address, signer=signer, journal=journal)
genesis, root = Digest(b"\\x11" * 32), Root(b"\\x12" * 32)
model = client.model_id(client.account, genesis)
client.register_model(genesis, root, root)
client.send(calls.set_plan(address, model, example_plan(commit_duration=3600), EXAMPLE_RULES, key="the plan"))
client.send(calls.grant_roles(address, model, client.account, Role.PARTICIPANT, key="the role"))
client.open_round(model, number=1)
client.commit_update(model, 1, Digest(b"\\x21" * 32), Root(b"\\x22" * 32), 7, 3)
print(passed)
"""


@pytest.mark.node
@pytest.mark.slow
def test_killed_again_and_again_a_process_ends_where_an_undisturbed_one_does(
    find_tool: Callable[[str], Path], tmp_path: Path
) -> None:
    def run(world: World, url: str, stop_at: int) -> int:
        arguments = [sys.executable, "-c", CHILD, url, world.address.hex(), str(world.folder), str(stop_at)]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    with anvil_chain(find_tool("anvil"), accounts=3) as chain:
        undisturbed = World(chain, tmp_path / "undisturbed")
        assert run(undisturbed, str(chain.url), 0) == 0
        expected = undisturbed.effects()
    with anvil_chain(find_tool("anvil"), accounts=3) as chain:
        world = World(chain, tmp_path / "killed")
        kills = 0
        # Each start gets a little further before it is killed: before a send, after a send, at a signature …
        for stop_at in (1, 4, 5, 3, 6, 2, 7, 5, 0):
            kills += run(world, str(chain.url), stop_at) != 0
        assert kills >= 6
        assert world.effects() == expected

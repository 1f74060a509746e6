"""Rounds over a node that fails one request in five, some with a false result: nothing is lost, repeated or
believed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from registry.chain import calls
from registry.chain.client import Client
from registry.chain.contract_events import (
    AggregatorExpelled,
    ResultAttested,
    ResultConvicted,
    RoundFinalized,
    UpdateCommitted,
)
from registry.chain.contract_structs import Result
from registry.chain.court import Court
from registry.chain.journal import IntentState, Journal
from registry.chain.transactions import Sending, Transactor
from registry.dev.chains import anvil_chain
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import falsified, nudged
from registry.ethereum.keys import to_checksum
from registry.ethereum.node import connect
from registry.roles import aggregator, auditor
from registry.roles.loop import follow
from registry.roles.purse import Purse
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import read_round
from registry.rounds.results import compute_outcome, publish_outcome
from registry.types import Fault, Phase, Role
from registry.verification.verify import verify_version
from trainer import participant

ROUNDS = int(os.environ.get("CAIRN_FAULTY_ROUNDS") or (500 if os.environ.get("CAIRN_SOAK") else 10))
SEED = int(os.environ.get("CAIRN_FAULTS_SEED", "0")) or time.time_ns() % 10**9
RATE = 0.2
LIES_EVERY = 10
"""Of so many rounds one begins with a lie, in its version and its aggregate by turns."""
PARTICIPANTS = 3
NAMES = ("participant-0", "participant-1", "participant-2", "honest", "liar", "auditor")
RESTARTS = 0.05
"""Of so many turns somebody begins anew, with its journal."""
TURNS = 400
"""Turns of everybody that a round may take: about ten without faults."""
TIMEOUT = 0.3
"""Seconds for a request."""


@dataclass(slots=True)
class Actor:
    """Somebody who goes through the faulty node, and the only one to use this account and this journal."""

    name: str
    restart: Callable[[], Client]
    advance: Callable[[Client], str]
    client: Client | None = None
    said: list[str] = field(default_factory=list)

    def turn(self) -> None:
        """One step of the loop that the command line runs too."""
        stop = threading.Event()

        def step() -> str:
            stop.set()
            if self.client is None:
                self.client = self.restart()
            return self.advance(self.client)

        follow(step, stop, poll=0.0, done=self.said.append)


@dataclass(slots=True)
class Cast:
    """Everybody, and the honest connection by which the test looks on."""

    network: Any
    node: Any
    actors: dict[str, Actor]
    draw: random.Random

    @property
    def owner(self) -> Client:
        client: Client = self.network.owner
        return client

    def run(self, number: int) -> None:
        """Let everybody have turns until a round is finalized, and whoever lied in it expelled."""
        model, lying = self.network.model_id, lies_in(number)
        if lying:
            again = calls.grant_roles(
                self.owner.address, model, self.network.chain.signers[5].address, Role.AGGREGATOR, key=f"again:{number}"
            )
            self.owner.send(again)
        for _ in range(TURNS):
            liar = self.owner.member(model, self.network.chain.signers[5].address)
            if self.owner.round(model, number).finalized and not (lying and liar.roles & Role.AGGREGATOR):
                return
            attesters = self._attesters(number) if lying else set()
            for name, actor in self.actors.items():
                if name == "liar" and not (lying and not attesters):
                    continue
                if name == "honest" and lying and not attesters and self.owner.model(model).rounds == number:
                    phase = self.owner.phase(model, number)
                    if phase in (Phase.PUBLISH, Phase.AGGREGATE):
                        continue  # the liar is quicker
                actor.turn()
                if self.draw.random() < RESTARTS:
                    actor.client = None
            if self._found_sound(number):
                sleep_until(self.network.chain.w3, self.owner.round(model, number).challenge_deadline, move=True)
        said = {name: actor.said[-5:] for name, actor in self.actors.items()}
        pytest.fail(f"round {number} is in {self.owner.phase(model, number).name} after {TURNS} turns: {said}")

    def _attesters(self, number: int) -> set[bytes]:
        round_id = self.owner.round_id(self.network.model_id, number)
        events = self.owner.events(ResultAttested, subject=round_id)
        return {event.aggregator for event in events if isinstance(event, ResultAttested)}

    def _found_sound(self, number: int) -> bool:
        said = self.actors["auditor"].said
        sound = any(line.startswith(f"round {number}:") and line.endswith("recomputed to the bit") for line in said)
        return sound and self.owner.phase(self.network.model_id, number) == Phase.CHALLENGE


def lies_in(number: int) -> bool:
    return number % LIES_EVERY == LIES_EVERY // 2


def liar(network: Any, folder: Path) -> Callable[[Client], str]:
    """An aggregator who attests a false result before anybody attests a true one."""
    made: dict[int, Result] = {}

    def advance(client: Client) -> str:
        number = client.model(network.model_id).rounds
        phase = client.phase(network.model_id, number)
        state = client.round(network.model_id, number)
        if not lies_in(number) or phase not in (Phase.PUBLISH, Phase.AGGREGATE):
            return ""
        record = read_round(client, network.model_id, number)
        if number not in made:
            round = load_round(network.store, record)
            verdicts = aggregator.judge_all(network.store, round)
            if sum(verdict.admitted for verdict in verdicts) != PARTICIPANTS or not state.ended_early:
                return ""
            place = folder / "liar"
            place.mkdir(exist_ok=True)
            outcome = compute_outcome(network.store, round, verdicts, place)
            publish_outcome(network.store, outcome)
            edits: Any = {"version": nudged(number % 5)}
            if number // LIES_EVERY % 2:
                edits = {"aggregate": nudged(number % 5, 2.0**-20)}
            made[number] = falsified(network.store, outcome, **edits)
        client.attest_result(network.model_id, number, made[number], record.running_hash)
        return f"round {number}: lied"

    return advance


@pytest.fixture
def cast(
    tmp_path: Path,
    find_tool: Callable[[str], Path],
    make_network: Callable[..., Any],
    actors: ModuleType,
    faulty_nodes: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cast]:
    monkeypatch.setattr("registry.ethereum.node.PAUSE", 0.002)
    monkeypatch.setattr("registry.disputes.streaming.MOST_GAS", 1)  # one contribution a transaction
    with anvil_chain(find_tool("anvil")) as chain:
        network = make_network(
            chain, tmp_path, stores=[str(tmp_path / "store")], participants=PARTICIPANTS, aggregators=2, quorum=1
        )
        with faulty_nodes.FaultyNode(str(chain.url), SEED, RATE).running() as node:
            yield Cast(network, node, dict(_cast(network, node, actors, tmp_path)), random.Random(SEED))


def _cast(network: Any, node: Any, actors: ModuleType, folder: Path) -> Iterator[tuple[str, Actor]]:
    store, model = network.store, network.model_id
    memory, looked = aggregator.AggregatorMemory(), auditor.AuditorMemory()

    def participate(number: int) -> Callable[[Client], str]:
        task = actors.task(number, False)
        return lambda client: participant.advance(client, store, folder / NAMES[number], model, task)

    def combine(client: Client) -> str:
        return aggregator.advance(client, store, folder / "honest", model, open_rounds=True, memory=memory)

    def audit(client: Client) -> str:
        purse = Purse(client, folder / "auditor" / "spent.json", 10**18)
        return auditor.advance(client, store, folder / "auditor", model, purse=purse, memory=looked)

    steps = [*map(participate, range(PARTICIPANTS)), combine, liar(network, folder), audit]
    for place, (name, step) in enumerate(zip(NAMES, steps, strict=True), 1):
        signer = network.chain.signers[place]

        def restart(name: str = name, signer: Any = signer) -> Client:
            return Client(
                connect(node.url, timeout=TIMEOUT),
                network.owner.address,
                chain_id=network.owner.chain_id,
                signer=signer,
                journal=folder / name / "journals",
                deployed_at=network.owner.deployed_at,
                sending=Sending(poll=0.002),
            )

        yield name, Actor(name, restart, step)


def counted(owner: Client, *kinds: Any) -> Counter[object]:
    """Events by what they are about, without place and time."""
    found: Counter[object] = Counter()
    for event in owner.events(*kinds):
        account = getattr(event, "participant", None) or getattr(event, "aggregator", None) or b""
        found[type(event).__name__, getattr(event, "round_id"), account] += 1  # noqa: B009
    return found


def require_journals_agree(network: Any, folder: Path) -> int:
    """Every nonce of every actor was used by a transaction of its journal, once; return how many there were."""
    w3, total = network.chain.w3, 0
    for place, name in enumerate(NAMES, 1):
        signer = network.chain.signers[place]
        (path,) = (folder / name / "journals").rglob("*.sqlite")
        journal = Journal(path)
        Transactor(w3, signer, journal, chain_id=network.owner.chain_id).reconcile()
        # What was planned and not signed can be left: somebody else was quicker, and it is wanted no more.
        assert {intent.state for intent in journal.live()} <= {IntentState.PLANNED}
        mined = [intent for intent in journal.all() if intent.tx_hash is not None]
        assert sorted(intent.nonce for intent in mined) == list(
            range(w3.eth.get_transaction_count(to_checksum(signer.address)))
        )
        for intent in mined:
            receipt = w3.eth.get_transaction_receipt(intent.tx_hash)
            assert (bytes(receipt["blockHash"]), receipt["status"]) == (intent.block_hash, int(bool(intent.succeeded)))
            assert intent.state is (IntentState.FINAL if intent.succeeded else IntentState.FAILED)
        once = Counter(intent.key for intent in mined if intent.succeeded and "@" not in intent.key)
        assert set(once.values()) <= {1}, once
        total += len(mined)
        journal.close()
    return total


@pytest.mark.slow
@pytest.mark.node
@pytest.mark.real_time
def test_rounds_over_a_node_that_fails_one_request_in_five(
    cast: Cast, faulty_nodes: ModuleType, tmp_path: Path
) -> None:
    print(f"{ROUNDS} rounds with CAIRN_FAULTS_SEED={SEED}")
    owner, network = cast.owner, cast.network
    for number in range(1, ROUNDS + 1):
        cast.run(number)
    ids = {number: owner.round_id(network.model_id, number) for number in range(1, ROUNDS + 1)}
    lying = [ids[number] for number in ids if lies_in(number)]
    people = [signer.address for signer in network.chain.signers[1:7]]

    happened = cast.node.happened
    print(dict(happened))
    assert set(faulty_nodes.KINDS) <= set(happened), "a kind of fault that never came up was not tried"
    assert 0.9 * RATE < 1 - happened["fine"] / happened.total() < 1.1 * RATE

    expected = Counter[object]()
    for round_id in ids.values():
        expected.update(("UpdateCommitted", round_id, people[i]) for i in range(PARTICIPANTS))
        expected.update([("ResultAttested", round_id, people[3]), ("RoundFinalized", round_id, b"")])
    for round_id in lying:
        expected.update([("ResultAttested", round_id, people[4]), ("AggregatorExpelled", round_id, people[4])])
    assert counted(owner, UpdateCommitted, ResultAttested, AggregatorExpelled, RoundFinalized) == expected
    convicted = [e for e in Court(owner).events(ResultConvicted) if isinstance(e, ResultConvicted)]
    assert [e.round_id for e in convicted] == lying
    assert {e.fault for e in convicted} <= {Fault.AGGREGATE, Fault.VERSION}
    print(f"{require_journals_agree(network, tmp_path)} transactions, each once")

    stranger = tmp_path / "stranger"
    stranger.mkdir()
    head = owner.model(network.model_id).head
    versions = list(verify_version(owner, network.store, network.model_id, head, stranger))
    assert len(versions) == ROUNDS + 1
    assert all(version.passed for version in versions), [v for v in versions if not v.passed]

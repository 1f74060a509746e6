"""Crash recovery of an auditor: killed at random and restarted from its files, it ends as if undisturbed."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from registry.chain import calls
from registry.chain.challenges import Challenges
from registry.chain.client import Client
from registry.chain.contract_events import (
    BondDeposited,
    ChallengeAdvanced,
    ClaimRevealed,
    ClaimSealed,
    LeafDemanded,
    ResultConvicted,
    RewardCollected,
    Withdrawn,
)
from registry.chain.contract_hashes import result_hash, seal_of
from registry.chain.contract_structs import Opening, Result
from registry.chain.court import Court
from registry.content.manifest import DataSetManifest
from registry.content.merkle import counted_root
from registry.dev.chains import DevChain, anvil_chain
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import falsified, nudged
from registry.disputes.charges import listed
from registry.disputes.demands import demands_of
from registry.disputes.openings import Listing, chunks_of_file
from registry.ethereum.keys import to_checksum
from registry.ethereum.node import chain_time
from registry.roles import aggregator
from registry.roles.claims import salt_of
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import read_round
from registry.rounds.results import Outcome, compute_outcome, publish_outcome
from registry.store.memory import MemoryStore
from registry.types import Digest, Fault, Phase, Role
from registry.verification.verify import verify_version
from trainer import participant
from trainer.participant import Task

KILLS = int(os.environ.get("CAIRN_AUDITOR_KILLS") or (200 if os.environ.get("CAIRN_SOAK") else 20))
SEED = int(os.environ.get("CAIRN_KILLS_SEED", "0")) or time.time_ns() % 10**9
LONGEST_LIFE = 1.2
"""Seconds between two kills, at most; a lie is found, sealed and convicted in about that time."""
ETHER = 10**18
AUDITOR = "auditor-0"
PARTICIPANTS = 3
PATIENCE = 120.0
FAULTS = (Fault.AGGREGATE, Fault.VERSION, Fault.UNCOMMITTED, Fault.UNANSWERED)
"""What the rounds' lies are convicted by, in turn: a stream of transactions, a walk down a hidden tree, leaves of a
hidden list and a replay, a demand that nobody answers."""


def drift(number: int) -> Task:
    """A task whose training adds the same noise in every run."""
    module = nn.Linear(64, 64)  # 4160 values: five chunks

    def train(trained: nn.Module, epoch: int) -> Mapping[str, float]:
        draw = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for value in trained.parameters():
                value.add_(torch.randn(value.shape, generator=draw) / 64)
        return {}

    return Task(module, train, 20 + number, DataSetManifest(f"part {number}", "", "", "", 20 + number, None))


@dataclass(slots=True)
class Lies:
    """Rounds that begin with a lie, the auditor a process of its own, everybody else in this one.

    Attributes:
        between: Called while the auditor is waited for.
        shown: What mallory shows of what is demanded, by root.
    """

    network: Any
    between: Callable[[], None]
    clients: dict[str, Client] = field(default_factory=dict)
    shown: dict[bytes, Callable[[int], Opening]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [*(f"participant-{i}" for i in range(PARTICIPANTS)), "honest", "mallory"]
        for place, name in enumerate(names, 1):
            self.clients[name] = Client(
                self.network.chain.w3,
                self.owner.address,
                signer=self.network.chain.signers[place],
                journal=self.network.folder / name / "journals",
                deployed_at=self.owner.deployed_at,
            )
        Court(self.clients["honest"]).deposit_bond(self.model, ETHER)

    @property
    def owner(self) -> Client:
        client: Client = self.network.owner
        return client

    @property
    def model(self) -> Any:
        return self.network.model_id

    @property
    def court(self) -> Court:
        return Court(self.owner)

    @property
    def auditor(self) -> Any:
        return self.network.chain.signers[PARTICIPANTS + 3].address

    def play(self, number: int) -> None:
        """One round: a lie, its conviction, the honest result, the reward."""
        fault = FAULTS[(number - 1) % len(FAULTS)]
        mallory = self.clients["mallory"]
        again = calls.grant_roles(
            self.owner.address, self.model, mallory.account, Role.AGGREGATOR, key=f"again:{number}"
        )
        self.owner.send(again)
        Court(mallory).deposit_bond(self.model, ETHER)
        self.owner.open_round(self.model, number=number)
        self.everybody()
        self.owner.end_commits(self.model, number, sorted(self.clients[f"participant-{i}"].account for i in range(3)))
        self.everybody()
        result = self.lie(number, fault)
        mallory.attest_result(self.model, number, result, read_round(mallory, self.model, number).running_hash)
        tally = self.owner.tally(self.model, number, result_hash(result))
        self.until(lambda: self.owner.phase(self.model, number) != Phase.CHALLENGE, number)
        self.until(lambda: not self.owner.member(self.model, mallory.account).roles & Role.AGGREGATOR, number)
        round_id = self.owner.round_id(self.model, number)
        self.until(lambda: self.court.conviction(round_id, tally).leader == self.auditor, number)
        assert aggregator.advance(
            self.clients["honest"], self.network.store, self.network.folder / "honest", self.model
        ).endswith(f"attested {PARTICIPANTS} contributions")
        self.until(lambda: self.owner.phase(self.model, number) == Phase.CHALLENGE, number)  # it waits for no block
        sleep_until(self.owner.w3, self.owner.round(self.model, number).challenge_deadline, move=True)
        aggregator.advance(self.clients["honest"], self.network.store, self.network.folder / "honest", self.model)
        assert self.owner.round(self.model, number).finalized
        ends = self.court.conviction(round_id, tally).reveal_deadline
        if chain_time(self.owner.w3) < ends:
            sleep_until(self.owner.w3, ends, move=True)
        self.until(lambda: not self.court.reward(round_id, tally) and not self.court.credit(self.auditor), number)

    def everybody(self) -> None:
        for i in range(PARTICIPANTS):
            name = f"participant-{i}"
            folder = self.network.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "salt").write_bytes(name.encode().ljust(32, b"."))  # else two runs name data by two digests
            assert participant.advance(self.clients[name], self.network.store, folder, self.model, drift(i))

    def lie(self, number: int, fault: Fault) -> Result:
        """What mallory attests; what she does not publish she may show when it is demanded."""
        made = self.honest(number)
        rules = load_round(self.network.store, self.record(number)).form.rules
        entries = sorted(
            (listed(c, rules) for c in self.record(number).commitments), key=lambda entry: entry.participant
        )
        if fault is Fault.AGGREGATE:
            return falsified(self.network.store, made, aggregate=nudged(2000, 2.0**-20))
        if fault is Fault.VERSION:
            edit = nudged(3000)
            path = self.network.folder / "hidden.safetensors"
            path.write_bytes(edit(made.version_file.read_bytes()))
            chunks = chunks_of_file(path)
            self.shown[chunks.root] = chunks.opening
            return falsified(MemoryStore(), made, version=edit)
        hidden = {"report_digest": Digest(bytes([number]) * 32), "version_digest": Digest(bytes([9, number]) * 16)}
        if fault is Fault.UNCOMMITTED:
            false = Listing((replace(entries[0], weight=500), *entries[1:]))
            self.shown[false.root] = false.opening
            return replace(made.result, contributions_root=false.root, **hidden)
        roots = replace(made.result.roots, tensor=counted_root(4160, bytes([5, number]) * 16))
        return replace(made.result, roots=roots, **hidden)

    def record(self, number: int) -> Any:
        return read_round(self.owner, self.model, number)

    def honest(self, number: int) -> Outcome:
        round = load_round(self.network.store, self.record(number))
        verdicts = aggregator.judge_all(self.network.store, round)
        place = self.network.folder / "mallory"
        made = compute_outcome(self.network.store, round, verdicts, place)
        publish_outcome(self.network.store, made)
        return made

    def until(self, done: Callable[[], bool], number: int) -> None:
        """Wait for the auditor, answering what it demands, or letting the time for an answer pass."""
        end = time.monotonic() + PATIENCE
        while not done():
            self.between()
            self.answer(number)
            self.network.require_running()
            assert time.monotonic() < end, f"round {number}: {self.network.log(AUDITOR)}"
            time.sleep(0.02)

    def answer(self, number: int) -> None:
        dispute = self.owner.dispute(self.model, number)
        if not any(dispute.tally):
            return
        court = Court(self.clients["mallory"])
        demands = demands_of(court, dispute)
        for leaf in demands.open:
            if leaf.root in self.shown:
                court.show_leaf(leaf, self.shown[leaf.root](leaf.index))
            elif chain_time(self.owner.w3) < demands.deadlines[leaf]:
                sleep_until(self.owner.w3, demands.deadlines[leaf], move=True)


def effects(network: Any) -> Counter[object]:
    """Every event of the contracts without place, time and amounts, nor what a restarted challenge repeats.

    Seals are salted, so they are counted with their claims, in `require_claims_sealed_once`.
    """
    left_out = ("at", "votes", "deposit", "proof", "amount", "order")
    found: Counter[object] = Counter()
    for event in [*network.owner.events(), *Challenges(network.owner).events(), *Court(network.owner).events()]:
        if not isinstance(event, (BondDeposited, ChallengeAdvanced, ClaimSealed, Withdrawn)):
            kept = [n for n in event.__dataclass_fields__ if n not in left_out and not n.endswith("deadline")]
            found[type(event).__name__, *(getattr(event, name) for name in kept)] += 1
    return found


def require_readable(folder: Path) -> None:
    """What an auditor goes on from is whole whenever it was killed."""
    for name in ("spent.json", "collected.json"):
        path = folder / AUDITOR / name
        if path.exists():
            json.loads(path.read_text())


def require_claims_sealed_once(lies: Lies) -> None:
    """Each claim that convicted has one seal of the auditor on the chain, though its salt is written nowhere."""
    folder = lies.network.folder / AUDITOR
    claims = [e.claim for e in lies.court.events(ResultConvicted) if isinstance(e, ResultConvicted)]
    seals = [seal_of(lies.auditor, salt_of(folder, claim), claim) for claim in claims]
    sealed = [e.seal for e in lies.court.events(ClaimSealed) if isinstance(e, ClaimSealed)]
    assert len(sealed) == len(set(sealed))
    assert set(seals) <= set(sealed)


def require_money_agrees(lies: Lies, rounds: int) -> None:
    """Half of each bond is burnt, half paid once; the contract holds what is burnt, the honest bond and no more."""
    court, owner = lies.court, lies.owner
    collected = [e for e in court.events(RewardCollected) if isinstance(e, RewardCollected)]
    assert [(e.challenger, e.amount) for e in collected] == [(lies.auditor, ETHER // 2)] * rounds
    assert court.burnt() == rounds * ETHER // 2
    kept = [lies.clients[name].account for name in ("honest", "mallory")]
    owed = sum(court.credit(account) for account in kept)
    bonds = sum(court.bond(lies.model, account).amount for account in kept)
    assert bonds == ETHER
    held = owner.w3.eth.get_balance(to_checksum(court.address))
    assert held == court.burnt() + bonds + owed


def run(
    chain: DevChain, folder: Path, make_network: Callable[..., Any], rounds: int, kills: int, draw: random.Random
) -> tuple[Any, int, Counter[object]]:
    """Play so many rounds, and more until the auditor was killed so often; return how many, and what came of it."""
    network = make_network(
        chain,
        folder,
        stores=[str(folder / "store")],
        participants=PARTICIPANTS,
        auditors=1,
        quorum=1,
        bond_gwei=ETHER // 10**9,
    )
    left, due, played = kills, 0.0, 0

    def strike() -> None:
        nonlocal left, due
        if left and time.monotonic() >= due:
            network.kill(AUDITOR)
            require_readable(folder)
            network.start(AUDITOR)
            left -= 1
            due = time.monotonic() + draw.uniform(0.0, LONGEST_LIFE)

    lies = Lies(network, strike)
    with network.forked(AUDITOR):
        while left or played < rounds:
            played += 1
            lies.play(played)
    head = network.owner.model(network.model_id).head
    place = folder / "stranger"
    place.mkdir()
    versions = list(verify_version(network.owner, network.store, network.model_id, head, place))
    assert len(versions) == played + 1 and all(version.passed for version in versions)
    require_claims_sealed_once(lies)
    require_money_agrees(lies, played)
    return network, played, effects(network)


@pytest.mark.slow
@pytest.mark.node
@pytest.mark.real_time
def test_a_killed_auditor_convicts_and_is_paid_as_an_uninterrupted_one(
    make_network: Callable[..., Any],
    actors: ModuleType,
    find_tool: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    print(f"{KILLS} kills with CAIRN_KILLS_SEED={SEED}")
    monkeypatch.setattr(actors, "module", lambda large: drift(0).module)
    torch.manual_seed(0)
    with anvil_chain(find_tool("anvil")) as chain:
        draw = random.Random(SEED)
        network, rounds, killed = run(chain, tmp_path / "killed", make_network, len(FAULTS), KILLS, draw)
        convicted = [e.fault for e in Court(network.owner).events(ResultConvicted)]  # type: ignore[attr-defined]
    assert convicted == [FAULTS[i % len(FAULTS)] for i in range(rounds)]
    twice = [event for event, number in killed.items() if number > 1 and event[0] != "RolesChanged"]  # type: ignore[index]
    assert not twice
    assert {event[0] for event in killed} >= {kind.__name__ for kind in (LeafDemanded, ClaimRevealed)}  # type: ignore[index]
    torch.manual_seed(0)
    with anvil_chain(find_tool("anvil")) as chain:
        other, _, expected = run(chain, tmp_path / "uninterrupted", make_network, rounds, 0, draw)
    assert other.model_id == network.model_id
    assert killed == expected

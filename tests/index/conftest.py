"""Fixtures of the index tests: chains with every event, indexes of them, and faulty nodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from web3 import Web3
from web3.datastructures import NamedElementOnion
from web3.providers import JSONBaseProvider

from registry.chain.challenges import Challenges
from registry.chain.client import Client
from registry.chain.contract_hashes import claim_of, seal_of
from registry.chain.contract_structs import (
    Basis,
    Counted,
    Demanded,
    Grant,
    Listed,
    Opening,
    ScoreTerms,
    Shown,
    SignedUpdate,
    Step,
    Sum,
    Target,
)
from registry.chain.court import Court
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.labels import Labels
from registry.chain.sentinels import NO_COORDINATE
from registry.chain.transactions import Transactor
from registry.chain.validator_scores import ScoredResult, Scores
from registry.dev.chains import EXAMPLE_RULES, example_plan, example_result
from registry.dev.embedded import Embedded, embedded, warp
from registry.disputes.openings import listing_of
from registry.ethereum.networks import Finality, parse_finality
from registry.ethereum.node import NodeRefused
from registry.index import queries
from registry.index.database import Index
from registry.index.entries import Following
from registry.index.sync import Check, Follower, Synced
from registry.types import Digest, ModelId, Part, Role, Root

if TYPE_CHECKING:
    from registry.dev.chains import DevChain

Edit = Callable[[str, Any, Any], Any]


class Node(JSONBaseProvider):
    """The chain in this process as a node that speaks JSON-RPC, batches too, and whose answers a test edits.

    Args:
        w3: The chain.
        edit: Called with method, parameters and result; what it returns is answered instead.
    """

    def __init__(self, w3: Web3, edit: Edit | None = None) -> None:
        super().__init__()
        self._ask = w3.provider.request_func(w3, NamedElementOnion([]))
        self.edit = edit or (lambda method, params, result: result)
        self.asked: list[tuple[str, Any]] = []

    def make_request(self, method: Any, params: Any) -> Any:
        return self.make_batch_request([(method, params)])[0]

    def make_batch_request(self, batch_requests: Any) -> Any:
        self.asked += batch_requests
        return [self._answer(i, method, params) for i, (method, params) in enumerate(batch_requests)]

    def _answer(self, number: int, method: str, params: Any) -> Any:
        answer = self._ask(method, params)
        if "error" in answer:
            return {"jsonrpc": "2.0", "id": number, "error": answer["error"]}
        try:
            result = self.edit(method, params, in_json(answer["result"]))
        except NodeRefused as refusal:
            return {"jsonrpc": "2.0", "id": number, "error": {"code": refusal.code, "message": str(refusal)}}
        return json.loads(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}))


def in_json(value: Any) -> Any:
    """What the chain in this process answers, as a node writes it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, dict):
        bloom = {"logsBloom": f"0x{value['logsBloom']:0512x}"} if isinstance(value.get("logsBloom"), int) else {}
        return {key: in_json(item) for key, item in value.items()} | bloom
    return [in_json(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Indexing:
    """A contract and a folder for indexes of it.

    Attributes:
        clients: A client for each account; the first deployed the contract.
        folder: Where files are.
    """

    chain: Any
    clients: tuple[Client, ...]
    folder: Path
    first_block: int

    @property
    def following(self) -> Following:
        """What an index of this contract follows."""
        client = self.clients[0]
        genesis = bytes(client.w3.eth.get_block(0)["hash"])
        return Following(client.chain_id, genesis, client.emitters(), self.first_block)

    def open(self, name: str = "index") -> Index:
        """Open an index, which is made if there is none."""
        return Index(self.folder / f"{name}.sqlite", self.following)

    def sync(
        self,
        name: str = "index",
        finality: Finality | str = "instant",
        *,
        w3: Web3 | None = None,
        check: Check | None = None,
    ) -> Synced:
        """Open an index, bring it up to date, and close it."""
        policy = parse_finality(finality) if isinstance(finality, str) else finality
        with self.open(name) as index:
            return Follower(index, w3 or self.clients[0].w3, policy, check=check).sync()

    def dump(self, name: str = "index") -> list[str]:
        """All that an index holds."""
        with self.open(name) as index:
            return list(queries.dump(index.db))

    def fresh(self, finality: Finality | str = "instant") -> list[str]:
        """All that an index holds that is made now."""
        for made in self.folder.glob("fresh.sqlite*"):
            made.unlink()
        self.sync("fresh", finality)
        return self.dump("fresh")

    def forget(self) -> Indexing:
        """The same contract, by accounts that know nothing of transactions that are no more."""
        w3, address = self.chain.w3, self.clients[0].address
        clients = tuple(Client(w3, address, signer=s, journal=Journal(None)) for s in self.chain.signers)
        return replace(self, clients=clients)

    def node(self, edit: Edit | None = None) -> Web3:
        """A way to the chain on which a test edits the answers."""
        return Web3(Node(self.chain.w3, edit))


def make_indexing(chain: Embedded | DevChain, folder: Path) -> Indexing:
    """Deploy a contract."""
    chain_id = chain.w3.eth.chain_id
    maker = Transactor(chain.w3, chain.signers[0], Journal(None), chain_id=chain_id)
    made = deploy(chain.w3, maker, chain_id=chain_id)
    clients = tuple(Client(chain.w3, made.address, signer=s, journal=Journal(None)) for s in chain.signers)
    return Indexing(chain, clients, folder, made.block)


def play(indexing: Indexing, seed: int = 1) -> ModelId:
    """Let everything but disputes happen to a model, and return it."""

    def digest(number: int) -> Digest:
        return Digest(bytes([seed, number]) * 16)

    owner, ann, bob, judge, heir = indexing.clients[:5]
    owner.register_model(digest(1), Root(digest(2)), Root(digest(2)))
    model = owner.model_id(owner.account, digest(1))
    owner.grant_roles_batch(model, [Grant(c.account, Role.PARTICIPANT) for c in (ann, bob)])
    owner.grant_roles(model, judge.account, Role.AGGREGATOR | Role.AUDITOR)
    owner.grant_roles(model, heir.account, Role.READER | Role.PARTICIPANT)
    owner.revoke_roles(model, heir.account, Role.PARTICIPANT)
    owner.suspend_rounds(model)
    owner.resume_rounds(model)
    owner.set_plan(model, example_plan(weight_cap=99), EXAMPLE_RULES)
    owner.set_plan(model, example_plan(), EXAMPLE_RULES)
    owner.publish_version(model, digest(1), digest(3), Root(digest(4)), Root(digest(4)))
    owner.publish_version(model, digest(3), digest(5), Root(digest(6)), Root(digest(6)))
    owner.deprecate_version(model, digest(3), digest(7))
    owner.deprecate_version(model, digest(5), digest(7), digest(1))
    owner.open_round(model)
    owner.cancel_round(model, 1)
    owner.open_round(model)
    for number, client in enumerate((ann, bob)):
        client.commit_update(model, 2, digest(8 + number), Root(digest(10 + number)), 15, 3)
    again = SignedUpdate(ann.account, digest(8), Root(digest(10)), 15, 3, 2**64 - 1)
    owner.commit_updates_for(model, 2, [owner.sign_commitment(indexing.chain.signers[1], model, 2, again)])
    owner.end_commits(model, 2, [ann.account, bob.account])
    result = example_result(version_digest=digest(12))
    judge.attest_result(model, 2, result, owner.round(model, 2).running_hash)
    warp(owner.w3, to=owner.round(model, 2).challenge_deadline)
    owner.finalize_round(model, 2, result)
    owner.transfer_ownership(model, heir.account)
    heir.accept_ownership(model)
    heir.transfer_ownership(model, ann.account)
    label(Labels(heir), model, digest(12))
    ann.open_round(model)
    ann.commit_update(model, 3, digest(13), Root(digest(14)), 3, 1)
    return model


def score(scores: Scores, of: ScoredResult) -> None:
    """Let the owner be the only validator of a result."""
    account = scores.client.account
    scores.client.grant_roles(of.model_id, account, Role.VALIDATOR)
    scores.set_score_terms(of.model_id, ScoreTerms(1, 30, 3600))
    scores.commit_score(of, scores.score_commitment(of, account, 700_000, bytes(32)))
    warp(scores.client.w3, to=scores.scoring(of).commit_deadline)
    scores.reveal_score(of, 700_000, bytes(32))


def label(labels: Labels, model: ModelId, version: Digest) -> None:
    """Let every event of labels happen to a version."""
    labels.set_alias(model, "production", version)
    labels.set_alias(model, "staging", version)
    labels.remove_alias(model, "staging")
    labels.add_tag(model, version, "audited")
    labels.remove_tag(model, version, "audited")
    labels.add_note(model, version, "said \u202e\x1b[31m")


def dispute(indexing: Indexing, model: ModelId) -> None:
    """Let every event of a dispute happen in a played model's next round: void, unanswered, then final."""
    owner, ann, bob, judge, heir = indexing.clients[:5]
    number = owner.model(model).rounds
    heir.cancel_round(model, number)
    heir.set_plan(model, example_plan(bond_gwei=10**9), EXAMPLE_RULES)
    heir.open_round(model)
    number += 1
    entries = [
        Listed(c.account, Digest(bytes([20 + i]) * 32), Root(bytes([30 + i]) * 32), 15, 3, 15)
        for i, c in enumerate((ann, bob))
    ]
    for client, entry in zip((ann, bob), entries, strict=True):
        client.commit_update(model, number, entry.digest, entry.tensor_root, entry.weight, entry.steps)
    owner.end_commits(model, number, sorted(c.account for c in (ann, bob)))
    listing = listing_of(entries)
    round_id, running = owner.round_id(model, number), owner.round(model, number).running_hash
    result = example_result(version_digest=Digest(b"\x40" * 32), contributions_root=listing.root)
    for client in (judge, heir):
        Court(client).deposit_bond(model, 3 * 10**18)
    judge.attest_result(model, number, result, running)
    tally, target = owner.dispute(model, number).tally, Target(model, number, result)
    accuser, accused = Court(bob), Court(judge)
    step = Step(listing.contributions[0], Opening(Counted(0, bytes(32)), b"", ()))
    basis = Basis(EXAMPLE_RULES, result.roots)  # the parent's roots are those of the example round before
    Challenges(bob).add_contributions(target, basis, NO_COORDINATE, Sum(), [step])
    for indices in ([0], [0, 2**64 - 1]):  # the second 0 is skipped
        accuser.demand_contributions(target, indices, deposit=accuser.deposit_now(target))
    shown = Demanded(round_id, tally, listing.root, 192, 1, 0)
    accused.show_leaves([Shown(shown, listing.opening(0))] * 2)  # the second is skipped
    hidden = Demanded(round_id, tally, listing.root, 192, 1, 2**64 - 1)
    accuser.seal_claim(seal_of(bob.account, bytes(32), claim_of(round_id, tally, Part.SERVICE, 0)))
    warp(owner.w3, to=accuser.demand(hidden).deadline)
    accuser.close_demand(model, number, hidden)
    owner.expel(model, number, {judge.account: owner.attestation(model, number, judge.account)})
    accuser.reveal_claim(round_id, tally, bytes(32), hidden)
    heir.grant_roles(model, heir.account, Role.AGGREGATOR)
    heir.attest_result(model, number, result, running)
    warp(owner.w3, to=owner.round(model, number).challenge_deadline)
    owner.finalize_round(model, number, result)
    score(Scores(heir), ScoredResult(model, number, owner.round(model, number).result_hash))
    accuser.collect_reward(round_id, tally)
    accuser.withdraw()
    Court(heir).release_bond(model, 10**18)


@dataclass(frozen=True)
class Stage:
    """A chain in process to go back to. Each stage has its own: chains only go back, not forth."""

    indexing: Indexing
    snapshot: Any

    def fresh(self, folder: Path) -> Indexing:
        self.indexing.chain.w3.provider.ethereum_tester.revert_to_snapshot(self.snapshot)
        return replace(self.indexing, folder=folder).forget()


def stage(folder: Path, *steps: Callable[[Indexing], object]) -> Stage:
    """Deploy a contract and take further steps; done once a session."""
    made = make_indexing(embedded(6), folder)
    for step in steps:
        step(made)
    return Stage(made, made.chain.w3.provider.ethereum_tester.take_snapshot())


@pytest.fixture(scope="session")
def deployed_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return stage(tmp_path_factory.mktemp("deployed"))


@pytest.fixture(scope="session")
def played_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return stage(tmp_path_factory.mktemp("played"), play)


@pytest.fixture(scope="session")
def disputed_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return stage(tmp_path_factory.mktemp("disputed"), lambda made: dispute(made, play(made)))


@pytest.fixture
def indexing(deployed_stage: Stage, tmp_path: Path) -> Indexing:
    """A contract on a fresh chain in process."""
    return deployed_stage.fresh(tmp_path)


@pytest.fixture
def deployed_on(tmp_path: Path) -> Callable[[Any], Indexing]:
    """Deploys a contract on a chain."""
    return lambda chain: make_indexing(chain, tmp_path)


@pytest.fixture
def played(played_stage: Stage, tmp_path: Path) -> Indexing:
    """A chain on which everything but disputes has happened."""
    return played_stage.fresh(tmp_path)


@pytest.fixture
def disputed(disputed_stage: Stage, tmp_path: Path) -> Indexing:
    """A chain on which every event of both contracts has happened."""
    return disputed_stage.fresh(tmp_path)


@pytest.fixture
def play_on() -> Callable[..., ModelId]:
    """Lets every event happen to one more model."""
    return play


@pytest.fixture
def raw_logs() -> Callable[[Indexing], Sequence[dict[str, Any]]]:
    """Reads every log of the contract, as a node writes it."""

    def read(indexing: Indexing) -> Sequence[dict[str, Any]]:
        provider = Node(indexing.chain.w3)
        addresses = ["0x" + contract.hex() for contract in indexing.following.contracts]
        wanted: dict[str, Any] = {"address": addresses, "fromBlock": "0x1"}
        wanted["toBlock"] = hex(indexing.chain.w3.eth.block_number)
        logs: Sequence[dict[str, Any]] = provider.make_request("eth_getLogs", [wanted])["result"]
        return logs

    return read

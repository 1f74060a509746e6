"""Fixtures of the attack tests: a federation on real bytecode in process, real stores and files, without training.

Three stages are built once, and each test reverts to its stage's snapshot: `federation` (registered, members and plan
set), `opened` (round 1 in phase Commit) and `published` (Ann, Bob and Cyn have committed and published; phase
Aggregate). Mallory is a participant who has not committed yet, and aggregates when a test wants a dishonest aggregator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.chain.client import Client
from registry.chain.contract_structs import Grant, Plan, Result
from registry.chain.court import Court
from registry.chain.deploy import deploy
from registry.chain.journal import Journal
from registry.chain.transactions import Sending, Transactor
from registry.content.gate import describe
from registry.content.manifest import (
    DELTA,
    Code,
    DeltaFile,
    PlanManifest,
    Procedure,
    Reason,
    UpdateManifest,
    digest_of,
    manifest_cid,
)
from registry.content.merkle import VALUES, Rows, TensorRootHasher
from registry.content.tensors import parse_header
from registry.dev.embedded import Embedded, embedded, sleep_until
from registry.ethereum.networks import Finality, FinalityRule
from registry.roles.aggregator import judge_all
from registry.roles.auditor import audit
from registry.rounds.admission import Verdict
from registry.rounds.loaded_round import LoadedRound, load_round
from registry.rounds.onchain import RoundRecord, read_round
from registry.rounds.plans import add_plan, fitted, plan_rules, server_rule
from registry.rounds.results import Outcome, compute_outcome, publish_outcome
from registry.rounds.versions import add_version, load_version_manifest, read_header, save_arrays
from registry.rules.encoding import encode_rules
from registry.rules.grid import to_grid
from registry.store.base import ContentStore
from registry.store.blobs import add_blob
from registry.store.manifests import get_manifest, put_manifest
from registry.store.memory import MemoryStore
from registry.types import Address, Digest, ModelId, Role, Root
from registry.verification.verify import Check, Verification, verify_version

NAMES = ("owner", "ann", "bob", "cyn", "mallory", "first", "second", "stranger")
GRID_BITS = 22


@dataclass(frozen=True, slots=True)
class Update:
    """What a participant commits to, and the file that goes with it."""

    manifest: UpdateManifest
    data: bytes

    @property
    def digest(self) -> Digest:
        return digest_of(self.manifest)


@dataclass(slots=True)
class Federation:
    """A model with its members and a content store, and the actions of honest and Byzantine members."""

    chain: Embedded
    address: Address
    model_id: ModelId
    genesis: Digest
    plan: Plan
    store: MemoryStore
    folder: Path
    clients: Clients

    def __getattr__(self, name: str) -> Client:
        try:
            return self.clients[name]
        except KeyError:
            raise AttributeError(name) from None

    def forget(self, name: str) -> None:
        """Let somebody send again what their journal says is done."""
        self.clients.pop(name, None)

    @property
    def rules(self) -> bytes:
        """The bytes whose hash the plan has."""
        return encode_rules(plan_rules(get_manifest(self.store, self.plan.digest, PlanManifest)))

    # Participants ----------------------------------------------------------------------------------------------------

    def record(self, number: int = 1) -> RoundRecord:
        return read_round(self.clients["owner"], self.model_id, number)

    def round(self, number: int = 1) -> LoadedRound:
        return load_round(self.store, self.record(number))

    def update(self, name: str, *, seed: int = 0, weight: int = 100, at: int = 1, **changed: Any) -> Update:
        """An honest update of round `at`, or one whose manifest says other things."""
        form = self.round(at).form
        draw = np.random.default_rng(seed)
        values, _ = to_grid(draw.normal(size=form.rules.values) / 8, GRID_BITS)
        body = values if form.packing is None else form.packing.pack(values * np.float32(2.0**GRID_BITS))
        return self.sealed(name, form.header + body.tobytes(), weight=weight, at=at, rows=form.rows, **changed)

    def sealed(
        self, name: str, data: bytes, *, weight: int = 100, at: int = 1, rows: Rows = VALUES, **changed: Any
    ) -> Update:
        """The update whose file is `data`, whatever that is."""
        record = self.record(at)
        blob = add_blob(MemoryStore(), [data])
        start = min(8 + int.from_bytes(data[:8], "little"), len(data) - 4)
        width = rows.entry_bytes
        hasher = TensorRootHasher(rows=rows)
        hasher.update(data[start:][: (len(data) - start) // width * width] or bytes(width))
        fields = {
            "chain_id": record.chain_id,
            "contract": record.contract,
            "model": record.model_id,
            "number": record.number,
            "participant": self.clients[name].account,
            "parent": manifest_cid(record.parent),
            "plan": manifest_cid(record.plan.digest),
            "files": {DELTA: DeltaFile(blob.cid, blob.size, hasher.digest())},
            "weight": weight,
            "steps": 4,
            "saturated": 0,
            "metrics": {"loss": 0.5},
            "evaluation": None,
            "data_set": hashlib.sha256(name.encode()).digest(),
            "code": Code("cairn-registry", "0.1.0"),
        }
        return Update(UpdateManifest(**(fields | changed)), data)

    def commit(self, name: str, update: Update, *, at: int = 1, **changed: Any) -> None:
        said = {"digest": update.digest, "tensor_root": Root(update.manifest.delta.tensor_root)}
        fields = said | {"weight": update.manifest.weight, "steps": update.manifest.steps} | changed
        client = self.clients[name]
        named = fields["digest"], fields["tensor_root"]
        client.commit_update(self.model_id, at, *named, fields["weight"], fields["steps"])

    def publish(self, update: Update, store: ContentStore | None = None) -> None:
        into = store or self.store
        add_blob(into, [update.data])
        put_manifest(into, update.manifest)

    def contribute(self, name: str, update: Update) -> None:
        """Commit and publish, in whatever order the test needs nothing of."""
        self.commit(name, update)
        self.publish(update)

    def contribute_to(self, number: int, name: str) -> None:
        """Contribute to a later round, and let its time for publishing pass."""
        update = self.update(name, seed=number, at=number)
        self.commit(name, update, at=number)
        self.publish(update)
        self.sleep_to("publish_deadline", number)

    # Time ------------------------------------------------------------------------------------------------------------

    def sleep_to(self, deadline: str, number: int = 1) -> None:
        state = self.clients["owner"].round(self.model_id, number)
        sleep_until(self.chain.w3, getattr(state, deadline))

    # Aggregators -----------------------------------------------------------------------------------------------------

    def verdicts(self, store: ContentStore | None = None, *, number: int = 1) -> tuple[Verdict, ...]:
        return judge_all(store or self.store, self.round(number))

    def reasons(self, store: ContentStore | None = None) -> dict[str, Reason]:
        """What becomes of each participant's update, by name."""
        people = {signer.address: name for name, signer in zip(NAMES, self.chain.signers, strict=True)}
        return {people[v.commitment.participant]: v.reason for v in self.verdicts(store)}

    def outcome(self, verdicts: Sequence[Verdict] | None = None, *, number: int = 1) -> Outcome:
        """What follows from these verdicts, honest or not; published."""
        round = self.round(number)
        judged = self.verdicts(number=number) if verdicts is None else verdicts
        folder = self.folder / "outcome"
        folder.mkdir(exist_ok=True)
        made = compute_outcome(self.store, round, judged, folder)
        publish_outcome(self.store, made)
        return made

    def attest(self, name: str, result: Result, *, number: int = 1) -> None:
        self.clients[name].attest_result(self.model_id, number, result, self.record(number).running_hash)

    def force(self, result: Result, *, number: int = 1) -> Digest:
        """Attest a result with a quorum of one and move the head to it; return the new head."""
        self.attest("mallory", result, number=number)
        self.sleep_to("challenge_deadline", number)
        self.clients["stranger"].finalize_round(self.model_id, number, result)
        return self.clients["owner"].model(self.model_id).head

    # Whoever looks ---------------------------------------------------------------------------------------------------

    def reader(self, w3: Any = None) -> Client:
        """A stranger without an account."""
        return Client(w3 or self.chain.w3, self.address)

    def watching(self, depth: int) -> Client:
        """The stranger, for whom a block is final once so many stand on it."""
        signer, rule = self.chain.signers[NAMES.index("stranger")], Finality(FinalityRule.CONFIRMATIONS, depth)
        return Client(self.chain.w3, self.address, signer=signer, finality=rule, sending=Sending(timeout=5, poll=0.01))

    def verify(
        self,
        digest: bytes | None = None,
        *,
        store: ContentStore | None = None,
        client: Client | None = None,
        files: bool = True,
    ) -> list[Verification]:
        reader = client or self.reader()
        head = digest or self.clients["owner"].model(self.model_id).head
        folder = self.folder / "verify"
        folder.mkdir(exist_ok=True)
        return list(verify_version(reader, store or self.store, self.model_id, head, folder, files=files))

    def audit(self, *, store: ContentStore | None = None, client: Client | None = None) -> list[Check]:
        """Every check of every result attested in round 1."""
        found = audit(client or self.reader(), store or self.store, self.folder / "audit", self.model_id, 1)
        return [check for _, check in found]


def failure(checks: Sequence[Check]) -> Check:
    """The one check that failed, which must be the last."""
    assert [check.passed for check in checks[:-1] if check.finding == "failed"] == []
    assert checks
    assert checks[-1].finding == "failed", checks
    return checks[-1]


@pytest.fixture
def failed() -> Callable[[Sequence[Check]], str]:
    """Returns what the failed check of a series found; fails where nothing was caught."""
    return lambda checks: failure(checks).evidence


# Stages --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stage:
    """A chain to go back to, and what was stored by then. Each stage has its own: chains only go back, not forth."""

    federation: Federation
    snapshot: Any

    def fresh(self, folder: Path) -> Federation:
        made = self.federation
        made.chain.w3.provider.ethereum_tester.revert_to_snapshot(self.snapshot)  # type: ignore[attr-defined]
        store = MemoryStore()
        store._blocks.update(made.store._blocks)
        # New clients: what their journals remember would be of a chain that was gone back from.
        return replace(made, store=store, folder=folder, clients=Clients(made.chain, made.address))


def plan_manifest(**changed: Any) -> PlanManifest:
    fields: dict[str, Any] = {
        "algorithm": Procedure("fedavg", {"epochs": 1}),
        "combine_rule": 1,
        "combine_parameters": {},
        "weights": "examples",
        "server": server_rule("fedavg", {"rate": 1.0}, GRID_BITS),
        "update_form": 1,
        "form_parameters": {},
        "grid_bits": GRID_BITS,
        "saturate": False,
        "scales": {},
        "buffers": {},
        "values": 1,
        "header": bytes(32),
        "segments": bytes(32),
        "transforms": (),
        "quorum": 1,
        "weight_cap": 1 << 28,
        "min_contributions": 1,
        "commit_duration": 86_400,  # the chain follows the clock of the wall, and stages are made once
        "publish_duration": 60,
        "aggregate_duration": 86_400,
        "challenge_duration": 960,
        "answer_duration": 30,
        "bond_gwei": 0,
        "hooks": (),
    }
    return PlanManifest(**(fields | changed))


def anchor_plan(owner: Client, store: ContentStore, model: ModelId, manifest: PlanManifest) -> Plan:
    """Set a plan, fitted to the head."""
    head = load_version_manifest(store, owner.model(model).head)
    plan, rules = add_plan(store, fitted(manifest, read_header(store, head.weights.blob)))
    owner.set_plan(model, plan, rules)
    return plan


class Clients(dict[str, Client]):
    """A client for each name, made when it is first asked for."""

    def __init__(self, chain: Embedded, address: Address) -> None:
        super().__init__()
        self._chain, self._address = chain, address

    def __missing__(self, name: str) -> Client:
        if name not in NAMES:
            raise KeyError(name)
        self[name] = Client(self._chain.w3, self._address, signer=self._chain.signers[NAMES.index(name)])
        return self[name]


def stage(
    folder: Path, *steps: Callable[[Federation], None], values: int = 40, others: dict[str, Any] | None = None
) -> Stage:
    """Deploy, register, grant and set the plan, then take further steps; done once a session."""
    chain = embedded(len(NAMES))
    chain_id = chain.w3.eth.chain_id
    maker = Transactor(chain.w3, chain.signers[0], Journal(None), chain_id=chain_id)
    address = deploy(chain.w3, maker, chain_id=chain_id).address
    store, clients = MemoryStore(), Clients(chain, address)
    owner = clients["owner"]
    draw = np.random.default_rng(7)
    arrays = {"w": draw.normal(size=(values, 7)).astype(np.float32), "b": np.zeros(3, np.float32)}
    save_arrays(folder / "genesis.safetensors", arrays | (others or {}))
    genesis = add_version(store, folder / "genesis.safetensors")
    owner.register_model(digest_of(genesis), Root(genesis.tensor_root), Root(genesis.rest_root))
    model = owner.model_id(owner.account, digest_of(genesis))
    roles = dict.fromkeys(("ann", "bob", "cyn"), Role.PARTICIPANT)
    roles |= {"mallory": Role.PARTICIPANT | Role.AGGREGATOR, "first": Role.AGGREGATOR, "second": Role.AGGREGATOR}
    owner.grant_roles_batch(model, [Grant(clients[name].account, role) for name, role in roles.items()])
    plan = anchor_plan(owner, store, model, plan_manifest())
    made = Federation(chain, address, model, digest_of(genesis), plan, store, folder, clients)
    for step in steps:
        step(made)
    return Stage(made, chain.w3.provider.ethereum_tester.take_snapshot())  # type: ignore[attr-defined]


def open_round(house: Federation) -> None:
    house.clients["owner"].open_round(house.model_id)


def take_part(house: Federation) -> None:
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed, weight=100 + seed))
    house.sleep_to("publish_deadline")


@pytest.fixture(scope="session")
def federation_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return stage(tmp_path_factory.mktemp("federation"))


@pytest.fixture(scope="session")
def opened_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return stage(tmp_path_factory.mktemp("opened"), open_round)


@pytest.fixture(scope="session")
def published_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return stage(tmp_path_factory.mktemp("published"), open_round, take_part)


@pytest.fixture(scope="session")
def wide_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    others = {"batches": np.array(7), "positions": np.arange(5)}  # integers, which stand before the values
    return stage(tmp_path_factory.mktemp("wide"), open_round, take_part, values=500, others=others)


@pytest.fixture(scope="session")
def large_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Files of more than one block."""
    return stage(tmp_path_factory.mktemp("large"), open_round, take_part, values=40_000)


def adapt(house: Federation) -> None:
    """Let a server optimizer take the steps, on tensors of several scales and kinds."""
    manifest = plan_manifest(
        server=server_rule("fedadam", {"rate": 0.5, "beta1": 0.9, "beta2": 0.99, "tau": 0.001}, GRID_BITS),
        scales={"b": -2, "steady.scale": 3, "w": 1},
        buffers={"z.running_mean": 1, "z.running_var": 2},
    )
    house.plan = anchor_plan(house.clients["owner"], house.store, house.model_id, manifest)


def finish(house: Federation) -> None:
    """Finalize round 1 as it was committed, and let everybody contribute to the next."""
    result = house.outcome().result
    house.attest("first", result)
    house.sleep_to("challenge_deadline")
    house.clients["stranger"].finalize_round(house.model_id, 1, result)
    house.clients["owner"].open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        update = house.update(name, seed=10 + seed, weight=200 + seed, at=2)
        house.commit(name, update, at=2)
        house.publish(update)
    house.sleep_to("publish_deadline", 2)


@pytest.fixture(scope="session")
def stateful_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    draw = np.random.default_rng(8)
    others = {
        "batches": np.array(7),
        "steady.scale": np.array([3.0, -40.0], np.float32),
        "z.running_mean": draw.normal(size=9).astype(np.float32),
        "z.running_var": (draw.normal(size=2200) ** 2 / 50).astype(np.float32),
    }
    folder = tmp_path_factory.mktemp("stateful")
    return stage(folder, adapt, open_round, take_part, finish, values=300, others=others)


@pytest.fixture
def stateful(stateful_stage: Stage, tmp_path: Path) -> Federation:
    """Round 1 of FedAdam is final, round 2 in phase Aggregate: scales, running statistics, a state of two numbers."""
    return stateful_stage.fresh(tmp_path)


@pytest.fixture
def wide(wide_stage: Stage, tmp_path: Path) -> Federation:
    """As `published`, with integer buffers and 3503 values: four chunks, the last a short one."""
    return wide_stage.fresh(tmp_path)


@pytest.fixture
def large(large_stage: Stage, tmp_path: Path) -> Federation:
    return large_stage.fresh(tmp_path)


@pytest.fixture
def federation(federation_stage: Stage, tmp_path: Path) -> Federation:
    """Members and plan are set; no round is open."""
    return federation_stage.fresh(tmp_path)


@pytest.fixture
def opened(opened_stage: Stage, tmp_path: Path) -> Federation:
    """Round 1 is in phase Commit and nobody has committed."""
    return opened_stage.fresh(tmp_path)


@pytest.fixture
def published(published_stage: Stage, tmp_path: Path) -> Federation:
    """Ann, Bob and Cyn have committed and published; round 1 is in phase Aggregate."""
    return published_stage.fresh(tmp_path)


@pytest.fixture
def new_plan() -> Callable[..., Plan]:
    """Sets another plan: called with a federation and what differs from its plan."""

    def change(house: Federation, **changed: Any) -> Plan:
        house.plan = anchor_plan(house.clients["owner"], house.store, house.model_id, plan_manifest(**changed))
        return house.plan

    return change


@pytest.fixture
def bonded(federation: Federation, new_plan: Callable[..., Plan]) -> Federation:
    """Ann, Bob and Cyn have published, and mallory, who has staked an ether, may attest."""
    house, ether = federation, 10**18
    new_plan(house, bond_gwei=ether // 10**9)
    Court(house.clients["mallory"]).deposit_bond(house.model_id, ether)
    house.clients["owner"].open_round(house.model_id)
    for seed, name in enumerate(("ann", "bob", "cyn")):
        house.contribute(name, house.update(name, seed=seed))
    house.sleep_to("publish_deadline")
    return house


@pytest.fixture
def header_of() -> Callable[[bytes], int]:
    """Returns where the data of a canonical file begins."""
    return lambda data: parse_header(data, len(data)).header_bytes


@pytest.fixture
def facts_of() -> Callable[[bytes], Any]:
    """Returns what one pass over a canonical file says of it."""
    return lambda data: describe([data])


@pytest.fixture
def lying_node() -> Callable[..., Any]:
    """Returns a web3 whose answers an attacker edits: called with a federation and edit(method, result) -> result."""
    from web3 import Web3
    from web3.middleware import Web3Middleware

    def make(house: Federation, edit: Callable[[str, Any], Any]) -> Any:
        class Liar(Web3Middleware):
            def response_processor(self, method: Any, response: Any) -> Any:
                if "result" in response:
                    response = {**response, "result": edit(method, response["result"])}
                return response

        w3 = Web3(house.chain.w3.provider)
        w3.middleware_onion.inject(Liar, layer=0)  # innermost: what the rest of web3 takes for the node's own words
        return w3

    return make

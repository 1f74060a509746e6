"""Whether an auditor is done before a window ends, however many leaves nobody shows and however long a node takes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hearing import lie
from hexbytes import HexBytes
from web3 import Web3
from web3.middleware import Web3Middleware

from registry.chain.client import Client
from registry.chain.contract_errors import AlreadyDemanded
from registry.chain.contract_structs import Opening, Target
from registry.chain.court import Court
from registry.chain.demand_terms import is_of_head
from registry.chain.journal import Journal
from registry.chain.sending import Sending
from registry.chain.sentinels import NOTHING
from registry.content.manifest import manifest_cid
from registry.dev.forgeries import nudged
from registry.disputes.demands import demands_of
from registry.disputes.openings import chunks_of_blob
from registry.ethereum.hashing import keccak
from registry.roles import auditor
from registry.roles.purse import Purse
from registry.store.base import ContentStore
from registry.store.blobs import walk_blob
from registry.store.limited import LimitedStore
from registry.store.memory import MemoryStore
from registry.types import HeadKind, ModelId, Phase, Tree

pytestmark = pytest.mark.slow

ETHER = 10**18


def hidden(house: Any) -> MemoryStore:
    """What is published, but for every contribution and its head."""
    public = MemoryStore()
    public._blocks.update(house.store._blocks)
    for verdict in house.verdicts():
        public._blocks.pop(manifest_cid(verdict.commitment.digest).digest)
        for cid, _ in walk_blob(house.store, verdict.manifest.delta.blob):
            public._blocks.pop(cid.digest, None)
    return public


class Pool(Web3Middleware):
    """A node on which a transaction waits for the next block; what it says of pending state is of the latest block."""

    raw: ClassVar[dict[bytes, bytes]] = {}

    def wrap_make_request(self, make_request: Any) -> Any:
        def made(method: Any, params: Any) -> Any:
            if method != "eth_sendRawTransaction":
                return make_request(method, params)
            raw = bytes(HexBytes(params[0]))
            self.raw[keccak(raw)] = raw
            return {"jsonrpc": "2.0", "id": 1, "result": "0x" + keccak(raw).hex()}

        return made


def by_blocks(house: Any) -> tuple[Client, list[float]]:
    """The stranger on a chain that makes a block each time it waits; and those waits, in seconds."""
    tester, waits = house.chain.w3.provider.ethereum_tester, list[float]()
    Pool.raw.clear()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        for raw in Pool.raw.values():
            tester.backend.send_raw_transaction(raw)
        Pool.raw.clear()
        tester.mine_block()

    w3 = Web3(house.chain.w3.provider)
    w3.middleware_onion.inject(Pool, layer=0)
    signer, sending = house.stranger.transactor._signer, Sending(sleep=wait, poll=0.01)
    return Client(w3, house.address, signer=signer, journal=Journal(None), sending=sending), waits


def test_seals_take_a_block_and_demands_one_more_however_many_there_are(bonded: Any) -> None:
    house = bonded
    result, store = house.outcome().result, hidden(house)
    house.attest("mallory", result)
    client, waits = by_blocks(house)
    purse = Purse(client, house.folder / "purse.json", 10 * ETHER)
    said = auditor.advance(client, store, house.folder / "auditor", house.model_id, purse=purse)
    sent = client.transactor.journal.all()
    demands = demands_of(Court(client), client.dispute(house.model_id, 1))
    assert "demanded" in said
    assert len(demands.open) >= 6, "a head and a leaf of each contribution"
    assert len(waits) == 2
    blocks = {intent.key.partition(":")[0]: intent.block_number for intent in sent}
    assert set(blocks) == {"sealClaim", "demandHead", "demandChunks"}
    assert blocks["sealClaim"] < min(blocks["demandHead"], blocks["demandChunks"]), "who sees a demand seals too late"
    assert all(intent.block_number == blocks[intent.key.partition(":")[0]] for intent in sent)


def test_leaves_that_are_shown_one_by_one_are_looked_at_together(bonded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house, client, looks = bonded, bonded.stranger, []
    result, store = house.outcome().result, hidden(house)
    openings = {}
    for verdict in house.verdicts():
        chunks = chunks_of_blob(house.store, verdict.manifest.delta.blob)
        openings[chunks.root] = chunks.opening

    class Told(LimitedStore):
        def __init__(self, store: ContentStore, seconds: float, *rest: Any) -> None:
            looks.append(seconds)
            super().__init__(store, seconds, *rest)

    monkeypatch.setattr("registry.roles.auditor.LimitedStore", Told)
    house.attest("mallory", result)
    purse, memory = Purse(client, house.folder / "purse.json", 10 * ETHER), auditor.AuditorMemory()
    mallory, counts = Court(house.mallory), []
    for _ in range(20):
        auditor.advance(client, store, house.folder / "auditor", house.model_id, purse=purse, memory=memory)
        counts.append(len(looks))
        still = demands_of(mallory, client.dispute(house.model_id, 1)).open
        if not still:
            break
        leaf = still[0]
        head = Opening(NOTHING.counted, house.store.get(manifest_cid(leaf.root)), ()) if is_of_head(leaf) else None
        mallory.show_leaf(leaf, head or openings[leaf.root](leaf.index))
    assert counts[:6] == [1] * 6, "six leaves are awaited"
    assert looks[1] < looks[0]
    assert len(looks) == 3, "one for the heads and the first leaves, one for the samples"


def test_an_audit_takes_no_more_of_an_extended_window_than_of_another(
    bonded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accomplice demands, which doubles the window; then a conviction ends it, and the next is a plain one."""
    house, budgets, result = bonded, list[float](), bonded.outcome().result

    class Told(LimitedStore):
        def __init__(self, store: ContentStore, seconds: float, *rest: Any) -> None:
            budgets.append(seconds)
            super().__init__(store, seconds, *rest)

    monkeypatch.setattr("registry.roles.auditor.LimitedStore", Told)
    house.attest("mallory", result)
    court, target = Court(house.mallory), Target(house.model_id, 1, result)
    court.demand_head(target, HeadKind.REPORT, deposit=court.deposit_now(target))
    auditor.advance(house.stranger, house.store, house.folder / "auditor", house.model_id)
    assert budgets == [house.plan.challenge_duration / 4]


def test_no_more_is_on_its_way_at_once_than_fits_beside_what_others_send(bonded: Any) -> None:
    house = bonded
    result = house.outcome().result
    house.attest("mallory", result)
    target = Target(house.model_id, 1, result)
    client, waits = by_blocks(house)
    court, purse = Court(client), Purse(client, house.folder / "purse.json", 10 * ETHER)
    deposit = court.deposit_now(target) * 2
    calls = (court.chunks_demand(target, Tree.AGGREGATE, [index], deposit=deposit) for index in range(5))
    assert purse.send_all(calls, together=250_000) == {}
    assert len(waits) == 3, "two of some 150 000 gas at a time"


def test_a_demand_that_is_refused_keeps_no_other_back(bonded: Any) -> None:
    house = bonded
    result = house.outcome().result
    house.attest("mallory", result)
    target, client = Target(house.model_id, 1, result), house.stranger
    court, purse = Court(client), Purse(client, house.folder / "purse.json", 10 * ETHER)
    Court(house.owner).demand_head(target, HeadKind.REPORT, deposit=court.deposit_now(target))
    before = client.balance(client.account)
    deposit = court.deposit_now(target) * 2
    calls = [court.chunks_demand(target, Tree.AGGREGATE, [index], deposit=deposit) for index in range(2)]
    twice = court.head_demand(target, HeadKind.REPORT, deposit=deposit)
    refused = purse.send_all([twice, *calls], together=10**7)
    assert {key: type(error) for key, error in refused.items()} == {twice.key: AlreadyDemanded}
    assert len(demands_of(court, client.dispute(house.model_id, 1)).open) == 3
    assert purse.spent == before - client.balance(client.account), "and no wei is counted that was not spent"


# Many models ----------------------------------------------------------------------------------------------------------


class Crowd:
    """An auditor of an active model, listed last, and of many without a round, on a node whose requests are counted."""

    def __init__(self, house: Any, idle: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time, self.asked, provider = 0.0, list[str](), house.chain.w3.provider
        models = [*(ModelId(number.to_bytes(32, "big")) for number in range(1, idle + 1)), house.model_id]
        purse = Purse(house.stranger, house.folder / f"purse-{idle}.json", 10 * ETHER)
        folder = house.folder / f"auditor-{idle}"
        made = auditor.tasks(house.stranger, house.store, folder, models, purse=purse, clock=lambda: self.time)
        self.tasks = made
        (self.looking,) = (task for task in made if task.name == f"looking {house.model_id.hex()[:10]}")
        real = provider.make_request

        def make_request(method: str, params: Any) -> Any:
            self.asked.append(method)
            return real(method, params)

        monkeypatch.setattr(provider, "make_request", make_request)
        monkeypatch.setattr(provider, "_request_func_cache", (None, None))

    def look(self) -> int:
        """Take a step of each task, and return how many requests that took, but for what web3 asks beside them."""
        self.time += 2
        self.asked.clear()
        for task in self.tasks:
            task.step()
        return len([method for method in self.asked if method not in ("eth_chainId", "eth_accounts")])


def test_idle_models_take_no_more_requests_however_many_there_are(bonded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house, taken = bonded, list[int]()
    house.attest("mallory", house.outcome().result)
    for idle in (0, 300):
        with monkeypatch.context() as patched:
            crowd = Crowd(house, idle, patched)
            crowd.look()
            taken.append(crowd.look())
    assert taken[1] <= taken[0] + 2, taken
    assert taken[0] < 64


@pytest.mark.parametrize("looks", [0, 1, 20])
def test_a_model_with_news_is_looked_at_before_many_others(
    bonded: Any, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, while others are read for the first time, and once all are known."""
    house, crowd = bonded, Crowd(bonded, 300, monkeypatch)
    for _ in range(looks):
        crowd.time += 2
        assert crowd.looking.step() == ""
    house.attest("mallory", lie(house, house.store, aggregate=nudged(17)))
    crowd.time += 2
    assert "convicted" in crowd.looking.step()


def test_a_node_that_leaves_out_events_hides_no_result_for_long(bonded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house, crowd = bonded, Crowd(bonded, 10, monkeypatch)
    for _ in range(3):
        assert crowd.looking.step() == ""
        crowd.look()
    events = Client.events
    monkeypatch.setattr(
        Client, "events", lambda self, *kinds, **more: () if len(kinds) > 5 else events(self, *kinds, **more)
    )
    house.attest("mallory", lie(house, house.store, aggregate=nudged(17)))
    for _ in range(8):
        crowd.look()
    assert house.stranger.phase(house.model_id, 1) != Phase.CHALLENGE

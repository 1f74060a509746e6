"""Many commit what nobody serves, each block of which is waited for: an audit comes to what is public all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import conftest
import pytest
from conftest import open_round, stage, take_part
from hearing import without

from registry.chain.contract_hashes import result_hash
from registry.chain.contract_structs import Grant
from registry.content.merkle import CHUNK_VALUES
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import falsified, nudged
from registry.disputes.inspection import _samples
from registry.errors import BlockNotFound, CairnError
from registry.ethereum.node import chain_time
from registry.roles import auditor
from registry.roles.answering import Answering, answer_demands
from registry.roles.loop import take_step
from registry.roles.purse import Purse
from registry.store.base import ContentStore
from registry.store.memory import MemoryStore
from registry.types import Cid, Phase, Role

pytestmark = pytest.mark.slow

CROWD = tuple(f"x{number}" for number in range(10))
WAIT = 30
"""Seconds that a store waits for a block that nobody serves."""
STEP = 2.0**-22


def grant(house: Any) -> None:
    grants = [Grant(house.clients[name].account, Role.PARTICIPANT) for name in CROWD]
    house.owner.grant_roles_batch(house.model_id, grants)


@pytest.fixture(scope="module")
def many_names() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "NAMES", (*conftest.NAMES, *CROWD))
        yield


@pytest.fixture(scope="module")
def first_round(many_names: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return stage(tmp_path_factory.mktemp("first"), grant, open_round, values=500)


@pytest.fixture(scope="module")
def after_a_round(many_names: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return stage(tmp_path_factory.mktemp("second"), grant, open_round, take_part)


class Network(MemoryStore):
    """Caches what it reads of what is public, and waits for the rest, while the chain goes on."""

    def __init__(self, house: Any, public: ContentStore) -> None:
        super().__init__()
        self.house, self.public, self.seconds = house, public, 0.0

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        sleep_until(self.house.chain.w3, int(chain_time(self.house.chain.w3) + seconds))

    def _get(self, cid: Cid) -> bytes:
        if cid.digest not in self._blocks:
            try:
                self._blocks[cid.digest] = self.public.get(cid)
            except BlockNotFound:
                self.pass_time(WAIT)
                raise
        return self._blocks[cid.digest]


def commit_all(house: Any, number: int) -> None:
    """The crowd first, which publishes nothing; then Ann, who does."""
    for name in (*CROWD, "ann"):
        update = house.update(name, seed=2, at=number)
        house.commit(name, update, at=number)
        if name == "ann":
            house.publish(update)
    house.sleep_to("publish_deadline", number)


def audited(house: Any, network: Network, number: int, folder: Path) -> list[str]:
    """What an auditor does in the window, while the liar shows what is demanded."""
    client, said, memory = house.stranger, list[str](), Answering()
    steps = auditor.tasks(
        client,
        network,
        folder / "auditor",
        [house.model_id],
        purse=Purse(client, folder / "purse.json", 10**19),
        clock=lambda: network.seconds,
    )
    (folder / "liar").mkdir()
    while client.phase(house.model_id, number) == Phase.CHALLENGE:
        try:
            said.append(take_step(steps))
        except CairnError as error:
            said.append(str(error))
        answer_demands(house.mallory, house.store, folder / "liar", house.model_id, number, memory)
        network.pass_time(12)
    return said


def test_a_listed_update_is_fetched_though_a_crowd_is_waited_for(first_round: Any, tmp_path: Path) -> None:
    """The report is withheld, so the list is demanded, and all commitments are looked for before."""
    house = first_round.fresh(tmp_path)
    commit_all(house, 1)
    outcome, salt = house.outcome(), b"\x05" * 32
    (tmp_path / "auditor").mkdir()
    (tmp_path / "auditor" / "salt").write_bytes(salt)
    for chunk in range(14):  # where no sample is taken
        lie = falsified(house.store, outcome, aggregate=nudged(chunk * CHUNK_VALUES + 5, STEP))
        tally = house.stranger.tally(house.model_id, 1, result_hash(lie))
        if chunk not in _samples(house.round().form.rules.values, salt + house.record().round_id + tally, lie):
            break
    house.attest("mallory", lie)
    public = without(house)
    for digest in (lie.report_digest, lie.version_digest):
        public._blocks.pop(digest)
    assert "convicted: aggregate" in audited(house, Network(house, public), 1, tmp_path)[-1]


def test_the_header_of_a_withheld_parent_is_found_though_a_crowd_is_waited_for(
    after_a_round: Any, tmp_path: Path
) -> None:
    house = after_a_round.fresh(tmp_path)
    result = house.outcome().result
    house.attest("first", result)
    house.sleep_to("challenge_deadline")
    house.stranger.finalize_round(house.model_id, 1, result)
    house.owner.open_round(house.model_id)
    commit_all(house, 2)
    lie = falsified(house.store, house.outcome(number=2), aggregate=nudged(3, STEP))
    house.forget("mallory")
    house.attest("mallory", lie, number=2)
    public = without(house, house.round(2).parent.weights.blob)
    assert "convicted: aggregate" in audited(house, Network(house, public), 2, tmp_path)[-1]

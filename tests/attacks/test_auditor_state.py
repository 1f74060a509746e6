"""What an auditor keeps on disk: damaged files, full disks, stops at any point, and accounts that two of them share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hearing import convicted, lie, update_of, without

from registry.chain.client import Client
from registry.chain.contract_errors import AlreadyDemanded
from registry.chain.contract_structs import Target
from registry.chain.court import Court
from registry.chain.journal import Journal
from registry.chain.sending import Sending
from registry.dev.embedded import sleep_until
from registry.dev.forgeries import nudged
from registry.disputes.demands import demands_of
from registry.roles.claims import Collecting, collect
from registry.roles.purse import Purse
from registry.types import Fault, Tree

pytestmark = pytest.mark.slow

ETHER = 10**18
STEP = 2.0**-22
FULL = OSError(28, "No space left on device")


def collected(house: Any, folder: str = "auditor", memory: Collecting | None = None) -> list[str]:
    """Let the stranger collect before and after the time to reveal; return what was done."""
    client, done = house.stranger, list[str]()
    purse, memory = Purse(client, house.folder / "purse.json", 10 * ETHER), memory or Collecting()
    tally = house.owner.attestation(house.model_id, 1, house.mallory.account)
    house.owner.expel(house.model_id, 1, {house.mallory.account: tally})
    for later in (False, True):
        if later:
            found = Court(client).conviction(house.record().round_id, tally)
            sleep_until(house.chain.w3, found.reveal_deadline)
        while said := collect(client, purse, house.folder / folder, memory):
            done.append(said.partition(" ")[0])
    return done


def requests(house: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods that the node is asked from now on."""
    provider, asked = house.chain.w3.provider, list[str]()
    real = provider.make_request

    def make_request(method: str, params: Any) -> Any:
        asked.append(method)
        return real(method, params)

    monkeypatch.setattr(provider, "make_request", make_request)
    monkeypatch.setattr(provider, "_request_func_cache", (None, None))
    return asked


# Claims ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["salt", "collected.json"])
@pytest.mark.parametrize("text", ["", "{", "[7]", "\x00\x00"])
def test_a_damaged_file_stops_no_charge(bonded: Any, caplog: pytest.LogCaptureFixture, name: str, text: str) -> None:
    house = bonded
    (house.folder / "auditor").mkdir()
    (house.folder / "auditor" / name).write_text(text)
    house.attest("mallory", lie(house, house.store, aggregate=nudged(17, STEP)))
    assert convicted(house) is Fault.AGGREGATE
    assert collected(house)[-1:] == ["withdrew"]
    assert caplog.text.count("expected 32 bytes") == (name == "salt"), "once"
    assert len((house.folder / "auditor" / "salt").read_bytes()) == 32


def test_a_full_disk_stops_no_charge(bonded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is to be written for a claim but a secret, and that is kept in memory meanwhile."""
    house = bonded

    def full(*_: Any) -> None:
        raise FULL

    house.attest("mallory", lie(house, house.store, aggregate=nudged(17, STEP)))
    monkeypatch.setattr("registry.roles.claims.write_whole", full)
    assert convicted(house) is Fault.AGGREGATE
    assert collected(house)[-2:] == ["collected", "withdrew"]


@pytest.mark.parametrize("fault", [Fault.AGGREGATE, Fault.UNANSWERED])
def test_what_the_chain_shows_of_claims_is_found_after_all_but_the_secret_is_lost(bonded: Any, fault: Fault) -> None:
    house, kept, store = bonded, bonded.folder / "kept", bonded.store
    if fault is Fault.UNANSWERED:
        house.attest("mallory", house.outcome().result)
        store = without(house, update_of(house, "ann"))
    else:
        house.attest("mallory", lie(house, house.store, aggregate=nudged(17, STEP)))
    assert convicted(house, store) is fault
    kept.mkdir()
    shutil.copy(house.folder / "auditor" / "salt", kept / "salt")
    assert [said for said in collected(house, "kept") if said != "withdrew"][-1:] == ["collected"]


def test_what_is_settled_is_not_asked_for_again(bonded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house, memory = bonded, Collecting()
    house.attest("mallory", lie(house, house.store, aggregate=nudged(17, STEP)))
    assert convicted(house) is Fault.AGGREGATE
    assert collected(house, memory=memory)[-2:] == ["collected", "withdrew"]
    purse, asked = Purse(house.stranger, house.folder / "purse.json", 10 * ETHER), requests(house, monkeypatch)
    assert collect(house.stranger, purse, house.folder / "auditor", memory) == ""
    assert asked.count("eth_call") == 1, "the account's credit"
    assert asked.count("eth_getLogs") <= 1


# The purse ------------------------------------------------------------------------------------------------------------


def test_what_is_earned_is_withdrawn_though_the_limit_is_reached(federation: Any) -> None:
    house, client = federation, federation.stranger
    Court(client).deposit_bond(house.model_id, ETHER)
    Court(client).release_bond(house.model_id, ETHER)
    purse, before = Purse(client, house.folder / "purse.json", 1), client.balance(client.account)
    assert collect(client, purse, house.folder) == f"withdrew {ETHER} wei of deposits and rewards"
    assert client.balance(client.account) > before + ETHER * 9 // 10
    assert purse.spent < 0


class Stopped(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("stop", range(11))
def test_what_is_withdrawn_is_counted_once_wherever_the_process_stops(
    federation: Any, tmp_path: Path, stop: int
) -> None:
    house, points, path = federation, list[str](), tmp_path / "spent.json"
    Court(house.stranger).deposit_bond(house.model_id, ETHER)
    Court(house.stranger).release_bond(house.model_id, ETHER)

    def crash_point(point: str) -> None:
        points.append(point)
        if len(points) == stop:
            shutil.copy(path, tmp_path / "kept.json")
            raise Stopped(point)

    def client(crash_point: Callable[[str], None] | None = None) -> Client:
        journal = Journal(tmp_path / "journal.sqlite", crash_point=crash_point)
        return Client(house.chain.w3, house.address, signer=house.stranger.transactor._signer, journal=journal)

    before = house.stranger.balance(house.stranger.account)
    stopping = client(crash_point)
    try:
        collect(stopping, Purse(stopping, path, ETHER), tmp_path)
    except Stopped:
        shutil.copy(tmp_path / "kept.json", path)  # what a process that ends does not settle
    again = client()
    purse = Purse(again, path, ETHER)
    collect(again, purse, tmp_path)
    purse.send(Court(again).call("sealClaim", b"\x01" * 32))
    assert purse.spent == before - again.balance(again.account) < 0


# An account that two auditors share -----------------------------------------------------------------------------------


def test_a_nonce_that_another_machine_takes_costs_a_wait_and_no_wei(
    bonded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both demand the same leaf and one more; each machine has its own journal and purse."""
    house, result = bonded, bonded.outcome().result
    house.attest("mallory", result)
    target, before = Target(house.model_id, 1, result), house.stranger.balance(house.stranger.account)
    courts, purses = list[Court](), list[Purse]()
    for name in ("one", "other"):
        signer, sending = house.stranger.transactor._signer, Sending(poll=0.0, timeout=2.0)
        client = Client(house.chain.w3, house.address, signer=signer, journal=Journal(None), sending=sending)
        courts.append(Court(client))
        purses.append(Purse(client, house.folder / name / "spent.json", 10 * ETHER))
    deposit = 2 * courts[0].deposit_now(target)
    same, more = (courts[1].chunks_demand(target, Tree.AGGREGATE, [index], deposit=deposit) for index in (0, 1))
    transactor = courts[1].client.transactor
    next_nonce = transactor._next_nonce

    def overtaken() -> int:
        nonce = next_nonce()
        monkeypatch.setattr(transactor, "_next_nonce", next_nonce)
        purses[0].send(replace(same, value=deposit + 1))
        return nonce

    monkeypatch.setattr(transactor, "_next_nonce", overtaken)
    refused = purses[1].send_all([same, more], together=10**7)
    assert {key: type(error) for key, error in refused.items()} == {same.key: AlreadyDemanded}
    assert len(demands_of(courts[0], house.owner.dispute(house.model_id, 1)).open) == 2
    assert [purse.spent > deposit for purse in purses] == [True, True]
    assert sum(purse.spent for purse in purses) == before - house.stranger.balance(house.stranger.account)

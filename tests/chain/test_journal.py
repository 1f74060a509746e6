"""The transaction journal: its states, its file, and what it refuses."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from registry.chain.journal import Attempt, IntentState, Journal, JournalConflict
from registry.errors import ChainError
from registry.types import Address

TO = Address(b"\x01" * 20)


def attempt(number: int = 1, *, nonce: int = 0) -> Attempt:
    return Attempt(
        tx_hash=bytes([number]) * 32,
        raw=bytes([number]),
        nonce=nonce,
        max_fee=2**80,
        priority_fee=2**70,
        signed_at=1.0,
        sent=False,
    )


def test_an_intent_goes_through_its_states_and_survives_reopening(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "j.sqlite"
    journal = Journal(path)
    planned = journal.plan("commit", TO, b"data", 5)
    assert (planned.state, planned.nonce, planned.value) == (IntentState.PLANNED, None, 5)
    signed = journal.sign(planned.number, attempt(), 21000)
    assert (signed.state, signed.nonce, signed.gas) == (IntentState.SIGNED, 0, 21000)
    assert signed.attempts[0].max_fee == 2**80
    assert journal.send(planned.number, attempt().tx_hash).state is IntentState.SENT
    mined = journal.mine(planned.number, attempt().tx_hash, block_number=7, block_hash=b"\x07" * 32, succeeded=True)
    assert (mined.state, mined.block_number, mined.succeeded) == (IntentState.MINED, 7, True)
    journal.finalize(planned.number)
    journal.close()
    again = Journal(path).latest("commit")
    assert again is not None
    assert again.state is IntentState.FINAL
    assert again.attempts[0].sent
    assert path.stat().st_mode & 0o077 == 0


def test_steps_that_do_not_fit_the_state_change_nothing() -> None:
    journal = Journal(None)
    planned = journal.plan("k", TO, b"")
    for step in (journal.finalize, journal.reorg, journal.lose):
        assert step(planned.number).state is IntentState.PLANNED
    assert journal.fail(planned.number, "no").state is IntentState.PLANNED
    assert journal.send(planned.number, b"").state is IntentState.PLANNED
    journal.sign(planned.number, attempt(), 1)
    assert journal.drop(planned.number, "no").state is IntentState.SIGNED
    assert journal.finalize(planned.number).state is IntentState.SIGNED


def test_a_lost_nonce_makes_an_intent_planned_again_without_its_old_attempts() -> None:
    journal = Journal(None)
    number = journal.plan("k", TO, b"").number
    journal.sign(number, attempt(1), 1)
    assert journal.lose(number).attempts == ()
    signed = journal.sign(number, attempt(2, nonce=1), 1)
    assert [a.tx_hash[0] for a in signed.attempts] == [2]


def test_a_key_is_free_again_once_its_intent_is_over() -> None:
    journal = Journal(None)
    first = journal.plan("k", TO, b"one")
    journal.drop(first.number, "refused")
    second = journal.plan("k", TO, b"two")
    assert second.number != first.number
    assert journal.latest("k") == second
    assert len(journal.all()) == 2


def test_a_signed_key_does_not_take_another_content() -> None:
    journal = Journal(None)
    number = journal.plan("k", TO, b"one").number
    journal.sign(number, attempt(), 1)
    assert journal.plan("k", TO, b"one").number == number
    for other in ((TO, b"two", 0), (None, b"one", 0), (TO, b"one", 1)):
        with pytest.raises(JournalConflict, match="SIGNED already"):
            journal.plan("k", *other)


def test_live_intents_come_in_the_order_of_their_nonces() -> None:
    journal = Journal(None)
    for key, nonce in (("a", 3), ("b", 1), ("c", 2)):
        journal.sign(journal.plan(key, TO, b"").number, attempt(nonce, nonce=nonce), 1)
    journal.plan("planned", TO, b"")
    assert [intent.key for intent in journal.live()] == ["b", "c", "a", "planned"]


def test_every_write_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    journal.plan("k", TO, b"")
    other = sqlite3.connect(tmp_path / "j.sqlite")
    assert other.execute("SELECT key, state FROM intents").fetchall() == [("k", "PLANNED")]


def test_a_stop_inside_a_step_leaves_nothing_half_written() -> None:
    journal = Journal(None)
    number = journal.plan("k", TO, b"").number
    journal.sign(number, attempt(), 1)
    with pytest.raises(ChainError, match="cannot be written"):
        journal.sign(number, attempt(), 2)  # the same attempt twice
    assert journal.get(number).gas == 1


def test_journals_are_apart_by_chain_genesis_and_account(tmp_path: Path) -> None:
    for chain_id, genesis, account in ((1, b"\1" * 32, TO), (2, b"\1" * 32, TO), (1, b"\2" * 32, TO)):
        Journal.of(tmp_path, chain_id=chain_id, genesis=genesis, account=account).plan("k", TO, b"")
    Journal.of(tmp_path, chain_id=1, genesis=b"\1" * 32, account=Address(b"\2" * 20)).plan("k", TO, b"")
    files = list(tmp_path.glob("*/*.sqlite"))
    assert len(files) == 4
    assert all(len(Journal(file).all()) == 1 for file in files)


def test_a_file_that_is_no_journal_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "j.sqlite").write_bytes(b"something else entirely, and longer than a header" * 50)
    with pytest.raises(ChainError, match="cannot be used"):
        Journal(tmp_path / "j.sqlite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ChainError, match="cannot be used"):
        Journal(tmp_path / "folder")
    with pytest.raises(ChainError, match="no entry"):
        Journal(None).get(1)

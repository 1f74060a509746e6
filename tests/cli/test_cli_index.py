"""The index by commands: sync, status, dump, rebuild, repair, and what they refuse."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from registry.index.database import Index, read_index
from registry.index.queries import following


def file_of(world: Any) -> Path:
    return next((world.folder / "home" / "index").rglob("*.sqlite"))


def test_an_index_is_made_shown_and_dumped(world: Any) -> None:
    run, done = world.run, world.done
    first = done("index", "sync")
    head = world.chain.w3.eth.block_number
    assert (first["head"], first["final"], first["undone"]) == (head, head, 0)
    assert first["added"] == 6  # registered, four roles, a plan
    assert Path(first["file"]).is_relative_to(world.folder / "home" / "index")
    assert done("index", "sync") == {**first, "added": 0}
    status = done("index", "status")
    assert (status["head"], status["final"], status["node"], status["checked"]) == (head, head, head, None)
    assert {name: n for name, n in status["facts"].items() if n} == {
        "models": 1,
        "owners": 1,
        "members": 4,
        "plans": 1,
        "versions": 1,
        "heads": 1,
    }
    dumped = done("index", "dump", "-o", "dump.txt")
    text = (world.folder / "dump.txt").read_bytes()
    assert dumped["sha256"] == "0x" + hashlib.sha256(text).hexdigest()
    assert dumped["lines"] == text.count(b"\n")
    assert world.model[2:].encode() in text
    assert run("index", "dump").stdout.encode() == text
    assert done("index", "dump")["sha256"] == dumped["sha256"]
    assert "members" in run("index", "status").stdout


def test_what_happens_later_is_added(world: Any) -> None:
    world.done("index", "sync")
    world.done("round", "open", world.model, "--account", "a")
    assert world.done("index", "sync")["added"] == 1


def test_finality_is_a_setting_like_any_other(world: Any) -> None:
    done = world.done("index", "sync", "--finality", "2")
    assert done["final"] == done["head"] - 2


def test_a_rebuilt_index_is_equal_whatever_stood_there(world: Any) -> None:
    world.done("index", "sync")
    before = world.done("index", "dump")["sha256"]
    for made in file_of(world).parent.glob("*.sqlite*"):
        made.write_bytes(b"no index")
    result = world.run("index", "sync")
    assert result.exit_code == 2
    assert "cannot be used as an index" in result.stderr
    assert world.done("index", "rebuild")["added"] == 6
    assert world.done("index", "dump")["sha256"] == before


def test_broken_finality_is_exit_code_5_and_repaired(world: Any) -> None:
    world.done("round", "open", world.model, "--account", "a")
    tester = world.chain.w3.provider.ethereum_tester
    snapshot = tester.take_snapshot()
    world.done("round", "cancel", world.model, "1", "--account", "a")
    world.done("index", "sync")
    before = world.done("index", "dump")["sha256"]
    tester.revert_to_snapshot(snapshot)
    tester.mine_blocks(3)
    result = world.run("index", "sync")
    assert result.exit_code == 5
    assert "was final as" in result.stderr
    assert "cairn index repair" in result.stderr
    assert world.done("index", "dump")["sha256"] == before
    repaired = world.done("index", "repair")
    assert (repaired["head"], repaired["added"]) == (repaired["kept"] + 3, 0)
    after = world.done("index", "dump")["sha256"]
    world.done("index", "rebuild")
    assert world.done("index", "dump")["sha256"] == after != before


def test_a_second_indexer_is_exit_code_2(world: Any) -> None:
    world.done("index", "sync")
    path = file_of(world)
    with read_index(path) as db:
        known = following(db)
    assert known is not None
    with Index(path, known):
        for command in ("sync", "repair", "rebuild"):
            result = world.run("index", command)
            assert result.exit_code == 2
            assert "another process is writing to this index; only one may" in result.stderr
        assert world.run("index", "status").exit_code == 0


@pytest.mark.parametrize("command", ["status", "dump"])
def test_an_index_that_is_not_there_is_exit_code_2(shared_world: Any, command: str) -> None:
    result = shared_world.run("index", command)
    assert result.exit_code == 2
    assert "expected an index at" in result.stderr


def test_following_goes_on_until_stopped(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop itself is tested with the others; here it takes three steps."""
    said: list[str] = []

    def three_steps(session: Any, advance: Any, **_: Any) -> None:
        said.append(advance())
        world.done("round", "open", world.model, "--account", "a")
        said.extend((advance(), advance()))

    monkeypatch.setattr("registry.cli.run_loops.run_loop", three_steps)
    result = world.run("index", "sync", "--follow")
    assert result.exit_code == 0, result.output
    head = world.chain.w3.eth.block_number
    assert said == [f"added 6 events up to block {head - 1}", f"added 1 events up to block {head}", ""]


def test_an_index_is_made_with_checks(world: Any) -> None:
    block = world.chain.w3.eth.get_block("latest")
    known = f"{block['number']}:0x{bytes(block['hash']).hex()}"
    world.done("index", "sync")
    plain = world.done("index", "dump")["sha256"]
    world.done("index", "rebuild", "--verify", "--checkpoint", known, "--second-rpc", "http://127.0.0.1:9")
    assert world.done("index", "dump")["sha256"] == plain
    assert world.done("index", "sync", "--verify")["added"] == 0
    assert world.done("index", "status")["checked"] == block["number"]
    world.done("round", "open", world.model, "--account", "a")
    done = world.done("index", "sync")
    assert (done["head"], done["checked"]) == (block["number"] + 1, block["number"])
    asked = world.run("provenance", "participant", world.model, "0x" + world.chain.signers[0].address.hex())
    assert f"was checked up to block {block['number']}; blocks up to" in asked.stderr
    done = world.done("index", "sync", "--verify")
    assert done["checked"] == done["head"] == block["number"] + 1
    repaired = world.done("index", "repair", "--verify")
    assert (repaired["kept"], repaired["checked"]) == (done["head"], done["head"])


def test_a_checkpoint_that_the_node_s_chain_does_not_hold_is_exit_code_7(world: Any) -> None:
    result = world.run("index", "sync", "--verify", "--checkpoint", "3:0x" + "07" * 32)
    assert result.exit_code == 7
    assert world.done("index", "status")["head"] is None


@pytest.mark.parametrize(
    "known", ["3", "3:", ":" + "07" * 32, "x:" + "07" * 32, "3:0x07", "-1:" + "07" * 32, "3:" + "zz" * 32]
)
def test_a_checkpoint_that_is_none_is_exit_code_2(shared_world: Any, known: str) -> None:
    result = shared_world.run("index", "sync", "--verify", f"--checkpoint={known}")
    assert result.exit_code == 2
    assert "expected NUMBER:HASH" in result.stderr


@pytest.mark.parametrize("option", ["--checkpoint=3:" + "07" * 32, "--second-rpc=http://127.0.0.1:9"])
def test_what_checks_go_by_without_checks_is_exit_code_2(shared_world: Any, option: str) -> None:
    result = shared_world.run("index", "sync", option)
    assert result.exit_code == 2
    assert "expected --verify" in result.stderr

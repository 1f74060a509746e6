"""What a new user met in an hour with Cairn: waits, refusals, provenance, cards and messages, as they are shown."""

from __future__ import annotations

import logging
import math
import os
import re
import shlex
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from registry.cli.session import Session
from registry.cli.turns import Turns
from registry.content.cid import parse_cid
from registry.content.manifest import Code, DataSetManifest, UpdateManifest, decode
from registry.content.segments import segments_of
from registry.dev.embedded import warp
from registry.errors import BlockNotFound, InputError
from registry.ethereum.keys import to_checksum
from registry.roles.aggregator import AggregatorMemory, advance
from registry.roles.loop import TaskHealth, follow
from registry.rounds.versions import load_version_manifest, save_arrays
from registry.store.car_store import CarStore
from registry.store.limited import LimitedStore
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from registry.types import Cid, ModelId, Role
from trainer.cli.tasks import load_task
from trainer.made_updates import make_update
from trainer.modules import load_arrays, module_arrays, module_header, propose_plan
from trainer.participant import Task
from trainer.participant import advance as advance_participant
from trainer.private import load_personal
from trainer.simulation import simulate_round, start
from trainer.updates import this_package

MEASURING = """
from dataclasses import replace
import hospital
from registry.rounds.evaluations import confusion_counts

TRUE, PREDICTED = [0] * 20 + [1] * 20, [0] * 17 + [1] * 23

def task():
    counts = confusion_counts(TRUE, PREDICTED, ("well", "ill"))
    return replace(hospital.task(), evaluate=lambda module: counts | {"loss": 21.0})
"""


def model_of(world: Any) -> ModelId:
    return ModelId(bytes.fromhex(world.model[2:]))


def versions(world: Any) -> list[str]:
    """The digests of the versions of a model, genesis first."""
    lineage = world.done("provenance", "show", world.model)["lineage"]
    return [version["version"].removeprefix("0x") for version in lineage][::-1]


def committed(world: Any, *published: str, fewest: int = 1) -> None:
    """Open a round in which b and c commit, of whom only the named publish."""
    world.done("plan", "new", "--quorum", 2, "--min-contributions", fewest, "--grid", 20, "-o", "one.toml")
    world.done("plan", "set", world.model, "one.toml", "--account", "a")
    world.done("round", "open", world.model, "--account", "a")
    for name in "bc":
        world.done("participant", "submit", world.model, "--task", "hospital.py:task", "--account", name)
    close(world, *published)


def close(world: Any, *published: str) -> None:
    world.done("round", "end-commits", world.model, "--account", "a")
    for name in published:
        world.done("participant", "publish", world.model, "--account", name)


def finish(world: Any, *published: str) -> None:
    """Play a round from its commits to its end."""
    warp(world.chain.w3, seconds=3601)
    for name in published:
        world.done("participant", "publish", world.model, "--account", name)
    warp(world.chain.w3, seconds=3601)
    for name in "de":
        world.done("aggregator", "once", world.model, "--account", name)
    warp(world.chain.w3, seconds=3601)
    world.done("round", "finalize", world.model, "--account", "f")


# Waits and refusals ----------------------------------------------------------------------------------------------


def test_an_update_that_nobody_publishes_is_awaited_aloud_once_and_then_refused(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    committed(world, "b")
    aggregator, silent = Session({"account": "d"}), to_checksum(Session({"account": "c"}).account)
    memory = AggregatorMemory()

    def step() -> str:
        return advance(aggregator.client, aggregator.store, world.folder / "d", model_of(world), memory=memory)

    assert step() == step() == ""
    (said,) = (r.getMessage() for r in caplog.records if "waiting for" in r.getMessage())
    assert said.startswith(f"round 1: waiting for the update of {silent}, up to ")
    assert 3000 < int(said.split()[-2]) <= 3600, said
    warp(world.chain.w3, seconds=3601)
    assert step() == f"round 1: attested 1 contributions; 1 refused: {silent} unavailable"


def test_while_a_store_looks_for_an_update_it_is_said_whose(
    world: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Searching(LimitedStore):
        """A store that, like Kubo, takes its time to say that it has not found a block."""

        def get(self, cid: Cid) -> bytes:
            try:
                return super().get(cid)
            except BlockNotFound:
                time.sleep(0.3)
                assert any("waiting for the update of" in r.getMessage() for r in caplog.records)
                raise

    monkeypatch.setattr("registry.roles.aggregator._SILENT", 0.1)
    committed(world, "b")
    warp(world.chain.w3, seconds=3601)
    caplog.set_level(logging.WARNING)
    aggregator = Session({"account": "d"})
    store = Searching(aggregator.store, math.inf)
    assert "1 refused" in advance(aggregator.client, store, world.folder / "d", model_of(world))
    assert sum("waiting for the update of" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.parametrize(("role", "account"), [(Role.PARTICIPANT, "c"), (Role.AGGREGATOR, "d")])
def test_a_round_that_lapsed_is_said_though_the_next_was_opened_before_anybody_looked(
    world: Any, role: Role, account: str
) -> None:
    session = Session({"account": account})
    turns = Turns(session.reader, [model_of(world)], role, session.account)

    def said() -> list[str]:
        return list(iter(turns.step, ""))

    committed(world)
    assert "commits closed with 2" in said()[0]
    warp(world.chain.w3, seconds=7201)
    world.done("round", "open", world.model, "--account", "a")
    lapsed, opened = said()
    assert lapsed == "round 1: lapsed: nobody attested a result of its 2 updates"
    assert opened.startswith("round 2: opened, commits until")
    assert said() == []


def test_a_round_with_too_few_updates_says_why_nothing_is_attested(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    committed(world, "b", fewest=2)
    warp(world.chain.w3, seconds=3601)
    aggregator, silent = Session({"account": "d"}), to_checksum(Session({"account": "c"}).account)
    memory = AggregatorMemory()
    for _ in range(2):
        assert not advance(aggregator.client, aggregator.store, world.folder / "d", model_of(world), memory=memory)
    (said,) = (r.getMessage() for r in caplog.records if "nothing to attest" in r.getMessage())
    assert said == (
        f"round 1: nothing to attest: 1 of 2 updates admitted, the plan asks for 2; 1 refused: {silent} unavailable"
    )


# What provenance claims ------------------------------------------------------------------------------------------


def test_code_that_nobody_states_is_not_claimed_and_stated_code_is(world: Any) -> None:
    (world.folder / "theirs.py").write_text(
        (world.folder / "hospital.py").read_text()
        + "\nfrom dataclasses import replace\nfrom registry.content.manifest import Code\n"
        "def stating():\n    return replace(task(), code=Code('git@example.org:ward', '81c4'))\n"
    )
    world.done("round", "open", world.model, "--account", "a")
    submit = ("participant", "submit", world.model, "--task")
    world.done(*submit, "hospital.py:task", "--account", "b")
    result = world.run(*submit, "theirs.py:stating", "--code", "x@1", "--account", "c")
    assert (result.exit_code, "--code: expected none, since the task states" in result.stderr) == (2, True)
    world.done(*submit, "theirs.py:stating", "--account", "c")
    result = world.run(*submit, "hospital.py:task", "--code", "x@1", "--account", "b")
    assert (result.exit_code, "it does not state --code" in result.stderr) == (2, True), result.output
    finish(world, "b", "c")
    shown = world.done("provenance", "show", world.model)["lineage"][0]["commitments"]
    assert [one["code"] for one in shown] == [None, {"name": "git@example.org:ward", "version": "81c4"}]
    said = world.run("provenance", "show", world.model).stdout
    assert "code -\n" in said and "code git@example.org:ward 81c4\n" in said and "cairn-registry" not in said


def test_a_flag_states_the_code_of_a_task(world: Any) -> None:
    world.done("round", "open", world.model, "--account", "a")
    own = ("--task", "hospital.py:task", "--code", "ward@1.2", "--account", "b")
    world.done("participant", "submit", world.model, *own)
    (file,) = world.folder.glob("home/**/update.cbor")
    assert decode(file.read_bytes(), UpdateManifest).code == Code("ward", "1.2")


def test_this_package_s_own_tasks_state_its_code() -> None:
    from trainer.cli.commands.simulate import _line

    assert _line(0, 2).code == this_package()


def require_scores(world: Any, *participants: str) -> None:
    """The score of each round's parent stands in facts, text and picture of the lineage."""
    shown = world.done("provenance", "show", world.model, "--svg", "l.svg")["lineage"]
    assert shown[0]["score"] is None, "nobody evaluated the head yet"
    scores = [version["score"] for version in shown[:0:-1]]
    assert [score["worst_participant"] for score in scores] == [who.lower() for who in participants]
    assert [(score["round"], score["metric"], score["examples"]) for score in scores] == [
        (1, "macro_f1", 42),
        (2, "macro_f1", 42),
    ]
    first = scores[0]
    assert [round(first[name], 4) for name in ("least", "value", "most", "spread")] == [0.8035, 0.8803, 0.9735, 0]
    said = world.run("provenance", "show", world.model).stdout
    assert f"round 1: macro_f1 0.8803 (0.8035 to 0.9735), spread 0, worst 0.8803 by {participants[0]}" in said
    drawn = (world.folder / "l.svg").read_text()
    assert drawn.count('class="spread"') == 2
    assert drawn.count("macro_f1 0.8803 ± 0, worst participant 0.8803, as 1 say") == 2


def test_a_card_lists_who_took_part_in_any_round_and_how_to_check_it(world: Any) -> None:
    world.done("plan", "new", "--quorum", 2, "--min-contributions", 1, "--grid", 20, "-o", "one.toml")
    world.done("plan", "set", world.model, "one.toml", "--account", "a")
    (world.folder / "measuring.py").write_text(MEASURING)
    for who in ("b", "c"):
        world.done("round", "open", world.model, "--account", "a")
        world.done("participant", "submit", world.model, "--task", "measuring.py:task", "--account", who)
        finish(world, who)
    card = world.run("model", "card", world.model).stdout
    b, c = (to_checksum(Session({"account": name}).account) for name in "bc")
    assert "2 federated rounds led to it." in card
    assert all(f"| `{who}` | 1 | 10 | 50.0 % |" in card for who in (b, c))
    contract = to_checksum(Session({}).reader.address)
    genesis, first = (version[:10] for version in versions(world)[:2])
    found = "1 | 42 | accuracy 0.881, loss 0.5, macro\\_f1 0.8803 | 0"
    assert f"| 1 | `{genesis}` | {found} | 0.8803 by `{b[:10]}` |" in card
    assert f"| 2 | `{first}` | {found} | 0.8803 by `{c[:10]}` |" in card
    require_scores(world, b, c)
    assert "## Data, as its owner states it\n\n| data set | licence |\n| --- | --- |\n| x | CC0\\-1.0 |" in card
    for line in re.findall(r"^\$ cairn (.*)$", card, re.M):
        assert f"--contract {contract}" in line and (
            versions(world)[-1] in line or line.startswith("verify model.safe")
        )
        assert world.run(*shlex.split(line)).exit_code == 0, line


# Messages --------------------------------------------------------------------------------------------------------


@pytest.fixture
def of_two_parts() -> Callable[..., nn.Module]:
    """A module of a body, and with `device` of a part that a site keeps for itself."""

    def make(device: bool) -> nn.Module:
        parts = {"body": nn.Linear(2, 1)} | ({"device": nn.Linear(1, 1)} if device else {})
        return nn.ModuleDict(parts)

    return make


def test_tensors_that_differ_are_named_with_the_remedy(of_two_parts: Callable[..., nn.Module]) -> None:
    more, fewer = of_two_parts(True), of_two_parts(False)
    lacking = r"\Athe version lacks device.bias, device.weight, which the module has: .* private=\('device.\*',\) in"
    with pytest.raises(InputError, match=lacking):
        load_arrays(more, module_arrays(fewer)[0])
    beside = r"\Athe module lacks device.bias, device.weight, which the version has: make the module"
    with pytest.raises(InputError, match=beside):
        load_arrays(fewer, module_arrays(more)[0])
    with pytest.raises(InputError, match=r"holds device.bias, device.weight, private or .*`--without 'device.\*'`"):
        load_arrays(more, module_arrays(more)[0], without=("device.*",))
    named = r"\Aexpected the plan's scales and buffers to name F32 tensors .*, got device.weight,.*--without"
    with pytest.raises(InputError, match=named):
        segments_of(module_header(fewer), {"device.weight": 2}, {})


def test_files_whose_tensors_differ_are_told_apart_by_name(
    of_two_parts: Callable[..., nn.Module], tmp_path: Path
) -> None:
    fewer, more = tmp_path / "fewer.safetensors", tmp_path / "more.safetensors"
    for device, path in ((False, fewer), (True, more)):
        save_arrays(path, module_arrays(of_two_parts(device))[0])
    plan = propose_plan(of_two_parts(False), quorum=1, min_contributions=1)
    for before, after, said in (
        (fewer, more, "but it holds device.bias, device.weight besides: leave out what only this site has"),
        (more, fewer, "but it lacks device.bias, device.weight"),
    ):
        with pytest.raises(InputError, match=rf"{said}\Z"):
            make_update(before, after, plan, tmp_path / "update.safetensors")


def test_metrics_are_printed_as_names_and_values(open_world: Any) -> None:
    own = ("--task", "hospital.py:task", "--account", "b")
    result = open_world.run("participant", "submit", open_world.model, *own)
    assert re.search(r"^metrics +loss 0.5$", result.stdout, re.M), result.stdout


def test_an_error_s_name_is_said_once(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    health, stop = TaskHealth(), threading.Event()

    def step() -> str:
        stop.set()
        nobody = Session({"account": "f"})
        nobody.client.open_round(model_of(world), number=1, until="mined")
        return ""

    follow(step, stop, poll=0.01, health=health, ends=())
    assert health.error.startswith("MissingRole") and health.error.count("MissingRole") == 1, health.error
    assert "MissingRole: MissingRole" not in caplog.text


# Commands --------------------------------------------------------------------------------------------------------


def test_watching_waits_for_a_round_that_is_not_open_yet(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(seconds: float) -> None:
        world.done("round", "open", world.model, "--account", "a")
        world.done("round", "cancel", world.model, "--account", "a")

    monkeypatch.setattr("registry.cli.commands.rounds.time.sleep", wait)
    for number in (1, 2):
        result = world.run("round", "watch", world.model, *((number,) if number == 2 else ()))
        assert result.exit_code == 0, result.output
        assert f"waiting for round {number} to be opened" in result.stderr
        assert f"round {number}, cancelled" in result.stdout
    assert world.run("round", "watch", world.model, 9).exit_code == 2


def test_a_round_that_lapsed_is_no_unknown_outcome(world: Any) -> None:
    committed(world)

    def outcome() -> str:
        return world.run("provenance", "participant", world.model, "b").stdout

    assert "no version yet" in outcome() and "unknown" not in outcome()
    warp(world.chain.w3, seconds=7201)
    world.done("round", "open", world.model, "--account", "a")
    assert "round lapsed" in outcome() and "unknown" not in outcome()


def test_a_bundle_names_its_version_and_compares_a_file_with_it(played: Any, tmp_path: Path) -> None:
    car, weights = tmp_path / "b.car", tmp_path / "model.safetensors"
    made = played.done("bundle", "create", played.model, "-o", car)
    trust = [word for point in made["trust"] for word in ("--trust", f"0x{point['hash'].removeprefix('0x')}")]
    head = played.done("model", "show", played.model)["head"].removeprefix("0x")
    played.done("model", "pull", played.model, "-o", weights)
    result = played.run("bundle", "verify", car, *trust, "--file", weights)
    assert result.exit_code == 0, result.output
    for name, value in (("model", played.model.removeprefix("0x")), ("version", head)):
        assert re.search(rf"^{name} +(0x)?{value}$", result.stdout, re.M), result.stdout
    assert f"the weights of version 0x{head}" in result.stdout
    assert played.done("bundle", "verify", car, *trust, "--file", weights)["file"]["is_version"] is True
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    result = played.run("bundle", "verify", car, *trust, "--file", weights)
    assert (result.exit_code, "the weights of version" in result.stderr) == (7, True), result.output


def test_the_root_of_a_bundle_is_no_manifest_and_the_message_says_what_reads_it(played: Any, tmp_path: Path) -> None:
    root = played.done("bundle", "create", played.model, "-o", tmp_path / "b.car")["root"]
    car = CarStore(tmp_path / "b.car")
    store = LocalStore(tmp_path / "store")
    store.put(parse_cid(root), car.get(parse_cid(root)))
    result = played.run("store", "get", root, "--store", tmp_path / "store")
    assert "bundle verify" in result.stderr


# A site's own part -----------------------------------------------------------------------------------------------


def test_a_site_s_own_model_is_a_version_with_its_own_private_tensors(
    of_two_parts: Callable[..., nn.Module], tmp_path: Path
) -> None:
    def train(module: nn.Module, epoch: int) -> dict[str, float]:
        with torch.no_grad():
            for value in module.parameters():
                value += 0.25
        return {}

    about, private = DataSetManifest("ward 7", "", "", "", 10, None), ("device.*",)
    task = Task(of_two_parts(True), train, 10, about, private=private)
    plan = propose_plan(task.module, quorum=1, min_contributions=1, without=private)
    sites = start(task.module, {"ann": task}, plan, MemoryStore(), tmp_path, aggregators=1, without=private)
    model = sites.model_id
    version = load_version_manifest(sites.store, sites.owner.model(model).head)
    with pytest.raises(InputError, match="expected private tensors of model 0x"):
        load_personal(task, sites.store, version, tmp_path / "ann", model)
    simulate_round(sites)
    trained = {name: value.clone() for name, value in task.module.state_dict().items()}
    version = load_version_manifest(sites.store, sites.owner.model(model).head)
    served = replace(task, module=of_two_parts(True))
    assert load_personal(served, sites.store, version, tmp_path / "ann", model) == 1
    got = served.module.state_dict()
    assert all(torch.equal(got[name], trained[name]) for name in trained if name.startswith("device"))
    assert all(torch.allclose(got[name], trained[name], atol=1e-6) for name in trained)


# Noise, outages, and what a loop says of itself ------------------------------------------------------------------


def test_a_kubo_node_that_is_down_is_named_with_the_remedy(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = world.folder / ".localnet"
    net.mkdir()
    (net / "localnet.json").write_text("{}")
    (net / "cairn.toml").write_text('store = "kubo:/ip4/127.0.0.1/tcp/9"\n')
    down = "content store kubo:http://127.0.0.1:9 cannot be reached: Connection refused"
    for command in (("store", "stat", f"bafkrei{'a' * 52}"), ("doctor",)):
        found = world.run(*command)
        assert (found.exit_code, f"{down}: `cairn localnet up` starts it" in found.output) == (4, True), found.output
        assert "urllib3" not in found.output and "HTTPConnection" not in found.output
    (net / "localnet.json").unlink()
    assert "localnet up" not in world.run("doctor").output


def test_opening_a_round_and_setting_a_plan_are_quiet_where_all_is_well(world: Any) -> None:
    assert world.run("plan", "set", world.model, "plan.toml", "--account", "a").stderr == ""
    assert world.run("round", "open", world.model, "--account", "a").stderr == ""


def test_a_loop_says_that_it_finishes_its_step_and_that_it_stopped(world: Any, capfd: Any) -> None:
    from registry.cli.run_loops import run_loop

    def step() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return "round 1: committed"

    run_loop(Session({}), step, poll=0.01, who="participant b")
    out, err = capfd.readouterr()
    assert out.endswith("  round 1: committed\n")
    assert "Finishing this step; press Ctrl-C again to abort it.\n" in err and err.endswith("Stopped.\n")


def test_a_participant_says_that_it_trains_and_what_came_of_it(world: Any) -> None:
    world.done("round", "open", world.model, "--account", "a")
    session, said = Session({"account": "b"}), list[str]()
    task = load_task("hospital.py:task")
    for done in ("round 1: committed", ""):
        place = world.folder / "b"
        assert advance_participant(session.client, session.store, place, model_of(world), task, say=said.append) == done
    assert said == ["round 1: training", "round 1: trained: loss 0.5, weight 10, 10 steps, 140 bytes"]

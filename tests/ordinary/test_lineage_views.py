"""Every view of a lineage says when versions were finalised and what metrics their manifests carry, in 80 columns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from registry.dev.embedded import embedded, warp
from registry.errors import NodeUnavailable
from registry.index.log_source import LogSource
from registry.rounds.versions import save_arrays
from tests.cli.conftest import make_world
from tests.cli.test_cli_questions import finish_round


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A model with a round, whose updates have metrics, and an owner's version, which has some of its own."""
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(tmp_path_factory.mktemp("told"), patch)
        done, model, folder = world.done, world.model, world.folder
        done("round", "open", model, "--account", "a")
        for name, loss in (("b", 0.25), ("c", 0.75)):
            delta = {"weight": np.full((1, 2), loss, np.float32), "bias": np.zeros(1, np.float32)}
            save_arrays(folder / f"{name}.safetensors", delta)
            done("participant", "submit", model, "--update", f"{name}.safetensors", "--weight", 10, "--steps", 3,
                 "--data-set", name, "--metrics", f"loss={loss}", "--account", name)  # fmt: skip
        finish_round(world)
        warp(world.chain.w3, seconds=40 * 86400)
        save_arrays(folder / "o.safetensors", {"weight": np.ones((1, 2), np.float32), "bias": np.zeros(1, np.float32)})
        (folder / "said.toml").write_text('title = "mine"\n[metrics]\n"accuracy" = 0.9\n"f\\u202e1" = 0.5\n')
        done("model", "publish", model, "o.safetensors", "--statement", "said.toml", "--account", "a")
        shown = done("model", "show", model)["versions"]
        yield SimpleNamespace(
            run=world.run,
            done=done,
            model=model,
            w3=world.chain.w3,
            versions=[one["version"] for one in shown],
            times=[world.chain.w3.eth.get_block(one["block"])["timestamp"] for one in shown],
            account=world.done("key", "show", "b")["address"],
        )


METRICS: list[dict[str, float]] = [{}, {"loss": 0.5}, {"accuracy": 0.9, "f\u202e1": 0.5}]
"""Of genesis, round and owner's version."""


def dates(told: SimpleNamespace) -> list[str]:
    return [time.strftime("%Y-%m-%d", time.gmtime(each)) for each in told.times]


def facts_of(entries: list[dict[str, Any]]) -> list[tuple[Any, Any, Any]]:
    return [(entry["version"], entry["time"], entry["metrics"]) for entry in entries]


def require_narrow(lines: list[str]) -> None:
    assert lines
    assert max(map(len, lines)) <= 80, max(lines, key=len)


def test_model_show_has_dates_and_metrics(told: SimpleNamespace) -> None:
    facts = facts_of(told.done("model", "show", told.model)["versions"])
    assert facts == list(zip(told.versions, told.times, METRICS, strict=True))
    lines = told.run("model", "show", told.model).stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("version "))
    assert lines[start].split() == ["version", "from", "parent", "date", "(UTC)", "block"]
    for line, version, date in zip(lines[start + 1 :], told.versions, dates(told), strict=False):
        assert line.startswith(version[2:12])
        assert f" {date} " in line
    assert f"metrics of {told.versions[1][2:12]}: loss 0.5" in lines
    assert f"metrics of {told.versions[2][2:12]}: f\\u202e1 0.5, accuracy 0.9" in lines
    require_narrow(lines)


def test_dates_of_versions_differ_as_their_blocks_do(told: SimpleNamespace) -> None:
    assert told.times[0] < told.times[1] < told.times[2] - 40 * 86400 + 3600
    assert len(set(dates(told)[1:])) == 2


def test_provenance_show_has_dates_and_metrics(told: SimpleNamespace) -> None:
    shown = told.done("provenance", "show", told.model)
    assert facts_of(shown["lineage"])[::-1] == list(zip(told.versions, told.times, METRICS, strict=True))
    said = told.run("provenance", "show", told.model).stdout
    for seconds in told.times:
        assert time.strftime(", %Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) in said
    assert "metrics, averaged over contributions: loss 0.5" in said
    assert "metrics: f\\u202e1 0.5, accuracy 0.9" in said
    assert "\u202e" not in said


def test_descendants_of_a_version_have_dates_and_metrics(told: SimpleNamespace) -> None:
    named = f"{told.model}@genesis"
    below = facts_of(told.done("provenance", "show", named)["descendants"])
    assert below == list(zip(told.versions, told.times, METRICS, strict=True))[1:]
    said = told.run("provenance", "show", named).stdout
    lines = said[said.index("2 versions descend from it:") :].splitlines()
    assert lines[1].split() == ["model", "version", "made", "by", "date", "(UTC)", "block", "marks"]
    for line, version, date in zip(lines[2:4], told.versions[1:], dates(told)[1:], strict=True):
        assert (version[2:12] in line, date in line) == (True, True)
    assert lines[4] == f"metrics of {told.versions[1][2:12]}: loss 0.5"
    require_narrow(lines)


@pytest.mark.parametrize("question", ["participant", "data-set", "update"])
def test_what_descends_from_data_or_a_participant_has_dates_and_metrics(told: SimpleNamespace, question: str) -> None:
    if question == "participant":
        arguments = ["participant", told.model, told.account]
    else:
        words = told.run("provenance", "show", told.model).stdout.split()
        arguments = ["descendants", f"--{question}", words[words.index(question.replace("-set", "")) + 1]]
    found = facts_of(told.done("provenance", *arguments)["versions"])
    assert found == list(zip(told.versions, told.times, METRICS, strict=True))[1:]
    said = told.run("provenance", *arguments).stdout
    for date in dates(told)[1:]:
        assert date in said
    assert f"metrics of {told.versions[1][2:12]}: loss 0.5" in said
    require_narrow(said.splitlines())


def test_a_drawn_lineage_has_dates(told: SimpleNamespace, tmp_path: Any) -> None:
    told.done("provenance", "show", told.model, "--svg", tmp_path / "l.svg")
    drawn = (tmp_path / "l.svg").read_text()
    for date in dates(told):
        assert f", {date}" in drawn


def test_a_block_that_a_node_lacks_is_said() -> None:
    source = LogSource(embedded(1).w3, ())
    assert source.times([0, 0]) == {0: source.w3.eth.get_block(0)["timestamp"]}
    with pytest.raises(NodeUnavailable):
        source.times([0, 99])

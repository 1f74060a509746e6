"""Validators by the command line: terms, scores on a hidden set, a gate that the owner's command keeps."""

from __future__ import annotations

import json
from typing import Any

from registry.dev.embedded import warp
from registry.facts.score_facts import ScoreStandingFacts
from tests.cli.test_cli_facts import require
from tests.cli.test_cli_questions import play_round

HIDDEN = """
def score(arrays):
    assert set(arrays) == {"weight", "bias"}
    return 0.625, [1, 0, 1, 1]

def stumbles(arrays):
    raise RuntimeError("no such ward")

def boasts(arrays):
    return 7, [1]
"""


def test_a_result_is_scored_and_a_low_score_shuts_the_gate(world: Any) -> None:
    model, done, run = world.model, world.done, world.run
    (world.folder / "hidden.py").write_text(HIDDEN)
    play_round(world)
    scored = done("validator", "score", model, "--task", "hidden.py:score")
    assert (scored["score"], scored["predictions"]) == (0.625, 4)
    for task, said in (("stumbles", "no such ward"), ("boasts", "expected 0 to 1"), ("gone", "no function")):
        failed = run("validator", "score", model, "--task", f"hidden.py:{task}")
        assert (failed.exit_code, said in failed.stderr) == (2, True)
    once = ("validator", "once", model, "--task", "hidden.py:score", "--account", "f")
    assert done(*once)["did"] == [], "no role, no terms"
    terms = ("validator", "terms", model, "--commit-duration", "10m", "--reveal-duration", "10m")
    assert run(*terms, "--account", "f").exit_code == 5
    assert run(*terms, "--minimum", 65, "--account", "a").exit_code == 5
    assert done(*terms, "--minimum", 1, "--account", "a")["terms"]["minimum"] == 1
    done("member", "grant", model, done("key", "show", "f")["address"], "--role", "validator", "--account", "a")
    assert done(*once)["did"] == ["round 1: committed to a score"]
    assert done(*once)["did"] == []
    warp(world.chain.w3, seconds=601)
    assert done(*once)["did"] == ["round 1: revealed the score 0.625000"]
    done("plan", "new", "--quorum", 2, "--grid", 20, "--algorithm-parameter", "least_score=0.7", "-o", "gated.toml")
    done("plan", "set", model, "gated.toml", "--account", "a")
    shut = run("round", "open", model, "--account", "a", "--json")
    assert "is still being scored, until" in json.loads(shut.stderr)["message"]
    warp(world.chain.w3, seconds=601)
    shown = done("validator", "status", model)
    require({name: shown[name] for name in ("model", "terms", "results")}, ScoreStandingFacts)
    assert [(each["round"], each["score"], each["scores"]) for each in shown["results"]] == [(1, 0.625, [0.625])]
    assert "0.625000" in run("validator", "status", model).stdout
    (newest, *_) = done("provenance", "show", model, "--svg", "l.svg")["lineage"]
    told = newest["validators"]
    assert (told["score"], told["commitments"], told["minimum"]) == (0.625, 1, 1)
    assert [each["score"] for each in told["scores"]] == [0.625]
    said = run("provenance", "show", model).stdout
    assert "validators' score: 0.625, the median; 1 revealed of 1, 1 needed, until " in said
    assert "score 0.625, median of 1 validators" in (world.folder / "l.svg").read_text()
    assert "| 1 | `" + newest["version"][2:12] + "` | 0.625 | 1 |" in run("model", "card", model).stdout
    shut = run("round", "open", model, "--account", "a")
    assert (shut.exit_code, "has the score 0.625000, expected at least 0.7" in shut.stderr) == (2, True)

"""Rules by commands: a round by another rule than the mean verifies, and one by a widened table does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.cli.plan_files import manifest_of
from registry.content.manifest import encode
from registry.dev.embedded import warp
from registry.rounds.versions import save_arrays
from registry.rules import table
from registry.rules.shapes import Columns, Fold
from registry.rules.table import COMBINE_RULES, MEAN, MEDIAN, UNIFORM_MEAN

DELTAS = {"b": (0.5, 7), "c": (0.25, 1), "g": (0.125, 2)}
"""A value for every coordinate, and a weight: their mean is not their median."""


def play(world: Any, number: int) -> None:
    """A round by the plan with this combine rule, from the plan to finalizing."""
    model, done = world.model, world.done
    plan = replace(manifest_of({"quorum": 2, "grid_bits": 20}), combine_rule=number, weights="uniform")
    (world.folder / "plan.cbor").write_bytes(encode(plan))
    done("plan", "set", model, "plan.cbor", "--account", "a")
    done("member", "grant", model, "g", "--role", "participant", "--account", "a")
    done("round", "open", model, "--account", "a")
    for name, (value, weight) in DELTAS.items():
        delta = {"weight": np.full((1, 2), value, dtype=np.float32), "bias": np.zeros(1, dtype=np.float32)}
        save_arrays(world.folder / f"{name}.safetensors", delta)
        done("participant", "submit", model, "--update", f"{name}.safetensors", "--weight", weight, "--steps", 4,
             "--data-set", name,
             "--account", name)  # fmt: skip
    done("aggregator", "once", model, "--account", "d")
    for name in DELTAS:
        assert done("participant", "publish", model, "--account", name)["published"]
    for name in "de":
        assert "attested 3 contributions" in done("aggregator", "once", model, "--account", name)["did"][-1]
    warp(world.chain.w3, seconds=3601)
    done("round", "finalize", model, "--account", "f")


@pytest.mark.slow
def test_a_round_by_the_median_verifies_and_is_the_median(world: Any, tmp_path: Path) -> None:
    play(world, MEDIAN.number)
    assert world.done("verify", world.model)["passed"]
    world.done("model", "pull", world.model, "-o", "next.safetensors")
    shown = world.run("provenance", "show", world.model)
    assert "combine rule 2 (median), server rule fedavg" in shown.stdout
    assert "\n# d    r0, in 2^-0 grid steps\n" in world.run("plan", "show", world.model).stdout
    before, after = (_weights(world.folder / name) for name in ("genesis.safetensors", "next.safetensors"))
    assert (after - before).tolist() == pytest.approx([0.25, 0.25])


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [Columns(share=lambda parameters: 0), Fold()], ids=["of its shape", "of another shape"]
)
def test_a_function_under_another_rule_s_number_ends_in_exit_code_7(world: Any, monkeypatch: Any, shape: Any) -> None:
    with monkeypatch.context() as widened:
        widened.setattr(table, "COMBINE_RULES", (MEAN, replace(MEDIAN, shape=shape)))
        play(world, MEDIAN.number)
        assert world.run("verify", world.model).exit_code == 0
    result = world.run("verify", world.model, "--again")
    assert (result.exit_code, "the manifest's rules hash to" in result.stderr) == (7, True), result.output


@pytest.mark.slow
def test_a_number_that_nobody_else_knows_ends_in_exit_code_4(world: Any, monkeypatch: Any) -> None:
    unknown = replace(UNIFORM_MEAN, number=999, name="more")
    with monkeypatch.context() as widened:
        widened.setattr(table, "COMBINE_RULES", (*COMBINE_RULES, unknown))
        play(world, 999)
        assert world.run("verify", world.model).exit_code == 0
    result = world.run("verify", world.model, "--again")
    assert (result.exit_code, "expected combine rule 1 (mean)" in result.stderr) == (4, True), result.output
    assert "combine rule 999 (of a later release)" in world.run("provenance", "show", world.model).stdout
    assert "combine_rule = 999" in world.run("plan", "show", world.model).stdout


def _weights(path: Path) -> Any:
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    return np.frombuffer(data[begin:], dtype="<f4")[1:]  # after the bias

"""The Hugging Face and Lightning examples, each in real rounds on an in-process chain."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from registry.content.manifest import Procedure, UpdateManifest
from registry.rounds.onchain import chosen_result, read_round
from registry.rounds.reports import load_report
from registry.rounds.versions import add_base, load_version_manifest, read_header, require_base
from registry.store.local import LocalStore
from registry.store.manifests import get_manifest
from registry.verification.verify import verify_version
from trainer.modules import module_digest, propose_plan
from trainer.simulation import Simulation, simulate_round, start

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow


def example(name: str, *packages: str) -> Any:
    """An example as a module; its test is skipped where a package that it needs is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            if os.environ.get("CAIRN_REQUIRE_ALL") == "1":
                pytest.fail(f"CAIRN_REQUIRE_ALL is set and {package} is not installed")
            pytest.skip(f"{package} is not installed")
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def updates_of(sim: Simulation, number: int) -> list[UpdateManifest]:
    record = read_round(sim.owner, sim.model_id, number)
    return [get_manifest(sim.store, c.digest, UpdateManifest) for c in record.commitments]


def test_a_round_of_a_lora_adapter_by_hugging_face_s_trainer(tmp_path: Path) -> None:
    lora = example("lora", "transformers", "peft", "accelerate")
    base = tmp_path / "base.safetensors"
    lora.make_base(base)
    store = LocalStore(tmp_path / "store")
    tasks = {f"step {i}": lora.task(base, step=i, scratch=tmp_path / "out") for i in (1, 2)}
    frozen = module_digest(tasks["step 1"].module, set(tasks["step 1"].unshared))
    plan = propose_plan(lora.module(base), quorum=1, min_contributions=2, grid_bits=22, without=lora.FROZEN)
    stands_on = add_base(store, base, licence="Apache-2.0", origin="examples/lora.py")
    options: dict[str, Any] = {"aggregators": 1, "without": lora.FROZEN, "base": stands_on}
    sim = start(lora.module(base), tasks, plan, store, tmp_path, **options)
    for _ in range(2):
        simulate_round(sim)
    head = load_version_manifest(store, sim.owner.model(sim.model_id).head)
    specs = read_header(store, head.weights.blob).specs
    assert specs and all(".lora_" in spec.name for spec in specs)
    assert sum(spec.end - spec.begin for spec in specs) == 4 * 2 * (2 * 16 + 48 * 2)  # layers x (A [2, 16] + B [48, 2])
    assert head.base == stands_on
    require_base(head, base)
    assert module_digest(tasks["step 1"].module, set(tasks["step 1"].unshared)) == frozen
    updates = updates_of(sim, 2)
    assert [update.steps for update in updates] == [3, 3]  # 24 rows by 8: what Hugging Face's optimizer took
    result = chosen_result(sim.owner, read_round(sim.owner, sim.model_id, 2))
    assert result is not None
    measured = load_report(store, result.report_digest, 2).manifest.evaluation
    told = [update.evaluation for update in updates]
    assert measured is not None and measured.updates == 2 and measured.examples == 2 * 24 * 7
    assert measured.counts["correct"] == sum(one.counts["correct"] for one in told if one)
    assert measured.sums["loss"] == sum(one.sums["loss"] for one in told if one)
    first = [update.evaluation for update in updates_of(sim, 1)]
    assert measured.sums["loss"] < sum(one.sums["loss"] for one in first if one)  # round 1's version learned
    found = list(verify_version(sim.owner, store, sim.model_id, sim.owner.model(sim.model_id).head, tmp_path / "v"))
    assert len(found) == 3 and all(one.passed for one in found)


def test_rounds_of_fedprox_by_lightning_s_trainer_with_private_heads(tmp_path: Path) -> None:
    lit = example("with_lightning", "lightning")
    tasks = {f"{i}": lit.task(i) for i in range(2)}
    plan = propose_plan(lit.module(), quorum=1, min_contributions=2, grid_bits=22, without=lit.PRIVATE)
    plan = replace(plan, algorithm=Procedure("fedprox", {"mu": 0.1}))
    sim = start(lit.module(), tasks, plan, LocalStore(tmp_path / "store"), tmp_path, aggregators=1, without=lit.PRIVATE)
    for _ in range(2):
        simulate_round(sim)
    updates = updates_of(sim, 2)
    assert [update.steps for update in updates] == [4, 4]  # 40 examples by 10
    assert all(
        later.metrics["loss"] < one.metrics["loss"] for one, later in zip(updates_of(sim, 1), updates, strict=True)
    )
    head = load_version_manifest(sim.store, sim.owner.model(sim.model_id).head)
    assert {spec.name for spec in read_header(sim.store, head.weights.blob).specs} == {"body.bias", "body.weight"}
    one, two = (task.module.head.weight for task in tasks.values())
    assert not torch.equal(one, two)
    found = list(verify_version(sim.owner, sim.store, sim.model_id, sim.owner.model(sim.model_id).head, tmp_path / "v"))
    assert len(found) == 3 and all(check.passed for check in found)

"""Updates of weights trained elsewhere: made of two files, on the grid, and published as what they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from registry.content.manifest import DataSetManifest, PlanManifest, Procedure, UpdateManifest, decode, encode
from registry.errors import FormError, InputError
from registry.rounds.plans import fitted
from registry.rounds.versions import arrays_in, save_arrays
from registry.store.blobs import file_header
from trainer.deltas import lossy
from trainer.made_updates import make_update
from trainer.modules import propose_plan, publish_module
from trainer.participant import Task

Make = Callable[..., Any]
DATA = DataSetManifest("ward 7", "", "", "", 10, None)


class Net(nn.Module):
    """A tied head, a norm with running statistics, a temperature of no dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding.from_pretrained(torch.rand(5, 2) - 0.5, freeze=False)
        self.norm = nn.BatchNorm1d(2)
        self.head = nn.Linear(2, 5, bias=False)
        self.head.weight = self.words.weight
        self.temperature = nn.Parameter(torch.tensor(0.5))


def train(module: nn.Module, epoch: int = 0) -> Mapping[str, float]:
    assert isinstance(module, Net)
    with torch.no_grad():
        module.train()
        module.norm(module.words(torch.arange(5)) * 30)
        for index, value in enumerate(module.parameters()):
            value.add_(0.03125 * (index + 1))
    return {}


def read_header_of(file: Path) -> Any:
    return file_header(file)[0]


def plan_of(module: nn.Module, **changed: Any) -> PlanManifest:
    return replace(propose_plan(module, quorum=1, min_contributions=1), **changed)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Net, Net, Path]:
    """A module before and after training, and the version of it before."""
    from registry.store.memory import MemoryStore

    torch.manual_seed(3)
    before = Net()
    publish_module(MemoryStore(), before, tmp_path / "before.safetensors")
    after = Net()
    after.load_state_dict(before.state_dict())
    train(after)
    return before, after, tmp_path / "before.safetensors"


def saved(module: nn.Module, folder: Path, prefix: str = "", kind: str = "pt", **metadata: str) -> Path:
    state = {prefix + name: value.detach() for name, value in module.state_dict().items()}
    if kind == "pt":
        torch.save(state, folder / "after.pt")
        return folder / "after.pt"
    from safetensors.torch import save_file

    kept = {name: value.contiguous() for name, value in state.items() if not name.endswith(kind)}
    save_file(kept, folder / "after.safetensors", metadata=metadata)
    return folder / "after.safetensors"


@pytest.mark.parametrize(
    "save",
    [
        lambda module, folder: saved(module, folder),
        lambda module, folder: saved(module, folder, "_orig_mod."),
        lambda module, folder: saved(module, folder, "", "head.weight", format="pt", base_model_name_or_path="gpt2"),
        lambda module, folder: saved(module, folder, "module.", "head.weight"),
    ],
    ids=["state dict", "compiled", "with PEFT's metadata", "data parallel"],
)
def test_a_file_trained_elsewhere_gives_the_update_that_the_task_gives(
    save: Callable[[nn.Module, Path], Path], pair: Any, hand_made: Make, tmp_path: Path
) -> None:
    before, after, version = pair
    plan = plan_of(before, transforms=(Procedure("clip", {"norm": 0.25}),))
    made = hand_made(before, plan).prepare(Task(Net(), train, 10, DATA))
    _, uses = make_update(version, save(after, tmp_path), plan, tmp_path / "delta.safetensors")
    assert (tmp_path / "delta.safetensors").read_bytes() == made.file.read_bytes()
    assert [use.name for use in uses if use.changed] == [
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.weight",
        "temperature",
        "words.weight",
    ]


@pytest.mark.parametrize(("bits", "kept"), [(8, 0), (16, 3)])
def test_a_packed_update_made_of_two_files_is_the_one_that_the_task_gives(
    bits: int, kept: int, pair: Any, hand_made: Make, tmp_path: Path
) -> None:
    before, after, version = pair
    form = {"update_form": 2, "form_parameters": {"bits": bits, "kept": kept}}
    plan = fitted(plan_of(before, **form), read_header_of(version))
    made = hand_made(before, plan).prepare(Task(Net(), train, 10, DATA))
    header, _ = make_update(version, saved(after, tmp_path), plan, tmp_path / "delta.safetensors")
    assert (tmp_path / "delta.safetensors").read_bytes() == made.file.read_bytes()
    assert len(header.specs) == 6 and made.manifest.delta.size < 400


def test_a_norm_s_running_statistics_are_neither_clipped_nor_counted_by_clip(pair: Any, tmp_path: Path) -> None:
    before, after, version = pair
    plan = plan_of(before, transforms=(Procedure("clip", {"norm": 0.25}),))
    make_update(version, saved(after, tmp_path), plan, tmp_path / "delta.safetensors")
    delta = arrays_in((tmp_path / "delta.safetensors").read_bytes())
    wide = {name: array * 2.0 ** plan.scales.get(name, 0) for name, array in delta.items()}
    statistics = {name: wide.pop(name) for name in ("norm.running_mean", "norm.running_var")}
    assert np.sqrt(sum(float((array.astype(np.float64) ** 2).sum()) for array in wide.values())) == pytest.approx(0.25)
    for name, array in statistics.items():
        moved = after.state_dict()[name] - before.state_dict()[name]
        assert np.allclose(array, moved.numpy(), atol=2.0**-12)
        assert float(np.abs(array).max()) > 0.25


def test_weights_in_bfloat16_are_measured_as_they_are(pair: Any, tmp_path: Path) -> None:
    before, after, version = pair
    make_update(version, saved(after.bfloat16(), tmp_path), plan_of(before), tmp_path / "delta.safetensors")
    held = after.temperature.detach().double() - before.temperature.detach().double()
    assert float(arrays_in((tmp_path / "delta.safetensors").read_bytes())["temperature"]) == float(held)


def changed(name: str, value: torch.Tensor | None) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(state: dict[str, torch.Tensor]) -> None:
        if value is None:
            del state[name]
        else:
            state[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            changed("temperature", None),
            r"after\.pt: .* and no others, but it lacks temperature$",
        ),
        (
            changed("extra", torch.zeros(1)),
            r"after\.pt: .* but it holds extra besides: leave out what only this site has",
        ),
        (changed("norm.bias", torch.zeros(3)), r"after\.pt: norm\.bias: expected shape \(2,\), got \(3,\)"),
        (changed("norm.bias", torch.full((2,), float("nan"))), r"^norm\.bias: expected finite float32 values, got nan"),
        (
            changed("norm.bias", torch.full((2,), 9.0)),
            r"^norm\.bias: value 0: expected at most 2\^0 in magnitude, got 9",
        ),
        (changed("norm.bias", torch.zeros(2).to(torch.float8_e5m2)), r"^norm\.bias: .* got torch.float8_e5m2: convert"),
        (changed("head.weight", torch.zeros(5, 2)), r"^head\.weight: the version ties it to words\.weight"),
    ],
    ids=["lacks", "holds more", "shape", "nan", "beyond the grid", "fp8", "untied"],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    change: Callable[[dict[str, torch.Tensor]], None], said: str, pair: Any, tmp_path: Path
) -> None:
    before, after, _ = pair
    torch.save(before.state_dict(), tmp_path / "before.pt")
    state = dict(after.state_dict())
    change(state)
    torch.save(state, tmp_path / "after.pt")
    with pytest.raises(InputError, match=said):
        make_update(tmp_path / "before.pt", tmp_path / "after.pt", plan_of(before), tmp_path / "delta.safetensors")


def test_a_tied_tensor_stored_under_its_other_name_is_refused_naming_both(pair: Any, tmp_path: Path) -> None:
    before, after, version = pair
    said = r"lacks words\.weight, holds head\.weight besides"
    with pytest.raises(InputError, match=said):
        make_update(
            version, saved(after, tmp_path, "", "words.weight"), plan_of(before), tmp_path / "delta.safetensors"
        )


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_file_that_holds_no_weights_is_refused_by_name(name: str, pair: Any, tmp_path: Path) -> None:
    before, _, version = pair
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    with pytest.raises(FormError, match=rf"{name}: expected"):
        make_update(version, tmp_path / name, plan_of(before), tmp_path / "delta.safetensors")


def test_a_plan_for_other_versions_is_refused(pair: Any, tmp_path: Path) -> None:
    _, after, version = pair
    with pytest.raises(InputError, match="the plan is for versions of other names or shapes"):
        make_update(version, saved(after, tmp_path), plan_of(nn.Linear(2, 1)), tmp_path / "delta.safetensors")


def test_tensors_that_vanish_or_saturate_are_named_with_the_scale_that_fits(pair: Any, tmp_path: Path) -> None:
    before, after, version = pair
    with torch.no_grad():
        after.norm.running_var.copy_(before.norm.running_var + 2.0**-20)
        after.temperature.copy_(before.temperature + 3.0)
    plan = plan_of(before, saturate=True)
    _, uses = make_update(version, saved(after, tmp_path), plan, tmp_path / "delta.safetensors")
    scales = ": its scale in the plan is {}, {} would fit"
    assert {use.name: str(use).partition(": ")[2] for use in uses if lossy(use)} == {
        "norm.running_var": "2 of 2 changed values vanish, smaller than the grid" + scales.format(12, -19),
        "temperature": "1 of 1 changed values saturate it" + scales.format(0, 2),
    }


# By commands ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained_elsewhere(world: Any) -> Any:
    """A world with an open round, the plan that it follows, its parent, and weights trained elsewhere."""
    from safetensors.torch import save_file

    world.done("round", "open", world.model, "--account", "a")
    (world.folder / "round.toml").write_text(world.run("plan", "show", world.model).stdout)
    world.done("model", "pull", world.model, "-o", "parent.safetensors")
    parent = arrays_in((world.folder / "parent.safetensors").read_bytes())
    after = {name: torch.from_numpy(array.copy()) + 1 / 3 for name, array in parent.items()}
    save_file(after, world.folder / "after.safetensors", metadata={"format": "pt", "trainer": "elsewhere 1.2"})
    return world


def test_an_update_is_made_and_committed_by_commands(trained_elsewhere: Any) -> None:
    world = trained_elsewhere
    files = ("parent.safetensors", "after.safetensors", "--plan", "round.toml", "-o", "delta.safetensors")
    made = world.done("update", "make", *files)
    assert (made["tensors"], made["values"], made["changed"], made["vanished"], made["saturated"]) == (2, 3, 3, 0, 0)
    delta = arrays_in((world.folder / "delta.safetensors").read_bytes())
    assert float(delta["bias"][0]) == round(2**20 / 3) / 2**20
    said = ("--code", "git@example.org:trainer@81c4", "--metrics", "loss=0.25", "--metrics", "right=7")
    done = world.done("participant", "submit", world.model, "--update", "delta.safetensors", "--weight", 7,
                      "--steps", 3, *said, "--account", "b")  # fmt: skip
    assert done["metrics"] == {"loss": 0.25, "right": 7.0}
    manifest = manifest_in(world)
    assert (manifest.code.name, manifest.code.version) == ("git@example.org:trainer", "81c4")
    assert manifest.files["delta"].tensor_root.hex() in json.dumps(made)


def manifest_in(world: Any) -> UpdateManifest:
    (file,) = world.folder.glob("home/**/update.cbor")
    return decode(file.read_bytes(), UpdateManifest)


def test_an_update_trained_elsewhere_says_so_and_cannot_be_said_otherwise_later(trained_elsewhere: Any) -> None:
    world = trained_elsewhere
    files = ("parent.safetensors", "after.safetensors", "--plan", "round.toml", "-o", "delta.safetensors")
    world.done("update", "make", *files)
    submit = ("participant", "submit", world.model, "--update", "delta.safetensors", "--weight", 7, "--steps", 3)
    world.done(*submit, "--account", "b")
    assert (manifest_in(world).code.name, manifest_in(world).code.version) == ("made elsewhere", "not stated")
    assert decode(encode(manifest_in(world)), UpdateManifest) == manifest_in(world)
    for more in (("--code", "other@1"), ("--metrics", "loss=1")):
        result = world.run(*submit, *more, "--account", "b")
        assert (result.exit_code, "holds another update" in result.stderr) == (2, True), result.output


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--code", "trainer"), "code: expected NAME@VERSION"),
        (("--metrics", "loss"), "metrics: expected NAME=VALUE"),
        (("--metrics", "loss=low"), "metrics: expected NAME=VALUE"),
        (("--metrics", "loss=nan"), "the value a finite number, got 'loss=nan'"),
        (("--metrics", "loss=1", "--metrics", "loss=2"), "each name once"),
    ],
)
def test_what_is_said_of_an_update_is_checked(open_world: Any, flags: tuple[str, ...], said: str) -> None:
    weights = {"weight": np.zeros((1, 2), dtype=np.float32), "bias": np.zeros(1, dtype=np.float32)}
    save_arrays(open_world.folder / "none.safetensors", weights)
    own = ("--update", "none.safetensors", "--weight", 7, "--steps", 3, "--account", "b")
    result = open_world.run("participant", "submit", open_world.model, *own, *flags)
    assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_weights_in_place_of_an_update_are_told_how_to_make_one(trained_elsewhere: Any) -> None:
    own = ("--update", "after.safetensors", "--weight", 7, "--steps", 3, "--account", "b")
    result = trained_elsewhere.run("participant", "submit", trained_elsewhere.model, *own)
    assert (result.exit_code, "cairn update make" in result.stderr) == (3, True), result.output


def test_a_task_returns_its_own_metrics(open_world: Any) -> None:
    own = ("--task", "hospital.py:task", "--metrics", "loss=1", "--account", "b")
    result = open_world.run("participant", "submit", open_world.model, *own)
    assert (result.exit_code, "a task returns its metrics" in result.stderr) == (2, True)


def test_a_submitted_task_and_a_simulation_name_the_tensors_that_vanish(world: Any) -> None:
    (world.folder / "fine.py").write_text(
        "import torch\nfrom torch import nn\nfrom registry.content.manifest import DataSetManifest\n"
        "from trainer.participant import Task\n\ndef task():\n    def epoch(model, number):\n"
        "        with torch.no_grad():\n            model.weight += 2.0**-22\n            model.bias += 0.5\n"
        "        return {}\n    module = nn.Linear(2, 1)\n    nn.init.zeros_(module.weight)\n"
        "    return Task(module, epoch, 10, DataSetManifest('ward 7', '', '', '', 10, None))\n"
    )
    said = "weight: 2 of 2 changed values vanish, smaller than the grid: its scale in the plan is 0, -25 would fit\n"
    result = world.run("simulate", "--participants", 2, "--rounds", 1, "--task", "fine.py:task", "--plan", "plan.toml")
    assert result.exit_code == 0, result.output
    assert result.stderr.count(f"round 1: {said}") == 1, result.stderr
    world.done("round", "open", world.model, "--account", "a")
    result = world.run("participant", "submit", world.model, "--task", "fine.py:task", "--account", "b")
    assert (result.exit_code, result.stderr.count(f"warning: {said}")) == (0, 1), result.output

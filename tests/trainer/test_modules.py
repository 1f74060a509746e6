"""Round trips of real PyTorch modules through versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from registry.content.manifest import PlanManifest, decode, digest_of, encode, manifest_cid
from registry.content.tensors import update_layout
from registry.errors import FormError, InputError
from registry.rounds.plans import server_rule
from registry.rounds.versions import load_version_manifest, read_arrays, read_header
from registry.store.memory import MemoryStore
from registry.types import SegmentKind
from trainer.modules import load_arrays, load_version, module_arrays, propose_grid, propose_plan, publish_module


class Everything(nn.Module):
    """Layers of every kind that versions must hold: normalised, embedded, tied, of no dimension, of no value."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 4)
        self.convolution = nn.Conv1d(4, 4, 3)
        self.batch = nn.BatchNorm1d(4)
        self.layer = nn.LayerNorm(4)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.words.weight
        self.temperature = nn.Parameter(torch.tensor(0.75))
        self.nothing = nn.Parameter(torch.empty(0, 3))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("positions", torch.arange(5))
        self.register_buffer("bytes", torch.tensor([1, 2, 255], dtype=torch.uint8))
        self.register_buffer("forgotten", torch.ones(2), persistent=False)


def seeded(seed: int = 0) -> Everything:
    torch.manual_seed(seed)
    module = Everything()
    module.train()
    module.batch(torch.randn(8, 4))  # so that its running values and count are not those of a new one
    return module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_version_holds_float32_masters_of_floats_and_everything_else_as_it_is(dtype: torch.dtype) -> None:
    module = seeded().to(dtype)
    arrays, aliases = module_arrays(module)
    assert aliases == {"head.weight": "words.weight"}
    state = module.state_dict()
    assert arrays.keys() == state.keys() - {"head.weight"}
    for name, array in arrays.items():
        expected = state[name].float() if state[name].is_floating_point() else state[name]
        assert array.shape == tuple(expected.shape)
        assert array.dtype == expected.numpy().dtype
        assert np.array_equal(array, expected.numpy())
    assert arrays["temperature"].shape == ()
    assert arrays["nothing"].shape == (0, 3)
    assert arrays["batch.num_batches_tracked"].dtype == np.int64
    assert arrays["mask"].dtype == np.bool_


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_published_module_loads_into_another_of_its_kind(dtype: torch.dtype, tmp_path: Path) -> None:
    store, module, other = MemoryStore(), seeded(1).to(dtype), seeded(2).to(dtype)
    version = publish_module(store, module, tmp_path / "model.safetensors")
    load_version(other, store, load_version_manifest(store, digest_of(version)))
    for name, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert other.head.weight is other.words.weight


def test_loading_masters_into_a_bfloat16_module_rounds_them_to_it(tmp_path: Path) -> None:
    store, module = MemoryStore(), nn.Linear(3, 2)
    version = publish_module(store, module, tmp_path / "model.safetensors")
    half = nn.Linear(3, 2).to(torch.bfloat16)
    load_version(half, store, version)
    assert half.weight.dtype == torch.bfloat16
    assert torch.equal(half.weight, module.weight.to(torch.bfloat16))


def test_a_master_beyond_float16_is_refused_by_name_and_nothing_is_copied() -> None:
    module = nn.Linear(2, 1)
    with torch.no_grad():
        module.weight[0, 1] = -70_000.0
    arrays, _ = module_arrays(module)
    half = nn.Linear(2, 1).half()
    before = half.bias.clone()
    with pytest.raises(InputError, match="weight: expected values that float16 holds"):
        load_arrays(half, arrays)
    assert torch.equal(half.bias, before)
    load_arrays(nn.Linear(2, 1).bfloat16(), arrays)


def test_updates_hold_every_float_once_and_nothing_else(tmp_path: Path) -> None:
    store = MemoryStore()
    version = publish_module(store, seeded(), tmp_path / "model.safetensors")
    held = update_layout(read_header(store, version.weights.blob)).by_name()
    assert held.keys() == {
        "words.weight",
        "convolution.weight",
        "convolution.bias",
        "batch.weight",
        "batch.bias",
        "batch.running_mean",
        "batch.running_var",
        "layer.weight",
        "layer.bias",
        "temperature",
        "nothing",
    }
    assert {spec.dtype for spec in held.values()} == {"F32"}


def test_arrays_are_copies_so_that_training_on_does_not_change_them() -> None:
    module = nn.Linear(2, 2)
    arrays, _ = module_arrays(module)
    before = arrays["weight"].copy()
    with torch.no_grad():
        module.weight.add_(1.0)
    assert np.array_equal(arrays["weight"], before)


def test_transposed_memory_is_stored_by_its_values() -> None:
    module = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
    arrays, _ = module_arrays(module)
    assert np.array_equal(arrays["weight"], module.weight.detach().numpy())
    other = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
    load_arrays(other, arrays)
    assert torch.equal(other.weight, module.weight)


def test_a_module_tied_otherwise_loads_what_its_names_stand_for() -> None:
    arrays, aliases = module_arrays(seeded(1))
    untied = seeded(2)
    untied.head.weight = nn.Parameter(torch.zeros(11, 4))
    load_arrays(untied, arrays, aliases)
    assert np.array_equal(untied.head.weight.detach().numpy(), arrays["words.weight"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_a_value_that_float32_does_not_hold_is_refused_by_name(value: float) -> None:
    module = nn.Linear(2, 1).double()
    with torch.no_grad():
        module.weight[0, 1] = value
    with pytest.raises(InputError, match="weight: expected finite float32 values"):
        module_arrays(module)


@pytest.mark.parametrize("strange", [torch.zeros(2, dtype=torch.complex64), torch.eye(3).to_sparse()])
def test_a_tensor_that_is_not_plain_numbers_is_refused_by_name(strange: torch.Tensor) -> None:
    module = nn.Linear(2, 1)
    module.register_buffer("strange", strange)
    with pytest.raises(InputError, match="strange: expected a dense tensor of plain numbers"):
        module_arrays(module)


def test_a_module_with_other_names_is_refused_and_not_touched() -> None:
    arrays, _ = module_arrays(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
    other = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 1))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(
        InputError, match=r"the version lacks 2\.bias, 2\.weight, which the module has.*private=\('2\.\*',\)"
    ):
        load_arrays(other, arrays)
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())
    with pytest.raises(InputError, match=r"the module lacks 1\.bias, 1\.weight, which the version has"):
        load_arrays(nn.Sequential(nn.Linear(2, 2)), arrays)


def test_a_module_with_another_shape_is_refused_and_not_touched() -> None:
    arrays, _ = module_arrays(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3)))
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    first = other[0].weight.clone()
    with pytest.raises(InputError, match=r"1\.weight: expected shape \(1, 2\), as the module has, got \(3, 2\) in"):
        load_arrays(other, arrays)
    assert torch.equal(other[0].weight, first)


def test_a_version_of_integers_keeps_them_through_the_store(tmp_path: Path) -> None:
    store = MemoryStore()
    version = publish_module(store, seeded(3), tmp_path / "model.safetensors")
    arrays = read_arrays(store, version)
    assert arrays["positions"].tolist() == [0, 1, 2, 3, 4]
    assert arrays["bytes"].tolist() == [1, 2, 255]
    assert arrays["mask"].tolist() == [True, False, True]
    assert int(arrays["batch.num_batches_tracked"]) == 1
    assert version.tensor_root != bytes(32)


def test_a_version_without_float_values_is_refused(tmp_path: Path) -> None:
    module = nn.Module()
    module.register_buffer("positions", torch.arange(5))
    with pytest.raises(FormError, match="expected one or more F32 values, which rounds train, got none"):
        publish_module(MemoryStore(), module, tmp_path / "model.safetensors")


def test_a_model_that_fits_one_grid_is_given_no_scales() -> None:
    plan = propose_plan(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), quorum=2, min_contributions=3)
    assert (plan.server, plan.scales, plan.grid_bits) == (server_rule("fedavg", {"rate": 1.0}, 24), {}, 24)
    assert (plan.quorum, plan.min_contributions) == (2, 3)
    assert decode(encode(plan), PlanManifest) == plan


def test_a_model_that_differs_in_scale_is_given_scales_under_which_its_tensors_may_double() -> None:
    module = seeded()
    with torch.no_grad():
        module.words.weight[0, 0] = -3.5
        module.batch.running_var[0] = 9000.0
    plan = propose_plan(module, quorum=1, min_contributions=2)
    assert plan.buffers == {"batch.running_mean": SegmentKind.BUFFER, "batch.running_var": SegmentKind.NON_NEGATIVE}
    assert plan.scales == {"words.weight": 2, "batch.running_mean": 11, "batch.running_var": 18}
    assert decode(encode(plan), PlanManifest) == plan
    assert replace(plan, saturate=True).saturate


def test_a_coarser_grid_needs_fewer_scales() -> None:
    module = nn.Embedding(5, 2)
    with torch.no_grad():
        module.weight.fill_(3.0)
    assert propose_grid(module) == (24, {"weight": 2})
    assert propose_grid(module, 22) == (22, {})


def test_manifest_of_a_published_module_is_pinned_with_its_file(tmp_path: Path) -> None:
    store = MemoryStore()
    version = publish_module(store, nn.Linear(2, 1), tmp_path / "model.safetensors")
    pins = {cid for cid, _ in store.pins()}
    assert {version.weights.cid, manifest_cid(digest_of(version))} <= pins

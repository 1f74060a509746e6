"""Tensors and modules as people have them: in rounds bit for bit, or refused by name before anything is paid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from registry.content.manifest import DataSetManifest
from registry.errors import InputError
from registry.rounds.onchain import read_round
from registry.rounds.plans import load_plan, server_rule
from registry.rounds.versions import add_version, arrays_in, load_version_manifest, read_arrays, save_arrays
from registry.store.memory import MemoryStore
from registry.types import SegmentKind
from registry.verification.verify import verify_version
from trainer.modules import load_version, module_arrays, propose_plan, publish_module
from trainer.participant import Task
from trainer.simulation import Simulation, simulate_round, start

Make = Callable[..., Any]
DATA = DataSetManifest("ward 7", "", "", "", 10, None)


def add(amounts: Mapping[str, float]) -> Callable[[nn.Module, int], Mapping[str, float]]:
    """Training that adds to tensors by name."""

    def train(module: nn.Module, epoch: int) -> Mapping[str, float]:
        tensors = module.state_dict(keep_vars=True)
        with torch.no_grad():
            for name, amount in amounts.items():
                tensors[name].add_(amount)
        return {}

    return train


def rounds_of(folder: Path, genesis: nn.Module, task: Task, **changed: Any) -> Simulation:
    """A model whose genesis is a module, with one participant and one aggregator."""
    plan = replace(propose_plan(genesis, quorum=1, min_contributions=1, without=task.unshared), **changed)
    return start(genesis, {"ann": task}, plan, MemoryStore(), folder, aggregators=1, without=task.unshared)


def head_of(sim: Simulation) -> Any:
    return load_version_manifest(sim.store, sim.owner.model(sim.model_id).head)


# Taken ----------------------------------------------------------------------------------------------------------------


class Scaled(nn.Module):
    """As CLIP: a temperature of no dimension, and a moving average of none."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 1)
        self.logit_scale = nn.Parameter(torch.tensor(2.659))
        self.register_buffer("average", torch.tensor(0.25))
        self.register_buffer("steps", torch.tensor(3))


@pytest.mark.parametrize(
    ("server", "scale"), [({"rate": 1.0}, 2.784), ({"rate": 0.5}, 2.7215)], ids=["rate 1", "rate a half"]
)
def test_a_float_of_no_dimension_goes_through_a_round_bit_for_bit(
    tmp_path: Path, server: dict[str, float], scale: float
) -> None:
    task = Task(Scaled(), add({"logit_scale": 0.125, "average": -0.5}), 10, DATA)
    sim = rounds_of(tmp_path, Scaled(), task, server=server_rule("fedavg", server, 24))
    simulate_round(sim)
    arrays = read_arrays(sim.store, head_of(sim))
    assert arrays["logit_scale"].shape == arrays["average"].shape == arrays["steps"].shape == ()
    assert abs(float(arrays["logit_scale"]) - scale) < 1e-6  # a parameter, which follows the server's rate
    assert float(arrays["average"]) == -0.25  # a buffer, which does not
    assert int(arrays["steps"]) == 3
    loaded = Scaled()
    load_version(loaded, sim.store, head_of(sim))
    assert all(
        np.array_equal(value.detach().numpy(), arrays[name], equal_nan=False)
        for name, value in loaded.state_dict().items()
    )
    found = list(verify_version(sim.owner, sim.store, sim.model_id, sim.owner.model(sim.model_id).head, tmp_path / "v"))
    assert found and all(one.passed for one in found)


def test_a_version_of_nothing_but_one_float_is_a_model(tmp_path: Path) -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.tensor(0.5))

    sim = rounds_of(tmp_path, One(), Task(One(), add({"value": 0.25}), 10, DATA))
    simulate_round(sim)
    assert float(read_arrays(sim.store, head_of(sim))["value"]) == 0.75


# Refused --------------------------------------------------------------------------------------------------------------


def having(**buffers: torch.Tensor) -> nn.Module:
    module = nn.Linear(2, 1)
    for name, value in buffers.items():
        module.register_buffer(name, value)
    return module


def sharing(one: Callable[[torch.Tensor], torch.Tensor], other: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    memory = torch.arange(6.0)
    return having(one=one(memory), other=other(memory))


STRANGE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a mask of -inf": (
        lambda: having(mask=torch.full((3, 3), float("-inf")).triu(1)),
        r"^mask: expected finite float32 values, got -inf at value 1: .*persistent=False",
    ),
    "nan": (lambda: having(w=torch.tensor([1.0, float("nan")])), r"^w: .* got nan at value 1: repair the weights"),
    "beyond float32": (
        lambda: having(w=torch.tensor([-1e300], dtype=torch.float64)),
        r"^w: .* got -1e\+300 at value 0: it is beyond float32",
    ),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), r"^0\.weight: .* got a lazy one .*: pass a batch through"),
    "lazy buffer": (lambda: nn.Sequential(nn.LazyBatchNorm1d()), r"^0\.weight: .* got a lazy one"),
    "meta": (lambda: nn.Linear(2, 3, device="meta"), r"^weight: .* on the meta device.*: make the module on the CPU"),
    "complex": (
        lambda: having(rotary=torch.zeros(2, dtype=torch.complex64)),
        r"^rotary: .* got torch.complex64: .*view_as_real.*persistent=False",
    ),
    "fp8": (
        lambda: having(w=torch.zeros(2).to(torch.float8_e4m3fn)),
        r"^w: .* got torch.float8_e4m3fn: convert it to float32",
    ),
    "sparse": (lambda: having(graph=torch.eye(3).to_sparse()), r"^graph: .* got a sparse_coo one: .*to_dense"),
    "quantized": (
        lambda: having(w=torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)),
        r"^w: .* got a quantized one \(torch.qint8\): convert it with dequantize",
    ),
    "unsigned": (lambda: having(ids=torch.zeros(2, dtype=torch.uint16)), r"^ids: .* got torch.uint16: .*int64"),
    "overlapping": (
        lambda: sharing(lambda m: m[:4], lambda m: m[2:]),
        r"^other: expected memory of its own, or to be tied to one as a whole, .*: clone\(\) it",
    ),
    "transposed tie": (lambda: sharing(lambda m: m.view(2, 3), lambda m: m.view(2, 3).t()), r"^other: expected memory"),
    "part in the whole": (lambda: sharing(lambda m: m, lambda m: m[1:2]), r"^other: expected memory of its own"),
    "expanded": (lambda: having(w=torch.ones(1).expand(5)), r"^w: expected each value in memory of its own, .* clone"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_tensor_that_no_round_could_train_is_refused_by_name_with_the_remedy(kind: str, tmp_path: Path) -> None:
    make, said = STRANGE[kind]
    with pytest.raises(InputError, match=said):
        publish_module(MemoryStore(), make(), tmp_path / "genesis.safetensors")
    with pytest.raises(InputError, match=said):
        propose_plan(make(), quorum=1, min_contributions=1)
    assert not (tmp_path / "genesis.safetensors").exists()


def test_parts_of_one_memory_that_do_not_overlap_are_tensors_of_their_own() -> None:
    module = sharing(lambda memory: memory.view(3, 2)[:, 0], lambda memory: memory.view(3, 2)[:, 1])
    arrays, aliases = module_arrays(module)
    assert (arrays["one"].tolist(), arrays["other"].tolist(), aliases) == ([0, 2, 4], [1, 3, 5], {})


def test_a_private_tensor_that_shares_memory_with_a_shared_one_is_refused() -> None:
    with pytest.raises(InputError, match="other: expected memory of its own"):
        module_arrays(sharing(lambda memory: memory, lambda memory: memory[3:]), ("other",))


def test_a_module_that_cannot_be_registered_costs_nothing(world: Any) -> None:
    (world.folder / "masked.py").write_text(
        "import torch\nfrom torch import nn\n\ndef module():\n    made = nn.Linear(2, 1)\n"
        "    made.register_buffer('mask', torch.tensor([float('-inf')]))\n    return made\n"
    )
    before = world.chain.w3.eth.block_number
    for command in (("model", "register", "--account", "a"), ("plan", "new", "-o", "masked.toml")):
        result = world.run(*command, "--module", "masked.py:module")
        assert (result.exit_code, "mask: expected finite float32 values" in result.stderr) == (2, True), result.output
    assert world.chain.w3.eth.block_number == before


# Names ----------------------------------------------------------------------------------------------------------------


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding.from_pretrained(torch.rand(5, 2) - 0.5, freeze=False)  # needs no scale
        self.head = nn.Linear(2, 5, bias=False)


class Wrapped(nn.Module):
    """Its tensors have the names that a wrapper gives them."""

    def __init__(self, place: str, inner: nn.Module) -> None:
        super().__init__()
        for part in reversed(place.split(".")[1:]):
            holder = nn.Module()
            holder.add_module(part, inner)
            inner = holder
        self.add_module(place.split(".")[0], inner)


PLACES = ("_orig_mod", "module", "base_model.model", "module._orig_mod", "_orig_mod.module")


def moved(hand_made: Make, genesis: nn.Module, own: nn.Module, **amounts: float) -> dict[str, float]:
    """How far a site's training moved each of the version's tensors: the first value of each in its update."""
    changes = {name.replace("__", "."): amount for name, amount in amounts.items()}
    by_name = {next(n for n in own.state_dict() if n.endswith(end)): amount for end, amount in changes.items()}
    prepared = hand_made(genesis).prepare(Task(own, add(by_name), 10, DATA))
    return {name: float(array.reshape(-1)[0]) for name, array in arrays_in(prepared.file.read_bytes()).items()}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("registered", [False, True], ids=["wrapped at the site", "wrapped at registration"])
def test_the_prefixes_of_wrappers_are_mapped_both_ways(place: str, registered: bool, hand_made: Make) -> None:
    genesis, own = (Wrapped(place, Inner()), Inner()) if registered else (Inner(), Wrapped(place, Inner()))
    prefix = f"{place}." if registered else ""
    found = moved(hand_made, genesis, own, head__weight=0.5, words__weight=-0.25)
    assert found == pytest.approx({f"{prefix}head.weight": 0.5, f"{prefix}words.weight": -0.25}, abs=1e-6)


def test_real_wrappers_load_and_train_under_the_version_s_names(hand_made: Make) -> None:
    compiled = torch.compile(nn.Sequential(nn.Linear(2, 1)))
    assert isinstance(compiled, nn.Module)
    for own in (compiled, nn.DataParallel(nn.Sequential(nn.Linear(2, 1)))):
        found = moved(hand_made, nn.Sequential(nn.Linear(2, 1)), own, weight=0.5)
        assert found == pytest.approx({"0.weight": 0.5, "0.bias": 0.0}, abs=1e-6)


def test_an_adapter_s_names_are_mapped_between_peft_s_module_and_its_file(tmp_path: Path) -> None:
    module = nn.Module()
    layer = nn.Module()
    layer.base_layer = nn.Linear(2, 2, bias=False)
    layer.lora_A = nn.ModuleDict({"default": nn.Linear(2, 1, bias=False)})
    module.query = layer
    wrapped = Wrapped("base_model.model", module)
    file = tmp_path / "adapter.safetensors"
    save_arrays(file, {"base_model.model.query.lora_A.weight": np.full((1, 2), 0.5, dtype=np.float32)})
    store = MemoryStore()
    version = add_version(store, file)
    names = load_version(wrapped, store, version, without=("*base_layer*",))
    assert names == {"base_model.model.query.lora_A.default.weight": "base_model.model.query.lora_A.weight"}
    assert torch.equal(layer.lora_A["default"].weight, torch.full((1, 2), 0.5))


def test_a_resized_embedding_is_refused_with_both_shapes_and_names(tmp_path: Path) -> None:
    store = MemoryStore()
    version = publish_module(store, Inner(), tmp_path / "genesis.safetensors")
    resized = Inner()
    resized.words = nn.Embedding(8, 2)
    said = r"^words\.weight: expected shape \(8, 2\), as the module has, got \(5, 2\) in the version: make the module"
    with pytest.raises(InputError, match=said):
        load_version(resized, store, version)
    with pytest.raises(InputError, match=r"in the version, named words\.weight: make"):
        load_version(Wrapped("_orig_mod", resized), store, version)


def tied() -> Inner:
    module = Inner()
    module.head.weight = module.words.weight
    return module


def stored_as(folder: Path, name: str) -> tuple[MemoryStore, Any]:
    """A version that holds a tied tensor under one of its names, and knows no alias, as `save_pretrained` writes it."""
    store, file = MemoryStore(), folder / "genesis.safetensors"
    save_arrays(file, {name: np.arange(10, dtype=np.float32).reshape(5, 2)})
    return store, add_version(store, file)


@pytest.mark.parametrize("name", ["words.weight", "head.weight"])
def test_a_tied_head_is_found_under_either_of_its_names(name: str, tmp_path: Path) -> None:
    store, version = stored_as(tmp_path, name)
    module = tied()
    assert load_version(module, store, version) == {"words.weight": name}
    assert module.head.weight is module.words.weight
    assert module.head.weight.reshape(-1).tolist() == list(range(10))


def test_a_tied_module_on_a_version_that_stores_both_is_refused_naming_both(tmp_path: Path) -> None:
    store = MemoryStore()
    version = publish_module(store, Inner(), tmp_path / "genesis.safetensors")
    with pytest.raises(InputError, match=r"^words\.weight: the module ties it to head\.weight, but the version stores"):
        load_version(tied(), store, version)


def test_an_untied_module_on_a_tied_version_is_refused_before_training_naming_both(hand_made: Make) -> None:
    trained = []
    task = Task(Inner(), lambda module, epoch: trained.append(epoch) or {}, 10, DATA)
    with pytest.raises(InputError, match=r"^head\.weight: the version ties it to words\.weight, the module holds both"):
        hand_made(tied()).prepare(task)
    assert trained == []


# A site's own ---------------------------------------------------------------------------------------------------------


class Site(nn.Module):
    """A shared body between an embedding, a BatchNorm and a head that stay with the site."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(4, 2)
        self.body = nn.Linear(2, 2, bias=False)
        self.norm = nn.BatchNorm1d(2)
        self.head = nn.Linear(2, 1, bias=False)


OWN = ("words.*", "norm.*", "head.*")


def trained(module: nn.Module, epoch: int) -> Mapping[str, float]:
    assert isinstance(module, Site)
    with torch.no_grad():
        module.norm(module.body(module.words(torch.arange(4))))  # moves the running statistics
        for value in module.parameters():
            value.add_(0.25)
    return {}


def site(seed: int = 4) -> Site:
    torch.manual_seed(seed)
    return Site()


def own_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items() if not name.startswith("body.")}


def test_a_site_s_own_batchnorm_head_and_embedding_go_on_from_its_last_round(tmp_path: Path) -> None:
    sim = rounds_of(tmp_path, site(), Task(site(), trained, 10, DATA, private=OWN))
    client, task = sim.participants["ann"]
    assert set(read_arrays(sim.store, head_of(sim))) == {"body.weight"}
    held: dict[str, torch.Tensor] = {}
    for number in (1, 2, 3):
        fresh = site()  # a new process: the module is as the script makes it
        begins = held or own_of(fresh)

        def train(module: nn.Module, epoch: int, begins: dict[str, torch.Tensor] = begins) -> Mapping[str, float]:
            assert all(torch.equal(value, begins[name]) for name, value in own_of(module).items())
            return trained(module, epoch)

        sim.participants["ann"] = (client, replace(task, module=fresh, train_epoch=train))  # type: ignore[index]
        simulate_round(sim)
        held = own_of(fresh)
        assert int(held["norm.num_batches_tracked"]) == number
    assert len(list((tmp_path / "ann").glob("round-*/private.safetensors"))) == 3


def test_a_site_s_own_tensors_are_kept_for_each_model_in_one_folder(tmp_path: Path) -> None:
    seen = []

    def train(module: nn.Module, epoch: int) -> Mapping[str, float]:
        seen.append(int(module.norm.num_batches_tracked))  # type: ignore[union-attr, arg-type]
        return trained(module, epoch)

    sims = [rounds_of(tmp_path, site(seed), Task(site(), train, 10, DATA, private=OWN)) for seed in (4, 5)]
    for sim in (*sims, *sims):
        client, task = sim.participants["ann"]
        sim.participants["ann"] = (client, replace(task, module=site()))  # type: ignore[index]
        simulate_round(sim)
    assert seen == [0, 0, 1, 1]


# Running statistics ---------------------------------------------------------------------------------------------------


class Normed(nn.Module):
    """A norm that has seen data of small and of large variance."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.norm.running_mean = torch.tensor([0.0, 20.0])
        self.norm.running_var = torch.tensor([2.0**-13, 900.0])


def shrinks(module: nn.Module, epoch: int) -> Mapping[str, float]:
    assert isinstance(module, Normed) and module.norm.running_var is not None
    with torch.no_grad():
        module.norm.running_var.mul_(0.25)  # a step of -0.75, so -1.5 at rate 2
        module.body.bias.add_(0.125)
    return {}


def norm_of(sim: Simulation) -> nn.BatchNorm1d:
    module = Normed()
    load_version(module, sim.store, head_of(sim))
    return module.eval().norm


def test_a_variance_is_never_negative_at_any_server_rate_and_small_ones_are_kept(tmp_path: Path) -> None:
    sim = rounds_of(
        tmp_path, Normed(), Task(Normed(), shrinks, 10, DATA), server=server_rule("fedavg", {"rate": 2.0}, 24)
    )
    simulate_round(sim)
    norm = norm_of(sim)
    assert norm.running_var is not None
    assert float(norm.running_var[1]) == 225.0  # the aggregate is the step, whatever the rate
    assert float(norm.running_var[0]) >= 0.0
    assert torch.isfinite(norm(torch.randn(3, 2))).all()


def test_statistics_are_buffers_in_a_plan_that_was_made_without_the_module(tmp_path: Path) -> None:
    plan = propose_plan(Normed(), quorum=1, min_contributions=1)
    bare = replace(plan, buffers={}, server=server_rule("fedavg", {"rate": 2.0}, 24))
    sim = start(Normed(), {"ann": Task(Normed(), shrinks, 10, DATA)}, bare, MemoryStore(), tmp_path, aggregators=1)
    simulate_round(sim)
    norm = norm_of(sim)
    assert norm.running_var is not None and float(norm.running_var.min()) >= 0.0
    standing = load_plan(sim.store, read_round(sim.owner, sim.model_id, 1).plan)
    assert standing.buffers == {"norm.running_mean": SegmentKind.BUFFER, "norm.running_var": SegmentKind.NON_NEGATIVE}


def test_the_grid_of_trained_statistics_is_as_fine_as_their_size_allows() -> None:
    module = nn.BatchNorm1d(2)
    module.running_mean, module.running_var = torch.tensor([0.1, 0.2]), torch.tensor([2.0**-13, 0.75])
    assert propose_plan(module, quorum=1, min_contributions=1).scales == {"running_mean": 4, "running_var": 4}
    assert propose_plan(nn.BatchNorm1d(2), quorum=1, min_contributions=1).scales == {
        "running_mean": 12,
        "running_var": 12,
    }

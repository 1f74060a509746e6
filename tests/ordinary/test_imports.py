"""`cairn model import` and `cairn model register` take files as people have them, and say what they change."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import nn

from registry.content.gate import describe
from registry.rounds.versions import arrays_in
from registry.store.blobs import file_pieces

NET = """
import torch
from torch import nn

def net():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(5, 4)
        self.inner = nn.Linear(4, 4)
        self.lm_head = nn.Linear(4, 5, bias=False)
        self.lm_head.weight = self.wte.weight

def tied():
    torch.manual_seed(6)
    return Tied()

def wrapped():
    return nn.ModuleDict({"backbone": net()})
"""


@pytest.fixture
def places(tmp_path: Path) -> dict[str, nn.Module]:
    (tmp_path / "net.py").write_text(NET)
    space: dict[str, Any] = {}
    exec(compile(NET, "net.py", "exec"), space)
    return {name: space[name]() for name in ("net", "tied", "wrapped")}


@pytest.fixture
def net(places: dict[str, nn.Module]) -> nn.Module:
    return places["net"]


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    describe(file_pieces(path))  # canonical, finite
    return arrays_in(path.read_bytes())


def equals(path: Path, state: dict[str, torch.Tensor]) -> bool:
    found = arrays_of(path)
    wanted = {
        name: value.to(torch.float32 if value.is_floating_point() else value.dtype) for name, value in state.items()
    }
    return found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name].numpy()) for name in found)


def changes_of(facts: dict[str, Any]) -> dict[str, list[str]]:
    return {entry["change"]: entry["tensors"] for entry in facts["changes"]}


# Forms of files -----------------------------------------------------------------------------------------------------


def write_unordered(path: Path, state: dict[str, torch.Tensor]) -> None:
    """A safetensors file in the module's order, with metadata and blanks before its data."""
    fields: dict[str, Any] = {"__metadata__": {"author": "somebody", "format": "pt"}}
    data = b""
    for name, value in state.items():
        piece = value.numpy().tobytes()
        kind = {"torch.float32": "F32", "torch.int64": "I64"}[str(value.dtype)]
        fields[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    header = json.dumps(fields).encode() + b" " * 3
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def in_shards(folder: Path, state: dict[str, torch.Tensor], *, index: bool = True) -> list[Path]:
    names = list(state)
    parts = [names[0::3], names[1::3], names[2::3]]
    files = [folder / f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    for file, part in zip(files, parts, strict=True):
        save_file({name: state[name] for name in part}, file)
    if index:
        where = {name: file.name for file, part in zip(files, parts, strict=True) for name in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return files


FORMS: dict[str, Callable[[Path, dict[str, torch.Tensor]], list[Path]]] = {}


def form(name: str) -> Callable[[Callable[[Path, dict[str, torch.Tensor]], list[Path]]], None]:
    return lambda make: FORMS.update({name: make})


@form("safetensors in another order, with metadata")
def _(folder: Path, state: dict[str, torch.Tensor]) -> list[Path]:
    write_unordered(folder / "model.safetensors", state)
    return [folder / "model.safetensors"]


@form("index of shards")
def _(folder: Path, state: dict[str, torch.Tensor]) -> list[Path]:
    in_shards(folder, state)
    return [folder / "model.safetensors.index.json"]


@form("folder of shards")
def _(folder: Path, state: dict[str, torch.Tensor]) -> list[Path]:
    (folder / "checkpoint").mkdir()
    in_shards(folder / "checkpoint", state, index=False)
    return [folder / "checkpoint"]


@form("every shard")
def _(folder: Path, state: dict[str, torch.Tensor]) -> list[Path]:
    return in_shards(folder, state, index=False)


@form("state dict")
def _(folder: Path, state: dict[str, torch.Tensor]) -> list[Path]:
    torch.save(state, folder / "pytorch_model.bin")
    return [folder / "pytorch_model.bin"]


@form("state dict as a pickle")
def _(folder: Path, state: dict[str, torch.Tensor]) -> list[Path]:
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    return [folder / "old.pt"]


@form("checkpoint of a training loop")
def _(folder: Path, state: dict[str, torch.Tensor]) -> list[Path]:
    torch.save({"epoch": 7, "state_dict": state, "optimizer": {"lr": 0.1}}, folder / "last.ckpt")
    return [folder / "last.ckpt"]


@form("compiled, in DataParallel")
def _(folder: Path, state: dict[str, torch.Tensor]) -> list[Path]:
    save_file({f"module._orig_mod.{name}": value for name, value in state.items()}, folder / "wrapped.safetensors")
    return [folder / "wrapped.safetensors"]


UNWRAPPED = list(FORMS)[:-1]
"""Canonical files are registered as they are; the wrappers' one is."""


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_a_file_of_any_form_becomes_the_canonical_one(
    done: Any, net: nn.Module, tmp_path: Path, make: Callable[[Path, dict[str, torch.Tensor]], list[Path]]
) -> None:
    paths = make(tmp_path, net.state_dict())
    facts = done("model", "import", *paths, "-o", "out.safetensors")
    assert equals(tmp_path / "out.safetensors", net.state_dict())
    assert (facts["tensors"], facts["values"]) == (len(net.state_dict()), 26)
    done("model", "import", *paths, "--module", "net.py:net", "-o", "fitted.safetensors")
    assert (tmp_path / "fitted.safetensors").read_bytes() == (tmp_path / "out.safetensors").read_bytes()


@pytest.mark.parametrize("make", [FORMS[name] for name in UNWRAPPED], ids=UNWRAPPED)
def test_register_takes_a_file_of_any_form(
    world: Any, tmp_path: Path, make: Callable[[Path, dict[str, torch.Tensor]], list[Path]]
) -> None:
    module = nn.Linear(2, 1)
    state = {**module.state_dict(), "steps": torch.tensor([3])}
    made = world.done("model", "register", *make(tmp_path, state), "--account", "f")
    world.done("model", "pull", made["model"], "-o", "pulled.safetensors")
    assert equals(tmp_path / "pulled.safetensors", state)


def test_a_canonical_file_is_registered_as_it_is(world: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(2, 1)\n")
    save_file(nn.Linear(2, 1).state_dict(), tmp_path / "mine.safetensors", {"format": "pt"})
    world.done("model", "register", "mine.safetensors", "--module", "net.py:net", "--account", "f")
    assert world.run("verify", "mine.safetensors").exit_code == 0


# Dtypes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        (torch.bfloat16, "BF16"),
        (torch.float16, "F16"),
        (torch.float64, "F64"),
        (torch.float8_e4m3fn, "F8_E4M3"),
        (torch.float8_e5m2, "F8_E5M2"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_other_floats_become_f32_master_weights(
    done: Any, net: nn.Module, tmp_path: Path, dtype: torch.dtype, said: str, suffix: str
) -> None:
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in net.state_dict().items()}
    file = tmp_path / f"low{suffix}"
    if suffix == ".bin":
        torch.save(state, file)
    else:
        save_file(state, file)
    facts = done("model", "import", file, "-o", "out.safetensors")
    assert equals(tmp_path / "out.safetensors", state)
    assert len(changes_of(facts)[f"converted from {said} to F32"]) == 8


def test_import_says_in_text_what_it_changed(cairn: Any, net: nn.Module, tmp_path: Path) -> None:
    save_file({name: value.bfloat16() for name, value in nn.Linear(2, 1).state_dict().items()}, tmp_path / "b")
    result = cairn("model", "import", "b", "-o", "out.safetensors")
    assert result.stdout.startswith("converted from BF16 to F32: ")
    assert "weight" in result.stdout and "out.safetensors" in result.stdout


# Tied tensors -------------------------------------------------------------------------------------------------------


def tied_as_saved(folder: Path, module: nn.Module, how: str) -> Path:
    file = folder / "tied.safetensors"
    state = module.state_dict()
    if how == "one name":  # as save_pretrained
        save_file({name: value for name, value in state.items() if name != "lm_head.weight"}, file)
    elif how == "other name":
        save_file({name: value for name, value in state.items() if name != "wte.weight"}, file)
    elif how == "both":
        save_file({name: value.clone() for name, value in state.items()}, file)
    elif how == "metadata":
        save_model(module, str(file))
    else:
        torch.save(state, file)
    return file


@pytest.mark.parametrize("how", ["one name", "other name", "both", "metadata", "shared storage"])
def test_tied_tensors_are_stored_once_and_registered_with_their_aliases(
    world: Any, tmp_path: Path, places: dict[str, nn.Module], how: str
) -> None:
    file = tied_as_saved(tmp_path, places["tied"], how)
    facts = world.done("model", "import", file, "--module", "net.py:tied", "-o", "out.safetensors")
    assert facts["aliases"] == {"lm_head.weight": "wte.weight"}
    assert sorted(arrays_of(tmp_path / "out.safetensors")) == ["inner.bias", "inner.weight", "wte.weight"]
    made = world.done("model", "register", file, "--module", "net.py:tied", "--account", "f")
    assert world.done("store", "get", made["cid"])["aliases"] == {"lm_head.weight": "wte.weight"}


@pytest.mark.parametrize("how", ["metadata", "shared storage"])
def test_aliases_in_the_file_need_no_module(world: Any, tmp_path: Path, places: dict[str, nn.Module], how: str) -> None:
    file = tied_as_saved(tmp_path, places["tied"], how)
    made = world.done("model", "register", file, "--account", "f")
    aliases = world.done("store", "get", made["cid"])["aliases"]
    assert len(aliases) == 1 and {*aliases, *aliases.values()} == {"lm_head.weight", "wte.weight"}


def test_tied_tensors_of_different_values_are_refused_naming_both(
    cairn: Any, tmp_path: Path, places: dict[str, nn.Module]
) -> None:
    state = {name: value.clone() for name, value in places["tied"].state_dict().items()}
    state["lm_head.weight"] += 1
    save_file(state, tmp_path / "apart.safetensors")
    result = cairn("model", "import", "apart.safetensors", "--module", "net.py:tied", "-o", "out.safetensors")
    assert result.exit_code == 2 and not (tmp_path / "out.safetensors").exists()
    assert "'lm_head.weight' and 'wte.weight' differ" in result.stderr or (
        "'wte.weight' and 'lm_head.weight' differ" in result.stderr
    )


# What a module lacks or has ----------------------------------------------------------------------------------------


def test_a_model_s_prefix_is_removed_or_added(done: Any, tmp_path: Path, places: dict[str, nn.Module]) -> None:
    save_file(places["wrapped"].state_dict(), tmp_path / "whole.safetensors")
    facts = done("model", "import", "whole.safetensors", "--module", "net.py:net", "-o", "inner.safetensors")
    assert len(changes_of(facts)["renamed to the module's names"]) == 9
    assert equals(tmp_path / "inner.safetensors", places["net"].state_dict())
    done("model", "import", "inner.safetensors", "--module", "net.py:wrapped", "-o", "outer.safetensors")
    assert equals(tmp_path / "outer.safetensors", places["wrapped"].state_dict())


def test_extra_tensors_are_dropped_and_named(done: Any, net: nn.Module, tmp_path: Path) -> None:
    save_file({**net.state_dict(), "embeddings.position_ids": torch.arange(8)[None]}, tmp_path / "old.safetensors")
    facts = done("model", "import", "old.safetensors", "--module", "net.py:net", "-o", "out.safetensors")
    assert changes_of(facts) == {"dropped, since the module has no such tensor": ["embeddings.position_ids"]}
    assert equals(tmp_path / "out.safetensors", net.state_dict())


def test_a_missing_counter_is_taken_from_the_module_and_a_missing_weight_refused(
    done: Any, cairn: Any, net: nn.Module, tmp_path: Path
) -> None:
    state = {name: value for name, value in net.state_dict().items() if name != "1.num_batches_tracked"}
    save_file(state, tmp_path / "a.safetensors")
    facts = done("model", "import", "a.safetensors", "--module", "net.py:net", "-o", "out.safetensors")
    assert changes_of(facts) == {"taken from the module, since no file has it": ["1.num_batches_tracked"]}
    state["2.weigth"] = state.pop("2.weight")
    save_file(state, tmp_path / "b.safetensors")
    result = cairn("model", "import", "b.safetensors", "--module", "net.py:net", "-o", "none.safetensors")
    assert result.exit_code == 2 and not (tmp_path / "none.safetensors").exists()
    assert "expected the module's tensor '2.weight', got no such tensor; the nearest unused name is '2.weigth'" in (
        result.stderr
    )


def test_another_shape_is_refused_by_name(cairn: Any, net: nn.Module, tmp_path: Path) -> None:
    save_file({**net.state_dict(), "2.weight": torch.ones(7, 3)}, tmp_path / "resized.safetensors")
    result = cairn("model", "import", "resized.safetensors", "--module", "net.py:net", "-o", "out.safetensors")
    assert result.exit_code == 2
    assert "resized.safetensors: 2.weight: expected shape (1, 3), as the module has, got (7, 3)" in result.stderr


# What is refused ----------------------------------------------------------------------------------------------------


def test_a_pickle_with_code_is_refused_and_nothing_runs(cairn: Any, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"weight": torch.ones(2), "evil": Evil()}, tmp_path / "evil.bin")
    torch.save(nn.Linear(2, 1), tmp_path / "module.pt")
    for file in ("evil.bin", "module.pt"):
        result = cairn("model", "import", file, "-o", "out.safetensors")
        assert result.exit_code == 3
        assert f"error: {file}: expected tensors only" in result.stderr
        assert "torch.save(module.state_dict(), FILE)" in result.stderr
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("make", ["safetensors", "bin"])
def test_a_truncated_file_is_refused_as_such(cairn: Any, net: nn.Module, tmp_path: Path, make: str) -> None:
    file = tmp_path / f"cut.{make}"
    buffer = io.BytesIO()
    torch.save(net.state_dict(), buffer)
    if make == "safetensors":
        save_file(net.state_dict(), file)
    else:
        file.write_bytes(buffer.getvalue())
    file.write_bytes(file.read_bytes()[:-40])
    result = cairn("model", "import", file, "-o", "out.safetensors")
    assert result.exit_code == 3
    assert f"error: {file}: " in result.stderr and "cut short" in result.stderr


def test_a_missing_shard_is_named(cairn: Any, net: nn.Module, tmp_path: Path) -> None:
    files = in_shards(tmp_path, net.state_dict())
    one = cairn("model", "import", files[0], "-o", "out.safetensors")
    assert one.exit_code == 2
    assert "is shard 1 of 3, and model-00002-of-00003.safetensors is not given" in one.stderr
    files[2].unlink()
    index = cairn("model", "import", "model.safetensors.index.json", "-o", "out.safetensors")
    assert index.exit_code == 2
    assert "shard model-00003-of-00003.safetensors is missing: 2 of 3 shards are beside it" in index.stderr


def test_an_index_that_leads_out_of_its_folder_is_refused(cairn: Any, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "../secret.safetensors"}}))
    result = cairn("model", "import", "model.safetensors.index.json", "-o", "out.safetensors")
    assert result.exit_code == 3 and "expected the name of a file beside it" in result.stderr


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.full((2,), float("-inf")), "odd: expected finite float32 values, got -inf in 2: a mask is no weight"),
        (torch.tensor([0.0, float("nan")]), "odd: expected finite float32 values, got nan in 1: the training diverged"),
        (
            torch.tensor([1e300], dtype=torch.float64),
            "odd: expected finite float32 values, got 1e+300 in 1: it overflows",
        ),
        (torch.tensor([1j]), "odd: expected real numbers, got torch.complex64"),
    ],
)
def test_values_that_no_version_holds_are_refused_by_name(
    cairn: Any, tmp_path: Path, tensor: torch.Tensor, said: str
) -> None:
    torch.save({"weight": torch.ones(2), "odd": tensor}, tmp_path / "odd.bin")
    result = cairn("model", "import", "odd.bin", "-o", "out.safetensors")
    assert result.exit_code == 2 and said in result.stderr


def test_one_tensor_in_two_files_is_refused_naming_both(cairn: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({"weight": torch.ones(2)}, tmp_path / f"{name}.safetensors")
    result = cairn("model", "import", "a.safetensors", "b.safetensors", "-o", "out.safetensors")
    assert result.exit_code == 2
    assert "b.safetensors: 'weight' is in a.safetensors too" in result.stderr


def test_what_transformers_saves_is_taken(world: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    (tmp_path / "gpt.py").write_text(
        "from transformers import GPT2Config, GPT2LMHeadModel\n"
        "def gpt():\n"
        "    return GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2))\n"
    )
    config = transformers.GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path / "gpt2", max_shard_size="2KB")
    made = world.done("model", "register", "gpt2", "--module", "gpt.py:gpt", "--account", "f")
    aliases = world.done("store", "get", made["cid"])["aliases"]
    assert aliases == {"lm_head.weight": "transformer.wte.weight"}
    model.bfloat16().save_pretrained(tmp_path / "low")
    facts = world.done("model", "import", "low", "--module", "gpt.py:gpt", "-o", "master.safetensors")
    assert "converted from BF16 to F32" in changes_of(facts)
    assert load_file(tmp_path / "master.safetensors").keys() == {*model.state_dict()} - {"lm_head.weight"}


@pytest.mark.parametrize("how", ["one name", "other name"])
def test_a_tied_file_of_save_pretrained_registered_without_a_module_is_loaded_by_the_participant_s(
    world: Any, tmp_path: Path, places: dict[str, nn.Module], how: str
) -> None:
    """The file names one of two tied tensors, and nobody says which module loads it: its loader maps the name."""
    (tmp_path / "tied_task.py").write_text(
        NET
        + "from registry.content.manifest import DataSetManifest\n"
        + "from trainer.participant import Task\n"
        + "def task():\n"
        + "    def epoch(model, number):\n"
        + "        with torch.no_grad():\n"
        + "            for value in model.parameters():\n"
        + "                value += 0.25\n"
        + "        return {}\n"
        + "    return Task(tied(), epoch, 10, DataSetManifest('ward 7', '', '', '', 10, None))\n"
    )
    file = tied_as_saved(tmp_path, places["tied"], how)
    model = world.done("model", "register", file, "--account", "a")["model"]
    world.done("member", "grant", model, "b", "--role", "participant", "--account", "a")
    world.done("plan", "new", "--model", model, "-o", "tied.toml", "--quorum", 1)
    world.done("plan", "set", model, "tied.toml", "--account", "a")
    world.done("round", "open", model, "--account", "a")
    submitted = world.run("participant", "submit", model, "--task", "tied_task.py:task", "--account", "b")
    assert submitted.exit_code == 0, submitted.output

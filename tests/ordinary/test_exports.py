"""`cairn model pull --as …` writes what other programs load, with tied tensors under each of their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

NET = """
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(5, 4)
        self.norm = nn.BatchNorm1d(4)
        self.lm_head = nn.Linear(4, 5, bias=False)
        self.lm_head.weight = self.wte.weight

def tied():
    torch.manual_seed(6)
    return Tied()
"""


@pytest.fixture(scope="module")
def module() -> nn.Module:
    space: dict[str, Any] = {}
    exec(compile(NET, "net.py", "exec"), space)
    return space["tied"]()  # type: ignore[no-any-return]


@pytest.fixture
def model(world: Any) -> str:
    (world.folder / "net.py").write_text(NET)
    return str(world.done("model", "register", "--module", "net.py:tied", "--account", "a")["model"])


def same(found: Mapping[str, torch.Tensor], module: nn.Module, dtype: torch.dtype = torch.float32) -> bool:
    state = {name: v.to(dtype) if v.is_floating_point() else v for name, v in module.state_dict().items()}
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_pytorch_loads_by_load_state_dict_with_ties(world: Any, model: str, module: nn.Module) -> None:
    facts = world.done("model", "pull", model, "--as", "pytorch", "-o", "model.pt")
    state = torch.load(world.folder / "model.pt", weights_only=True)
    assert same(state, module) and facts["as"] == "pytorch"
    assert state["lm_head.weight"].data_ptr() == state["wte.weight"].data_ptr()
    module.load_state_dict(state, strict=True)


def test_safetensors_has_every_name(world: Any, model: str, module: nn.Module) -> None:
    facts = world.done("model", "pull", model, "--as", "safetensors", "-o", "whole.safetensors")
    file = world.folder / "whole.safetensors"
    assert same(load_file(file), module) and facts["size"] == file.stat().st_size
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_bf16_has_half_the_bytes_and_keeps_integers(world: Any, model: str, module: nn.Module) -> None:
    world.done("model", "pull", model, "--as", "bf16", "-o", "half.safetensors")
    assert same(load_file(world.folder / "half.safetensors"), module, torch.bfloat16)


def test_what_is_pulled_is_taken_again(world: Any, model: str) -> None:
    for form, name in (("pytorch", "a.pt"), ("safetensors", "b.safetensors")):
        world.done("model", "pull", model, "--as", form, "-o", name)
        made = world.done("model", "publish", model, name, "--module", "net.py:tied", "--account", "a")
        assert world.done("store", "get", made["cid"])["aliases"] == {"lm_head.weight": "wte.weight"}


def test_a_form_that_is_none_and_peft_without_an_adapter_are_refused(world: Any, model: str) -> None:
    for form, said in (
        ("onnx", "expected one of pytorch, safetensors, bf16, peft, got 'onnx'"),
        ("peft", "LoRA adapter"),
    ):
        result = world.run("model", "pull", model, "--as", form, "-o", "out")
        assert result.exit_code == 2 and said in result.stderr
        assert not (world.folder / "out").exists()


def test_an_adapter_has_the_names_of_peft(world: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    (world.folder / "adapter.py").write_text(
        "import torch\n"
        "from peft import LoraConfig, get_peft_model\n"
        "def module():\n"
        "    torch.manual_seed(1)\n"
        "    inner = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))\n"
        "    return get_peft_model(inner, LoraConfig(r=2, target_modules=['0'], init_lora_weights=False))\n"
    )
    space: dict[str, Any] = {}
    exec((world.folder / "adapter.py").read_text(), space)
    options = ("--without", "*", "--without", "!*lora_*")
    made = world.done("model", "register", "--module", "adapter.py:module", *options, "--account", "a")
    world.done("model", "pull", made["model"], "--as", "peft", "-o", "adapter_model.safetensors")
    found = load_file(world.folder / "adapter_model.safetensors")
    wanted = peft.get_peft_model_state_dict(space["module"]())
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


ADAPTER = """
import torch
from pathlib import Path
from peft import LoraConfig, get_peft_model
from registry.content.manifest import DataSetManifest
from trainer.adapters import adapter_settings, frozen_besides_adapter, set_public_lora_a
from trainer.participant import Task

def inner():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))

def module():
    model = get_peft_model(inner(), LoraConfig(r=2, lora_alpha=6, target_modules=["0"], init_lora_weights=False))
    set_public_lora_a(model, 7)
    return model

def task():
    model = module()
    def epoch(model, number):
        with torch.no_grad():
            for value in (value for value in model.parameters() if value.requires_grad):
                value += 0.25
        return {}
    about = DataSetManifest("ward 7", "", "", "", 10, None)
    common = {"adapter": adapter_settings(model)}
    return Task(model, epoch, 10, about, frozen=frozen_besides_adapter(model), base=Path("base"), common=common)

def plain():
    return Task(torch.nn.Linear(1, 1), lambda model, number: {}, 10, DataSetManifest("ward 7", "", "", "", 10, None))
"""


def test_peft_loads_the_folder_that_a_plan_describes(world: Any) -> None:
    """FFA-LoRA through the command line: lora_A is in the version as float16, its settings in the plan."""
    peft = pytest.importorskip("peft")
    (world.folder / "adapter.py").write_text(ADAPTER)
    space: dict[str, Any] = {}
    exec(compile(ADAPTER, "adapter.py", "exec"), space)
    (world.folder / "base").mkdir()
    save_file(space["inner"]().state_dict(), world.folder / "base" / "model.safetensors")
    shared = ("--without", "*", "--without", "!*.lora_*", "--frozen", "*.lora_A.*")
    base = ("--base", "base", "--base-licence", "Apache-2.0", "--base-origin", "a test")
    made = world.done("model", "register", "--module", "adapter.py:module", *shared, *base, "--account", "a")
    model, version = made["model"], world.done("store", "get", made["cid"])
    assert version["frozen"] == ["base_model.model.0.lora_A.default.weight"]
    assert "| licence | Apache\\-2.0 |" in world.done("model", "card", model)["card"]
    told = " ".join(world.run("provenance", "show", model).stdout.split())
    assert f"frozen weights of sha256 {version['base']['sha256']}".replace("0x", "") in told
    assert "as its owner says from a test, licence Apache-2.0" in told
    refused = world.run("model", "pull", model, "--as", "peft", "-o", "pulled")
    assert refused.exit_code == 2 and "this model has no plan yet" in refused.stderr
    for number, (options, place) in enumerate(
        (((), "without"), (("--common", "adapter.py:task", "--probe", "adapter.py:task"), "with"))
    ):
        plan = world.done("plan", "new", "--quorum", 1, "--model", model, *options, "-o", f"{place}.toml")["plan"]
        world.done("plan", "set", model, f"{place}.toml", "--account", "a")
        if not number:
            refused = world.run("model", "pull", model, "--as", "peft", "-o", "pulled")
            assert refused.exit_code == 2 and "expected a plan that names the adapter's settings" in refused.stderr
    assert plan["scales"] == {"base_model.model.0.lora_B.default.weight": 2}  # 0.25 with room; lora_A never changes
    (world.folder / "taken").write_text("a file")
    refused = world.run("model", "pull", model, "--as", "peft", "-o", "taken")
    assert refused.exit_code == 2 and "expected a folder for PEFT's files" in refused.stderr
    facts = world.done("model", "pull", model, "--as", "peft", "-o", "pulled")
    assert facts["file"] == "pulled/adapter_model.safetensors"
    loaded, wanted = peft.PeftModel.from_pretrained(space["inner"](), world.folder / "pulled"), space["module"]().eval()
    inputs = torch.randn(3, 4)
    assert torch.equal(loaded(inputs), wanted(inputs))


def test_a_task_that_states_nothing_gives_a_plan_nothing(world: Any) -> None:
    (world.folder / "adapter.py").write_text(ADAPTER)
    refused = world.run("plan", "new", "--quorum", 1, "--common", "adapter.py:plain")
    assert refused.exit_code == 2 and "--common: expected a task with common=" in refused.stderr

"""`model register` and `model publish` refuse what no participant could load, before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

NET = """
from torch import nn

def net():
    return nn.Linear(2, 1)

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(5, 4)
        self.lm_head = nn.Linear(4, 5, bias=False)
        self.lm_head.weight = self.wte.weight

def tied():
    return Tied()
"""
PLAIN = {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}


@pytest.fixture
def refused(shared_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command that must fail without sending anything; returns its message."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)

    def run(*arguments: object) -> str:
        before = shared_world.chain.w3.eth.get_transaction_count(owner(shared_world))
        result = shared_world.run(*arguments, "--account", "a")
        assert result.exit_code == 2, result.output
        assert shared_world.chain.w3.eth.get_transaction_count(owner(shared_world)) == before
        return str(result.stderr)

    return run


def owner(world: Any) -> Any:
    from eth_account import Account

    return Account.from_key((1).to_bytes(32, "big")).address


@pytest.mark.parametrize(("dtype", "said"), [(torch.bfloat16, "BF16"), (torch.float16, "F16"), (torch.float64, "F64")])
def test_other_floats_than_f32_are_refused_naming_tensor_and_remedy(
    refused: Callable[..., str], dtype: torch.dtype, said: str
) -> None:
    save_file({**PLAIN, "weight": torch.ones(1, 2, dtype=dtype)}, "low.safetensors", {"format": "pt"})
    message = refused("model", "register", "low.safetensors")
    assert f"low.safetensors: 'weight' is {said}" in message
    assert "`cairn model import low.safetensors -o model.safetensors`" in message


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_bf16_in_another_form_is_refused_naming_tensor_and_remedy(refused: Callable[..., str], suffix: str) -> None:
    state = {name: value.bfloat16() for name, value in PLAIN.items()}
    if suffix == "bin":
        torch.save(state, "low.bin")
    else:
        save_file(state, "low.safetensors", {"author": "somebody"})
    message = refused("model", "register", f"low.{suffix}")
    assert "converted from BF16 to F32: " in message and "weight" in message
    assert f"`cairn model import low.{suffix} -o model.safetensors`" in message


def test_integers_only_are_refused(refused: Callable[..., str]) -> None:
    save_file({"qweight": torch.ones(4, dtype=torch.int32)}, "quantized.safetensors")
    message = refused("model", "register", "quantized.safetensors")
    assert "expected F32 tensors, which rounds train, got none: 'qweight' is I32" in message
    torch.save({"qweight": torch.ones(4, dtype=torch.int8)}, "quantized.bin")
    assert "expected floating tensors, which rounds train, got none: 'qweight' is int8" in refused(
        "model", "register", "quantized.bin"
    )


def test_extra_position_ids_are_refused_with_and_without_a_module(refused: Callable[..., str]) -> None:
    save_file({**PLAIN, "embeddings.position_ids": torch.arange(8)[None]}, "bert.safetensors", {"format": "pt"})
    alone = refused("model", "register", "bert.safetensors")
    assert "'embeddings.position_ids' (I64) is a constant" in alone and "cairn model import" in alone
    checked = refused("model", "register", "bert.safetensors", "--module", "net.py:net")
    assert "dropped, since the module has no such tensor: embeddings.position_ids" in checked
    assert "`cairn model import bert.safetensors --module net.py:net -o model.safetensors`" in checked


def test_one_shard_of_three_is_refused(refused: Callable[..., str]) -> None:
    save_file(PLAIN, "model-00002-of-00003.safetensors")
    message = refused("model", "register", "model-00002-of-00003.safetensors")
    assert "is shard 2 of 3, and model-00001-of-00003.safetensors is not given" in message
    index = {"weight_map": {"weight": "model-00001-of-00003.safetensors", "bias": "model-00002-of-00003.safetensors"}}
    Path("model.safetensors.index.json").write_text(json.dumps(index))
    message = refused("model", "register", "model.safetensors.index.json")
    assert "shard model-00001-of-00003.safetensors is missing: 1 of 2 shards" in message


def test_a_file_that_the_module_does_not_load_is_refused(refused: Callable[..., str]) -> None:
    save_file({"weight": torch.ones(1, 2)}, "part.safetensors")
    message = refused("model", "register", "part.safetensors", "--module", "net.py:net")
    assert "expected the module's tensor 'bias', got no such tensor" in message
    save_file({**PLAIN, "weight": torch.ones(1, 7)}, "wide.safetensors")
    message = refused("model", "register", "wide.safetensors", "--module", "net.py:net")
    assert "weight: expected shape (1, 2), as the module has, got (1, 7)" in message


def test_a_tied_file_gets_its_aliases_from_the_module(world: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    save_file({"wte.weight": torch.ones(5, 4)}, tmp_path / "saved.safetensors", {"format": "pt"})
    made = world.done("model", "register", "saved.safetensors", "--module", "net.py:tied", "--account", "a")
    assert world.done("store", "get", made["cid"])["aliases"] == {"lm_head.weight": "wte.weight"}
    again = world.done("model", "publish", made["model"], "saved.safetensors", "--account", "a")
    assert world.done("store", "get", again["cid"])["aliases"] == {"lm_head.weight": "wte.weight"}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({**PLAIN, "weight": torch.ones(1, 3)}, "expected tensor 'weight' of F32 [1, 2]"),
        ({"weight": PLAIN["weight"]}, "expected tensor 'bias' of F32 [1]"),
        ({**PLAIN, "head.weight": torch.ones(2)}, "got 'head.weight' too"),
        ({**PLAIN, "bias": torch.zeros(1, dtype=torch.int64)}, "got I64 [1]"),
    ],
    ids=["shape", "missing", "extra", "dtype"],
)
def test_a_version_of_a_foreign_architecture_is_refused(
    refused: Callable[..., str], shared_world: Any, tensors: dict[str, torch.Tensor], said: str
) -> None:
    save_file(tensors, "other.safetensors")
    message = refused("model", "publish", shared_world.model, "other.safetensors")
    assert "error: other.safetensors: expected" in message and said in message

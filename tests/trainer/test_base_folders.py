"""A base that is a folder: its list goes to the store, its weights stay, and another folder is refused by file name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from registry.errors import InputError
from registry.rounds.base_folders import base_sha256, folder_list, list_difference
from registry.rounds.versions import require_base
from registry.store.blobs import open_blob
from registry.store.memory import MemoryStore
from registry.types import Blob

Make = Callable[..., Any]


def two_layers() -> nn.Module:
    torch.manual_seed(6)
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))


def by_optimizer(module: nn.Module) -> Mapping[str, float]:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    return {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sharded base, and beside it what is none of it."""
    found = tmp_path / "base"
    found.mkdir()
    for number in (1, 2):
        (found / f"model-0000{number}-of-00002.safetensors").write_bytes(b"shard %d" % number)
    (found / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    (found / "config.json").write_text("{}")
    for name in ("README.md", "tokenizer.json", "pytorch_model.bin", "pytorch_model.bin.index.json"):
        (found / name).write_text("none of it")
    return found


def test_gguf_files_are_weights_where_there_are_no_others(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.Q4_1.gguf").write_bytes(b"GGUF")
    assert folder_list(tmp_path).endswith(b"  model.Q4_1.gguf\n") and folder_list(tmp_path).count(b"\n") == 1
    (folder / "model.Q4_1.gguf").write_bytes(b"GGUF")
    assert b"gguf" not in folder_list(folder)


def test_the_list_is_what_sha256sum_checks(folder: Path) -> None:
    text = folder_list(folder)
    names = [line.split("  ")[1] for line in text.decode().splitlines()]
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert names == ["config.json", *shards, "model.safetensors.index.json"]
    run = ["sha256sum", "--strict", "--check", "-"]
    assert subprocess.run(run, input=text, cwd=folder, capture_output=True, check=False).returncode == 0
    (folder / shards[1]).write_bytes(b"shard 3")
    assert subprocess.run(run, input=text, cwd=folder, capture_output=True, check=False).returncode == 1


def test_a_folder_of_pytorch_weights_is_listed_without_safetensors(folder: Path) -> None:
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    names = [line.split("  ")[1] for line in folder_list(folder).decode().splitlines()]
    assert names == ["config.json", "pytorch_model.bin", "pytorch_model.bin.index.json"]
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="expected a folder with weights"):
        folder_list(folder)


def test_a_name_that_breaks_the_list_is_refused(folder: Path) -> None:
    (folder / "a\nb.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="expected printable names"):
        folder_list(folder)


def test_the_store_has_the_list_and_no_weights(hand_made: Make, make_task: Make, folder: Path) -> None:
    round = hand_made(two_layers(), without=("0.*",), base=folder)
    base = round.genesis.base
    assert b"".join(open_blob(round.store, Blob(base.cid, base.size))) == folder_list(folder)
    assert base.sha256 == base_sha256(folder)
    made = round.prepare(replace(make_task(two_layers(), by_optimizer), frozen=("0.*",), base=folder))
    assert made.manifest.steps == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "config.json").write_text("{ }"), "config.json: expected sha256 44136fa3.*, found s"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: expected sha256 44136fa3.*, found no such f"),
        (lambda folder: (folder / "more.safetensors").write_text(""), "more.safetensors: expected no such file, found"),
        (lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(), "model-00002-of-00002.safetensors: "),
    ],
    ids=["changed", "missing", "more", "a shard"],
)
def test_another_folder_is_refused_by_the_file_that_differs(
    hand_made: Make, make_task: Make, folder: Path, change: Callable[[Path], object], said: str
) -> None:
    round = hand_made(two_layers(), without=("0.*",), base=folder)
    change(folder)
    task = replace(make_task(two_layers(), by_optimizer), frozen=("0.*",), base=folder)
    with pytest.raises(
        InputError, match=rf"base: expected files whose list has the sha256 .*, from a test, got .*{said}"
    ):
        round.prepare(task)


def test_a_folder_in_place_of_a_file_and_the_other_way_round(hand_made: Make, folder: Path) -> None:
    file = folder / "model-00001-of-00002.safetensors"
    of_file, of_folder = (hand_made(two_layers(), base=each) for each in (file, folder))
    with pytest.raises(InputError, match="the version stands on one file, not on a folder"):
        require_base(of_file.genesis, folder, of_file.store)
    with pytest.raises(InputError, match=r"expected the file of sha256 .*, got .*model-00001"):
        require_base(of_folder.genesis, file, of_folder.store)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"got \S+ of sha256 [0-9a-f]{64}$"):
        require_base(of_folder.genesis, folder, MemoryStore())  # whose list nobody serves


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"0" * 64 + b"  ../x\n", b"one line\n", b"\n" * 9])
def test_what_is_no_list_says_so(folder: Path, text: bytes) -> None:
    assert list_difference(text, folder) == "the version stands on one file, not on a folder"

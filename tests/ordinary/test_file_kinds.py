"""A file that is no safetensors file is named as what it is, by every command that reads one."""

from __future__ import annotations

import gzip
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from registry.rounds.versions import save_arrays


def torch_file(zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.ones(2, 3)}, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, weight=np.ones(3))
    return file.getvalue()


def onnx() -> bytes:
    """The first fields of a ModelProto: ir_version 8, producer_name "pytorch", producer_version."""
    return b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:" + bytes(64)


INDEX = {"metadata": {"total_size": 8}, "weight_map": {"weight": "model-00001-of-00002.safetensors"}}
KINDS: dict[str, tuple[bytes, str]] = {
    "Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 548105171\n",
        "a Git LFS pointer: `git lfs pull`",
    ),
    "HTML": (b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n", "an HTML or XML page"),
    "PyTorch file": (torch_file(True), "a PyTorch file (.pt, .bin): `cairn model import"),
    "pickle": (torch_file(False), "a pickle"),
    "GGUF": (b"GGUF" + struct.pack("<IQQ", 3, 291, 24) + bytes(64), "a GGUF file: `cairn model import"),
    "index.json": (json.dumps(INDEX, indent=2).encode(), "an index.json of shards: `cairn model import"),
    "ONNX": (onnx(), "an ONNX model: `cairn model import"),
    "config.json": (b'{\n  "architectures": [\n    "GPT2LMHeadModel"\n  ]\n}\n', "a JSON file"),
    "npz": (npz(), "a NumPy .npz archive"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file"),
    "gzip": (gzip.compress(b"weights" * 9), "a gzip file"),
    "text": (b"these are my weights\n", "a text file"),
    "empty": (b"", "an empty file"),
}
UNREADABLE = [name for name in KINDS if name not in ("PyTorch file", "pickle", "index.json", "ONNX", "GGUF")]
EVERY = pytest.mark.parametrize(("data", "said"), KINDS.values(), ids=KINDS)


@pytest.fixture
def other(tmp_path: Path, data: bytes) -> Path:
    file = tmp_path / "model.safetensors"
    file.write_bytes(data)
    return file


@EVERY
def test_cid_of_tensors_says_what_the_file_is(cairn: Any, other: Path, said: str) -> None:
    result = cairn("cid", "--tensors", other)
    assert result.exit_code == 3
    assert f"error: {other}: expected a safetensors file, got {said}" in result.stderr


@pytest.mark.parametrize(("data", "said"), [KINDS[name] for name in UNREADABLE], ids=UNREADABLE)
def test_publish_says_what_the_file_is(open_world: Any, other: Path, said: str) -> None:
    result = open_world.run("model", "publish", open_world.model, other, "--account", "a")
    assert result.exit_code == 3
    assert f"error: {other}: expected a safetensors file, got {said}" in result.stderr


@EVERY
def test_a_ready_made_update_says_what_the_file_is(open_world: Any, other: Path, said: str) -> None:
    options = ("--update", other, "--weight", 1, "--steps", 1, "--account", "b")
    result = open_world.run("participant", "submit", open_world.model, *options)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"error: {other}: expected an update")
    assert f": expected a safetensors file, got {said}" in result.stderr


@EVERY
def test_verify_says_what_the_file_is(open_world: Any, other: Path, said: str) -> None:
    result = open_world.run("verify", other)
    assert result.exit_code == 8
    assert "no version of any model" in result.stderr and f"the file is {said}" in result.stderr


@EVERY
def test_combine_says_which_of_several_files_is_what(cairn: Any, tmp_path: Path, other: Path, said: str) -> None:
    save_arrays(tmp_path / "good.safetensors", {"w": np.ones(3, np.float32)})
    result = cairn("combine", "good.safetensors:1", f"{other}:1", "-o", "mean.safetensors")
    assert result.exit_code == 3
    assert f"error: {other}: expected a safetensors file, got {said}" in result.stderr


def cut(folder: Path, size: int) -> Path:
    whole = folder / "whole.safetensors"
    save_arrays(whole, {"bias": np.zeros(1, np.float32), "weight": np.ones((1, 2), np.float32)})
    file = folder / "cut.safetensors"
    file.write_bytes(whole.read_bytes()[:size])
    return file


@pytest.mark.parametrize("size", [5, 40, -3], ids=["in the length", "in the header", "in the data"])
def test_a_truncated_download_is_named_as_such(open_world: Any, tmp_path: Path, size: int) -> None:
    file = cut(tmp_path, size)
    for arguments in (
        ("cid", "--tensors", file),
        ("model", "publish", open_world.model, file, "--account", "a"),
        ("participant", "submit", open_world.model, "--update", file, "--weight", 1, "--steps", 1, "--account", "b"),
        ("combine", f"{tmp_path / 'whole.safetensors'}:1", f"{file}:1", "-o", tmp_path / "mean.safetensors"),
    ):
        result = open_world.run(*arguments)
        assert result.exit_code == 3
        assert f"error: {file}: " in result.stderr and "cut short, as by a download" in result.stderr, result.stderr


def test_combine_names_the_file_with_other_tensors_and_the_one_off_the_grid(cairn: Any, tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.safetensors", {"w": np.ones(3, np.float32)})
    save_arrays(tmp_path / "b.safetensors", {"v": np.ones(3, np.float32)})
    save_arrays(tmp_path / "c.safetensors", {"w": np.full(3, 0.1, np.float32)})
    foreign = cairn("combine", "a.safetensors:1", "b.safetensors:1", "-o", "m.safetensors")
    assert foreign.exit_code == 3
    assert "b.safetensors: expected the tensors of a.safetensors" in foreign.stderr
    off = cairn("combine", "a.safetensors:1", "c.safetensors:1", "-o", "m.safetensors")
    assert off.exit_code == 3 and "error: c.safetensors: value" in off.stderr

"""`cairn model import` reads ONNX initializers and GGUF tensors, and refuses hostile files of these kinds in time."""

from __future__ import annotations

import importlib.util
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from registry.rounds.versions import arrays_in
from tests.ordinary.test_imports import changes_of

SHAPE = (3, 4)
VALUES = np.linspace(-2, 2, 12, dtype=np.float32).reshape(SHAPE)


def write_onnx(path: Path, *initializers: TensorProto, external: bool = False) -> Path:
    graph = helper.make_graph([], "g", [], [], initializer=list(initializers))
    options = {"save_as_external_data": True, "location": "weights.data", "size_threshold": 0} if external else {}
    onnx.save_model(helper.make_model(graph, producer_name="pytorch"), str(path), **options)
    return path


def initializer(name: str, values: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(values, name)


def external(name: str, location: str, dims: tuple[int, ...] = (2,), kind: int = TensorProto.FLOAT,
             **where: object) -> TensorProto:  # fmt: skip
    proto = TensorProto(name=name, data_type=kind, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **where}.items():
        proto.external_data.add(key=key, value=str(value))
    return proto


def write_gguf(path: Path, tensors: dict[str, tuple[np.ndarray, gguf.GGMLQuantizationType | None]]) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_token_list(["a", "b", "</s>"])
    writer.add_array("numbers", [1, 2, 3])
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def imported(done: Any, path: Path, *options: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    facts = done("model", "import", path, *options, "-o", "out.safetensors")
    return arrays_in((path.parent / "out.safetensors").read_bytes()), facts


# ONNX ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [False, True], ids=["in the model", "external data"])
def test_onnx_initializers_become_f32_master_weights_under_their_names(done: Any, tmp_path: Path, beside: bool) -> None:
    floats = {"F16": np.float16, "BF16": ml_dtypes.bfloat16, "F64": np.float64, "F8_E5M2": ml_dtypes.float8_e5m2}
    given = {kind: initializer(f"onnx::MatMul_{kind}", VALUES.astype(dtype)) for kind, dtype in floats.items()}
    counts, mask = initializer("steps", np.arange(3)), initializer("mask", np.array([True, False]))
    path = write_onnx(tmp_path / "m.onnx", initializer("w", VALUES), *given.values(), counts, mask, external=beside)
    arrays, facts = imported(done, path)
    assert np.array_equal(arrays["w"], VALUES) and np.array_equal(arrays["steps"], np.arange(3))
    assert arrays["steps"].dtype == np.int64 and arrays["mask"].dtype == np.bool_
    for kind, dtype in floats.items():
        assert np.array_equal(arrays[f"onnx::MatMul_{kind}"], VALUES.astype(dtype).astype(np.float32))
        assert changes_of(facts)[f"converted from {kind} to F32"] == [f"onnx::MatMul_{kind}"]
    assert len(arrays) == 7


def test_onnx_types_that_torch_lacks_are_converted_and_said(done: Any, tmp_path: Path) -> None:
    small = np.array([[-8, 7, 1]], np.int8)
    rare = np.array([1, -2], ml_dtypes.float8_e4m3fnuz)
    path = write_onnx(
        tmp_path / "m.onnx", initializer("w", VALUES), initializer("i4", small.astype(ml_dtypes.int4)),
        initializer("f8", rare),
    )  # fmt: skip
    arrays, facts = imported(done, path)
    assert np.array_equal(arrays["i4"], small) and np.array_equal(arrays["f8"], np.array([1, -2], np.float32))
    assert changes_of(facts) == {
        "converted from INT4 to I8": ["i4"],
        "converted from FLOAT8_E4M3FNUZ to F32": ["f8"],
    }


def test_one_range_of_external_data_is_one_tied_tensor(done: Any, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(VALUES.tobytes())
    head, embedding = (external(name, "w", SHAPE, offset=0, length=48) for name in ("embedding", "head"))
    arrays, facts = imported(done, write_onnx(tmp_path / "m.onnx", head, embedding))
    assert list(arrays) == ["embedding"] and facts["aliases"] == {"head": "embedding"}


def test_initializers_of_branches_are_named_as_dropped(done: Any, tmp_path: Path) -> None:
    branch = helper.make_graph([], "b", [], [], initializer=[initializer("inner", VALUES)])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=helper.make_graph([], "e", [], []))
    graph = helper.make_graph([node], "g", [], [], initializer=[initializer("w", VALUES)])
    onnx.save_model(helper.make_model(graph), str(tmp_path / "m.onnx"))
    _, facts = imported(done, tmp_path / "m.onnx")
    assert changes_of(facts) == {"dropped, initializers of branches": ["inner"]}


def test_onnx_and_gguf_of_a_module_are_registered_as_they_are(world: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(4, 3)\n")
    state = {"weight": VALUES, "bias": VALUES[:, 0].copy()}
    path = write_onnx(tmp_path / "net.onnx", *(initializer(name, values) for name, values in state.items()))
    write_gguf(tmp_path / "net.gguf", {name: (values, None) for name, values in state.items()})
    for file in (path, tmp_path / "net.gguf"):
        made = world.done("model", "register", file, "--module", "net.py:net", "--account", "f")
        world.done("model", "pull", made["model"], "-o", f"{file.suffix}.safetensors")
        pulled = arrays_in((tmp_path / f"{file.suffix}.safetensors").read_bytes())
        assert all(np.array_equal(pulled[name], values) for name, values in state.items())


HOSTILE_ONNX: dict[str, tuple[Callable[[], list[TensorProto]], str]] = {
    "out of the folder": (lambda: [external("w", "../secret")], "points outside the directory"),
    "absolute": (lambda: [external("w", "/etc/hostname")], "should be a relative path"),
    "a symbolic link": (lambda: [external("w", "link")], "it is a symbolic link"),
    "missing": (lambda: [external("w", "none")], "not regular file"),
    "past the end": (lambda: [external("w", "here", offset=1 << 70)], "exceeds file size (8)"),
    "too long": (lambda: [external("w", "here", length=1 << 70)], "exceeds available data (8 bytes"),
    "another shape": (lambda: [external("w", "here", (1 << 40,))], "expected the data of [1099511627776] values"),
    "negative": (
        lambda: [TensorProto(name="w", data_type=1, dims=(-1,), raw_data=bytes(8))],
        "expected a shape, got [-1]",
    ),
    "huge": (lambda: [TensorProto(name="w", data_type=1, dims=(1 << 31, 1 << 31))], "expected the data of ["),
    "huge of 4 bits": (
        lambda: [TensorProto(name="w", data_type=TensorProto.INT4, dims=(1 << 40,), raw_data=bytes(8))],
        "expected the data of [",
    ),
    "overlapping": (
        lambda: [external(f"w{n}", "here", (1 + n % 16,), TensorProto.INT4) for n in range(9)],
        "w1: expected initializers that share no data, got more than the 8 bytes of here",
    ),
    "twice": (lambda: [initializer("w", VALUES), initializer("w", VALUES)], "got 'w' twice"),
    "of no type": (lambda: [TensorProto(name="w", dims=(1,), raw_data=bytes(4))], "UNDEFINED"),
    "of an unknown type": (lambda: [TensorProto(name="w", data_type=99, dims=(1,))], "expected the data of"),
    "text": (lambda: [helper.make_tensor("w", TensorProto.STRING, [1], [b"a"])], "w: expected numbers, got text"),
    "complex": (lambda: [initializer("w", np.array([1j], np.complex64))], "w: expected real numbers"),
}


@pytest.mark.parametrize(("make", "said"), HOSTILE_ONNX.values(), ids=HOSTILE_ONNX)
def test_hostile_onnx_is_one_error(
    cairn: Any, tmp_path: Path, make: Callable[[], list[TensorProto]], said: str
) -> None:
    (tmp_path / "secret").write_bytes(bytes(8))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "here").write_bytes(bytes(8))
    (folder / "link").symlink_to("../secret")
    path = write_onnx(folder / "m.onnx", *make())
    refused(cairn, path, said)


def test_a_truncated_onnx_model_is_named_as_such(cairn: Any, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", initializer("w", VALUES))
    path.write_bytes(path.read_bytes()[:-20])
    refused(cairn, path, "expected an ONNX model, got one that is damaged or cut short")


def refused(cairn: Any, path: Path, said: str) -> None:
    begin, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = cairn("model", "import", path, "-o", "out.safetensors")
    assert result.exit_code in (2, 3), result.stderr
    assert result.stderr.startswith(f"error: {path}: ") and said in result.stderr, result.stderr
    assert not list(path.parent.glob("out*")) and not Path("out.safetensors").exists()
    assert time.monotonic() - begin < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 400_000  # kB; libraries are loaded meanwhile


# GGUF ---------------------------------------------------------------------------------------------------------------


def test_gguf_tensors_keep_names_and_values_and_have_torch_s_shape(done: Any, tmp_path: Path) -> None:
    low = VALUES.astype(ml_dtypes.bfloat16)
    path = write_gguf(
        tmp_path / "m.gguf",
        {
            "blk.0.w": (VALUES, None),
            "half": (VALUES.astype(np.float16), None),
            "brain": (low.view(np.uint8), gguf.GGMLQuantizationType.BF16),
            "steps": (np.arange(3), None),
            "double": (VALUES.astype(np.float64), None),
        },
    )
    arrays, facts = imported(done, path)
    assert {name: array.shape for name, array in arrays.items()} == {
        "blk.0.w": SHAPE, "half": SHAPE, "brain": SHAPE, "steps": (3,), "double": SHAPE,
    }  # fmt: skip
    assert np.array_equal(arrays["blk.0.w"], VALUES) and np.array_equal(arrays["double"], VALUES)
    assert np.array_equal(arrays["half"], VALUES.astype(np.float16).astype(np.float32))
    assert np.array_equal(arrays["brain"], low.astype(np.float32))
    assert arrays["steps"].dtype == np.int64
    said = changes_of(facts)
    assert said["converted from F16 to F32"] == ["half"] and said["converted from BF16 to F32"] == ["brain"]
    assert {"general.name", "tokenizer.ggml.tokens", "numbers"} <= {*said["dropped metadata"]}


@pytest.mark.parametrize("kind", ["Q4_0", "Q5_1", "Q8_0", "Q4_K", "Q6_K", "IQ4_XS", "TQ1_0", "MXFP4"])
def test_quantized_gguf_tensors_are_dequantized_and_said_to_be(done: Any, tmp_path: Path, kind: str) -> None:
    number = gguf.GGMLQuantizationType[kind]
    values, width = gguf.GGML_QUANT_SIZES[number]
    rows = np.random.default_rng(1).integers(0, 100, (3, 2 * width), np.uint8)  # no byte makes a scale infinite
    path = write_gguf(tmp_path / "m.gguf", {"w": (rows, number)})
    arrays, facts = imported(done, path)
    assert arrays["w"].shape == (3, 2 * values) and arrays["w"].dtype == np.float32 and arrays["w"].any()
    assert np.array_equal(arrays["w"], gguf.dequantize(rows, number))
    assert changes_of(facts)[f"dequantized from {kind} to F32"] == ["w"]


def test_register_refuses_quantized_weights_with_the_command_that_converts_them(world: Any, tmp_path: Path) -> None:
    rows = np.full((2, 34), 7, np.uint8)
    path = write_gguf(tmp_path / "m.gguf", {"w": (rows, gguf.GGMLQuantizationType.Q8_0)})
    result = world.run("model", "register", path, "--account", "f")
    assert result.exit_code == 2
    assert f"dequantized from Q8_0 to F32: w: `cairn model import {path} -o model.safetensors`" in result.stderr


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def header(tensors: int = 1, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def entry(name: bytes = b"w", dims: tuple[int, ...] = (2,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def array(kind: int, count: int) -> bytes:
    return text(b"list") + struct.pack("<IIQ", 9, kind, count)


FILL = bytes(4096)
HOSTILE_GGUF: dict[str, tuple[bytes, str]] = {
    "cut in the counts": (b"GGUF\3\0\0\0\1\0\0", "cut short"),
    "cut in an entry": (header() + entry()[:-3] + b"", "cut short"),
    "cut in the data": (header() + entry(dims=(1 << 12, 2)) + FILL, "w: expected 32768 bytes at"),
    "2^60 tensors": (header(1 << 60) + FILL, "got a GGUF header of 1152921504606846976 entries"),
    "2^60 keys": (header(1, 1 << 60) + FILL, "got a GGUF header of 1152921504606846976 entries"),
    "2^60 numbers": (header(1, 1) + array(0, 1 << 60) + FILL, "got a GGUF header of 1152921504606846976 entries"),
    "2^60 strings": (header(1, 1) + array(8, 1 << 60) + FILL, "got a GGUF header of 1152921504606846976 entries"),
    "arrays of arrays": (header(1, 1) + array(9, 20) + FILL, "list: expected metadata of known types"),
    "a value of no type": (header(1, 1) + text(b"key") + struct.pack("<I", 77) + FILL, "key: expected metadata of"),
    "a string of 2^62": (header(1, 1) + text(b"key") + struct.pack("<IQ", 8, 1 << 62) + FILL, "cut short"),
    "a name of 2^62": (header() + struct.pack("<Q", 1 << 62) + FILL, "expected a name of at most 65536 bytes"),
    "a name of no text": (header() + entry(b"\xff\xfe") + FILL, "expected a name in UTF-8"),
    "2^32 dimensions": (header() + text(b"w") + b"\xff" * 4 + FILL, "w: expected at most 8 dimensions, got 4294967295"),
    "no values": (header() + entry(dims=(0, 1 << 62)) + FILL, "w: expected a tensor with values"),
    "2^124 values": (header() + entry(dims=(1 << 62, 1 << 62)) + FILL, "w: expected 8507059173023461586"),
    "an unknown kind": (header() + entry(kind=4000) + FILL, "w: expected a known kind of tensor, got number 4000"),
    "half a block": (header() + entry(dims=(33,), kind=2) + FILL, "expected rows of whole Q4_0 blocks, 32 values"),
    "a block of no row": (header() + entry(dims=(), kind=2) + FILL, "expected rows of whole Q4_0 blocks, 32 values"),
    "past the end": (header() + entry(offset=1 << 63) + FILL, "w: expected 8 bytes at"),
    "overlapping": (
        header(3) + b"".join(entry(b"w%d" % n, dims=(900,)) for n in range(3)) + FILL,
        "w1: expected tensors that share no data",
    ),
    "twice": (header(2) + entry() * 2 + FILL, "expected tensors of different names, got 'w' twice"),
    "version 1": (header(version=1) + FILL, "got version 1"),
    "big-endian": (header(version=3 << 24) + FILL, "got a big-endian one of version 3"),
    "odd alignment": (
        header(1, 1) + text(b"general.alignment") + struct.pack("<II", 4, 3) + entry() + FILL,
        "general.alignment: expected a small power of two, got 3",
    ),
    "a kind nobody reads": (
        header() + entry(dims=(256,), kind=int(gguf.GGMLQuantizationType.Q8_K)) + FILL,
        "w: expected a kind that gguf dequantizes, got Q8_K",
    ),
    "too many tensors": (header(1 << 18) + bytes(24 << 18), "expected at most 131072 tensors and keys"),
    "too many strings": (header(1, 1) + array(8, (1 << 22) + 1) + bytes(8 << 22) + FILL, "list: expected metadata of"),
    "nothing": (header(0) + FILL, "expected tensors, got none"),
}


@pytest.mark.parametrize(("data", "said"), HOSTILE_GGUF.values(), ids=HOSTILE_GGUF)
def test_hostile_gguf_is_one_error(cairn: Any, tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    refused(cairn, path, said)


def test_a_gguf_cut_anywhere_is_one_error(cairn: Any, tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf", {"w": (VALUES, None)}).read_bytes()
    path = tmp_path / "m.gguf"
    for size in range(5, len(whole) - 17, 29):  # the last bytes are padding
        path.write_bytes(whole[:size])
        refused(cairn, path, "cut short")


# The libraries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["onnx", "gguf"])
def test_a_missing_library_is_named_with_the_extra_that_installs_it(
    cairn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else find(name))
    onnx_file = write_onnx(tmp_path / "m.onnx", initializer("w", VALUES))
    path = onnx_file if library == "onnx" else write_gguf(tmp_path / "m.gguf", {"w": (VALUES, None)})
    result = cairn("model", "import", path, "-o", "out.safetensors")
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {path}: reading it needs {library}, which is not installed: pip install 'cairn-registry[formats]', "
        "or in Cairn's checkout pip install -e '.[formats]'\n"
    )

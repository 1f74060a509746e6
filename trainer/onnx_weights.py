"""Read the initializers of ONNX models, those in external data files included, through the `onnx` library.

Everything that a hostile file declares is bounded by the bytes that are there, before anything of its size is made.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from registry.errors import FormError, InputError
from trainer.found_weights import Change, WeightFiles, require_library

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

__all__ = ["read_onnx"]

_AS_TORCH = {"bfloat16": torch.bfloat16, "float8_e4m3fn": torch.float8_e4m3fn, "float8_e5m2": torch.float8_e5m2}
"""Types of `ml_dtypes` that torch has too. Their bits are equal."""


def read_onnx(file: Path) -> WeightFiles:
    """Read an ONNX model's initializers under their names.

    Initializers that are one range of an external data file are tied: the first keeps the tensor.

    Raises:
        InputError: `onnx` is not installed, or an initializer is sparse.
        FormError: The file is damaged or cut short, external data is missing or would lie outside the model's folder,
            or a tensor has other data than its shape needs.
    """
    require_library(file, "onnx", "formats")
    graph = _model(file).graph
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise InputError(f"{file}: {name}: expected dense tensors, got a sparse initializer")
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    converted: dict[str, list[str]] = {}
    ranges: dict[tuple[object, ...], str] = {}
    read: Counter[str] = Counter()
    for proto in graph.initializer:
        name = proto.name
        if not name or name in tensors or name in aliases:
            raise FormError(f"{file}: expected initializers of different names, got {name!r} {'twice' * bool(name)}")
        place = _external_range(proto)
        if place is not None and place in ranges:
            aliases[name] = ranges[place]
            continue
        if place is not None:
            ranges[place] = name
        tensors[name], said = _as_torch(_array(file, proto))
        if place is not None:
            _require_own_data(file, proto, read)
        if said:
            converted.setdefault(said, []).append(name)
    changes = [Change(f"converted from {dtype}", tuple(names), True) for dtype, names in converted.items()]
    inner = tuple(_inner_names(graph))
    if inner:
        changes.append(Change("dropped, initializers of branches", inner, True))
    return WeightFiles(str(file), tensors, aliases, tuple(changes))


def _model(file: Path) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load_model(str(file), format="protobuf", load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise FormError(f"{file}: expected an ONNX model, got one that is damaged or cut short: {error}") from error


def _external_range(proto: TensorProto) -> tuple[object, ...] | None:
    """Return where an initializer's external data is, with its type and shape; None if it is in the model."""
    import onnx

    if proto.data_location != onnx.TensorProto.EXTERNAL:
        return None
    where = {entry.key: entry.value for entry in proto.external_data if entry.key in ("location", "offset", "length")}
    return (*sorted(where.items()), proto.data_type, *proto.dims)


def _array(file: Path, proto: TensorProto) -> np.ndarray[Any, Any]:
    import onnx
    from onnx import numpy_helper

    label = f"{file}: {proto.name}"
    if any(size < 0 for size in proto.dims):
        raise FormError(f"{label}: expected a shape, got {list(proto.dims)}")
    if proto.data_type == onnx.TensorProto.STRING:
        raise InputError(f"{label}: expected numbers, got text")
    try:
        array = numpy_helper.to_array(proto, str(file.parent))
    except (onnx.checker.ValidationError, OSError) as error:
        raise FormError(f"{label}: expected its external data in a file beside the model: {error}") from error
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise FormError(f"{label}: expected the data of {list(proto.dims)} values: {error}") from error
    if array.size != math.prod(proto.dims):
        raise FormError(f"{label}: expected {math.prod(proto.dims)} values, got {array.size}")
    return array


def _require_own_data(file: Path, proto: TensorProto, read: Counter[str]) -> None:
    """Count what was read of external data, so that a short file cannot stand for many times its bytes.

    Raises:
        FormError: More of a file was read than it has: initializers overlap.
    """
    from onnx.external_data_helper import ExternalDataInfo

    info = ExternalDataInfo(proto)
    size = (file.parent / info.location).stat().st_size
    read[info.location] += size - (info.offset or 0) if info.length is None else info.length
    if read[info.location] > size:
        raise FormError(
            f"{file}: {proto.name}: expected initializers that share no data, got more than the {size} bytes of "
            f"{info.location}"
        )


def _as_torch(array: np.ndarray[Any, Any]) -> tuple[torch.Tensor, str]:
    """Return a tensor, and what it was converted from and to if torch has no such type."""
    kind = array.dtype.name
    if kind in _AS_TORCH:
        bits = np.array(array).view(np.uint8 if array.itemsize == 1 else np.int16)
        return torch.from_numpy(bits).view(_AS_TORCH[kind]), ""
    if array.dtype.isbuiltin == 1:
        return torch.from_numpy(np.array(array)), ""
    if kind.removeprefix("u").startswith("int"):  # int4, uint4, int2, uint2
        return torch.from_numpy(array.astype(np.int8)), f"{kind.upper()} to I8"
    return torch.from_numpy(array.astype(np.float32)), f"{kind.upper()} to F32"


def _inner_names(graph: GraphProto) -> Iterator[str]:
    """Yield the names of the initializers of branches and loop bodies, which the nodes of a graph hold."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from (proto.name for proto in inner.initializer)
                yield from _inner_names(inner)

"""Checks that a module's tensors are what versions can hold: dense, finite numbers, each in memory of its own.

Every refusal names the tensor, what was expected and what came, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from registry.errors import InputError

__all__ = ["check_finite", "check_plain", "check_separate", "memory_of"]

_PLAIN = {
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
}
_LEAVE_OUT = "or, if the module computes it from its settings, register it with persistent=False"


def check_plain(name: str, value: Any) -> None:
    """Check that a state dict's entry is a dense tensor of plain numbers.

    Raises:
        InputError: It is no tensor, or lazy, on the meta device, complex, quantized, sparse, nested, or of a dtype that
            versions do not have, such as float8.
    """
    came, remedy = _kind(value)
    if came:
        raise InputError(f"{name}: expected a dense tensor of plain numbers, got {came}: {remedy}")


def _kind(value: Any) -> tuple[str, str]:
    """Return what a state dict's entry is, and the remedy; empty texts if it is plain."""
    if not isinstance(value, torch.Tensor):
        return f"{type(value).__name__}, an extra state", "keep it out of the state dict (get_extra_state)"
    if is_lazy(value):
        return "a lazy one without values", "pass a batch through the module first, or give its layers their sizes"
    if value.is_meta:
        return "one on the meta device, without values", "make the module on the CPU, with its weights loaded"
    if value.is_quantized:
        return f"a quantized one ({value.dtype})", "convert it with dequantize(), and share the float module"
    if value.is_nested or value.layout != torch.strided:
        kind = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
        return f"a {kind} one", f"convert it to a dense one, as with to_dense(), {_LEAVE_OUT}"
    if value.dtype in _PLAIN:
        return "", ""
    if value.is_complex():
        return str(value.dtype), f"keep it as real numbers, as torch.view_as_real gives, {_LEAVE_OUT}"
    if value.dtype.is_floating_point:
        return str(value.dtype), "convert it to float32, its scale multiplied in, for training keeps float32 masters"
    return str(value.dtype), f"convert it to int64, {_LEAVE_OUT}"


def check_finite(name: str, value: torch.Tensor) -> None:
    """Check that a floating tensor's values are finite in float32; other dtypes pass.

    Raises:
        InputError: A value is infinite or NaN in float32.
    """
    if not value.dtype.is_floating_point:
        return
    wrong = ~torch.isfinite(value.to(torch.float32))
    if wrong.any():
        at = int(wrong.reshape(-1).nonzero()[0])
        found = value.reshape(-1)[at].item()
        remedy = "repair the weights: training has diverged, or they were never set"
        if found in (float("inf"), float("-inf")):
            remedy = "a mask is made with register_buffer(…, persistent=False), or kept as bool"
        elif found == found:  # finite in float64
            remedy = "it is beyond float32, in which rounds compute"
        raise InputError(f"{name}: expected finite float32 values, got {found} at value {at}: {remedy}")


def memory_of(value: torch.Tensor) -> object:
    """Return what two tensors have in common only if they are tied: the same values in the same memory."""
    return value.untyped_storage().data_ptr(), value.storage_offset(), value.shape, value.stride(), value.dtype


def check_separate(tensors: Mapping[str, torch.Tensor]) -> None:
    """Check that no two tensors share memory, and that none has two values in one place.

    Args:
        tensors: By name, without the further names of tied tensors, which are one tensor.

    Raises:
        InputError: Two tensors overlap, or a tensor is expanded: what training changes in one changes the other.
    """
    ranges: dict[int, list[tuple[int, int, str]]] = {}
    for name, value in tensors.items():
        if not value.numel():
            continue
        reach = 0
        for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
            if size > 1 and stride <= reach:
                raise InputError(
                    f"{name}: expected each value in memory of its own, got a tensor of shape {tuple(value.shape)} and "
                    f"strides {value.stride()}: clone() it"
                )
            reach += (size - 1) * stride
        begin = int(value.storage_offset()) * value.element_size()
        span = (begin, begin + (int(reach) + 1) * value.element_size(), name)
        ranges.setdefault(value.untyped_storage().data_ptr(), []).append(span)
    for spans in ranges.values():
        spans.sort()
        reaching = spans[0]
        for _, after in pairwise(spans):
            if after[0] < reaching[1] and _touch(tensors[reaching[2]], tensors[after[2]]):
                raise InputError(
                    f"{after[2]}: expected memory of its own, or to be tied to {reaching[2]} as a whole, got a part or "
                    f"another view of it: clone() it, {_LEAVE_OUT}"
                )
            reaching = max(reaching, after, key=lambda span: span[1])


def _touch(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors of one storage, whose ranges overlap, have a byte in common: slices may interleave."""
    marks = torch.zeros(one.untyped_storage().nbytes(), dtype=torch.bool)

    def bytes_of(value: torch.Tensor) -> torch.Tensor:
        width = value.element_size()
        strides = tuple(stride * width for stride in value.stride())
        return marks.as_strided((*value.shape, width), (*strides, 1), value.storage_offset() * width)

    bytes_of(one).fill_(True)
    return bool(bytes_of(other).any())

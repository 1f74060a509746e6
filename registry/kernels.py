"""Compiled kernels (numba) for Merkle leaves, grid values and order statistics, twice as fast as hashlib and NumPy.

They are optional, the extra `fast`, and used once a process has handled 64 MiB, since loading takes half a second.
hashlib and NumPy are the reference: both give the same bytes, which a self-test checks each time the kernels are
loaded. SHA-256 is that of the libcrypto with which Python's own hashlib is linked. Kernels release the GIL.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Kernels", "kernels"]

log = logging.getLogger(__name__)

_U8 = npt.NDArray[np.uint8]
_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_I32 = npt.NDArray[np.int32]
_ENOUGH = 64 << 20
"""Bytes handled before the kernels are loaded."""
_COLUMNS = 512
"""Columns sorted at a time, so that they stay in the L1 cache."""


class Kernels(NamedTuple):
    """The compiled functions.

    Attributes:
        hash_rows: hash_rows(data, size, tag, out) writes sha256(tag ‖ row) of each whole row of size bytes, 32 bytes
            each, to out; data and out may be the same array if size is 32 or more.
        scale: scale(values, bits, factor, limit, out) writes values * factor to out, float32 or int32; returns whether
            all products are integers of at most limit in magnitude and no value is -0.0. bits are the values' as int32.
        add: add(values, bits, factor, limit, weight, sums) adds values * factor * weight to sums, float64; returns what
            scale returns.
        mean: mean(sums, divisor, step, out) writes sums / divisor, rounded to integers, half to even, times step to
            out, float32, without -0.0.
        middle: middle(tile, pairs, cut, out) sorts each column of tile by the comparators pairs, in a copy, and writes
            the sum of its rows cut to K - cut - 1 to out.
    """

    hash_rows: Callable[[_U8, int, int, _U8], None]
    scale: Callable[[_F32, _I32, np.float32, np.float32, _F32 | _I32], bool]
    add: Callable[[_F32, _I32, np.float32, np.float32, float, _F64], bool]
    mean: Callable[[_F64, float, float, _F32], None]
    middle: Callable[[_I32, npt.NDArray[np.int64], int, _F64], None]


class _State:
    handled = 0
    tried = False
    found: Kernels | None = None


_lock = threading.Lock()


def _after_fork() -> None:
    """Do without kernels in a process forked while another thread loaded them: its locks are never released there."""
    global _lock
    if _lock.locked():
        _State.tried = True
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def kernels(handled: int) -> Kernels | None:
    """Return the kernels, or None where numba is not installed or too little was handled to load them.

    Args:
        handled: Bytes about to be handled. A caller that knows of more to come passes all of it, before it forks.
    """
    if _State.tried:
        return _State.found
    _State.handled += handled
    if _State.handled < _ENOUGH:
        return None
    with _lock:
        if not _State.tried:
            _State.found = _loaded()
            _State.tried = True
    return _State.found


def _loaded() -> Kernels | None:
    try:
        made = _compiled()
    except ImportError:
        return None
    except Exception as error:  # noqa: BLE001 (whatever is wrong with them, such as a damaged cache: all works without)
        log.warning("compiled kernels are not used: %s: %s", type(error).__name__, error)
        return None
    if not _agree(made):
        log.warning("compiled kernels are not used: they differ from hashlib and NumPy on this machine")
        return None
    return made


def _compiled() -> Kernels:
    """Compile the kernels, or load them from numba's cache.

    Raises:
        ImportError: numba is not installed.
        AttributeError, OSError: Python's hashlib is not linked with libcrypto.
        RuntimeError: There is no folder for numba's cache.
        Exception: Numba's cache is damaged.
    """
    from llvmlite import binding
    from numba import njit, types

    crypto = ctypes.CDLL(getattr(__import__("_hashlib"), "__file__", None))
    for name in ("SHA256_Init", "SHA256_Update", "SHA256_Final"):
        binding.add_symbol(name, ctypes.cast(getattr(crypto, name), ctypes.c_void_p).value)
    begin: Any = types.ExternalFunction("SHA256_Init", types.int32(types.uintp))
    update: Any = types.ExternalFunction("SHA256_Update", types.int32(types.uintp, types.uintp, types.uintp))
    finish: Any = types.ExternalFunction("SHA256_Final", types.int32(types.uintp, types.uintp))

    def hash_rows(data: Any, size: Any, tag: Any, out: Any) -> None:
        state = np.empty(128, np.uint8)  # a SHA256_CTX has 112 bytes
        prefix = np.empty(1, np.uint8)
        prefix[0] = tag
        for i in range(data.size // size):
            begin(state.ctypes.data)
            update(state.ctypes.data, prefix.ctypes.data, 1)
            update(state.ctypes.data, data.ctypes.data + i * size, size)
            finish(out.ctypes.data + 32 * i, state.ctypes.data)

    f32, f64, i32, i64 = types.float32, types.float64, types.int32, types.int64

    def read(kind: Any, dimensions: int = 1) -> Any:
        return types.Array(kind, dimensions, "C", readonly=True)

    def compiled(function: Any, *signatures: Any) -> Any:
        return njit(list(signatures), nogil=True, cache=True)(function)

    return Kernels(
        compiled(hash_rows, types.void(read(types.uint8), types.uintp, types.uint8, types.uint8[::1])),
        compiled(_scale, *(types.boolean(read(f32), read(i32), f32, f32, out[::1]) for out in (f32, i32))),
        compiled(_add, types.boolean(read(f32), read(i32), f32, f32, f64, f64[::1])),
        compiled(_mean, types.void(read(f64), f64, f64, f32[::1])),
        compiled(_middle, types.void(types.Array(i32, 2, "A"), read(i64, 2), i64, f64[::1])),
    )


def _scale(values: Any, bits: Any, factor: Any, limit: Any, out: Any) -> bool:
    canonical = True
    for i in range(values.size):
        product = values[i] * factor
        canonical &= (np.rint(product) == product) & (abs(product) <= limit) & (bits[i] != -2147483648)
        out[i] = product
    return canonical


def _add(values: Any, bits: Any, factor: Any, limit: Any, weight: Any, sums: Any) -> bool:
    canonical = True
    for i in range(values.size):
        product = values[i] * factor
        canonical &= (np.rint(product) == product) & (abs(product) <= limit) & (bits[i] != -2147483648)
        sums[i] += np.float64(product) * weight
    return canonical


def _mean(sums: Any, divisor: Any, step: Any, out: Any) -> None:
    for i in range(sums.size):
        out[i] = (np.rint(sums[i] / divisor) + 0.0) * step  # -0.0 + 0.0 is +0.0


def _middle(tile: Any, pairs: Any, cut: Any, out: Any) -> None:
    count = tile.shape[0]
    block = np.empty(count * _COLUMNS, np.int32)
    for first in range(0, tile.shape[1], _COLUMNS):
        size = min(_COLUMNS, tile.shape[1] - first)
        for k in range(count):
            block[k * _COLUMNS : k * _COLUMNS + size] = tile[k, first : first + size]
        for p in range(pairs.shape[0]):  # slices: with indices into one array LLVM finds no vector code
            low = block[pairs[p, 0] * _COLUMNS : (pairs[p, 0] + 1) * _COLUMNS]
            high = block[pairs[p, 1] * _COLUMNS : (pairs[p, 1] + 1) * _COLUMNS]
            for j in range(_COLUMNS):
                a, b = low[j], high[j]
                low[j] = a if a < b else b
                high[j] = b if a < b else a
        sums = out[first : first + size]
        sums[:] = block[cut * _COLUMNS : cut * _COLUMNS + size]
        for k in range(cut + 1, count - cut):
            row = block[k * _COLUMNS : k * _COLUMNS + size]
            for j in range(size):
                sums[j] += row[j]


def _agree(made: Kernels) -> bool:
    """Compare the kernels with hashlib and NumPy on a few rows and values."""
    data = np.arange(4096, dtype=np.uint32).view(np.uint8) // 3
    hashes = np.empty(32 * 16, dtype=np.uint8)
    made.hash_rows(data, 1024, 1, hashes)
    rows = [hashlib.sha256(b"\x01" + data[at : at + 1024].tobytes()).digest() for at in range(0, len(data), 1024)]
    sums, means = np.array([-1.0, 1, 3, 2**40 + 1, 5, -(2**25)]), np.empty(6, dtype=np.float32)
    made.mean(sums, 2.0, 0.25, means)
    three = np.arange(3 * (_COLUMNS + 9), dtype=np.int32).reshape(3, -1)[:, :-1] * 7919 % 1000
    middle, pairs = np.empty(three.shape[1]), np.array([[0, 1], [1, 2], [0, 1]])
    made.middle(three, pairs, 1, middle)
    return (
        hashes.tobytes() == b"".join(rows)
        and _scale_alike(made)
        and means.tobytes() == np.array([0, 0, 0.5, 2**37, 0.5, -(2**22)], dtype=np.float32).tobytes()
        and bool((np.sort(three, axis=0)[1] == middle).all())
    )


def _scale_alike(made: Kernels) -> bool:
    """Whether the kernels that scale take what is canonical, and nothing else."""
    out, whole, total = np.empty(1, dtype=np.float32), np.empty(1, dtype=np.int32), np.ones(1)

    def taken(number: float) -> list[bool]:
        value = np.array([number], dtype=np.float32)
        given = value, value.view(np.int32), np.float32(2), np.float32(1 << 25)
        total[:] = 1
        return [made.scale(*given, out), made.scale(*given, whole), made.add(*given, 3.0, total)]

    return all(
        all(taken(edge)) and out[0] == whole[0] == 2 * edge and total[0] == 6 * edge + 1
        for edge in (0.0, 1.5, -2.0, float(1 << 24))
    ) and not any(any(taken(fault)) for fault in (-0.0, 0.75, float(1 << 25), np.nan, np.inf))

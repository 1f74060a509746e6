"""Matched averaging: one network of several that were trained apart, of the same depth but any widths, in integers.

Hidden units of networks that were trained apart stand in any order, so their plain mean is of little use. Layer by
layer, the units of each network are assigned to those of the widest one so that the squared distances add up to the
least (Wang et al., Federated Learning with Matched Averaging, ICLR 2020; Singh, Jaggi, Model Fusion via Optimal
Transport, NeurIPS 2020), and then averaged. Unlike the former, nothing is trained again after a layer, and a unit that
is assigned to none adds no new one.

Weights are put on a grid of 2^-20. Distances are exact in float64, means are rounded half to even, and among equally
good assignments SciPy's algorithm takes the same one each time, so anyone can repeat the matching to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.errors import InputError
from registry.rules.combine import check_weights
from registry.rules.grid import F32, F64, grid_integers, to_grid
from registry.rules.interpreter import I64

__all__ = ["GRID_BITS", "Matching", "match"]

GRID_BITS = 20
_EXACT = 52
"""Bits of a distance: sums of squares below 2^52 are exact in float64 in any order."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Matched networks.

    Attributes:
        arrays: The averaged network's tensors.
        places: For each network and hidden layer: the averaged layer's unit that each of its units was assigned to.
    """

    arrays: Mapping[str, F32]
    places: tuple[tuple[tuple[int, ...], ...], ...]


def match(models: Sequence[Mapping[str, npt.NDArray[Any]]], layers: Sequence[str], weights: Sequence[int]) -> Matching:
    """Return the matched average of fully connected networks.

    Args:
        models: Tensors by name: `LAYER.weight`, (outputs, inputs), and `LAYER.bias`, (outputs,), of each layer.
        layers: Names of the layers, first to last.
        weights: How much each network counts, 1 or more; together at most 2^28.

    Raises:
        InputError: There are fewer than two networks or layers, a network has other tensors, shapes do not fit, a
            weight lies outside its range, or a value beyond the grid.
    """
    if len(models) < 2 or len(layers) < 2 or len(weights) != len(models):
        raise InputError(
            f"match: expected 2 or more networks with a weight each and 2 or more layers, got {len(models)} networks, "
            f"{len(weights)} weights and {len(layers)} layers"
        )
    check_weights(weights)
    networks = [_integers(number, model, layers) for number, model in enumerate(models, 1)]
    widths = [max(len(network[depth][1]) for network in networks) for depth in range(len(layers))]
    for end, what in ((0, "inputs"), (-1, "outputs")):
        sizes = [network[end][0].shape[1 if end == 0 else 0] for network in networks]
        if len(set(sizes)) > 1:
            raise InputError(f"match: expected the same number of {what} in all networks, got {sizes}")
    inputs = np.arange(networks[0][0][0].shape[1])
    places = [[inputs] for _ in networks]
    for depth in range(len(layers) - 1):
        for own, assigned in zip(places, _assigned(networks, places, depth, widths, weights), strict=True):
            own.append(assigned)
    arrays: dict[str, F32] = {}
    outputs = np.arange(widths[-1])
    for depth, layer in enumerate(layers):
        before = len(inputs) if depth == 0 else widths[depth - 1]
        sums, counts = np.zeros((widths[depth], before + 1)), np.zeros((widths[depth], 1))
        for network, own, count in zip(networks, places, weights, strict=True):
            rows = own[depth + 1] if depth + 1 < len(layers) else outputs
            sums[rows] += count * _spread(network[depth], own[depth], before)
            counts[rows] += count
        mean = (np.rint(sums / counts) + 0.0) * 2.0**-GRID_BITS
        arrays[f"{layer}.weight"] = mean[:, :-1].astype(np.float32)
        arrays[f"{layer}.bias"] = mean[:, -1].astype(np.float32)
    return Matching(arrays, tuple(tuple(tuple(map(int, one)) for one in own[1:]) for own in places))


def _integers(number: int, model: Mapping[str, npt.NDArray[Any]], layers: Sequence[str]) -> list[tuple[F64, F64]]:
    """Return each layer's weight and bias as grid integers."""
    wanted = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    if set(model) != wanted:
        raise InputError(f"match: network {number}: expected the tensors {sorted(wanted)}, got {sorted(model)}")
    found: list[tuple[F64, F64]] = []
    for layer in layers:
        weight, bias = (_grid(number, f"{layer}.{part}", model[f"{layer}.{part}"]) for part in ("weight", "bias"))
        before = len(found[-1][1]) if found else weight.shape[-1]
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or weight.shape[1] != before or not weight.size:
            raise InputError(
                f"match: network {number}: {layer}: expected a weight (outputs, {before}) and a bias (outputs,), got "
                f"{weight.shape} and {bias.shape}"
            )
        found.append((weight, bias))
    return found


def _grid(number: int, name: str, values: npt.NDArray[Any]) -> F64:
    if values.dtype != np.float32:
        raise InputError(f"match: network {number}: {name}: expected float32, got {values.dtype}")
    try:
        return grid_integers(to_grid(values, GRID_BITS)[0], GRID_BITS).astype(np.float64)
    except InputError as error:
        raise InputError(f"match: network {number}: {name}: {error}") from error


def _spread(layer: tuple[F64, F64], columns: I64, width: int) -> F64:
    """Return a layer's weight with its columns at their places, 0 elsewhere, and its bias: (outputs, width + 1)."""
    weight, bias = layer
    spread = np.zeros((len(bias), width + 1))
    spread[:, columns] = weight
    spread[:, -1] = bias
    return spread


def _assigned(
    networks: Sequence[Sequence[tuple[F64, F64]]],
    places: Sequence[Sequence[I64]],
    depth: int,
    widths: Sequence[int],
    weights: Sequence[int],
) -> list[I64]:
    """Return the place of each unit of each network's hidden layer among the widest network's."""
    before = networks[0][0][0].shape[1] if depth == 0 else widths[depth - 1]
    last = depth + 2 == len(widths)
    units = []
    for network, own in zip(networks, places, strict=True):
        unit = _spread(network[depth], own[depth], before)
        units.append(np.hstack([unit, network[depth + 1][0].T]) if last else unit)
    shift = max(0, (50 + int(units[0].shape[1]).bit_length() - _EXACT + 1) // 2)
    first = next(k for k, unit in enumerate(units) if len(unit) == widths[depth])
    sums, counts = weights[first] * units[first], np.full((widths[depth], 1), float(weights[first]))
    found: dict[int, I64] = {first: np.arange(widths[depth])}
    for k, unit in enumerate(units):
        if k == first:
            continue
        found[k] = _nearest(np.rint(unit * 2.0**-shift), np.rint(sums / counts * 2.0**-shift))
        sums[found[k]] += weights[k] * unit
        counts[found[k]] += weights[k]
    return [found[k] for k in range(len(units))]


def _nearest(units: F64, others: F64) -> I64:
    """Assign each unit, (n, d), to another of the others, (m, d), with the least sum of squared distances."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise InputError("matching needs SciPy, which is not installed: pip install scipy") from error
    distances = (units**2).sum(1)[:, None] + (others**2).sum(1)[None, :] - 2.0 * (units @ others.T)
    _, columns = linear_sum_assignment(distances)
    found: I64 = np.asarray(columns, dtype=np.int64)
    return found

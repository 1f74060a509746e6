"""Plots of experiments: scores by round, a heat map of two settings against each other, who holds which classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.experiments.federation import Run
from trainer.experiments.kept_runs import grouped, mean_of
from trainer.experiments.partitions import I64, Parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_curves", "plot_heat_map", "plot_partition"]

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#999999")
"""Okabe and Ito's, which the colour-blind can tell apart; then dashes tell the next eight."""
_DASHES = ("-", "--", ":", "-.")


def plot_curves(runs: Sequence[Run], metric: str, path: Path) -> None:
    """Plot a validation score by round: a line a setting, the mean over its seeds, with their range."""
    pyplot = _pyplot()
    groups = grouped(runs)
    figure, axis = pyplot.subplots(figsize=(9, 4.8), layout="constrained")
    for place, (label, some) in enumerate(groups.items()):
        rounds = [one.number for one in some[0].rounds]
        scores = np.array([[one.scores[metric] for one in run.rounds] for run in some])  # (seeds, rounds)
        colour, dash = _COLOURS[place % len(_COLOURS)], _DASHES[place // len(_COLOURS) % len(_DASHES)]
        axis.plot(rounds, scores.mean(0), dash, color=colour, linewidth=2, label=", ".join(label) or "mean of seeds")
        if len(some) > 1:
            axis.fill_between(rounds, scores.min(0), scores.max(0), color=colour, alpha=0.15, linewidth=0)
    axis.set(xlabel="round", ylabel=f"{_words(metric)}, validation", ylim=(0, 1))
    axis.xaxis.get_major_locator().set_params(integer=True)
    _bare(axis)
    if len(groups) > 1:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    _save(figure, path)


def plot_heat_map(runs: Sequence[Run], metric: str, path: Path) -> None:
    """Plot a test score by two varied settings, rows and columns; a panel for each value of a third."""
    pyplot = _pyplot()
    groups = grouped(runs)
    rows, columns, panels = (list(dict.fromkeys(label[axis : axis + 1] for label in groups)) for axis in range(3))
    height = 1.2 + 0.45 * len(rows) * len(panels) + 0.6 * len(panels)
    size = (3.0 + 0.95 * len(columns), max(3.0, height))
    figure, axes = pyplot.subplots(len(panels), 1, figsize=size, layout="constrained", squeeze=False)
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        table = np.array([[mean_of(groups[row + column + panel], metric) for column in columns] for row in rows])
        image = axis.imshow(table, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        axis.set_xticks(range(len(columns)), [column[0] for column in columns], rotation=30, ha="right")
        axis.set_yticks(range(len(rows)), [row[0] for row in rows])
        axis.set_title(panel[0] if panel else "", loc="left", fontsize=10)
        axis.spines[:].set_visible(False)
        for (row, column), value in np.ndenumerate(table):
            shade = "white" if value < 0.55 else "black"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=shade, fontsize=9)
    figure.colorbar(image, ax=axes[:, 0].tolist(), label=f"{_words(metric)}, test", shrink=0.8)
    _save(figure, path)


def plot_partition(labels: I64, parts: Parts, path: Path) -> None:
    """Plot how many cases of each class each participant holds, as the area of a circle."""
    pyplot = _pyplot()
    classes = int(labels.max()) + 1
    counts = np.stack([np.bincount(labels[own], minlength=classes) for own in parts])  # (participants, classes)
    size = (2.5 + 0.3 * len(parts), 2.0 + 0.25 * classes)
    figure, axis = pyplot.subplots(figsize=(min(size[0], 20.0), min(size[1], 20.0)), layout="constrained")
    participants, label = np.nonzero(counts)
    axis.scatter(participants + 1, label, s=180 * counts[counts > 0] / counts.max(), color=_COLOURS[0])
    axis.set(xlabel="participant", ylabel="class", xlim=(0.3, len(parts) + 0.7), ylim=(-0.7, classes - 0.3))
    axis.set_title(f"largest circle: {counts.max():,} cases", loc="left", fontsize=9)
    for side in (axis.xaxis, axis.yaxis):
        side.get_major_locator().set_params(integer=True)
    _bare(axis)
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def _bare(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=130)
    _pyplot().close(figure)


def _words(metric: str) -> str:
    return metric.replace("_", " ")

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

__all__ = ["plot_curves", "plot_heat_map", "plot_own_models", "plot_partition", "words_of"]

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#999999")
"""Okabe and Ito's, which the colour-blind can tell apart; then dashes tell the next eight."""
_DASHES = ("-", "--", ":", "-.")


def plot_curves(runs: Sequence[Run], metric: str, path: Path) -> None:
    """Plot a validation score by round, mean and range of the seeds: a line for each value of the first varied setting.

    A panel stands for each combination of the others. Versions of buffered updates are plotted by simulated hours. A
    line ends where the run of a seed diverged.
    """
    pyplot = _pyplot()
    groups = grouped(runs)
    lines, panels = (list(dict.fromkeys(part(label) for label in groups)) for part in (_first, _rest))
    hours = any(one.hours is not None for run in runs for one in run.rounds)
    size = (3.6 + 3.2 * min(len(panels), 4), 1.0 + 3.0 * -(-len(panels) // 4))
    figure, axes = pyplot.subplots(
        -(-len(panels) // 4),
        min(len(panels), 4),
        figsize=size,
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for spare in axes.flat[len(panels) :]:
        spare.set_visible(False)
    for label, some in groups.items():
        axis, place = axes.flat[panels.index(_rest(label))], lines.index(_first(label))
        shown = [run.rounds[: min(len(other.rounds) for other in some)] for run in some]
        by_round = np.array([[one.number if one.hours is None else one.hours for one in run] for run in shown])
        scores = np.array([[one.scores[metric] for one in run] for run in shown])  # (seeds, rounds)
        colour, dash = _COLOURS[place % len(_COLOURS)], _DASHES[place // len(_COLOURS) % len(_DASHES)]
        axis.plot(by_round.mean(0), scores.mean(0), dash, color=colour, linewidth=2, label=", ".join(_first(label)))
        if len(some) > 1:
            axis.fill_between(by_round.mean(0), scores.min(0), scores.max(0), color=colour, alpha=0.15, linewidth=0)
        axis.set_title(", ".join(_rest(label)), loc="left", fontsize=10)
    for axis in axes.flat[: len(panels)]:
        axis.set(xlabel="simulated hours" if hours else "round", ylim=(0, None))
        axis.xaxis.get_major_locator().set_params(integer=True)
        _bare(axis)
    figure.supylabel(f"{words_of(metric)}, validation", fontsize=10)
    if len(lines) > 1:
        handles, names = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=9)
    _save(figure, path)


def plot_heat_map(runs: Sequence[Run], metric: str, path: Path) -> None:
    """Plot a test score by two varied settings, rows and columns; a panel for each value of a third.

    A cell below three quarters of its panel's best is framed, and one with a run that diverged.
    """
    pyplot = _pyplot()
    groups = grouped(runs)
    rows, columns, panels = (list(dict.fromkeys(label[axis : axis + 1] for label in groups)) for axis in range(3))
    tables = [np.array([[mean_of(groups[r + c + panel], metric) for c in columns] for r in rows]) for panel in panels]
    highest = max(float(np.nan_to_num(table).max()) for table in tables)
    size = (3.0 + 0.95 * len(columns), max(3.0, 1.2 + (0.45 * len(rows) + 0.9) * len(panels)))
    figure, axes = pyplot.subplots(len(panels), 1, figsize=size, layout="constrained", squeeze=False, sharex=True)
    for axis, panel, table in zip(axes[:, 0], panels, tables, strict=True):
        image = axis.imshow(table, vmin=0, vmax=highest, cmap="cividis", aspect="auto")
        axis.set_xticks(range(len(columns)), [column[0] for column in columns], rotation=30, ha="right")
        axis.set_yticks(range(len(rows)), [row[0] for row in rows])
        axis.set_title(panel[0] if panel else "", loc="left", fontsize=10)
        axis.spines[:].set_visible(False)
        for (row, column), value in np.ndenumerate(table):
            shade = "white" if value < 0.55 * highest else "black"
            told = "diverged" if np.isnan(value) else f"{value:.2f}"
            axis.text(column, row, told, ha="center", va="center", color=shade, fontsize=9)
            if not value >= 0.75 * np.nan_to_num(table).max():
                frame = pyplot.Rectangle(
                    (column - 0.46, row - 0.44), 0.92, 0.88, fill=False, edgecolor="#d55e00", linewidth=2
                )
                axis.add_patch(frame)
    figure.colorbar(image, ax=axes[:, 0].tolist(), label=f"{words_of(metric)}, test", shrink=0.9)
    figure.supxlabel("framed: below 3/4 of the best, or diverged", fontsize=9, color="#d55e00")
    _save(figure, path)


def plot_own_models(runs: Sequence[Run], path: Path) -> None:
    """Plot each participant's accuracy by its own model, a point a participant and seed, and a row a scenario.

    A line marks the mean over participants and seeds, a ring the mean over seeds of the worst participant.
    """
    pyplot = _pyplot()
    groups = {label: some for label, some in grouped(runs).items() if not any(run.diverged for run in some)}
    figure, axis = pyplot.subplots(figsize=(7.0, 1.4 + 0.42 * len(groups)), layout="constrained")
    for place, some in enumerate(groups.values()):
        own = np.array([run.own for run in some])  # (seeds, participants)
        spread = np.linspace(-0.16, 0.16, own.size).reshape(own.shape, order="F")
        axis.scatter(own, place + spread, s=14, color=_COLOURS[0], alpha=0.45, linewidths=0)
        axis.plot([own.mean()] * 2, [place - 0.32, place + 0.32], color="black", linewidth=2)
        axis.scatter([own.min(1).mean()], [place], s=70, facecolors="none", edgecolors=_COLOURS[5], linewidths=2)
    axis.set_yticks(range(len(groups)), [", ".join(label) or "as given" for label in groups])
    axis.set(xlabel="accuracy on cases like the participant's own, test", ylim=(len(groups) - 0.5, -0.5))
    axis.set_title("line: mean; ring: worst participant, mean of the seeds", loc="left", fontsize=9)
    _bare(axis)
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


def words_of(metric: str) -> str:
    """Return a metric's name as people write it."""
    return metric.replace("_f1", "-F1").replace("_", " ")


def _first(label: tuple[str, ...]) -> tuple[str, ...]:
    return label[:1]


def _rest(label: tuple[str, ...]) -> tuple[str, ...]:
    return label[1:]

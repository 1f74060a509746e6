"""The demo's scores by round, and their plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainer.demo.hospitals import HOSPITALS
from trainer.demo.model import HeldOutScores

__all__ = ["History", "plot"]

_POISONED = (("#a4131b", "v-"), ("#0b5fa5", "o-"))
"""Colour and mark of the poisoned rounds by rule: the mean, the robust one."""


@dataclass(slots=True)
class History:
    """Scores by model name, one list entry per round.

    Attributes:
        poisoned: Of the federated model's further rounds with a bad hospital, by the combine rule.
    """

    scores: dict[str, list[HeldOutScores]] = field(default_factory=dict)
    poisoned: dict[str, list[HeldOutScores]] = field(default_factory=dict)

    def add(self, scores: Mapping[str, HeldOutScores]) -> None:
        for name, score in scores.items():
            self.scores.setdefault(name, []).append(score)

    def last(self, name: str) -> HeldOutScores:
        return self.scores[name][-1]

    @property
    def best_alone(self) -> str:
        """The hospital whose own model currently has the best macro-F1."""
        return max(HOSPITALS, key=lambda name: self.last(name).macro_f1)


def plot(history: History, path: Path) -> None:
    """Plot accuracy and macro-F1 by round: federated, each hospital alone, all data pooled, one hospital turned bad."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    colours = {"federated": "#0b5fa5", "pooled": "#444444"}
    greys = iter(("#d98c3f", "#5d9c59", "#a06cb0"))
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for axis, (metric, title) in zip(
        axes, (("accuracy", "Accuracy"), ("macro_f1", "Macro-F1 over chapters")), strict=True
    ):
        for name in ("federated", "pooled", *HOSPITALS):
            values = [getattr(scores, metric) for scores in history.scores[name]]
            colour = colours.get(name) or next(greys)
            style = {"federated": "-", "pooled": "--"}.get(name, ":")
            label = name if name in colours else f"{name} alone"
            axis.plot(range(1, len(values) + 1), values, style, color=colour, label=label, linewidth=2)
        greys = iter(("#d98c3f", "#5d9c59", "#a06cb0"))
        for (rule, rows), (colour, mark) in zip(history.poisoned.items(), _POISONED, strict=True):
            values = [getattr(scores, metric) for scores in (history.last("federated"), *rows)]
            first = len(history.scores["federated"])
            label = f"a hospital turns bad: {rule}"
            axis.plot(range(first, first + len(values)), values, mark, color=colour, label=label, linewidth=2)
        axis.set(title=f"{title}, held-out categories", xlabel="round (one local epoch each)", ylim=(0, 1))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)

"""Where the marks of drawings stand: scores by round, versions on a time line, a version among its relatives.

Coordinates only, in units of the SVG's view box: templates write the SVG, so that every text in it is escaped, and the
style sheet colours it in both schemes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from registry.explorer.model_pages import JudgedVersion, ListedVersion
from registry.explorer.version_page import Relative
from registry.types import Digest

__all__ = ["Branches", "Dot", "ScorePlot", "TimeLine", "branches", "score_plot", "time_line"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 240, 66, 12, 12, 28
_LANE, _ROW, _LANES = 18, 30, 4


@dataclass(frozen=True, slots=True)
class Dot:
    """A mark at (x, y) with what it stands for; `low` and `high` are the ends of its spread, y or None.

    `mark` is head or deprecated for such a version, else empty.
    """

    x: float
    y: float
    text: str
    low: float | None = None
    high: float | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class ScorePlot:
    """Scores by round.

    Attributes:
        participants: What participants say, with the spread over them.
        worst: The lowest score of a participant.
        validators: The median of what validators say.
        lines: Path data of the lines through participants' and validators' scores.
        rows: y and label of the horizontal grid lines.
        columns: x and label of some rounds.
    """

    width: int
    height: int
    participants: tuple[Dot, ...]
    worst: tuple[Dot, ...]
    validators: tuple[Dot, ...]
    lines: tuple[str, str]
    rows: tuple[tuple[float, str], ...]
    columns: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class TimeLine:
    """Versions by time, the oldest left; `first` and `last` are the times at its ends, Unix seconds."""

    width: int
    height: int
    dots: tuple[Dot, ...]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Branches:
    """Versions one below the other, parents above children; `dots` in their order, `edges` as path data."""

    width: int
    height: int
    text_x: int
    dots: tuple[Dot, ...]
    edges: tuple[str, ...]


def score_plot(scores: Sequence[JudgedVersion]) -> ScorePlot | None:
    """Place the scores of two or more versions; None for fewer."""
    if len(scores) < 2:
        return None
    values = [value for one in scores for value in _values(one)]
    low, high = math.floor(10 * min(values)) / 10, math.ceil(10 * max(values)) / 10
    high = high if high > low else low + 0.1
    step = (_WIDTH - _LEFT - _RIGHT) / (len(scores) - 1)
    xs = [_LEFT + step * place for place in range(len(scores))]

    def y(value: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - min(max(value, low), high)) / (high - low), 1)

    participants, worst, validators = [], [], []
    for x, one in zip(xs, scores, strict=True):
        if (said := one.score) is not None:
            spread = said.spread or 0.0
            ends = (y(said.value - spread), y(said.value + spread)) if said.spread else (None, None)
            text = f"round {one.round}: {said.metric} {said.value:.4g}"
            participants.append(Dot(round(x, 1), y(said.value), text, *ends))
            if said.worst is not None:
                worst.append(Dot(round(x, 1), y(said.worst), f"round {one.round}: worst participant {said.worst:.4g}"))
        if one.validators is not None:
            text = f"round {one.round}: validators' median {one.validators:.4g}"
            validators.append(Dot(round(x, 1), y(one.validators), text))
    every = max(1, -(-len(scores) // 12))
    marks = [low + (high - low) * part / 4 for part in range(5)]
    return ScorePlot(
        width=_WIDTH,
        height=_HEIGHT,
        participants=tuple(participants),
        worst=tuple(worst),
        validators=tuple(validators),
        lines=(_line(participants), _line(validators)),
        rows=tuple((y(mark), f"{mark:.3g}") for mark in marks),
        columns=tuple((round(x, 1), str(one.round)) for x, one in list(zip(xs, scores, strict=True))[::every]),
    )


def time_line(versions: Sequence[ListedVersion]) -> TimeLine | None:
    """Place versions, given newest first, by the time of their blocks; None unless two times are known."""
    known = [one for one in reversed(versions) if one.time]
    if len(known) < 2 or known[0].time == known[-1].time:
        return None
    first, span = known[0].time, known[-1].time - known[0].time
    width = _WIDTH - 2 * _LANE
    dots = tuple(
        Dot(round(_LANE + width * (one.time - first) / span, 1), 22.0, _named(one), mark=_mark(one)) for one in known
    )
    return TimeLine(_WIDTH, 56, dots, first, first + span)


def branches(relatives: Sequence[Relative]) -> Branches:
    """Place a version's relatives, given eldest first: those that lead to it in one lane, others beside it."""
    lanes: dict[Digest, int] = {}
    by_digest = {one.digest: one for one in relatives}
    at = next((one for one in relatives if one.distance == 0), None)
    while at is not None and at.digest not in lanes:
        lanes[at.digest] = 0
        at = next((by_digest[parent] for parent in at.parents if parent in by_digest), None)
    beside = 0
    for one in relatives:
        if one.digest not in lanes:
            lanes[one.digest] = min(beside, _LANES) if one.distance > 0 else 1 + beside % _LANES
            beside += 1
    places = {one.digest: (14 + _LANE * lanes[one.digest], 16 + _ROW * row) for row, one in enumerate(relatives)}
    edges = [
        _edge(places[parent], places[one.digest])
        for one in relatives
        for parent in one.parents
        if parent in places and parent != one.digest
    ]
    dots = tuple(Dot(*places[one.digest], text="") for one in relatives)
    text_x = 14 + _LANE * (1 + max(lanes.values(), default=0))
    return Branches(_WIDTH, _ROW * len(relatives) + 4, text_x, dots, tuple(edges))


def _values(one: JudgedVersion) -> list[float]:
    said = [] if one.score is None else [one.score.value, one.score.value - (one.score.spread or 0)]
    said += [] if one.score is None else [one.score.value + (one.score.spread or 0)]
    said += [one.score.worst] if one.score is not None and one.score.worst is not None else []
    return said + ([] if one.validators is None else [one.validators])


def _line(dots: Sequence[Dot]) -> str:
    return "M" + " L".join(f"{dot.x},{dot.y}" for dot in dots) if len(dots) > 1 else ""


def _named(one: ListedVersion) -> str:
    return f"round {one.version.number}" if one.version.number else "published by its owner"


def _mark(one: ListedVersion) -> str:
    return "head" if one.head else "deprecated" if one.version.deprecated else ""


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (to_x, to_y) = start, end
    middle = to_y - _ROW / 2
    bend = f"C{x},{to_y} {to_x},{middle} {to_x},{to_y}" if x != to_x else f"L{to_x},{to_y}"
    return f"M{x},{y} L{x},{middle} {bend}" if x != to_x else f"M{x},{y} {bend}"

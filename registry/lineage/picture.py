"""Lineage as SVG: deterministic, without scripts, fonts or links.

One row per version, oldest on top, joined to its parents along one lane per model. A row shows contributions with their
shares, refusals with reasons, and disputes. Above the rows is a plot of the versions' scores. Text comes from
manifests, which anybody may have written, so it is escaped and truncated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from registry.chain.validator_scores import SCORE_ONE
from registry.content.manifest import Reason
from registry.lineage.ancestry import Ancestry
from registry.lineage.provenance import CommitmentProvenance, RoundProvenance, VersionProvenance
from registry.rounds.scores import VersionScore
from registry.types import Cid, Digest, ModelId

__all__ = ["draw"]

_WIDTH, _LANE, _LINE, _GAP = 1000, 26, 20, 14
_ROWS, _BARS = 60, 10
"""At most this many versions, and commitments per round, are drawn; the rest are counted."""
_BAR = 230
_PLOT = 110
"""Height of the plot of scores."""
_COLOURS = ("#0b5fa5", "#b3541e", "#4c7a34", "#7a3f8f", "#8a6d00", "#00757a")
_STYLE = """
    text { fill: #1c2733; font-size: 13px; }
    .title { font-weight: 600; font-size: 14px; }
    .faint { fill: #55626f; font-size: 12px; }
    .bad { fill: #a4131b; }
    .tag { font-size: 11px; font-weight: 600; fill: #ffffff; }
    .card { fill: #f7f9fa; stroke: #d5dbe1; }
    .wanted { fill: #eef4fb; stroke: #0b5fa5; }
    .track { fill: #e3e8ed; }
    .edge { fill: none; stroke-width: 2.5; }
    .axis { stroke: #d5dbe1; }
    .spread { stroke: #0b5fa5; stroke-opacity: 0.35; stroke-width: 6; }
    .score { fill: none; stroke: #0b5fa5; stroke-width: 2; }
"""


def draw(
    versions: Sequence[VersionProvenance],
    ancestry: Ancestry,
    times: Mapping[int, int],
    scores: Mapping[Digest, VersionScore],
) -> str:
    """Return the SVG of a lineage.

    Args:
        versions: A version's ancestors, parents first, and the version itself last.
        ancestry: The graph that gives the edges.
        times: Times of the blocks that anchored them, by number, Unix seconds.
        scores: Scores of those that participants evaluated.
    """
    shown = [*versions[:1], *versions[-(_ROWS - 1) :]] if len(versions) > _ROWS else list(versions)
    left_out = len(versions) - len(shown)
    lanes: dict[ModelId, int] = {}
    for version in shown:
        lanes.setdefault(version.entry.model_id, len(lanes))
    begin = 24 + _LANE * len(lanes)
    at, rows = 20, _plot([scores[v.entry.digest] for v in shown if v.entry.digest in scores])
    at += _PLOT + 2 * _GAP if rows else 0
    tops: dict[Digest, tuple[int, int]] = {}
    for number, version in enumerate(shown):
        if number == 1 and left_out:
            rows.append(_text(begin + 14, at + 14, f"… {left_out} versions in between are not drawn …", "faint"))
            at += 2 * _LINE
        lines = _lines(version, times, scores.get(version.entry.digest))
        height = 2 * _GAP + _LINE * len(lines) - 6
        tops[version.entry.digest] = (16 + _LANE * lanes[version.entry.model_id], at + 20)
        kind = "wanted" if version is shown[-1] else "card"
        rows.append(
            f'<rect class="{kind}" x="{begin}" y="{at}" width="{_WIDTH - begin - 16}" height="{height}" rx="6"/>'
        )
        for index, line in enumerate(lines):
            rows.append(line.format(x=begin + 14, y=at + _GAP + 6 + _LINE * index, right=_WIDTH - 30))
        at += height + _GAP
    edges = [_edge(tops[parent], tops[d]) for d in tops for parent in ancestry.parents.get(d, ()) if parent in tops]
    dots = [f'<circle cx="{x}" cy="{y}" r="6.5" fill="{_colour(x)}"/>' for x, y in tops.values()]
    title = f"Lineage of version {shown[-1].entry.digest.hex()}" if shown else "No versions"
    size = f'viewBox="0 0 {_WIDTH} {at + 6}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n"
        f'<rect width="{_WIDTH}" height="{at + 6}" fill="#ffffff"/>\n'
        + "\n".join([*edges, *dots, *rows])
        + "\n</svg>\n"
    )


def _plot(scores: Sequence[VersionScore]) -> list[str]:
    """Return the plot of two or more scores: the sum's, one standard deviation around it, the worst participant's."""
    if len(scores) < 2:
        return []
    left, right, top = 80, _WIDTH - 40, 34
    xs = [left + (right - left) * i / (len(scores) - 1) for i in range(len(scores))]

    def y(value: float) -> float:
        return top + (_PLOT - 20) * (1 - max(0.0, min(1.0, value)))

    metrics = " and ".join(sorted({score.metric for score in scores}))
    drawn = [
        _text(left, 24, f"{metrics} as participants say, 0 to 1, by round: ± spread; dot: worst participant", "faint")
    ]
    for value in (0.0, 1.0):
        drawn.append(f'<path class="axis" d="M{left},{y(value):.1f} L{right},{y(value):.1f}"/>')
        drawn.append(_text(left - 16, round(y(value)) + 4, f"{value:g}", "faint"))
    for x, score in zip(xs, scores, strict=True):
        low, high = y(score.value - (score.spread or 0)), y(score.value + (score.spread or 0))
        drawn.append(f'<path class="spread" d="M{x:.1f},{low:.1f} L{x:.1f},{high:.1f}"/>')
        if score.worst is not None:
            drawn.append(f'<circle cx="{x:.1f}" cy="{y(score.worst):.1f}" r="3" fill="#a4131b"/>')
    line = " L".join(f"{x:.1f},{y(score.value):.1f}" for x, score in zip(xs, scores, strict=True))
    return [*drawn, f'<path class="score" d="M{line}"/>']


def _lines(version: VersionProvenance, times: Mapping[int, int], score: VersionScore | None) -> list[str]:
    """Return the lines of a version's row, with placeholders for x, y and the right edge."""
    entry = version.entry
    made = f"round {entry.number}" if entry.number else "owner's version" if any(entry.parent) else "genesis"
    said = version.manifest.statement if version.manifest else None
    name = f" · {_cut(said.title, 40)}" if said and said.title else ""
    model = f"model {entry.model_id.hex()[:10]}"
    date = datetime.fromtimestamp(times[entry.at.block], UTC).date().isoformat()
    lines = [
        _line(f"{made} · {entry.digest.hex()[:16]}{name}", "title") + _tags(version),
        _line(f"{model}, block {entry.at.block}, {date}" + (_plan_of(version.round) if version.round else ""), "faint"),
    ]
    for other in version.elsewhere:
        lines.append(_line(f"also in model {other.model_id.hex()[:10]}, block {other.at.block}", "faint"))
    if score is not None:
        worst = "" if score.worst is None else f" ± {score.spread:.2g}, worst participant {score.worst:.4g}"
        lines.append(_line(f"{score.metric} {score.value:.4g}{worst}, as {score.participants} say", "faint"))
    judged = version.round.scoring if version.round is not None else None
    if judged is not None and judged.median is not None:
        many = f"median of {len(judged.scores)} validators"
        lines.append(_line(f"score {judged.median / SCORE_ONE:.4g}, {many}", "faint"))
    if version.manifest is None:
        lines.append(_line("its manifest is unavailable", "bad"))
    if version.round is not None:
        told = version.round.commitments
        lines += [_bar(commitment) for commitment in told[:_BARS]]
        if len(told) > _BARS:
            lines.append(_line(f"and {len(told) - _BARS} more commitments", "faint"))
        for dispute in version.round.disputes:
            expelled = ", ".join(f"0x{who.hex()[:8]}" for who in dispute.expelled) or "nobody yet"
            fault = dispute.fault.name.lower()
            by = f"void: {fault}, shown by 0x{dispute.challenger.hex()[:8]}; expelled: {expelled}"
            lines.append(_line(f"result {dispute.result_hash.hex()[:10]} {by}", "bad"))
    return lines


def _plan_of(told: RoundProvenance) -> str:
    manifest, plan = told.plan_manifest, told.plan.plan
    how = f", {_cut(manifest.algorithm.name, 20)}" if manifest else ""
    return f" · plan {told.plan.plan_index}{how}, quorum {plan.quorum} · {len(told.attesters)} attested"


def _bar(told: CommitmentProvenance) -> str:
    who = f"0x{told.entry.participant.hex()[:10]}"
    if told.reason is Reason.ADMITTED:
        fill = f'<rect x="{{x}}" y="{{y}}" transform="translate(120 -10)" width="{told.share * _BAR:.1f}" height="11"'
        track = f'<rect class="track" x="{{x}}" y="{{y}}" transform="translate(120 -10)" width="{_BAR}" height="11"/>'
        said = f"{100 * told.share:.1f} %, weight {told.entry.weight}{_data_of(told)}"
        return _line(who) + track + f'{fill} fill="#0b5fa5"/>' + _line(said, "faint", shift=120 + _BAR + 12)
    reason = "no result stands" if told.reason is None else f"refused: {told.reason.name.lower().replace('_', ' ')}"
    return _line(who, "faint") + _line(f"{reason}, weight {told.entry.weight}", "bad", shift=120)


def _data_of(told: CommitmentProvenance) -> str:
    if told.update is None:
        return ""
    if told.data_set is not None:
        return f" · data: {_cut(told.data_set.name, 40)}"
    named = told.update.data_set
    return f" · data: {str(named)[:16]}…" if isinstance(named, Cid) else f" · private data {named.hex()[:10]}"


def _tags(version: VersionProvenance) -> str:
    tags = [("head", "#2f7d32")] if version.head else []
    tags += [("deprecated", "#a4131b")] if version.entry.deprecated else []
    tags += [] if version.entry.final else [("provisional", "#8a6d00")]
    found, offset = "", 0
    for text, colour in tags:
        width = 7 * len(text) + 14
        offset += width + 6
        move = f'transform="translate({-offset} 0)"'
        found += (
            f'<g {move}><rect x="{{right}}" y="{{y}}" transform="translate(0 -13)" width="{width}" height="17" rx="8"'
        )
        found += f' fill="{colour}"/><text class="tag" x="{{right}}" y="{{y}}" dx="7" dy="-1">{text}</text></g>'
    return found


def _line(text: str, kind: str = "", *, shift: int = 0) -> str:
    said = escape(text).replace("{", "{{").replace("}", "}}")
    moved = f' dx="{shift}"' if shift else ""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{{x}}" y="{{y}}"{moved}>{said}</text>'


def _text(x: int, y: int, text: str, kind: str) -> str:
    return _line(text, kind).format(x=x, y=y)


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x, y), (to_x, to_y) = start, end
    bend = f"C{x},{to_y - 20} {to_x},{to_y - 40} {to_x},{to_y}" if x != to_x else f"L{to_x},{to_y}"
    return f'<path class="edge" d="M{x},{y} L{x},{max(y, to_y - 60)} {bend}" stroke="{_colour(to_x)}"/>'


def _colour(x: int) -> str:
    return _COLOURS[(x - 16) // _LANE % len(_COLOURS)]


def _cut(text: str, length: int) -> str:
    """Return text as one truncated line, without characters that XML forbids."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= length else plain[: length - 1] + "…"

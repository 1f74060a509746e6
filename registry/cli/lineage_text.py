"""Print a lineage and its descendants as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from registry.cli.output import Output, short, utc
from registry.facts.plain import printable
from registry.rounds.scores import VersionScore, figures
from registry.rules.table import COMBINE_RULES, Entry, called, find

if TYPE_CHECKING:
    from registry.content.manifest import Statement, SummedEvaluation
    from registry.facts.label_facts import LabelFacts
    from registry.facts.score_facts import ValidatorsFacts
    from registry.facts.version_facts import LineageFacts, VersionFacts, VersionPlace
    from registry.index.entries import VersionEntry
    from registry.lineage.affected_versions import Use
    from registry.lineage.diff import TensorChange
    from registry.lineage.provenance import CommitmentProvenance, DisputeProvenance, RoundProvenance, VersionProvenance
    from registry.types import Digest

__all__ = [
    "change_row",
    "label_marks",
    "made_by",
    "note_lines",
    "metric_line",
    "score_line",
    "show_lineage",
    "show_versions",
    "use_row",
    "validators_line",
]


def show_lineage(out: Output, stories: Sequence[VersionProvenance], facts: LineageFacts) -> None:
    """Print a lineage as a tree, newest version on top, then its descendants.

    Args:
        out: The output to print to.
        stories: The version and its ancestors, children first.
        facts: The facts of the same versions, in the same order.
    """
    from rich.text import Text

    model = None
    for story, version in zip(stories, facts.lineage, strict=True):
        entry = story.entry
        if entry.model_id != model:
            model = entry.model_id
            out.show(Text.assemble(("◆ ", "bold"), f"model {model.hex()}"))
        marks = [*(["head"] if story.head else []), *([] if entry.final else ["provisional"])]
        marks += [printable(mark) for mark in label_marks(version.labels)]
        title = f"  version {entry.digest.hex()}" + "".join(f"  {mark}" for mark in marks)
        out.show(Text.assemble(("● ", "bold"), (made_by(entry), "bold"), title, *_deprecated(story)))
        for line in (*_lines(story, version), *note_lines(entry.digest, version.labels)):
            out.show(Text.assemble("│   ", printable(line)))
    for digest in facts.unknown_parents:
        out.line(f"○ version {digest.hex()} of a model elsewhere")
    if facts.descendants:
        out.line(f"{len(facts.descendants)} versions descend from it:")
        show_versions(out, facts.descendants)


def show_versions(out: Output, versions: Sequence[VersionPlace], *, empty: str = "") -> None:
    """Print versions as a table, oldest first, then their metrics."""
    columns = ("model", "version", "made by", "date (UTC)", "block", "marks")
    out.table(columns, [_version_row(place) for place in versions], right=("block",), empty=empty)
    for place in {place.version: place for place in versions}.values():
        if place.metrics:
            out.line(metric_line(place.version, place.metrics))


def metric_line(version: Digest, metrics: Mapping[str, float]) -> str:
    """Return a version's metrics as a line."""
    return printable(f"metrics of {short(version)}: {_metrics(metrics)}")


def score_line(score: VersionScore) -> str:
    """Return a version's score as a line: by the participants' word, in the round that has it as parent."""
    from registry.ethereum.keys import to_checksum

    line = f"score, as participants say in round {score.round}: {score.metric} {score.value:.4g}"
    if score.least is not None and score.most is not None and score.least < score.most:
        line += f" ({score.least:.4g} to {score.most:.4g})"
    if score.worst_participant is not None:
        line += f", spread {score.spread:.2g}, worst {score.worst:.4g} by {to_checksum(score.worst_participant)}"
    return line


def validators_line(told: ValidatorsFacts) -> str:
    """Return what validators say of a version as a line."""
    score = "none yet" if told.score is None else f"{told.score:.6g}, the median"
    many = f"{len(told.scores)} revealed of {told.commitments}, {told.minimum} needed"
    return f"validators' score: {score}; {many}, until {utc(told.reveal_deadline)}"


def made_by(entry: VersionEntry) -> str:
    """Return what made a version: its round, or its owner."""
    return f"round {entry.number}" if entry.number else "owner's version" if any(entry.parent) else "genesis"


def label_marks(labels: LabelFacts) -> list[str]:
    """Return a version's aliases, and its tags with a # before them."""
    return [*labels.aliases, *(f"#{tag}" for tag in labels.tags)]


def note_lines(version: Digest, labels: LabelFacts) -> list[str]:
    """Return a line for each note on a version."""
    return [
        printable(f"note on {short(version)} by {note.owner}, block {note.block}: {note.text}") for note in labels.notes
    ]


def use_row(use: Use) -> tuple[object, ...]:
    """Return a commitment and the version it entered as a table row."""
    entry = use.commitment
    share = f"{float(use.share):.1%}" if use.share else ""
    outcome = "report unavailable" if use.reason is None else use.reason.name.lower().replace("_", " ")
    if not use.made:
        outcome = "no version yet" if use.made is None else "round lapsed"
    version = short(use.version) if use.version is not None else ""
    return (short(entry.model_id), entry.number, f"0x{short(entry.participant)}",
            short(entry.digest), entry.weight, share, outcome, version)  # fmt: skip


def change_row(change: TensorChange) -> tuple[object, ...]:
    """Return a tensor's difference as a table row."""
    numbers = (change.norm, change.relative, change.largest)
    shown = ["" if number is None else f"{number:.6g}" for number in numbers]
    return change.name, change.what, *shown, "" if change.values is None else change.values


def _deprecated(story: VersionProvenance) -> list[tuple[str, str]]:
    if not story.entry.deprecated:
        return []
    said = story.deprecation
    instead = f", {short(said.replacement)} instead" if said is not None and any(said.replacement) else ""
    reason = f" (reason {short(said.reason_digest)}{instead})" if said is not None else ""
    return [(f"  deprecated{reason}", "bold red")]


def _version_row(place: VersionPlace) -> tuple[object, ...]:
    marks = [*(["deprecated"] if place.deprecated else []), *([] if place.final else ["provisional"])]
    made = f"round {place.round}" if place.round else "owner"
    return short(place.model), short(place.version), made, utc(place.time)[:10], place.block, ", ".join(marks)


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in metrics.items())


def _lines(story: VersionProvenance, facts: VersionFacts) -> list[str]:
    entry = story.entry
    parent = f", parent {short(entry.parent)}" if any(entry.parent) else ""
    lines = [f"block {entry.at.block}, {utc(facts.time)}{parent}"]
    for other, place in zip(story.elsewhere, facts.elsewhere, strict=True):
        at = f"block {place.block}, {utc(place.time)}"
        lines.append(f"also in model {short(other.model_id)}, {made_by(other)}, {at}")
    manifest = story.manifest
    if manifest is None:
        lines.append("manifest unavailable from this store")
    else:
        lines.append(f"weights {manifest.weights.cid}, {manifest.weights.size} bytes")
        lines += _said(manifest.statement)
        if manifest.base is not None and manifest.round is None:
            base = manifest.base
            lines.append(
                f"stands on frozen weights of sha256 {base.sha256.hex()}, as its owner says from "
                f"{base.origin or 'an unnamed place'}, licence {base.licence or 'not stated'}"
            )
        if manifest.parent is not None and not any(entry.parent):
            lines.append(f"descends from version {short(manifest.parent.digest)}, as its owner says")
    lines += [] if facts.score is None else [score_line(facts.score)]
    lines += [] if facts.validators is None else [validators_line(facts.validators)]
    if story.round is not None:
        lines += _round_lines(story.round)
        stated = manifest is not None and manifest.statement is not None
        if facts.metrics and not stated:  # else they stand among what the owner states
            lines.append(f"metrics, averaged over contributions: {_metrics(facts.metrics)}")
    return lines


def _round_lines(told: RoundProvenance) -> list[str]:
    plan, manifest = told.plan, told.plan_manifest
    how = ""
    if manifest is not None:
        server = f"server rule {manifest.server.name}" if manifest.server.name else "a server program of its own"
        how = f"{manifest.algorithm.name}, combine rule {_rule(COMBINE_RULES, manifest.combine_rule)}, {server}, "
        how += f"grid 2^-{manifest.grid_bits}, "
    lines = [f"plan {plan.plan_index}: {how}quorum {plan.plan.quorum}"]
    if told.report is None:
        lines.append(f"{len(told.commitments)} commitments; report unavailable from this store")
    else:
        report, refused = told.report, len(told.commitments) - told.report.contributions
        sums = f"total weight {report.total_weight}, {report.total_steps} steps"
        lines.append(f"{report.contributions} admitted, {refused} refused, {sums}")
        lines += _measured(report.evaluation)
    lines += [_commitment(commitment) for commitment in told.commitments]
    lines += [_dispute(dispute) for dispute in told.disputes]
    attesters = ", ".join(f"0x{short(who)}" for who in told.attesters)
    return [*lines, f"attested by {attesters}"] if attesters else lines


def _measured(evaluation: SummedEvaluation | None) -> list[str]:
    """Return the participants' metrics of the round's parent."""
    if evaluation is None:
        return []
    found = ", ".join(f"{name} {value:.4g}" for name, value in sorted(figures(evaluation).items()))
    return [f"parent evaluated by {evaluation.updates} on {evaluation.examples} examples; an example: {found or '-'}"]


def _rule(table: Sequence[Entry], number: int) -> str:
    found = find(table, number)
    return called(found) if found else f"{number} (of a later release)"


def _commitment(told: CommitmentProvenance) -> str:
    from registry.content.manifest import Reason
    from registry.ethereum.keys import to_checksum

    outcome = "outcome unknown" if told.reason is None else told.reason.name.lower().replace("_", " ")
    if told.reason is Reason.ADMITTED:
        outcome = f"{100 * told.share:.1f} %"
    elif told.reason is Reason.UNAVAILABLE:
        outcome = "refused: unavailable, as asserted"
    elif told.reason is not None:
        outcome = f"refused: {outcome}"
    line = f"├ {to_checksum(told.entry.participant)}  weight {told.entry.weight}, {told.entry.steps} steps  {outcome}"
    return line + f"  update {short(told.entry.digest)}{_data_of(told)}"


def _data_of(told: CommitmentProvenance) -> str:
    from registry.types import Cid

    if told.update is None:
        return ""
    named, code = told.update.data_set, told.code
    data = told.data_set.name if told.data_set is not None else str(named) if isinstance(named, Cid) else short(named)
    kind = "data" if isinstance(named, Cid) else "private data"
    return f"  {kind} {data}  code {'-' if code is None else f'{code.name} {code.version}'}"


def _dispute(dispute: DisputeProvenance) -> str:
    expelled = ", ".join(f"0x{short(who)}" for who in dispute.expelled) or "nobody yet"
    return (
        f"✗ result {short(dispute.result_hash)} void: {dispute.fault.name.lower()}, shown by "
        f"0x{short(dispute.challenger)}; expelled: {expelled}"
    )


def _said(statement: Statement | None) -> list[str]:
    if statement is None:
        return []
    texts = {name: getattr(statement, name) for name in ("title", "task", "licence", "intended_use", "base_model")}
    said = [f"{name.replace('_', ' ')}: {text}" for name, text in texts.items() if text]
    if statement.sources:
        named = [f"{s.name} ({s.licence})" if s.licence else s.name for s in statement.sources]
        said.append("trained on: " + ", ".join(named))
    if statement.metrics:
        said.append(f"metrics: {_metrics(statement.metrics)}")
    return said

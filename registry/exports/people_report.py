"""The report for people: what a model is, who took part, what was checked, what rests on trust, how to verify again.

Its second half has the headings of Annex IV of the EU AI Act (Regulation (EU) 2024/1689) and of a data protection
impact assessment (Regulation (EU) 2016/679, Article 35(7)), filled where the registry knows, and said to be open where
it does not. It is no declaration of conformity.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from html import unescape

from registry.content.manifest import Reason
from registry.errors import InputError
from registry.ethereum.keys import to_checksum
from registry.exports.exported_version import ExportedVersion, only_name
from registry.exports.regulators import annex_iv, impact_assessment
from registry.exports.report_parts import Commands, Paragraph, Picture, ReportPart, ReportTable, page
from registry.exports.version_record import VersionRecord, line
from registry.facts.version_facts import VersionFacts
from registry.verification.checks import Finding

__all__ = ["people_report", "read_people_report"]


def people_report(record: VersionRecord, *, tab: str = "") -> bytes:
    """Return the report as one HTML file that loads nothing else; `tab` is the document's title if not the model's."""
    parts = [*_model(record), *_people(record), *_checked(record), *annex_iv(record), *impact_assessment(record)]
    parts += _evidence(record)
    return page(record.title, parts, name=record.exported.name, tab=tab or record.title).encode()


def read_people_report(data: bytes) -> ExportedVersion:
    """Return the version that a report is of.

    Raises:
        InputError: It is no such report.
    """
    found = re.findall(r'<meta name="cairn-version" content="([^"<>]{0,512})">', data.decode("utf-8", "replace"))
    if not found:
        raise InputError("expected a report that names a version")
    return only_name([unescape(one) for one in found])


def _model(record: VersionRecord) -> Iterator[ReportPart]:
    exported, mine, said = record.exported, record.mine, record.statement
    rows = [
        ("Finding", f"{record.finding.value}: the worst of all checks below"),
        ("Version", f"0x{mine.version.hex()}"),
        ("Model", f"0x{mine.model.hex()}"),
        ("Made by", "its owner; no round made it" if mine.round is None else f"round {mine.round}"),
        ("Anchored", f"block {exported.block}, 0x{exported.block_hash.hex()}, {_utc(mine.time)}"),
        ("Chain id, contract", f"{exported.chain_id}, {to_checksum(exported.contract)}"),
        ("Final", "yes" if mine.final else "not yet: the chain may still drop it"),
        ("Weights", f"{record.manifest.weights.size} bytes, sha256 {record.manifest.weights.sha256.hex()}"),
    ]
    warning = [Paragraph("Deprecated: the model's owner advises against this version.")] if mine.deprecated else []
    yield ReportPart(2, "What this model is", (*warning, ReportTable(("fact", "as anchored or computed"), tuple(rows))))
    if said is None:
        stated = Paragraph("Nothing is stated.")
        yield ReportPart(3, "As its owner states it", (stated,))
        return
    pairs = [("Task", said.task), ("Intended use", said.intended_use), ("Licence", said.licence)]
    pairs += [("Base model", said.base_model)]
    shown = [(name, line(text) or "not stated") for name, text in pairs]
    shown += [("Trained on", f"{line(one.name)}, licence {line(one.licence) or 'not stated'}") for one in said.sources]
    shown += [(f"Metric {line(name)}", f"{value:.6g}") for name, value in sorted(said.metrics.items())]
    yield ReportPart(3, "As its owner states it", (ReportTable(("what", "stated, not checked"), tuple(shown)),))


def _people(record: VersionRecord) -> Iterator[ReportPart]:
    rounds = [version for version in reversed(record.facts.lineage) if version.round is not None]
    shares = tuple((to_checksum(who), f"{100 * share:.2f} %") for who, share in record.shares)
    blocks = (Paragraph("Accounts are keys; the registry does not know who holds them. A share is the mean over all "
                        "rounds of the lineage."), ReportTable(("participant", "share"), shares))  # fmt: skip
    none = (Paragraph("No round led to this version: its owner published it."),)
    yield ReportPart(2, "Who took part, with which share", blocks if rounds else none)
    if not rounds:
        return
    yield ReportPart(
        3,
        "Rounds",
        (ReportTable(("round", "time", "admitted", "refused", "aggregators"), tuple(map(_round_row, rounds))),),
    )
    refused = tuple(
        (str(version.round), to_checksum(told.participant), told.reason.name.lower().replace("_", " "))
        for version in rounds
        for told in version.commitments
        if told.reason not in (None, Reason.ADMITTED)
    )
    if refused:
        yield ReportPart(3, "Refused updates", (ReportTable(("round", "participant", "reason"), refused),))


def _round_row(version: VersionFacts) -> tuple[str, ...]:
    admitted = sum(told.reason is Reason.ADMITTED for told in version.commitments)
    unread = "report unavailable" if version.report is None else str(admitted)
    refused = "" if version.report is None else str(len(version.commitments) - admitted)
    attesters = ", ".join(to_checksum(who)[:10] for who in version.attesters)
    return str(version.round), _utc(version.time), unread, refused, attesters


def _checked(record: VersionRecord) -> Iterator[ReportPart]:
    counted: dict[str, Counter[Finding]] = {}
    said: dict[str, tuple[str, str]] = {}
    for about, check in record.named_checks():
        counted.setdefault(check.name, Counter())[check.finding] += 1
        if check.finding is not Finding.PASSED:
            said.setdefault(check.name, (about, line(check.evidence)))
    kinds = (Finding.PASSED, Finding.ASSERTED, Finding.UNCHECKED)
    rows = tuple((name, *(str(found[kind]) for kind in kinds)) for name, found in counted.items())
    meaning = Paragraph(
        "Counted over the version and its ancestors in the model. Passed: recomputed or compared by whoever made this "
        "report. Asserted: somebody's word. Unchecked: its bytes were not at hand. The last part lists every check."
    )
    yield ReportPart(2, "What was checked", (meaning, ReportTable(("check", *(kind.value for kind in kinds)), rows)))
    trust = [
        "That participants trained honestly, on the data that they name.",
        "That data sets, licences, metrics and intended use are as stated.",
        "That the chain's history is the one that everybody sees: compare the block's hash with a node that you trust.",
        *(f"{name}: {counted[name].total() - counted[name][Finding.PASSED]} not passed, such as {about}: {evidence}"
          for name, (about, evidence) in said.items()),
    ]  # fmt: skip
    yield ReportPart(2, "What rests on trust", tuple(map(Paragraph, trust)))
    place = f"--contract {to_checksum(record.exported.contract)}"
    commands = (
        record.exported.verify,
        f"cairn model pull {record.exported.wanted} -o model.safetensors {place}",
        f"cairn verify model.safetensors {place}",
    )
    how = Paragraph(
        f"Needs a node of chain {record.exported.chain_id} (--rpc-url) and a content store that has the files "
        "(--store); no account."
    )
    yield ReportPart(2, "How to verify again", (how, Commands(commands)))


def _evidence(record: VersionRecord) -> Iterator[ReportPart]:
    rows = tuple((about, one.name, one.finding.value, line(one.evidence)) for about, one in record.named_checks())
    yield ReportPart(2, "Lineage", (Picture(record.picture, "Versions and the rounds between them"),))
    yield ReportPart(2, "Every check", (ReportTable(("of", "check", "finding", "evidence"), rows),))


def _utc(seconds: int) -> str:
    if not 0 < seconds < 253_402_300_800:
        return "time not known"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))

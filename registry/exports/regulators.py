"""The headings that regulators ask for, filled where the registry knows, and said to be open where it does not.

Sources: Regulation (EU) 2024/1689, Annex IV, points 1 to 9; Regulation (EU) 2016/679, Article 35(2), (7) and (9).
Headings are in this project's words; the regulations' own text counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from registry.content.manifest import PlanManifest, Procedure
from registry.ethereum.keys import to_checksum
from registry.exports.report_parts import OPEN, Block, Paragraph, ReportPart, ReportTable
from registry.exports.version_record import VersionRecord, line

__all__ = ["annex_iv", "impact_assessment"]


def annex_iv(record: VersionRecord) -> Iterator[ReportPart]:
    """Yield the headings of Annex IV, technical documentation of a high-risk AI system."""
    said = record.statement
    note = Paragraph("Whether the system that uses this model is high-risk is its provider's to say. This fills what "
                     "the registry knows; it declares no conformity.")  # fmt: skip
    yield ReportPart(2, "EU AI Act, Annex IV: technical documentation", (note,))
    purpose = line(said.intended_use) if said is not None and said.intended_use else ""
    yield _point(
        "1. General description of the system",
        [f"Intended purpose, as the model's owner states it: {purpose}" if purpose else "",
         f"Version: {record.exported.wanted}. Lineage: the rounds above."],
        "the provider's name, the hardware, the software around the model, its interface and instructions for use.",
    )  # fmt: skip
    yield _point(
        "2. Elements and development process", [*_process(record), *_data_words(record)],
        "design choices and their reasons, labelling and cleaning of data, measures of human oversight, security "
        "measures outside training. Data never leaves its holders, so the registry has data sets only as stated.",
        (_data_table(record),),
    )  # fmt: skip
    yield _point(
        "3. Monitoring, functioning and control", _measured(record),
        "foreseeable unintended outcomes, accuracy for specific groups of persons, human oversight in use.",
    )  # fmt: skip
    yield _point("4. Appropriateness of the performance metrics", [], "why these metrics suit the system's purpose.")
    yield _point("5. Risk management system (Article 9)", [], "the provider's risk management.")
    changes = (
        f"{_many(len(record.facts.lineage), 'version')} in the lineage; each change is a round or a publication above."
    )
    deprecated = "This version is deprecated by its owner." if record.mine.deprecated else ""
    yield _point("6. Changes through the life cycle", [changes, deprecated], "changes to the system around the model.")
    yield _point("7. Harmonised standards applied", [], "standards and other specifications applied.")
    yield _point("8. EU declaration of conformity (Article 47)", [], "the declaration.")
    yield _point("9. Post-market monitoring (Article 72)", [], "the monitoring plan.")


def impact_assessment(record: VersionRecord) -> Iterator[ReportPart]:
    """Yield the headings of a data protection impact assessment."""
    note = Paragraph(
        "For the controllers to complete: each participant for its own data. The registry holds no records of persons, "
        "but published updates can reveal something of the data they were trained on."
    )
    yield ReportPart(2, "GDPR, Article 35: data protection impact assessment", (note,))
    said = record.statement
    purpose = line(said.intended_use) if said is not None and said.intended_use else ""
    yield _point(
        "(a) The processing and its purposes",
        [f"Purpose, as the model's owner states it: {purpose}" if purpose else "", *_process(record),
         "Participants train where their data is, and publish updates: weights, no records. Updates, accounts, weights "
         "of contributions and stated metrics are public to whoever reads the chain and the store."],
        "kinds of personal data, data subjects, recipients, retention, and each controller's legal basis.",
        (_data_table(record),),
    )  # fmt: skip
    yield _point("(b) Necessity and proportionality", [], "why this data and this processing are necessary.")
    yield _point(
        "(c) Risks to the rights and freedoms of data subjects",
        ["Known kinds of risk: membership inference and reconstruction from published updates and weights; published "
         "content cannot be recalled."],
        "likelihood and severity for these data subjects.",
    )  # fmt: skip
    yield _point("(d) Measures against the risks", _measures(record), "measures at each participant, and their effect.")
    yield _point("Advice of the data protection officer (Article 35(2))", [], "the advice.")
    yield _point("Views of data subjects (Article 35(9))", [], "whether they were sought, and what they are.")


def _point(heading: str, known: list[str], missing: str, tables: tuple[ReportTable, ...] = ()) -> ReportPart:
    blocks: list[Block] = [Paragraph(text) for text in known if text]
    blocks += [table for table in tables if table.rows]
    return ReportPart(3, heading, (*blocks, Paragraph(OPEN + missing)))


def _plan(record: VersionRecord) -> PlanManifest | None:
    """Return the plan of the last round whose plan is at hand."""
    return next((one.plan_manifest for one in record.facts.lineage if one.plan_manifest is not None), None)


def _process(record: VersionRecord) -> list[str]:
    rounds = sum(version.round is not None for version in record.facts.lineage)
    plan = _plan(record)
    told = [f"Federated training: {_many(rounds, 'round')}, {_many(len(record.shares), 'participant')}."]
    if plan is not None:
        server = line(plan.server.name or "a program of its own")
        told.append(
            f"Plan of the last round: local training {_procedure(plan.algorithm)}; server step {server}; "
            f"{plan.quorum} equal attestations needed; weights of contributions: {line(plan.weights)}."
        )
    base = record.manifest.base
    if base is not None:
        told.append(f"It stands on frozen base weights, sha256 {base.sha256.hex()}, stated origin {line(base.origin)}.")
    return told


def _data_words(record: VersionRecord) -> list[str]:
    private = {
        told.digest
        for version in record.facts.lineage
        for told in version.commitments
        if told.share and told.data_set is None
    }
    return [f"Of data sets that are private or unavailable: {_many(len(private), 'update')}."] if private else []


def _data_table(record: VersionRecord) -> ReportTable:
    found = {
        (line(told.data_set.name), line(told.data_set.licence), str(told.data_set.records), line(told.data_set.source))
        for version in record.facts.lineage
        for told in version.commitments
        if told.share and told.data_set is not None
    }
    owner = {
        (line(one.name), line(one.licence), "", "") for one in (record.statement.sources if record.statement else ())
    }
    return ReportTable(("data set, as stated", "licence", "records", "source"), tuple(sorted(found | owner)))


def _measured(record: VersionRecord) -> list[str]:
    told = [f"Stated metric {line(name)}: {value:.6g}." for name, value in sorted(record.mine.metrics.items())]
    score = record.mine.score
    if score is not None:
        worst = (
            ""
            if score.worst_participant is None
            else f"; the worst is {score.worst:.4g}, at {to_checksum(score.worst_participant)}"
        )
        told.append(f"Spread of participants' scores on their own data: {score.spread:.2g}{worst}.")
    return told


def _measures(record: VersionRecord) -> list[str]:
    plan = _plan(record)
    if plan is None:
        return []
    applied = ", ".join(map(_procedure, plan.transforms))
    asserted = "That participants applied them is asserted."
    return [f"Transforms of updates before they are published, by the plan: {applied}. {asserted}" if applied else
            "The plan asks for no transform of updates, such as noise, before they are published."]  # fmt: skip


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _procedure(told: Procedure) -> str:
    with_values = ", ".join(f"{line(name)} {line(str(value))[:120]}" for name, value in told.parameters.items())
    return f"{line(told.name)} ({with_values})" if with_values else line(told.name)

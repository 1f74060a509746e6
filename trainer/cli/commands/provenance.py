"""`cairn provenance …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.command import Need, command, group
from trainer.cli.finding import find_version
from trainer.cli.output import short
from trainer.cli.session import Session

if TYPE_CHECKING:
    from registry.content.manifest import Statement
    from registry.provenance.lineage import Commitment, Provenance

app = group("Where a version comes from.")


@command(
    app,
    "show",
    needs=Need.CHAIN | Need.HOME | Need.STORE,
    example="cairn provenance show 3fa9\ncairn provenance show 3fa9@round-7 --json",
)
def show(
    session: Session,
    version: Annotated[
        str,
        typer.Argument(metavar="MODEL[@VERSION]", help="VERSION: a digest or CID, shortened, genesis or round-N."),
    ],
) -> None:
    """Show a version and all it descends from: rounds, who contributed, who was refused and why, data sources.

    It says what chain and manifests say; `cairn verify` checks it.
    """
    from registry.provenance.lineage import provenance_of

    client = session.reader
    found = find_version(client, version)
    entries = []
    with session.out.waiting("reading"):
        for entry in provenance_of(client, session.store, found.model, found.version):
            entries.append(entry)
    facts = {"model": found.model, "version": found.version, "lineage": [_facts(entry) for entry in entries]}

    def text() -> None:
        for entry in entries:
            _show(session, entry)

    session.out.result(facts, text)


def _show(session: Session, entry: Provenance) -> None:
    from rich.text import Text

    out, step = session.out, entry.step
    title = f"round {step.round}" if step.round else "genesis" if not any(step.parent) else "published by the owner"
    marks = "  deprecated" if step.deprecated else ""
    out.show(Text.assemble((title, "bold"), f"  version {step.digest.hex()}", (marks, "bold red")))
    facts: dict[str, object] = {"block": step.block}
    if any(step.parent):
        facts["parent"] = short(step.parent)
    if entry.manifest is None:
        facts["manifest"] = "not to be had from this store"
    else:
        facts["weights"] = f"{entry.manifest.weights.cid}, {entry.manifest.weights.size} bytes"
        facts |= _said(entry.manifest.statement)
    if entry.report is not None:
        report, refused = entry.report, len(entry.commitments) - entry.report.contributions
        facts["contributions"] = (
            f"{report.contributions} admitted, {refused} refused, total weight {report.total_weight}"
        )
    elif step.round:
        facts["report"] = "not to be had from this store"
    out.fields(facts, indent=2)
    if entry.commitments:
        rows = [_row(commitment) for commitment in entry.commitments]
        out.table(
            ("  participant", "weight", "share", "outcome", "update", "data set"), rows, right=("weight", "share")
        )
    out.line()


def _row(entry: Commitment) -> tuple[object, ...]:
    from registry.chain.keys import to_checksum
    from registry.types import Cid

    share = f"{100 * entry.share:.1f} %" if entry.share else ""
    outcome = entry.reason.name.lower().replace("_", " ")
    data = ""
    if entry.update is not None:
        held = entry.update.data_set
        data = str(held) if isinstance(held, Cid) else f"private {short(held)}"
    return f"  {to_checksum(entry.participant)}", entry.weight, share, outcome, short(entry.digest), data


def _said(statement: Statement | None) -> dict[str, object]:
    if statement is None:
        return {}
    texts = {name: getattr(statement, name) for name in ("title", "task", "licence", "intended_use", "base_model")}
    said: dict[str, object] = {name: text for name, text in texts.items() if text}
    if statement.sources:
        named = [f"{s.name} ({s.licence})" if s.licence else s.name for s in statement.sources]
        said["trained on"] = ", ".join(named)
    if statement.metrics:
        said["metrics"] = ", ".join(f"{name} {value:g}" for name, value in statement.metrics.items())
    return said


def _facts(entry: Provenance) -> dict[str, object]:
    return {
        "version": entry.step.digest,
        "round": entry.step.round or None,
        "parent": entry.step.parent if any(entry.step.parent) else None,
        "block": entry.step.block,
        "deprecated": entry.step.deprecated,
        "manifest": entry.manifest,
        "report": entry.report,
        "commitments": entry.commitments,
    }

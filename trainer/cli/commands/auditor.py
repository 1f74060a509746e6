"""`cairn auditor …`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.checks import check_line, require_passed
from trainer.cli.command import Need, command, group
from trainer.cli.finding import find_model, find_round
from trainer.cli.output import short
from trainer.cli.session import Session

app = group("Recompute what was attested in a round, quorum or not. Needs no account and no torch.")


@command(
    app,
    "audit",
    needs=Need.CHAIN | Need.HOME | Need.STORE,
    example="cairn auditor audit 3fa9\ncairn auditor audit 3fa9 7 --json",
)
def audit(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or the beginning of it.")],
    number: Annotated[int | None, typer.Argument(metavar="ROUND", help="Its number; the last if left out.")] = None,
) -> None:
    """Recompute every result attested in a round, also while it can still be disputed. Exit code 7 if one is wrong."""
    from trainer.auditor import audit as recompute

    client = session.reader
    found = find_model(client, model)
    at = find_round(client, found, number)
    entries = []
    with tempfile.TemporaryDirectory(prefix="cairn-audit-") as folder, session.out.waiting(f"auditing round {at}"):
        for result, check in recompute(client, session.store, Path(folder), found, at):
            entries.append((result, check))
            session.out.show(check_line(check, f"result {short(result)}  "))
    passed = all(check.finding in ("passed", "asserted") for _, check in entries)
    results = {result for result, _ in entries}
    facts = {
        "model": found,
        "round": at,
        "results": len(results),
        "passed": passed,
        "checks": [
            {"result": result, "name": c.name, "finding": c.finding, "evidence": c.evidence} for result, c in entries
        ],
    }
    text = f"Round {at}: {len(results)} results attested, all stand." if results else f"Round {at}: nothing attested."
    session.out.result(facts, lambda: session.out.line(text) if passed else None)
    require_passed((f"round {at}: result 0x{short(result)}", check) for result, check in entries)

"""`cairn verify`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.checks import SIGNS, check_line, require_passed
from trainer.cli.command import Need, command, single
from trainer.cli.finding import find_version
from trainer.cli.output import short
from trainer.cli.session import Session

if TYPE_CHECKING:
    from registry.provenance.lineage import Step
    from registry.provenance.verify import Verification

app = single()


@command(
    app,
    "verify",
    needs=Need.CHAIN | Need.HOME | Need.STORE,
    example="cairn verify 3fa9\ncairn verify 3fa9@round-7 --json",
)
def verify(
    session: Session,
    version: Annotated[
        str,
        typer.Argument(metavar="MODEL[@VERSION]", help="VERSION: a digest or CID, shortened, genesis or round-N."),
    ],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="A line a version, not a line a check.")] = False,
) -> None:
    """Recompute every round that led to a version, from the chain and the content store, and compare it to the bit.

    Needs no account, no permission and no torch. Exit code 7 if anything disagrees, 4 if bytes that it takes are not to
    be had.
    """
    from registry.provenance.verify import verify_version

    client = session.reader
    found = find_version(client, version)
    done: list[Verification] = []
    with tempfile.TemporaryDirectory(prefix="cairn-verify-") as folder, session.out.waiting("verifying") as say:

        def progress(step: Step) -> None:
            say(f"verifying {_name(step)}")

        for one in verify_version(client, session.store, found.model, found.version, Path(folder), progress=progress):
            done.append(one)
            _show(session, one, quiet)
    passed = all(one.passed for one in done)
    rounds = sum(1 for one in done if one.step.round)
    facts = {"model": found.model, "version": found.version, "passed": passed, "versions": [_facts(v) for v in done]}
    versions = "1 version" if len(done) == 1 else f"{len(done)} versions"
    text = f"Verified {versions}, {rounds} recomputed from rounds: all agree with the chain."
    session.out.result(facts, lambda: session.out.line(text, style="bold green") if passed else None)
    require_passed((_name(one.step), check) for one in done for check in one.checks)


def _show(session: Session, one: Verification, quiet: bool) -> None:
    from rich.text import Text

    mark = SIGNS["passed" if one.passed else one.finding]
    session.out.show(Text.assemble(mark, "  ", (_name(one.step), "bold"), f"  {short(one.step.digest)}"))
    for check in one.checks:
        if not quiet or check.finding in ("unchecked", "failed"):
            session.out.show(Text("    ") + check_line(check))


def _name(step: Step) -> str:
    if step.round:
        return f"round {step.round}"
    return "genesis" if not any(step.parent) else "owner's version"


def _facts(one: Verification) -> dict[str, object]:
    return {"version": one.step.digest, "round": one.step.round or None, "passed": one.passed, "checks": one.checks}

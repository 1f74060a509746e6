"""Print a version's lineage and verify it. Needs no account, no permission and no torch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from registry import Need, Session, VerificationFailed, find_version, read_lineage, run_script, verify_version

Model = Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help="Any unique prefix works; the head by default.")]


def query(session: Session, model: Model) -> None:
    """Print a version's lineage and verify it. Needs no account, no permission and no torch.

    `eval "$(cairn localnet env)"` sets chain and store to those of `cairn localnet up`.
    """
    client, store, say = session.reader, session.store, session.out.line
    model_id, digest = find_version(client, model)

    say(f"version 0x{digest.hex()}, newest first:")
    for each in read_lineage(client, store, model_id, digest):
        made = each.round
        say(f"  0x{each.entry.digest.hex()[:16]}  {f'round {made.entry.number}' if made else 'published by the owner'}")
        for c in made.commitments if made else ():
            fate = (
                f"{100 * c.share:5.1f} %" if c.share else f"refused: {c.reason.name.lower() if c.reason else 'unknown'}"
            )
            say(f"    0x{c.entry.participant.hex()}  weight {c.entry.weight:>8}  {fate}")

    failed = []
    say("recomputed, oldest first:")
    with tempfile.TemporaryDirectory() as folder:
        for verdict in verify_version(client, store, model_id, digest, Path(folder)):
            found = "verified" if verdict.passed else verdict.finding.upper()
            say(f"  0x{verdict.step.digest.hex()[:16]}  {found}, {len(verdict.checks)} checks")
            for check in verdict.checks:
                if check.finding != "passed":
                    say(f"    {check.finding}: {check.name}: {check.evidence}")
            if not verdict.passed:
                failed.append(f"0x{verdict.step.digest.hex()[:16]}")
    if failed:
        raise VerificationFailed(f"expected every version to verify, these do not: {', '.join(failed)}")


if __name__ == "__main__":
    run_script(query, needs=Need.CHAIN | Need.STORE | Need.HOME)

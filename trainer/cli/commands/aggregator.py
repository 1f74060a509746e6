"""`cairn aggregator …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry.errors import InputError
from trainer.cli.command import Need, command, group
from trainer.cli.finding import find_model
from trainer.cli.session import Session

app = group("Check, average and attest what was committed. Needs no torch.")
SEND = Need.SEND | Need.STORE

ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or the beginning of it.")]
Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="For results; by default in the home folder.")
]
Processes = Annotated[int, typer.Option(min=1, metavar="N", help="Processes to share the work of combining.")]
OpenRounds = Annotated[bool, typer.Option("--open-rounds", help="Open the next round once the last has ended.")]


@command(
    app,
    "run",
    needs=SEND,
    example="cairn aggregator run 3fa9 --account aggregator-1\ncairn aggregator run 3fa9 --open-rounds",
)
def run(
    session: Session,
    model: ModelText,
    open_rounds: OpenRounds = False,
    processes: Processes = 1,
    folder: Folder = None,
    poll: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Between two looks at the chain.")] = 2.0,
) -> None:
    """Do all of an aggregator's work, round after round, until stopped."""
    if session.dry_run:
        raise InputError("a loop has no dry run")
    from registry.chain.keys import to_checksum
    from trainer.aggregator import Memory, advance
    from trainer.cli.looping import run_loop

    client, store, memory = session.client, session.store, Memory()
    found = find_model(client, model)
    place = folder or session.home / "aggregators" / client.account.hex()
    run_loop(
        session,
        lambda: advance(client, store, place, found, open_rounds=open_rounds, processes=processes, memory=memory),
        poll=poll,
        who=f"aggregator {to_checksum(client.account)} of model {found.hex()[:10]}",
    )


@command(app, "once", needs=SEND, example="cairn aggregator once 3fa9 --account aggregator-1")
def once(
    session: Session,
    model: ModelText,
    open_rounds: OpenRounds = False,
    processes: Processes = 1,
    folder: Folder = None,
) -> None:
    """Do what the current round wants of an aggregator now, until there is nothing left to do, and return."""
    if session.dry_run:
        raise InputError("what an aggregator sends depends on what it sent before: there is no dry run")
    from trainer.aggregator import Memory, advance

    client, store, memory = session.client, session.store, Memory()
    found = find_model(client, model)
    place = folder or session.home / "aggregators" / client.account.hex()
    done: list[str] = []
    with session.out.waiting("aggregating"):
        while said := advance(
            client, store, place, found, open_rounds=open_rounds and not done, processes=processes, memory=memory
        ):
            done.append(said)
            session.out.line(said)
    if session.out.as_json:
        session.out.result({"model": found, "did": done})
    elif not done:
        number = client.model(found).rounds
        phase = client.phase(found, number).name.lower() if number else "none"
        session.out.note(f"Nothing to do now: round {number} is in phase {phase}.")

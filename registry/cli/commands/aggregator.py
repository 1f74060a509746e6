"""`cairn aggregator …`: run an aggregator that combines, attests and answers demands."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, group
from registry.cli.finding import find_model
from registry.cli.run_loops import Metrics
from registry.cli.session import Session

if TYPE_CHECKING:
    from registry.types import ModelId

app = group("Combine committed updates and attest the result. Needs no torch.")
STATUS = "status.json"

ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")]
Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="Folder for results; by default in the home folder.")
]
Processes = Annotated[int, typer.Option(min=1, metavar="N", help="Worker processes for combining.")]
OpenRounds = Annotated[bool, typer.Option("--open-rounds", help="Open the next round when the last one has ended.")]


@command(
    app,
    "run",
    needs=Need.SIGN | Need.STORE,
    example="cairn aggregator run 3fa9 --account aggregator-1\ncairn aggregator run 3fa9 --open-rounds",
)
def run(
    session: Session,
    model: ModelText,
    open_rounds: OpenRounds = False,
    processes: Processes = 1,
    folder: Folder = None,
    poll: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between polls of the chain.")] = 2.0,
    answer_account: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Answer demands from this account, whose nonces nothing else blocks."),
    ] = None,
    metrics: Metrics = None,
) -> None:
    """Run an aggregator until stopped; its tasks run independently of one another."""
    from registry.cli.run_loops import run_tasks
    from registry.cli.turns import Turns
    from registry.ethereum.keys import to_checksum
    from registry.roles.aggregator import tasks
    from registry.roles.answering import disk_needed
    from registry.roles.loop import LoopTask
    from registry.roles.monitoring import sample_chain
    from registry.types import Role

    client, store = session.client, session.store
    found = find_model(client, model)
    place = _folder(session, folder, found)
    shows = session.client_of(answer_account) if answer_account is not None else None
    steps = tasks(client, store, place, found, open_rounds=open_rounds, processes=processes, answerer=shows)
    who = f"aggregator {to_checksum(client.account)} of model {found.hex()[:10]}"
    if shows is not None:
        who += f", answering as {to_checksum(shows.account)}"
    place.mkdir(parents=True, exist_ok=True)
    session.out.note(disk_needed(client, store, found, shutil.disk_usage(place).free))
    turns = LoopTask("turns", Turns(client, [found], Role.AGGREGATOR, client.account).step)
    run_tasks(
        session,
        (*steps, turns),
        poll=poll,
        who=who,
        status=place / STATUS,
        metrics=metrics,
        samples=lambda: sample_chain(client, [client] if shows is None else [client, shows]),
    )


@command(
    app,
    "status",
    needs=Need.SIGN,
    example="cairn aggregator status 3fa9 --account aggregator-1",
)
def status(session: Session, model: ModelText, folder: Folder = None) -> None:
    """Show the health of an aggregator's tasks, and its role, bond, deposits and open demands on chain."""
    from registry.cli.run_loops import tell_status
    from registry.cli.standing import tell_standing
    from registry.facts.dispute_facts import StandingFacts, standing_facts

    def facts() -> StandingFacts:
        client = session.reader
        return standing_facts(client, find_model(client, model), session.account)

    tell_status(session, _last_run(session, folder, model) / STATUS, facts, lambda found: tell_standing(session, found))


def _folder(session: Session, folder: Path | None, model: ModelId) -> Path:
    return folder or _own(session) / model.hex()[:16]


def _own(session: Session) -> Path:
    return session.home / "aggregators" / session.account.hex()


def _last_run(session: Session, folder: Path | None, model: str) -> Path:
    """Find the folder of a model, named by a prefix of its id, without a node."""
    named = model.removeprefix("0x").lower()[:16]
    there = sorted(place for place in _own(session).glob("*") if place.name.startswith(named))
    return folder or (there[0] if len(there) == 1 else _own(session) / named)


@command(app, "once", needs=Need.SIGN | Need.STORE, example="cairn aggregator once 3fa9 --account aggregator-1")
def once(
    session: Session,
    model: ModelText,
    open_rounds: OpenRounds = False,
    processes: Processes = 1,
    folder: Folder = None,
) -> None:
    """Do everything that the current round now requires of an aggregator, then exit."""
    from registry.roles.aggregator import AggregatorMemory, advance

    client, store, memory = session.client, session.store, AggregatorMemory()
    found = find_model(client, model)
    place = _folder(session, folder, found)
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

"""`cairn auditor …`: recompute attested results and convict false ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.check_lines import check_line, require_passed
from registry.cli.command import Need, command, group
from registry.cli.finding import find_model, find_round
from registry.cli.output import short
from registry.cli.run_loops import Metrics
from registry.cli.session import Session
from registry.errors import CairnError

if TYPE_CHECKING:
    from registry.facts.dispute_facts import StandingFacts
    from registry.roles.loop import LoopTask

SPENT, STATUS = "spent.json", "status.json"
app = group("Recompute attested results and convict false ones. Needs no torch; needs an account only to challenge.")

Models = Annotated[list[str], typer.Argument(metavar="MODEL...", help="Models' ids, or unique prefixes of them.")]
Limit = Annotated[
    str | None,
    typer.Option(metavar="ETHER", help="Also demand and challenge, spending at most this in total. Needs an account."),
]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", metavar="DIR", help="Folder for claims and spending; by default in the home folder."),
]


@command(
    app,
    "audit",
    needs=Need.CHAIN | Need.HOME | Need.STORE,
    example="cairn auditor audit 3fa9\ncairn auditor audit 3fa9 7 --json",
)
def audit(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")],
    number: Annotated[int | None, typer.Argument(metavar="ROUND", help="The round's number; default the last.")] = None,
) -> None:
    """Recompute every attested result of a round, even within its challenge window. Exit code 7 if one is wrong."""
    from registry.facts.dispute_facts import audit_facts
    from registry.roles.auditor import audit as recompute

    client = session.reader
    found = find_model(client, model)
    at = find_round(client, found, number)
    entries = []
    with tempfile.TemporaryDirectory(prefix="cairn-audit-") as folder, session.out.waiting(f"auditing round {at}"):
        for result, check in recompute(client, session.store, Path(folder), found, at):
            entries.append((result, check))
            session.out.show(check_line(check, f"result {short(result)}  "))
    facts = audit_facts(found, at, entries)
    text = f"Round {at}: {facts.results} results attested, all stand." if entries else f"Round {at}: nothing attested."
    session.out.result(facts, lambda: session.out.line(text) if facts.passed else None)
    require_passed((f"round {at}: result 0x{short(result)}", check) for result, check in entries)


@command(
    app,
    "run",
    needs=Need.SIGN | Need.STORE,
    example="cairn auditor run 3fa9 77b1\ncairn auditor run 3fa9 --limit 0.5 --account auditor",
)
def run(
    session: Session,
    models: Models,
    limit: Limit = None,
    folder: Folder = None,
    poll: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between polls of the chain.")] = 2.0,
    metrics: Metrics = None,
) -> None:
    """Watch models: recompute each result as soon as it is attested; with --limit, convict false ones.

    Models are watched independently: one that fails or is slow does not delay the others.
    """
    from registry.cli.run_loops import run_tasks
    from registry.cli.turns import Turns
    from registry.roles.loop import LoopTask
    from registry.roles.monitoring import sample_chain
    from registry.types import Role

    with _auditor(session, models, limit, folder) as (who, place, steps):
        if limit is not None:
            _warn_of_limit(session, models, limit)
        client = session.reader
        turns = Turns(client, [find_model(client, model) for model in models], Role.AUDITOR)
        run_tasks(
            session,
            (*steps, LoopTask("turns", turns.step)),
            poll=poll,
            who=who,
            status=place / STATUS,
            metrics=metrics,
            samples=lambda: sample_chain(client, [] if limit is None else [session.client]),
        )


@command(
    app,
    "status",
    needs=Need.SIGN,
    example="cairn auditor status 3fa9 --account auditor\ncairn auditor status 3fa9",
)
def status(
    session: Session,
    models: Models,
    folder: Folder = None,
) -> None:
    """Show the health of an auditor's tasks, its spending, and the open demands on the results that it watches."""
    from registry.cli.run_loops import tell_status
    from registry.cli.standing import tell_standing
    from registry.ethereum.money import ether
    from registry.facts.dispute_facts import standing_facts
    from registry.roles.purse import spent_of
    from registry.types import Address

    named = any(session.settings[name] is not None for name in ("account", "keystore", "from"))
    account = session.account if named else Address(bytes(20))
    place = folder or _last_run(session.home / "auditors", account.hex() if named else "reader")
    spent = ether(spent_of(place / SPENT))

    def facts() -> dict[str, list[StandingFacts]]:
        client = session.reader
        return {"models": [standing_facts(client, find_model(client, model), account) for model in models]}

    def text(facts: dict[str, list[StandingFacts]]) -> None:
        for each in facts["models"]:
            session.out.line(f"model {each.model.hex()[:10]}")
            tell_standing(session, each)

    session.out.line(f"spent so far: {spent} ether")
    tell_status(session, place / STATUS, facts, text, spent_ether=spent)


def _last_run(folder: Path, account: str) -> Path:
    """Find the folder of an account's auditor, or of the read-only one if that ran last."""
    from registry.cli.run_loops import read_status

    def updated(place: Path) -> float:
        found = read_status(place / STATUS)
        return 0.0 if found is None else float(found["updated"])

    return max((folder / account, folder / "reader"), key=updated)


@command(app, "once", needs=Need.SIGN | Need.STORE, example="cairn auditor once 3fa9 --limit 0.5 --account auditor")
def once(
    session: Session,
    models: Models,
    limit: Limit = None,
    folder: Folder = None,
) -> None:
    """Do everything that the current round now requires of an auditor, then exit."""
    from registry.cli.run_loops import alone, take_all_steps
    from registry.roles.loop import take_step

    with _auditor(session, models, limit, folder) as (_, place, steps), alone((place / STATUS).with_suffix(".lock")):
        take_all_steps(session, lambda: take_step(steps), "auditing")


@command(
    app,
    "plan",
    needs=Need.CHAIN | Need.HOME | Need.STORE,
    example="cairn auditor plan 3fa9\ncairn auditor plan 3fa9 --base-fee 5,30,100 --json",
)
def plan_costs(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")],
    base_fee: Annotated[
        list[str] | None,
        typer.Option(
            "--base-fee", metavar="GWEI", help="Price it at this base fee too; repeatable, or comma-separated."
        ),
    ] = None,
) -> None:
    """Estimate the cost and reward of auditing a round: the least sensible --limit, and the time needed."""
    from registry.cli.watch_text import base_fees, show_costs, watched

    fees = base_fees(base_fee or [])
    facts = watched(session, find_model(session.reader, model), fees)
    session.out.result(facts.data, lambda: show_costs(session.out, facts))


def _warn_of_limit(session: Session, models: list[str], limit: str) -> None:
    """Warn if a limit is below the possible cost of one round of a model."""
    from registry.cli.watch_text import watched
    from registry.ethereum.money import wei_of

    for model in models:
        try:
            found = watched(session, find_model(session.reader, model), ())
        except CairnError:
            continue  # no plan yet, or it is unavailable: the cost is unknown
        if wei_of(limit, "--limit") < found.prices[0].limit:
            session.out.warn(
                f"--limit {limit} is below the {found.data['prices'][0]['limit_ether']} ether that a round of model "
                f"{found.model.hex()[:10]} may take (cairn auditor plan {found.model.hex()[:10]})"
            )


@contextmanager
def _auditor(
    session: Session, models: list[str], limit: str | None, folder: Path | None
) -> Iterator[tuple[str, Path, tuple[LoopTask, ...]]]:
    """Yield an auditor's name, folder and tasks; without a limit it is read-only and needs no account.

    One that spends holds a lock for each model: from one account two would make, and pay for, the same transactions.
    """
    from registry.cli.run_loops import alone
    from registry.ethereum.keys import to_checksum
    from registry.ethereum.money import ether, wei_of
    from registry.roles.auditor import tasks
    from registry.roles.purse import Purse

    client = session.reader if limit is None else session.client
    found = [find_model(client, model) for model in models]
    home = session.home / "auditors" / (client.account.hex() if limit is not None else "reader")
    place = folder or home
    purse = None if limit is None else Purse(client, place / SPENT, wei_of(limit, "--limit"))
    said = "auditor, read-only (with --limit and an account it challenges)"
    with ExitStack() as locks:
        if purse is not None:
            said = (
                f"auditor {to_checksum(client.account)}, spending at most {limit} ether ({ether(purse.spent)} so far)"
            )
            for each in dict.fromkeys(found):
                other = f"audits model {each.hex()[:10]} from this account: stop it, or give --account"
                locks.enter_context(alone(home / f"{each.hex()}.lock", other))
        named = f"{said}, of {', '.join(each.hex()[:10] for each in found)}"
        yield named, place, tasks(client, session.store, place, found, purse=purse)

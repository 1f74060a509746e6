"""`cairn round …`: open, watch, finalize and cancel rounds."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, group
from registry.cli.finding import find_model, find_round
from registry.cli.output import short, utc
from registry.cli.send import send, tell
from registry.cli.session import Session
from registry.errors import ContentError, InputError, VerificationFailed
from registry.facts.plain import plain
from registry.facts.round_facts import DEADLINES, RoundFacts, asked_in, round_facts

if TYPE_CHECKING:
    from registry.facts.similarity_facts import RoundSimilarity
    from registry.facts.tensor_facts import RoundTensors
    from registry.types import ModelId

app = group("Open, watch, finalize and cancel rounds.")
READ = Need.CHAIN | Need.HOME

ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")]
Number = Annotated[int | None, typer.Argument(metavar="ROUND", help="The round's number; default the last.")]


@command(app, "open", needs=Need.SEND | Need.STORE, example="cairn round open 3fa9")
def open_round(session: Session, model: ModelText) -> None:
    """Open a model's next round on its head, under its standing plan, which must fit the head.

    A plan with least_score, max_rounds or patience is asked first, and says why it lets no round open; one that the
    store has not is warned of.
    """
    from registry.chain import calls
    from registry.chain.contract_events import RoundOpened
    from registry.cli.plan_checks import check_plan, require_fit
    from registry.cli.plan_warnings import Warned
    from registry.rounds.gates import why_not_open
    from registry.rounds.plans import load_plan
    from registry.rules.algorithms import goals_of

    client = session.reader
    found = find_model(client, model)
    shown = client.model(found)
    number, warnings = shown.rounds + 1, list[Warned]()
    if shown.plans:  # else the contract reverts
        plan = client.plan(found, shown.plans - 1)
        unread = require_fit(session, found, plan)
        _, warnings = check_plan(session, found, plan, unread)
        if not unread and (why := why_not_open(client, found, goals_of(load_plan(session.store, plan).algorithm))):
            raise InputError(f"round {number} is not opened: {why}")
    receipt = send(session, calls.open_round(client.address, found, number), f"open round {number}")
    if receipt is not None:
        opened = receipt.event(RoundOpened)
        facts: dict[str, object] = {
            "model": found,
            "round": opened.number,
            "parent": opened.parent,
            "plan": opened.plan_index,
            "commits_until": utc(opened.commit_deadline),
        }
        tell(session, receipt, facts | {"warnings": warnings} if session.out.as_json else facts)


@command(
    app,
    "show",
    needs=READ | Need.STORE,
    example="cairn round show 3fa9\ncairn round show 3fa9 7 --tensors\ncairn round show 3fa9 7 --similarity",
)
def show(
    session: Session,
    model: ModelText,
    number: Number = None,
    tensors: Annotated[
        bool, typer.Option("--tensors", help="Read the updates: which tensors move, and which does the grid clip.")
    ] = False,
    similarity: Annotated[
        bool, typer.Option("--similarity", help="Read the updates: cosines, contribution scores, and who is alike.")
    ] = False,
) -> None:
    """Show a round: its phase and deadlines, who was asked, who committed, and what was attested."""
    client = session.reader
    found = find_model(client, model)
    facts = round_facts(client, found, find_round(client, found, number))
    asked = _asked(session, found, facts.number)
    told = facts if asked is None else plain(facts) | {"asked": asked}
    of = _tensors(session, found, facts.number) if tensors else None
    alike = _similarity(session, found, facts.number) if similarity else None

    def show_all() -> None:
        _show(session, facts, asked)
        if of is not None:
            session.out.line()
            _show_tensors(session, of)
        if alike is not None:
            session.out.line()
            _show_similarity(session, alike)

    session.out.result(plain(told) | (plain(of) if of else {}) | (plain(alike) if alike else {}), show_all)


@command(app, "list", needs=READ, example="cairn round list 3fa9")
def list_rounds(session: Session, model: ModelText) -> None:
    """List a model's rounds."""
    client = session.reader
    found = find_model(client, model)
    rounds = [round_facts(client, found, number) for number in range(1, client.model(found).rounds + 1)]
    rows = [
        (
            facts.number,
            _phase_text(facts),
            len(facts.commitments),
            facts.contributions if facts.contributions is not None else "",
            facts.total_weight if facts.total_weight is not None else "",
            short(facts.version) if facts.version else "",
        )
        for facts in rounds
    ]
    columns = ("round", "phase", "commitments", "contributions", "weight", "version")
    right = ("round", "commitments", "contributions", "weight")
    empty = "No rounds yet: cairn round open MODEL"
    session.out.result(rounds, lambda: session.out.table(columns, rows, right=right, empty=empty))


@command(app, "end-commits", needs=Need.SEND, example="cairn round end-commits 3fa9")
def end_commits(session: Session, model: ModelText, number: Number = None) -> None:
    """End a round's commit phase early, once every participant has committed, or enough by the plan. Anybody may."""
    from registry.chain import calls
    from registry.rounds.onchain import participants_of, who_ends_commits

    client = session.reader
    found = find_model(client, model)
    at = find_round(client, found, number)
    named = who_ends_commits(client, found, at)
    if named is None:  # the contract says what is missing
        enough = client.plan(found, client.round(found, at).plan_index).enough_commitments
        named = [] if enough else participants_of(client, found)
    receipt = send(session, calls.end_commits(client.address, found, at, named), f"end commits of round {at}")
    if receipt is not None:
        tell(session, receipt, {"model": found, "round": at, "commitments": client.round(found, at).commitments})


@command(app, "finalize", needs=Need.SEND, example="cairn round finalize 3fa9")
def finalize(session: Session, model: ModelText, number: Number = None) -> None:
    """Move the model's head to the result that a quorum attested, after the challenge window. Anybody may."""
    from registry.chain import calls
    from registry.rounds.onchain import chosen_result, read_round

    client = session.reader
    found = find_model(client, model)
    at = find_round(client, found, number)
    result = chosen_result(client, read_round(client, found, at))
    if result is None:
        phase = client.phase(found, at).name.lower()
        raise InputError(f"round {at} has no result that a quorum attested: it is in phase {phase}")
    receipt = send(session, calls.finalize_round(client.address, found, at, result), f"finalize round {at}")
    if receipt is not None:
        facts = {"model": found, "round": at, "version": result.version_digest}
        tell(session, receipt, {**facts, "contributions": result.contributions, "total_weight": result.total_weight})


@command(app, "cancel", needs=Need.SEND, example="cairn round cancel 3fa9")
def cancel(session: Session, model: ModelText, number: Number = None) -> None:
    """Cancel a round before anything is attested (owner), or record that it has lapsed (anybody)."""
    from registry.chain import calls

    client = session.reader
    found = find_model(client, model)
    at = find_round(client, found, number)
    receipt = send(session, calls.cancel_round(client.address, found, at), f"cancel round {at}")
    if receipt is not None:
        tell(session, receipt, {"model": found, "round": at, "cancelled": True})


@command(app, "watch", needs=READ, example="cairn round watch 3fa9")
def watch(
    session: Session,
    model: ModelText,
    number: Number = None,
    poll: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between polls.")] = 2.0,
) -> None:
    """Print a round's events until it is finalized or cancelled; with --json one JSON value per line.

    Waits for the round to be opened if it is the model's next.
    """
    client = session.reader
    found = find_model(client, model)
    rounds = client.model(found).rounds
    if number == rounds + 1 or (number is None and not rounds):
        number = rounds + 1
        session.out.note(f"waiting for round {number} to be opened")
        while client.model(found).rounds < number:
            time.sleep(poll)
    at = find_round(client, found, number)
    last = ""
    while True:
        facts = round_facts(client, found, at)
        line = _line(facts)
        if line != last:
            if session.out.as_json:
                sys.stdout.write(json.dumps(plain(facts)) + "\n")
                sys.stdout.flush()
            else:
                session.out.line(f"{time.strftime('%H:%M:%S')}  {line}")
            last = line
        if facts.finalized or facts.phase.name == "CANCELLED":
            return
        time.sleep(poll)


def _line(facts: RoundFacts) -> str:
    parts = [f"round {facts.number}", facts.phase.name.lower(), f"{len(facts.commitments)} committed"]
    if facts.attestations:
        parts.append(f"{facts.votes} of {facts.quorum} attested {short(facts.result_hash or b'')}".rstrip())
    if facts.finalized:
        parts.append(f"finalized: version {short(facts.version or b'')}")
    return ", ".join(parts)


def _asked(session: Session, model: ModelId, number: int) -> tuple[str, ...] | None:
    """Return who was asked; None if everybody was, or if the store has no plan to tell."""
    try:
        return asked_in(session.reader, session.store, model, number)
    except (ContentError, VerificationFailed):
        return None


def _show(session: Session, facts: RoundFacts, asked: tuple[str, ...] | None) -> None:
    out = session.out
    head: dict[str, object] = {
        "model": facts.model,
        "round": facts.number,
        "phase": _phase_text(facts),
        "parent": facts.parent,
        "plan": facts.plan_index,
        "quorum": facts.quorum,
    }
    for phase, name in DEADLINES.items():
        ends = facts.deadlines[name]
        if ends:
            left = f", in {_span(ends - facts.time)}" if facts.phase is phase and ends > facts.time else ""
            head[f"{phase.name.lower()} until"] = f"{utc(ends)}{left}"
    if facts.finalized:
        head |= {"version": facts.version}
    if asked is not None:
        head |= {"asked": ", ".join(asked) or "nobody"}
    out.fields(head)
    out.line()
    rows = [(c.participant, c.weight, c.steps, short(c.digest), c.block) for c in facts.commitments]
    columns = ("participant", "weight", "steps", "update", "block")
    out.table(columns, rows, right=("weight", "steps", "block"), empty="Nobody committed.")
    if facts.attestations:
        out.line()
        attested = [
            (a.aggregator, short(a.result_hash), a.contributions, a.total_weight, short(a.version))
            for a in facts.attestations
        ]
        columns = ("aggregator", "result", "contributions", "weight", "version")
        out.table(columns, attested, right=("contributions", "weight"))


def _tensors(session: Session, model: ModelId, number: int) -> RoundTensors:
    from registry.facts.tensor_facts import round_tensors
    from registry.rounds.loaded_round import load_round
    from registry.rounds.onchain import read_round

    round = load_round(session.store, read_round(session.reader, model, number))
    total = round.form.size * len(round.record.commitments)
    with session.out.progress("Reading updates", total) as done:
        return round_tensors(session.store, round, progress=done)


def _show_tensors(session: Session, of: RoundTensors) -> None:
    out = session.out
    rows = []
    for tensor in of.tensors:
        moved = tensor.moved / (tensor.values * of.updates) if tensor.values and of.updates else 0.0
        note = f"still in {tensor.still} of {of.updates}" if tensor.still else ""
        clipped = f"{tensor.saturated} at the limit" if tensor.saturated else ""
        rows.append(
            (tensor.tensor, tensor.values, f"{moved:.1%}", tensor.scale, ", ".join(filter(None, (clipped, note))))
        )
    columns = ("tensor", "values", "moved", "scale", "")
    out.table(columns, rows, right=("values", "moved", "scale"), empty="The round's updates have no tensors.")
    if of.unread:
        out.line(f"not read: the updates of {', '.join(of.unread)}")


def _similarity(session: Session, model: ModelId, number: int) -> RoundSimilarity:
    from registry.facts.similarity_facts import round_similarity
    from registry.rounds.loaded_round import load_round
    from registry.rounds.onchain import chosen_result, read_round

    record = read_round(session.reader, model, number)
    round = load_round(session.store, record)
    result = chosen_result(session.reader, record)
    total = round.form.size * len(record.commitments)
    with session.out.progress("Reading updates", total) as done, TemporaryDirectory() as folder:
        return round_similarity(session.store, round, result, Path(folder), progress=done)


def _show_similarity(session: Session, alike: RoundSimilarity) -> None:
    out = session.out
    rows = []
    for k, one in enumerate(alike.similarity):
        others = [(value, j) for j, value in enumerate(one.cosines) if j != k and value is not None]
        nearest, farthest = (_beside(alike, pick(others)) if others else "" for pick in (max, min))
        score = "" if one.score is None else f"{one.score:+.2f}"
        cluster = "" if one.cluster is None else one.cluster
        rows.append((short(one.participant), cluster, one.norm, score, nearest, farthest))
    columns = ("participant", "cluster", "norm", "score", "nearest", "farthest")
    out.table(columns, rows, right=("cluster", "norm", "score"), empty="The round has no updates that can be read.")
    if rows:
        joined = f"clusters: {alike.clusters}, joined by cosines of {alike.joined:+.2f} or more"
        out.line(f"{joined}; score: cosine with the")
        out.line("aggregate that a quorum attested; norm: in grid steps of the finest tensor")
    if alike.unread:
        out.line(f"not read: the updates of {', '.join(alike.unread)}")


def _beside(alike: RoundSimilarity, other: tuple[float, int]) -> str:
    value, j = other
    return f"{value:+.2f} {short(alike.similarity[j].participant)}"


def _phase_text(facts: RoundFacts) -> str:
    name = facts.phase.name.lower()
    if facts.phase.name == "FINAL":
        return "finalized" if facts.finalized else "final, to be finalized"
    if facts.phase.name == "CANCELLED" and not facts.recorded:
        return "lapsed"
    return name


def _span(seconds: int) -> str:
    from registry.cli.plan_files import show_duration

    return show_duration(seconds)

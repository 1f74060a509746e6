"""`cairn validator …`: score results on a hidden set of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli.command import Need, command, group
from registry.cli.finding import find_model, find_version
from registry.cli.run_loops import Metrics
from registry.cli.send import send, tell
from registry.cli.session import Session

if TYPE_CHECKING:
    from registry.facts.score_facts import ScoreStandingFacts, ScoringFacts
    from registry.types import ModelId

STATUS = "status.json"
app = group("Score results on a hidden set of your own, which nobody else ever sees. The function may need torch.")

ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")]
TaskText = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="PLACE:FUNCTION",
        help="Function from a version's numpy arrays by name to a score of 0 to 1 and the predictions.",
    ),
]
Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="Folder for secret and scores; by default at home.")
]
Duration = Annotated[str, typer.Option(metavar="DURATION", help="Such as 90s, 10m, 2h, 3d; 30s to 90d.")]


@command(
    app,
    "run",
    needs=Need.SIGN | Need.STORE,
    example="cairn validator run 3fa9 --task hidden.py:score --account validator-1",
)
def run(
    session: Session,
    model: ModelText,
    task: TaskText,
    folder: Folder = None,
    poll: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between polls of the chain.")] = 2.0,
    metrics: Metrics = None,
) -> None:
    """Score every result that gets its quorum: commit to the score, reveal it in its window, until stopped."""
    from registry.cli.run_loops import run_tasks, say
    from registry.ethereum.keys import to_checksum
    from registry.roles.loop import LoopTask, keeping
    from registry.roles.monitoring import sample_chain

    client = session.client
    found = find_model(client, model)
    place = _folder(session, folder)
    step = _stepping(session, found, task, place, lambda text: say(session, text))
    who = f"validator {to_checksum(client.account)} of model {found.hex()[:10]}"
    run_tasks(
        session,
        (LoopTask("scoring", step), keeping(client)),
        poll=poll,
        who=who,
        status=place / STATUS,
        metrics=metrics,
        samples=lambda: sample_chain(client, [client]),
    )


@command(
    app,
    "once",
    needs=Need.SIGN | Need.STORE,
    example="cairn validator once 3fa9 --task hidden.py:score --account validator-1",
)
def once(session: Session, model: ModelText, task: TaskText, folder: Folder = None) -> None:
    """Do everything that the last rounds now require of a validator, then exit."""
    from registry.cli.run_loops import alone, take_all_steps

    place = _folder(session, folder)
    step = _stepping(session, find_model(session.client, model), task, place, lambda text: None)
    with alone((place / STATUS).with_suffix(".lock")):
        take_all_steps(session, step, "scoring")


@command(
    app,
    "score",
    needs=Need.CHAIN | Need.HOME | Need.STORE,
    example="cairn validator score 3fa9@round-7 --task hidden.py:score",
)
def score(
    session: Session,
    version: Annotated[
        str, typer.Argument(metavar="MODEL[@VERSION]", help="VERSION: a digest, prefix, round-N, alias or date.")
    ],
    task: TaskText,
    folder: Folder = None,
) -> None:
    """Score a version on the hidden set. Sends nothing."""
    from registry.chain.validator_scores import SCORE_ONE
    from registry.roles.validator import secret_for
    from registry.rounds.predictions import measure

    function = _function(task)
    found = find_version(session.reader, version)
    place = folder or session.home / "validators" / "reader"
    with session.out.waiting("evaluating"):
        made = measure(session.store, found.version, function, secret_for(place))
    facts = {"model": found.model, "version": found.version, "score": made.score / SCORE_ONE}
    session.out.result({**facts, "predictions": len(made.predictions), "predictions_root": made.root})


@command(app, "status", needs=Need.SIGN, example="cairn validator status 3fa9\ncairn validator status 3fa9 --json")
def status(session: Session, model: ModelText, folder: Folder = None) -> None:
    """Show what validators say of the last results, on which terms, and the health of a running validator."""
    from registry.cli.run_loops import tell_status
    from registry.facts.score_facts import score_standing_facts
    from registry.types import Address

    named = any(session.settings[name] is not None for name in ("account", "keystore", "from"))
    account = session.account if named else Address(bytes(20))
    place = folder or session.home / "validators" / (account.hex() if named else "reader")
    tell_status(
        session,
        place / STATUS,
        lambda: score_standing_facts(session.reader, find_model(session.reader, model), account),
        lambda facts: _show(session, facts),
    )


@command(
    app,
    "terms",
    needs=Need.SEND,
    example="cairn validator terms 3fa9 --minimum 3 --commit-duration 2h --reveal-duration 2h --account owner",
)
def terms(
    session: Session,
    model: ModelText,
    minimum: Annotated[int, typer.Option(metavar="N", help="With fewer revealed scores a result has none.")] = 3,
    commit_duration: Duration = "1h",
    reveal_duration: Duration = "1h",
) -> None:
    """Say how a model's results are scored from now on. Owner only; `cairn member grant --role validator` names who."""
    from registry.chain.contract_structs import ScoreTerms
    from registry.chain.validator_scores import Scores
    from registry.cli.plan_files import duration

    found = find_model(session.reader, model)
    given = ScoreTerms(
        minimum, duration(commit_duration, "commit duration"), duration(reveal_duration, "reveal duration")
    )
    receipt = send(session, Scores(session.reader).call("setScoreTerms", found, given), "set the terms of scores")
    if receipt is not None:
        tell(session, receipt, {"model": found, "terms": given})


def _function(spec: str) -> Callable[[Mapping[str, Any]], tuple[float, Sequence[int | str | bytes]]]:
    """Return the user's function, whose errors are told as the user's."""
    from trainer.callbacks import user_callback
    from trainer.cli.tasks import load_score

    loaded = load_score(spec)

    def scored(arrays: Mapping[str, Any]) -> Any:
        with user_callback(f"task: {spec}"):
            return loaded(arrays)

    return scored


def _stepping(
    session: Session, model: ModelId, task: str, place: Path, say: Callable[[str], None]
) -> Callable[[], str]:
    from registry.roles.validator import advance

    function, client, store = _function(task), session.client, session.store
    place.mkdir(parents=True, exist_ok=True)
    return lambda: advance(client, store, place, model, function, say=say)


def _folder(session: Session, folder: Path | None) -> Path:
    return folder or session.home / "validators" / session.account.hex()


def _show(session: Session, facts: ScoreStandingFacts) -> None:
    if facts.terms is None:
        session.out.line("no terms: the model's owner sets them by `cairn validator terms`")
    else:
        seconds = f"{facts.terms.commit_duration} s to commit, {facts.terms.reveal_duration} s to reveal"
        session.out.line(f"a score needs {facts.terms.minimum} reveals; {seconds}")
    rows = [_row(each) for each in facts.results]
    session.out.table(("round", "score", "revealed", "of", "needed", "reveals until"), rows, right=("round",))


def _row(facts: ScoringFacts) -> tuple[object, ...]:
    from registry.cli.output import utc

    told = "-" if facts.score is None else f"{facts.score:.6f}"
    until = "-" if facts.reveal_deadline is None else utc(facts.reveal_deadline)
    return facts.round, told, len(facts.scores), facts.commitments, facts.minimum, until

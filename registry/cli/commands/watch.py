"""`cairn watch`: run a command or call a webhook on what happens to a model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, single
from registry.cli.finding import find_model
from registry.cli.index_file import open_index, path_of
from registry.cli.run_loops import Metrics
from registry.cli.session import Session
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.index.entries import Following
    from registry.notices.courier import Courier
    from registry.notices.notice import Notice, NoticeKind
    from registry.types import ModelId

app = single()
_KINDS = ("version", "deprecation", "conviction", "score")
_COMMAND_SECONDS, _WEBHOOK_SECONDS = 60.0, 10.0

Receivers = dict[str, "Callable[[Notice], None]"]


@command(
    app,
    "watch",
    needs=Need.CHAIN | Need.HOME,
    example="cairn watch 3fa9 --exec './pull.sh'\ncairn watch 3fa9 --webhook https://… --webhook-secret-file secret\n"
    "cairn watch 3fa9 --exec 'sh -c \"cairn verify $CAIRN_EVENT_MODEL\"' --kind version --once",
)
def watch(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")],
    run: Annotated[
        str | None, typer.Option("--exec", metavar="CMD", help="Run this on each notice; no shell unless CMD is one.")
    ] = None,
    webhook: Annotated[str | None, typer.Option("--webhook", metavar="URL", help="POST each notice here.")] = None,
    webhook_secret_file: Annotated[
        Path | None,
        typer.Option("--webhook-secret-file", metavar="FILE", help="Signs: whsec_ and base64 of 24 to 64 bytes."),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", metavar="KIND", help=f"Only these: {', '.join(_KINDS)}.")
    ] = None,
    provisional: Annotated[
        bool, typer.Option("--provisional", help="Tell of blocks that are not final too; each comes again once final.")
    ] = False,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the model's registration, not with what comes now.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="For a delivery. Default: 60 for a command, 10 for a webhook."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Deliver what is due, and end.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Folder of the cursor; default in the home folder."),
    ] = None,
    poll: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between polls of the chain.")] = 2.0,
    metrics: Metrics = None,
) -> None:
    """Run a command or call a webhook on a model's versions, deprecations, convictions and scores.

    The command gets the notice as JSON on standard input and in variables CAIRN_EVENT_ID, CAIRN_EVENT_KIND and so on;
    exit code 0 takes it. The webhook gets it with the headers of the Standard Webhooks specification; a status of 2xx
    takes it. What is not taken is retried, up to a minute apart, and nothing after it is delivered. A notice may come
    twice after a crash, under the same id. Only final blocks count, unless --provisional. Exit code 9 if --once
    delivers less than is due.
    """
    receivers = _receivers(run, webhook, webhook_secret_file, timeout)
    options = {"kinds": _kinds(kind), "provisional": provisional, "from_start": from_start}
    found = find_model(session.reader, model)
    place = folder or session.home / "watches" / found.hex()[:16]
    _watch(session, found, place, receivers, options, None if once else (poll, metrics))


def _watch(
    session: Session,
    model: ModelId,
    place: Path,
    receivers: Receivers,
    options: dict[str, object],
    loop: tuple[float, str | None] | None,
) -> None:
    """Deliver until stopped, given the seconds between polls and where to serve metrics; without, what is due."""
    from registry.cli.run_loops import alone, run_tasks, take_all_steps
    from registry.index.for_now import following_of
    from registry.roles.loop import LoopTask, take_step
    from registry.roles.monitoring import sample_chain

    following, named = following_of(session.reader), model.hex()[:10]
    with alone(place / "watch.lock"):
        _sync(session, following)
        couriers = dict(_couriers(session, following, model, place, receivers, options))
        steps = [LoopTask(f"{name} {named}", courier.step) for name, courier in couriers.items()]
        if loop is None:
            take_all_steps(session, lambda: take_step(steps), "delivering")
            return
        index = LoopTask(f"index {named}", lambda: _sync(session, following))
        who = f"watch of model {named} for {', '.join(receivers)}"
        run_tasks(
            session,
            (index, *steps),
            poll=loop[0],
            who=who,
            status=place / "status.json",
            metrics=loop[1],
            samples=lambda: sample_chain(session.reader, index=path_of(session, following)),
        )


def _receivers(run: str | None, url: str | None, secret_file: Path | None, timeout: float | None) -> Receivers:
    from registry.notices.receivers import call_webhook, parse_command, parse_webhook, run_command

    if run is None and url is None:
        raise InputError("expected --exec CMD or --webhook URL, got neither")
    if (url is None) != (secret_file is None):
        raise InputError("expected --webhook and --webhook-secret-file together, got one: each notice is signed")
    found: Receivers = {}
    if run is not None:
        words = parse_command(run)
        found["exec"] = lambda notice: run_command(words, notice, timeout or _COMMAND_SECONDS)
    if url is not None and secret_file is not None:
        hook = parse_webhook(url, secret_file)
        found["webhook"] = lambda notice: call_webhook(hook, notice, timeout or _WEBHOOK_SECONDS)
    return found


def _kinds(names: list[str] | None) -> tuple[NoticeKind, ...]:
    from registry.notices.notice import NoticeKind

    for name in names or ():
        if name not in _KINDS:
            raise InputError(f"--kind: expected one of {', '.join(_KINDS)}, got {name!r:.60}")
    return tuple(kind for kind in NoticeKind if kind.value in (names or _KINDS))


def _couriers(
    session: Session,
    following: Following,
    model: ModelId,
    place: Path,
    receivers: Receivers,
    options: dict[str, object],
) -> Iterator[tuple[str, Courier]]:
    from registry.notices.courier import Courier

    index = path_of(session, following)
    for name, deliver in receivers.items():
        cursor = place / f"{name}.json"
        yield name, Courier(index, following, model, cursor, deliver, **options)  # type: ignore[arg-type]


def _sync(session: Session, following: Following) -> str:
    """Bring the index up to date, unless another process does; there is nothing to tell of it."""
    from registry.errors import IndexInUse
    from registry.index.sync import Follower

    with contextlib.suppress(IndexInUse), open_index(session) as index:
        Follower(index, session.w3, session.reader.finality).sync()
    return ""

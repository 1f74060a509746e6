"""`cairn participant …`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.errors import InputError
from trainer.cli.command import Need, command, group
from trainer.cli.finding import find_model, find_round
from trainer.cli.session import Session

if TYPE_CHECKING:
    from registry.content.manifest import DataSetManifest
    from registry.provenance.rounds import RoundRecord
    from trainer.participant import Prepared

app = group("Train and commit an update, and publish it.")
SEND = Need.SEND | Need.STORE

ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or the beginning of it.")]
TaskText = Annotated[
    str | None,
    typer.Option("--task", metavar="PLACE:FUNCTION", help="Returns the Task: module:function or file.py:function."),
]
Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="Where updates are kept; by default in the home folder.")
]
Poll = Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Between two looks at the chain.")]


@command(
    app,
    "run",
    needs=SEND,
    example="cairn participant run 3fa9 --task hospital.py:task --account hospital-1",
)
def run(session: Session, model: ModelText, task: TaskText = None, folder: Folder = None, poll: Poll = 2.0) -> None:
    """Take part in every round: train, commit, publish, until stopped."""
    if task is None:
        raise InputError("what to train? give --task module:function or file.py:function")
    if session.dry_run:
        raise InputError("a loop has no dry run: use `cairn participant submit --dry-run`")
    from trainer.cli.looping import run_loop
    from trainer.cli.tasks import load_task

    loaded = load_task(task)
    from trainer.participant import advance

    client, store = session.client, session.store
    found = find_model(client, model)
    place = _folder(session, folder)
    run_loop(
        session,
        lambda: advance(client, store, place, found, loaded),
        poll=poll,
        who=f"participant {_who(session)} in model {found.hex()[:10]}",
    )


@command(
    app,
    "submit",
    needs=SEND,
    example=(
        "cairn participant submit 3fa9 --task hospital.py:task --account hospital-1\n"
        "cairn participant submit 3fa9 --update delta.safetensors --weight 120 --data-set 'ward 7, 2024'"
    ),
)
def submit(
    session: Session,
    model: ModelText,
    task: TaskText = None,
    update: Annotated[
        Path | None, typer.Option("--update", metavar="FILE", help="A ready-made update instead of a task.")
    ] = None,
    weight: Annotated[int | None, typer.Option(metavar="N", help="Its weight: how many examples it is of.")] = None,
    data_set: Annotated[str, typer.Option(metavar="TEXT", help="Its data; only a digest is published.")] = "",
    folder: Folder = None,
) -> None:
    """Train (or take a ready-made update), round it to the grid and commit it to the open round.

    The update itself is published once commits have closed: `cairn participant publish`.
    """
    from registry.content.manifest import digest_of
    from registry.provenance.rounds import read_round

    if (task is None) == (update is None):
        raise InputError("expected either --task or --update")
    if update is not None and weight is None:
        raise InputError("a ready-made update needs its --weight")
    from trainer.cli.tasks import need_torch

    need_torch("taking part")
    reader = session.reader
    found = find_model(reader, model)
    number = find_round(reader, found, None)
    record = read_round(reader, found, number)
    place = _folder(session, folder)
    _ask_first(session, record, place)
    if update is not None and weight is not None:
        prepared = _adopt(session, record, place, update, weight, data_set)
    else:
        prepared = _train(session, record, place, task or "")
    manifest = prepared.manifest
    facts = {
        "model": found,
        "round": number,
        "update": digest_of(manifest),
        "tensor_root": manifest.delta.tensor_root,
        "weight": manifest.weight,
        "saturated": manifest.saturated,
        "metrics": manifest.metrics,
        "file": prepared.file,
    }
    _commit(session, record, prepared, facts)


@command(app, "publish", needs=SEND, example="cairn participant publish 3fa9 --account hospital-1")
def publish(
    session: Session,
    model: ModelText,
    folder: Folder = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until commits have closed for good.")] = True,
    poll: Poll = 2.0,
) -> None:
    """Publish the committed update to the content store, once the block that closed commits is final.

    Before that somebody could copy it. No transaction is sent.
    """
    import time

    from registry.content.manifest import UpdateManifest, decode, digest_of
    from registry.provenance.rounds import commits_closed, read_round
    from trainer.cli.tasks import need_torch

    need_torch("taking part")
    from trainer.participant import Prepared, publish_update

    reader = session.reader
    found = find_model(reader, model)
    number = find_round(reader, found, None)
    place = _round_folder(_folder(session, folder), reader.round_id(found, number))
    if not (place / "update.cbor").exists():
        raise InputError(f"no update for round {number} in {place}: `cairn participant submit` first")
    prepared = Prepared(decode((place / "update.cbor").read_bytes(), UpdateManifest), place / "update.safetensors")
    digest = digest_of(prepared.manifest)
    with session.out.waiting(f"waiting until commits of round {number} have closed"):
        while not commits_closed(reader, found, number):
            if not wait:
                raise InputError(f"commits of round {number} are still open: an update published now could be copied")
            time.sleep(poll)
    if all(entry.digest != digest for entry in read_round(reader, found, number).commitments):
        raise InputError(f"the update in {place} was not committed to round {number}")
    with session.out.waiting("publishing"):
        publish_update(session.store, prepared)
        (place / "published").touch()
    delta = prepared.manifest.delta
    session.out.result(
        {"model": found, "round": number, "update": digest, "cid": delta.cid, "size": delta.size, "published": True}
    )


def _ask_first(session: Session, record: RoundRecord, folder: Path) -> None:
    """Ask the contract whether it would take a commitment, before time is spent on training.

    Raises:
        ContractError: It would not: no role, wrong phase, or committed already with what is not in folder.
    """
    from registry.chain import calls
    from registry.chain.errors import AlreadyCommitted, HookRefused
    from registry.chain.sending import simulate
    from registry.types import Digest, Root

    some = b"\x01" * 32
    call = calls.commit_update(
        record.contract, record.model_id, record.number, Digest(some), Root(some), 1, participant=session.account
    )
    try:
        simulate(session.w3, call, session.account)
    except AlreadyCommitted:
        if not (_round_folder(folder, record.round_id) / "update.cbor").exists():
            raise  # what is there is sent once, whoever stopped in between
    except HookRefused:
        return  # it may want another update than this made-up one


def _train(session: Session, record: RoundRecord, folder: Path, task: str) -> Prepared:
    from trainer.cli.tasks import load_task
    from trainer.participant import prepare_update

    loaded = load_task(task)
    with session.out.waiting(f"training for round {record.number}"):
        return prepare_update(session.store, folder, record, loaded, session.account)


def _adopt(session: Session, record: RoundRecord, folder: Path, update: Path, weight: int, data_set: str) -> Prepared:
    from trainer.cli.deltas import adopt_update
    from trainer.cli.files import size_of

    size_of(update)
    place = _round_folder(folder, record.round_id)
    return adopt_update(
        session.store,
        place,
        record,
        update,
        weight=weight,
        data_set=_data_set(data_set, weight),
        participant=session.account,
    )


def _commit(session: Session, record: RoundRecord, prepared: Prepared, facts: dict[str, object]) -> None:
    from registry.chain import calls
    from registry.content.manifest import digest_of
    from registry.types import Root
    from trainer.cli.sending import quote_of, show_quote
    from trainer.participant import commit_update

    if session.dry_run:
        manifest = prepared.manifest
        call = calls.commit_update(
            record.contract,
            record.model_id,
            record.number,
            digest_of(manifest),
            Root(manifest.delta.tensor_root),
            manifest.weight,
            participant=session.account,
        )
        show_quote(session, quote_of(session, call), f"commit to round {record.number}")
        return
    with session.out.waiting(f"committing to round {record.number}, until that is final; stopping here is safe"):
        commit_update(session.client, record, prepared)
    session.out.result({**facts, "committed": True})
    session.out.note("Publish it once commits have closed: cairn participant publish MODEL")


def _data_set(text: str, weight: int) -> DataSetManifest:
    from registry.content.manifest import DataSetManifest

    return DataSetManifest(name=text, description="", licence="", source="", records=weight, sha256=None)


def _folder(session: Session, folder: Path | None) -> Path:
    return folder if folder is not None else session.home / "participants" / session.account.hex()


def _round_folder(folder: Path, round_id: bytes) -> Path:
    return folder / f"round-{round_id.hex()}"


def _who(session: Session) -> str:
    from registry.chain.keys import to_checksum

    return to_checksum(session.account)

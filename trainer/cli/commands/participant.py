"""`cairn participant …`: train, commit and publish updates."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, group
from registry.cli.finding import find_model, find_round
from registry.cli.local_files import size_of
from registry.cli.session import Session
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.chain.sending import SentReceipt
    from registry.cli.signed import SignedCommitment
    from registry.content.manifest import Code, DataSetManifest
    from registry.rounds.onchain import RoundRecord
    from registry.types import ModelId
    from trainer.deltas import GridUse
    from trainer.participant import OnGrid, Task
    from trainer.updates import PreparedUpdate

app = group("Train and commit an update, and publish it.")
SEND = Need.SEND | Need.STORE

ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")]
TaskText = Annotated[
    str | None,
    typer.Option(
        "--task", metavar="PLACE:FUNCTION", help="Function that returns the Task: module:function or file.py:function."
    ),
]
UpdateFile = Annotated[
    Path | None,
    typer.Option("--update", metavar="FILE", help="Instead of a task an update on the grid, of `cairn update make`."),
]
WeightNumber = Annotated[
    int | None, typer.Option("--weight", metavar="N", help="The update's weight: its number of examples.")
]
StepsNumber = Annotated[int | None, typer.Option("--steps", metavar="N", help="Training steps behind the update.")]
DataSetText = Annotated[
    str,
    typer.Option("--data-set", metavar="TEXT|@FILE", help="Data set, or its manifest; published as a salted digest."),
]
CodeText = Annotated[
    str | None,
    typer.Option(
        "--code", metavar="NAME@VERSION", help="What trained it: a package and its version, or repository and commit."
    ),
]
MetricTexts = Annotated[
    list[str] | None, typer.Option("--metrics", metavar="NAME=VALUE", help="Metric of an --update; repeatable.")
]
HookData = Annotated[
    list[str] | None,
    typer.Option("--hook-data", metavar="HEX|FILE", help="Data for a hook of the plan; one per hook, in order."),
]
Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="Folder for updates; by default in the home folder.")
]
Poll = Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between polls of the chain.")]


@command(
    app,
    "run",
    needs=Need.SIGN | Need.STORE,
    example="cairn participant run 3fa9 --task hospital.py:task --account hospital-1",
)
def run(
    session: Session,
    model: ModelText,
    task: TaskText = None,
    code: CodeText = None,
    folder: Folder = None,
    poll: Poll = 2.0,
) -> None:
    """Take part in every round: train, commit, publish, until stopped."""
    if task is None:
        raise InputError("expected --task module:function or file.py:function, got none")
    from registry.cli.run_loops import alone, run_loop, say
    from registry.cli.turns import Turns
    from registry.types import Role
    from trainer.cli.tasks import load_task, named

    loaded, said = _with_code(load_task(task), code), named(task)
    from trainer.participant import Elsewhere, advance

    client, store, told, tell = session.client, session.store, _warn_of(session), _once(session)
    found = find_model(client, model)
    place = _folder(session, folder)
    turns, elsewhere = Turns(client, [found], Role.PARTICIPANT, client.account), Elsewhere(client, place, found)
    line = partial(say, session)

    def step() -> str:
        if turned := turns.step():
            return turned
        if text := elsewhere.new():
            tell(text)
        return advance(client, store, place, found, loaded, on_grid=told, said=said, say=line, tell=tell)

    with alone(place / f"{found.hex()[:16]}.lock"):
        run_loop(
            session,
            step,
            poll=poll,
            who=f"participant {_who(session)} in model {found.hex()[:10]}",
        )


@command(
    app,
    "submit",
    needs=SEND,
    example=(
        "cairn participant submit 3fa9 --task hospital.py:task --account hospital-1\n"
        "cairn participant submit 3fa9 --update delta.safetensors --weight 120 --steps 40 --data-set 'ward 7'"
    ),
)
def submit(
    session: Session,
    model: ModelText,
    task: TaskText = None,
    update: UpdateFile = None,
    weight: WeightNumber = None,
    steps: StepsNumber = None,
    data_set: DataSetText = "",
    code: CodeText = None,
    metrics: MetricTexts = None,
    hook_data: HookData = None,
    folder: Folder = None,
) -> None:
    """Train and round the update to the grid, or take one made on it (`cairn update make`); commit it to the round.

    `cairn participant publish` publishes the update after commits close. Provenance shows the code that the task or
    --code states, else none.
    """
    source = UpdateSource(task, update, weight, steps, data_set, code, metrics or (), _hook_data(hook_data))
    with _scratch(session) as scratch:
        record, prepared, proof = _prepare(session, model, source, folder, scratch)
        if session.dry_run:
            _quote(session, record, prepared, proof)
            return
    from trainer.updates import commit_update

    with session.out.waiting(f"committing to round {record.number}, until that is final; stopping here is safe"):
        commit_update(session.client, record, prepared, hook_data=proof)
    session.out.result({**_facts(prepared), "committed": True})
    session.out.note("Publish it after commits close: cairn participant publish MODEL")


@command(
    app,
    "sign",
    needs=Need.SIGN | Need.STORE,
    example="cairn participant sign 3fa9 --task hospital.py:task --account hospital-1 -o commitment.json",
)
def sign(
    session: Session,
    model: ModelText,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="File for the signed commitment.")],
    task: TaskText = None,
    update: UpdateFile = None,
    weight: WeightNumber = None,
    steps: StepsNumber = None,
    data_set: DataSetText = "",
    code: CodeText = None,
    metrics: MetricTexts = None,
    hook_data: HookData = None,
    valid_for: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Validity of the signature; default until commits close.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Like submit, but sign the commitment instead of sending it: anyone may relay it and pay its gas.

    The signature is bound to this participant, round, model, contract and chain, works once, and expires. Send it with
    `cairn participant relay`.
    """
    from registry.chain.contract_structs import SignedUpdate
    from registry.cli.signed import SignedCommitment, write_signed
    from trainer.updates import commitment_fields, mark_sent

    source = UpdateSource(task, update, weight, steps, data_set, code, metrics or (), _hook_data(hook_data))
    record, prepared, proof = _prepare(session, model, source, folder)
    until = _valid_until(session, record, valid_for)
    model_id, number, digest, root, examples, taken = commitment_fields(prepared.manifest)
    said = SignedUpdate(session.account, digest, root, examples, taken, until, proof)
    mark_sent(prepared)
    signed = session.reader.sign_commitment(session.signer, model_id, number, said)
    write_signed(SignedCommitment.of(signed, record.chain_id, record.contract, model_id, number), out)
    session.out.result({**_facts(prepared), "valid_until": until, "signed": out})
    session.out.note(f"Have it sent by anyone: cairn participant relay {out}")


def _valid_until(session: Session, record: RoundRecord, valid_for: str | None) -> int:
    """Return the last second of a signature's validity, in chain time; by default that of the commit phase."""
    from registry.cli.plan_files import duration
    from registry.ethereum.node import chain_time

    if valid_for is None:
        return session.reader.round(record.model_id, record.number).commit_deadline - 1
    return chain_time(session.w3) + duration(valid_for, "valid for")


@command(
    app,
    "relay",
    needs=Need.SEND,
    example=(
        "cairn participant relay commitment.json --account sponsor\n"
        "cairn participant relay ward-7.json ward-8.json --account sponsor"
    ),
)
def relay(
    session: Session,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Signed commitments, of `cairn participant sign`.")
    ],
) -> None:
    """Relay commitments that participants signed; the sender pays the gas and needs no role.

    Several commitments to one round share a transaction; those that the contract refuses are skipped and reported.
    """
    from registry.chain import calls
    from registry.cli.send import send
    from registry.ethereum.keys import to_checksum

    signed = [_signed_here(session, file) for file in files]
    contract, model, number = signed[0].contract, signed[0].model, signed[0].number
    for file, each in zip(files, signed, strict=True):
        if (each.model, each.number) != (model, number):
            raise InputError(f"{file}: expected a commitment to the same round as {files[0]}, got another's")
    facts = {"model": model, "round": number}
    if len(signed) > 1:
        call = calls.commit_updates_for(contract, model, number, [each.update for each in signed])
        receipt = send(session, call, f"commit to round {number} for {len(signed)} participants")
        if receipt is not None:
            session.out.result({**facts, **_relayed(receipt, signed), "transaction": receipt.tx_hash})
        return
    participant = to_checksum(signed[0].participant)
    call = calls.commit_update_for(contract, model, number, signed[0].update)
    receipt = send(session, call, f"commit to round {number} for {participant}")
    if receipt is not None:
        told = {"participant": participant, "update": signed[0].digest, "committed": True}
        session.out.result({**facts, **told, "transaction": receipt.tx_hash})


def _signed_here(session: Session, file: Path) -> SignedCommitment:
    """Read a signed commitment of the contract that the settings name.

    Raises:
        WrongChain: The commitment is for another chain or contract.
    """
    from registry.cli.signed import read_signed
    from registry.errors import WrongChain
    from registry.ethereum.keys import to_checksum

    signed = read_signed(file)
    here = (session.chain_id, session.contract()[0])
    if (signed.chain_id, signed.contract) != here:
        raise WrongChain(
            f"{file}: signed for chain {signed.chain_id} and contract {to_checksum(signed.contract)}, "
            f"these settings name chain {here[0]} and {to_checksum(here[1])}"
        )
    return signed


def _relayed(receipt: SentReceipt, signed: Sequence[SignedCommitment]) -> dict[str, object]:
    """Return which commitments the contract accepted, and why it skipped the others."""
    from registry.chain.contract_events import CommitmentSkipped, UpdateCommitted
    from registry.chain.contracts import error_of
    from registry.ethereum.keys import to_checksum

    made = {event.digest for event in receipt.events if isinstance(event, UpdateCommitted)}
    skipped = []
    for event in receipt.events:
        if isinstance(event, CommitmentSkipped):
            known = error_of(event.reason)
            reason = known[0] if known else f"0x{event.reason.hex()}"
            skipped.append({"participant": to_checksum(event.participant), "reason": reason})
    committed = [
        {"participant": to_checksum(each.participant), "update": each.digest} for each in signed if each.digest in made
    ]
    return {"committed": committed, "skipped": skipped}


@command(app, "publish", needs=SEND, example="cairn participant publish 3fa9 --account hospital-1")
def publish(
    session: Session,
    model: ModelText,
    folder: Folder = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the close of commits is final.")] = True,
    poll: Poll = 2.0,
) -> None:
    """Publish the committed update to the content store, once the block that closed commits is final.

    Earlier, another participant could copy it. Sends no transaction.
    """
    import time

    from registry.content.manifest import digest_of
    from registry.rounds.onchain import commits_closed, read_round
    from trainer.updates import is_published, place_of, prepared_update, publish_update

    reader = session.reader
    found = find_model(reader, model)
    number = find_round(reader, found, None)
    place = place_of(_folder(session, folder), reader.round_id(found, number))
    prepared = prepared_update(place)
    if prepared is None:
        raise InputError(f"no update for round {number} in {place}: `cairn participant submit` first")
    digest = digest_of(prepared.manifest)
    with session.out.waiting(f"waiting until commits of round {number} have closed"):
        while not commits_closed(reader, found, number):
            if not wait:
                raise InputError(f"commits of round {number} are still open: an update published now could be copied")
            time.sleep(poll)
    if all(entry.digest != digest for entry in read_round(reader, found, number).commitments):
        raise InputError(f"the update in {place} was not committed to round {number}")
    if not is_published(place):
        _require_in_time(session, found, number)
    with session.out.waiting("publishing"):
        publish_update(session.store, prepared)
    delta = prepared.manifest.delta
    session.out.result(
        {"model": found, "round": number, "update": digest, "cid": delta.cid, "size": delta.size, "published": True}
    )


def _require_in_time(session: Session, model: ModelId, number: int) -> None:
    """Warn if publishing is late, while a result may still take the update in.

    Raises:
        InputError: It cannot any more.
    """
    from registry.cli.output import utc
    from registry.types import Phase

    phase, state = session.reader.phase(model, number), session.reader.round(model, number)
    late = f"too late: updates of round {number} were to be published until {utc(state.publish_deadline)}"
    if phase == Phase.AGGREGATE:
        session.out.warn(f"{late}; aggregators that looked already leave this one out of their results")
    elif phase == Phase.CANCELLED:
        raise InputError(f"too late: round {number} ended without a result: submit an update to the next round")
    elif phase in (Phase.CHALLENGE, Phase.FINAL):
        raise InputError(
            f"{late}, and the round has its result, which takes in no update published since: submit one to the next "
            "round"
        )


@command(
    app,
    "data-set",
    needs=Need.SIGN,
    example="cairn participant data-set 3fa9 --account hospital-1 -o ward-7.opening",
)
def data_set(
    session: Session,
    model: ModelText,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="File for the opening.")],
    number: Annotated[int | None, typer.Option("--round", metavar="N", help="The round; default the last.")] = None,
    folder: Folder = None,
) -> None:
    """Write the opening of an update's salted data-set digest, to disclose the data set to chosen readers.

    They read it with `cairn provenance data-set FILE`. The opening is the same in every round on the same data.
    """
    from registry.durable import write_whole
    from registry.rounds.data_sets import open_data_set
    from trainer.updates import place_of

    found = find_model(session.reader, model)
    at = find_round(session.reader, found, number)
    file = place_of(_folder(session, folder), session.reader.round_id(found, at)) / "dataset.opening"
    size_of(file)
    opening = file.read_bytes()
    digest, told = open_data_set(opening)
    write_whole(out, opening)
    session.out.result({"model": found, "round": at, "digest": digest, "name": told.name, "opening": out})


@dataclass(frozen=True, slots=True)
class UpdateSource:
    """The source of an update as flags give it: a task, or a file and what is said of it."""

    task: str | None
    update: Path | None
    weight: int | None
    steps: int | None
    data_set: str
    code: str | None
    metrics: Sequence[str]
    hook_data: tuple[bytes, ...] | None


@contextmanager
def _scratch(session: Session) -> Iterator[Path | None]:
    """Provide a folder for the update of a dry run, which leaves nothing; None for any other."""
    if not session.dry_run:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="cairn-dry-run-") as folder:
        yield Path(folder)


def _prepare(
    session: Session, model: str, source: UpdateSource, folder: Path | None, scratch: Path | None = None
) -> tuple[RoundRecord, PreparedUpdate, tuple[bytes, ...]]:
    """Prepare the open round's update after a dry run of its commitment; return the hooks' data too."""
    from registry.rounds.onchain import read_round
    from trainer.cli.tasks import load_task, named, need_torch

    if (source.task is None) == (source.update is None):
        raise InputError("expected either --task or --update")
    if source.update is not None and (source.weight is None or source.steps is None):
        raise InputError("a ready-made update needs its --weight and its --steps")
    if source.task is not None and source.metrics:
        raise InputError("expected --update with --metrics: a task returns its metrics")
    if source.task is not None:
        need_torch("training")
    reader = session.reader
    found = find_model(reader, model)
    record = read_round(reader, found, find_round(reader, found, None))
    kept = _folder(session, folder)
    _ask_first(session, record, kept, source.hook_data or ())
    if source.task is None:
        return record, _adopted(session, record, source, scratch or kept), source.hook_data or ()
    task = _with_code(load_task(source.task), source.code)
    from trainer.participant import prepare_update

    proof = task.hook_data if source.hook_data is None else source.hook_data
    with session.out.waiting(f"training for round {record.number}"):
        made = prepare_update(
            session.store,
            kept,
            record,
            task,
            session.account,
            on_grid=_warn_of(session),
            said=named(source.task),
            committed=reader.member(found, session.account).last_round,
            scratch=scratch,
            tell=session.out.warn,
        )
    if source.code is not None and made.manifest.code != task.code:
        raise InputError(f"{made.file.parent} holds another update for this round: it does not state --code")
    return record, made, proof


def _adopted(session: Session, record: RoundRecord, source: UpdateSource, folder: Path) -> PreparedUpdate:
    """Take a ready-made update, and warn if it is all zeros."""
    from trainer.updates import adopt_update, moves_nothing, place_of

    assert source.update is not None and source.weight is not None and source.steps is not None
    size_of(source.update)
    made = adopt_update(
        session.store,
        place_of(folder, record.round_id),
        record,
        source.update,
        session.account,
        weight=source.weight,
        steps=source.steps,
        data_set=_data_set(source.data_set, source.weight),
        metrics=_metrics(source.metrics),
        code=_code(source.code),
    )
    if moves_nothing(made):
        session.out.warn(f"{source.update}: all zeros: it changes nothing, and its weight dilutes the others' updates")
    return made


def _data_set(text: str, weight: int) -> DataSetManifest:
    """Return the data set of a flag: of a manifest's file after an @, or one with that name alone."""
    from registry.content.manifest import DataSetManifest
    from registry.rounds.data_sets import read_data_set

    if text.startswith("@"):
        return read_data_set(Path(text[1:]))
    return DataSetManifest(text, "", "", "", weight, None)


def _with_code(task: Task, text: str | None) -> Task:
    """Return a task that states the code that a flag names, if any.

    Raises:
        InputError: The task states other code.
    """
    from dataclasses import replace

    if text is None:
        return task
    code = _code(text)
    if task.code not in (None, code):
        raise InputError(f"--code: expected none, since the task states {task.code}, got {text!r}")
    return replace(task, code=code)


def _warn_of(session: Session) -> OnGrid:
    """Return what warns of tensors whose changes the grid loses, and of an update of zeros."""
    from trainer.deltas import lossy

    def warn(uses: Sequence[GridUse]) -> None:
        for use in filter(lossy, uses):
            session.out.warn(str(use))
        if all(use.changed == use.vanished for use in uses):
            why = "no change survives the grid" if any(use.changed for use in uses) else "training changed nothing"
            session.out.warn(f"{why}: the update is all zeros, and its weight dilutes the others' updates")

    return warn


def _once(session: Session) -> Callable[[str], None]:
    """Return what warns of each text once."""
    told: set[str] = set()

    def tell(text: str) -> None:
        if text not in told:
            told.add(text)
            session.out.warn(text)

    return tell


def _code(text: str | None) -> Code:
    """Return the code that an update was made by, as a flag names it.

    Raises:
        InputError: It is not a name and a version.
    """
    from registry.content.manifest import Code
    from trainer.updates import ELSEWHERE

    if text is None:
        return ELSEWHERE
    name, at, version = text.rpartition("@")
    if not at or not name or not version:
        raise InputError(f"code: expected NAME@VERSION, such as mytrainer@1.2 or REPOSITORY@COMMIT, got {text!r}")
    return Code(name, version)


def _metrics(texts: Sequence[str]) -> dict[str, float]:
    """Return metrics as flags give them.

    Raises:
        InputError: One is not a name and a finite number, or a name is there twice.
    """
    import math

    metrics: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            number = float(value) + 0.0  # -0.0 becomes +0.0
        except ValueError:
            number = math.nan
        if not equals or not name or not math.isfinite(number) or name in metrics:
            raise InputError(
                f"metrics: expected NAME=VALUE, each name once and the value a finite number, got {text!r}"
            )
        metrics[name] = number
    return metrics


def _ask_first(session: Session, record: RoundRecord, folder: Path, hook_data: Sequence[bytes]) -> None:
    """Simulate the commitment before spending time on training.

    Raises:
        ContractError: The contract would refuse it: no role, wrong phase, or an update not in folder is committed.
    """
    from registry.chain import calls
    from registry.chain.contract_errors import AlreadyCommitted, HookRefused
    from registry.chain.sending import simulate
    from registry.types import Digest, Root
    from trainer.updates import place_of, prepared_update

    some = b"\x01" * 32
    fields = (record.model_id, record.number, Digest(some), Root(some), 1, 1)
    call = calls.commit_update(record.contract, *fields, participant=session.account, hook_data=hook_data)
    try:
        simulate(session.w3, call, session.account)
    except AlreadyCommitted:
        if prepared_update(place_of(folder, record.round_id)) is None:
            raise  # an update in folder is sent exactly once, even across interruptions
    except HookRefused:
        return  # the hook may accept a real update but not this placeholder


def _quote(session: Session, record: RoundRecord, prepared: PreparedUpdate, hook_data: Sequence[bytes]) -> None:
    from registry.chain import calls
    from registry.cli.send import quote_of, show_quote
    from trainer.updates import commitment_fields

    fields = commitment_fields(prepared.manifest)
    call = calls.commit_update(record.contract, *fields, participant=session.account, hook_data=hook_data)
    show_quote(session, quote_of(session, call), f"commit to round {record.number}")


def _facts(prepared: PreparedUpdate) -> dict[str, object]:
    from registry.facts.member_facts import update_facts
    from registry.facts.plain import plain

    return {**plain(update_facts(prepared.manifest)), "file": prepared.file}


def _hook_data(texts: Sequence[str] | None) -> tuple[bytes, ...] | None:
    """Read hook data; None if none is given, so that the task may provide it."""
    return tuple(map(_bytes_in, texts)) if texts else None


def _bytes_in(text: str) -> bytes:
    """Read bytes from hex, or from a file of hex.

    Raises:
        InputError: The text is neither.
    """
    if not text.startswith("0x"):
        path = Path(text)
        size_of(path)
        text = path.read_text(errors="replace").strip()
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise InputError(f"hook data: expected 0x and hex, or a file of it, got {text[:80]!r}") from None


def _folder(session: Session, folder: Path | None) -> Path:
    return folder if folder is not None else session.home / "participants" / session.account.hex()


def _who(session: Session) -> str:
    from registry.ethereum.keys import to_checksum

    return to_checksum(session.account)

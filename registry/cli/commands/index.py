"""`cairn index …`: sync, check, repair, rebuild and dump the index of events."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, group
from registry.cli.index_file import open_index, path_of, sync_index
from registry.cli.prefixes import is_hex
from registry.cli.run_loops import Metrics
from registry.cli.session import Session
from registry.durable import whole_file
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.ethereum.blocks import Checkpoint
    from registry.index.checking import RangeCheck
    from registry.index.database import Index
    from registry.index.sync import Synced

app = group("Index the contracts' events in a SQLite file. Needs no account.")
NEEDS = Need.CHAIN | Need.HOME


Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Verify logs against receipts and headers, which detects a missing, invented or edited log.",
    ),
]
Known = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="NUMBER:HASH",
        help="With --verify: a trusted block. Up to it the node is not trusted for anything.",
    ),
]
Second = Annotated[
    str | None,
    typer.Option("--second-rpc", metavar="URL", help="With --verify: an independent node, to compare blocks with."),
]


@command(
    app,
    "sync",
    needs=NEEDS,
    example="cairn index sync\ncairn index sync --follow\ncairn index sync --verify --second-rpc https://…",
)
def sync(
    session: Session,
    follow: Annotated[bool, typer.Option("--follow", help="Keep syncing until stopped.")] = False,
    poll: Annotated[float, typer.Option(metavar="SECONDS", help="Seconds between polls for new blocks.")] = 2.0,
    verify: Verify = False,
    checkpoint: Known = None,
    second_rpc: Second = None,
    metrics: Metrics = None,
) -> None:
    """Index new blocks, and roll back blocks that a reorg removed. May be stopped at any time.

    Without --verify the node is trusted. With --verify it is trusted only for the last block: to hide a log it would
    have to forge that header and all later ones. --checkpoint removes that trust up to a block; with --second-rpc two
    nodes would have to tell the same lie. Blocks read without --verify, by this or another command, are discarded and
    read again: `cairn index status` shows the last verified block. Exit code 7 if anything disagrees; nothing of that
    range is written.
    """
    check = _check(session, verify, checkpoint, second_rpc)
    if metrics is not None and not follow:
        raise InputError("expected --follow with --metrics: without it the command ends")
    with open_index(session) as index:
        if not follow:
            session.out.result(_facts(index, sync_index(session, index, check)))
            return
        from registry.cli.run_loops import run_loop
        from registry.index.sync import Follower
        from registry.roles.monitoring import sample_chain

        follower = Follower(index, session.w3, session.reader.finality, check=check)
        run_loop(
            session,
            lambda: _said(follower.sync()),
            poll=poll,
            who=f"indexing into {index.path}",
            metrics=metrics,
            samples=lambda: sample_chain(session.reader, index=index.path),
        )


@command(app, "status", needs=NEEDS, example="cairn index status --json")
def status(session: Session) -> None:
    """Show the index's last block, its last verified block, and what it contains."""
    from registry.index import queries
    from registry.index.database import read_index
    from registry.index.for_now import following_of

    path = path_of(session, following_of(session.reader))
    with read_index(path) as db:
        head, final = queries.head_block(db), queries.final_block(db)
        facts: dict[str, object] = {
            "file": path,
            "head": head.number if head else None,
            "final": final.number if final else None,
            "checked": queries.checked_block(db),
            "node": session.reader.latest_block(),
        }
        counts = queries.count_facts(db)
    session.out.result({**facts, "facts": counts}, lambda: session.out.fields({**facts, **counts}))


@command(app, "repair", needs=NEEDS, example="cairn index repair\ncairn index repair --verify")
def repair(session: Session, verify: Verify = False, checkpoint: Known = None, second_rpc: Second = None) -> None:
    """Roll back finalized blocks that the node's chain does not have, and sync from there.

    For when `cairn index sync` reports that finality was broken. The node is trusted for what to roll back, so make
    sure that it is on the right chain. Takes the options of `cairn index sync`.
    """
    from registry.index.sync import Follower

    check = _check(session, verify, checkpoint, second_rpc)
    with open_index(session) as index:
        kept = Follower(index, session.w3, session.reader.finality).repair()
        session.out.note("Nothing was kept." if kept is None else f"Kept the blocks up to {kept}.")
        session.out.result({"kept": kept, **_facts(index, sync_index(session, index, check))})


@command(app, "rebuild", needs=NEEDS, example="cairn index rebuild\ncairn index rebuild --verify")
def rebuild(session: Session, verify: Verify = False, checkpoint: Known = None, second_rpc: Second = None) -> None:
    """Delete the index and sync from the start. Takes the options of `cairn index sync`."""
    from registry.index.database import remove_index
    from registry.index.for_now import following_of

    check = _check(session, verify, checkpoint, second_rpc)
    remove_index(path_of(session, following_of(session.reader)))
    with open_index(session) as index:
        session.out.result(_facts(index, sync_index(session, index, check)))


@command(app, "dump", needs=NEEDS, example="cairn index dump -o index.txt\ncairn index dump --json")
def dump(
    session: Session,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Output file; default standard output.")
    ] = None,
) -> None:
    """Dump the index as text, equal for two indexes of the same chain. With --json only its sha256."""
    import hashlib

    from registry.index import queries
    from registry.index.database import read_index
    from registry.index.for_now import following_of

    hashed, lines = hashlib.sha256(), 0
    path = path_of(session, following_of(session.reader))
    with read_index(path) as db, _target(session, output) as write:
        for line in queries.dump(db):
            hashed.update(f"{line}\n".encode())
            lines += 1
            write(f"{line}\n")
    facts = {"file": path, "lines": lines, "sha256": hashed.digest()}
    session.out.result(facts, lambda: session.out.note(f"sha256 {hashed.hexdigest()}"))


@contextmanager
def _target(session: Session, output: Path | None) -> Iterator[Callable[[str], object]]:
    """Return the destination of lines: a file, standard output, or nowhere under --json."""
    if output is not None:
        with whole_file(output) as partial, partial.open("w") as file:
            yield file.write
    else:
        yield (lambda text: None) if session.out.as_json else sys.stdout.write


def _check(session: Session, verify: bool, checkpoint: str | None, second_rpc: str | None) -> RangeCheck | None:
    if not verify:
        if checkpoint is not None or second_rpc is not None:
            raise InputError("expected --verify with --checkpoint or --second-rpc: without it nothing is compared")
        return None
    from registry.ethereum.node import connect
    from registry.index.checking import RangeCheck
    from registry.index.for_now import following_of

    known = None if checkpoint is None else _checkpoint(checkpoint)
    second = None if second_rpc is None else connect(second_rpc)
    return RangeCheck(session.w3, following_of(session.reader).contracts, checkpoint=known, second=second)


def _checkpoint(text: str) -> Checkpoint:
    from registry.ethereum.blocks import Checkpoint

    number, _, digest = text.partition(":")
    digits = digest.removeprefix("0x")
    if not (number.isascii() and number.isdigit() and is_hex(digits) and len(digits) == 64):
        raise InputError(f"--checkpoint: expected NUMBER:HASH, a block's number and its hash of 32 bytes, got {text!r}")
    return Checkpoint(int(number), bytes.fromhex(digits))


def _facts(index: Index, done: Synced) -> dict[str, object]:
    return {
        "file": index.path,
        "head": done.head,
        "final": done.final,
        "checked": index.checked,
        "added": done.logs,
        "undone": done.undone,
    }


def _said(done: Synced) -> str:
    """Describe what a sync did; empty if it found no events of ours."""
    undone = f"rolled back {done.undone} blocks" if done.undone else ""
    added = f"added {done.logs} events up to block {done.head}" if done.logs else ""
    return ", ".join(filter(None, (undone, added)))

"""`cairn explorer`: serve models, rounds and versions as pages."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli.command import Need, command, single
from registry.cli.index_file import open_index, path_of, sync_index
from registry.cli.run_loops import Metrics
from registry.cli.session import Session
from registry.errors import IndexUnusable, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.explorer.proving import Prover
    from registry.explorer.reading import Shelf
    from registry.explorer.verifying import Verifier
    from registry.roles.monitoring import Sample

app = single()
NEEDS = Need.CHAIN | Need.HOME | Need.STORE
_PACKAGES = ("jinja2", "starlette", "uvicorn")


@command(
    app,
    "explorer",
    needs=NEEDS,
    example="cairn explorer\ncairn explorer --listen 127.0.0.1:0 --store kubo\ncairn explorer demo-out/explorer",
)
def explorer(
    session: Session,
    snapshot: Annotated[
        Path | None, typer.Argument(metavar="SNAPSHOT", help="Show this folder of --save; ask no chain and no store.")
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve; port 0 takes a free one.")
    ] = "127.0.0.1:8420",
    cors: Annotated[
        str | None, typer.Option(metavar="ORIGIN", help="Let scripts of this origin read the JSON; * for any.")
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option("--host", metavar="NAME", help="Answer under this name too, as of a proxy.")
    ] = None,
    poll: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between polls for new blocks.")
    ] = 2.0,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Let visitors have the node asked, for deep verifications, bundles and inclusion proofs, one of each "
            "at a time; by default on a loopback address alone.",
        ),
    ] = None,
    metrics: Metrics = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write index and manifests to this folder, and end.")
    ] = None,
) -> None:
    """Serve models, rounds, versions and who took part as pages, read-only, until stopped. Needs the extra `explorer`.

    The pages read the index, which this keeps in step with the chain, and the store; no request reaches a node but
    those that --verify is about. Every page has a JSON twin at its address with .json; /openapi.json describes them.
    Serves whoever can reach the address; on a loopback address only under this machine's own names and those of --host.
    """
    if save is not None:
        _save(session, snapshot, save)
        return
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the explorer needs {', '.join(missing)}: pip install 'cairn-registry[explorer]', or in Cairn's checkout "
            "pip install -e '.[explorer]'"
        )
    origin = _origin(cors)
    where = _address(listen)
    if snapshot is not None and verify:
        raise InputError("--verify: expected a chain and a store to verify against, got a snapshot, which has no files")
    shelf, refreshed = _live(session) if snapshot is None else _saved(snapshot)
    refreshed()

    told = {"cors": origin, "names": [name.lower() for name in host or ()]}
    _serve(session, shelf, refreshed, where, told, poll=poll, verify=verify, metrics=metrics, live=snapshot is None)


def _serve(
    session: Session,
    shelf: Shelf,
    refreshed: Callable[[], str],
    where: tuple[str, int],
    told: dict[str, Any],
    *,
    poll: float,
    verify: bool | None,
    metrics: str | None,
    live: bool,
) -> None:
    from registry.cli.run_loops import run_loop
    from registry.explorer.serving import listening, serve

    listener, stop = listening(*where), threading.Event()
    there = listener.getsockname()
    if live and offered(there[0], verify):
        shelf = replace(shelf, verifier=_verifier(session), prover=_prover(session))
    url = f"http://{f'[{there[0]}]' if ':' in there[0] else there[0]}:{there[1]}/"
    session.out.result({"url": url}, lambda: session.out.line(url))
    serving = threading.Thread(target=serve, args=(shelf, listener), kwargs={**told, "stop": stop}, name="explorer")
    serving.start()
    try:
        read = partial(_samples, session, shelf, live=live)
        run_loop(session, refreshed, poll=poll, who=f"serving {url}", metrics=metrics, samples=read)
    finally:
        stop.set()
        if shelf.verifier is not None:
            shelf.verifier.close()
        serving.join()
        if shelf.prover is not None:
            shelf.prover.close()


def _samples(session: Session, shelf: Shelf, *, live: bool) -> tuple[Sample, ...]:
    from registry.explorer.traffic import sample_explorer
    from registry.roles.monitoring import sample_chain, sample_index

    index, behind = shelf.index, shelf.present.told.behind
    if behind:
        raise IndexUnusable(f"the index is behind the chain: {behind}")
    return (*(sample_chain(session.reader, index=index) if live else sample_index(index)), *sample_explorer(shelf))


def _save(session: Session, snapshot: Path | None, folder: Path) -> None:
    from registry.explorer.snapshot import save_snapshot

    if snapshot is not None:
        raise InputError("expected a SNAPSHOT to show or --save to write one, got both")
    save_snapshot(session.reader, session.store, folder)
    session.out.result({"snapshot": folder})


def _saved(folder: Path) -> tuple[Shelf, Callable[[], str]]:
    from registry.explorer.snapshot import open_snapshot

    return open_snapshot(folder), lambda: ""


def _live(session: Session) -> tuple[Shelf, Callable[[], str]]:
    """Return the shelf of the configured contract's index and store, and what brings it up to date."""
    from registry.explorer.reading import Present, Shelf
    from registry.explorer.serving import Keeper
    from registry.index.for_now import following_of

    shelf = Shelf(
        path_of(session, following_of(session.reader)), session.home / "catalogue.sqlite", session.store, Present()
    )

    def sync() -> None:
        with open_index(session) as index:
            sync_index(session, index)

    return shelf, Keeper(shelf, session.w3, sync).refresh


def offered(address: str, verify: bool | None) -> bool:
    """Return whether visitors of an address may start verifications: as told, or else on loopback alone."""
    return ip_address(address).is_loopback if verify is None else verify


def _verifier(session: Session) -> Verifier:
    from registry.explorer.verifying import Verifier
    from registry.verification.cache import VerificationCache

    return Verifier(session.reader, session.store, cache=VerificationCache(session.home / "verified"))


def _prover(session: Session) -> Prover:
    from registry.explorer.proving import Prover

    return Prover(session.reader, session.store)


def _origin(text: str | None) -> str | None:
    scheme, found, host = (text or "").partition("://")
    if text in (None, "*") or (scheme in ("http", "https") and found and host and not set(host) & set(" /,*?#\r\n")):
        return text
    raise InputError(f"--cors: expected an origin such as https://example.org, or *, got {text!r:.100}")


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and int(port[:6]) < 1 << 16 and len(port) < 6):
        raise InputError(f"--listen: expected HOST:PORT such as 127.0.0.1:8420, got {text!r:.100}")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)

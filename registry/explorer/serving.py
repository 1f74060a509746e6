"""Serve the explorer over HTTP, and keep the index that it reads in step with the chain."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable

import uvicorn
from web3 import Web3

from registry.errors import CairnError, IndexInUse, InputError
from registry.ethereum.node import chain_time
from registry.explorer.reading import Shelf
from registry.explorer.site import site
from registry.index.block_times import BlockTimes, times_path
from registry.index.database import read_index
from registry.index.log_source import LogSource
from registry.lineage.affected_versions import learn_data_sets
from registry.lineage.catalogue import Catalogue

__all__ = ["listening", "refresh", "serve"]

log = logging.getLogger(__name__)

_AT_ONCE = 64
"""Requests that are served at once; further ones are told to try again."""
_BACKLOG = 128
_IDLE = 10
"""Seconds until an idle connection is closed."""


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0 takes a free one.

    Raises:
        InputError: The address is not to be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InputError(f"{host}:{port}: expected an address to listen at, got {error.strerror or error}") from error


def serve(shelf: Shelf, listener: socket.socket, *, cors: str | None, stop: threading.Event) -> None:
    """Serve the explorer until told to stop; not from the main thread, whose signals uvicorn would take.

    Args:
        shelf: What its pages read.
        listener: Of `listening`; closed at the end.
        cors: Origin whose scripts may read the JSON; None for no other.
        stop: Set to stop.
    """
    config = uvicorn.Config(
        site(shelf, cors=cors),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        limit_concurrency=_AT_ONCE,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=_IDLE,
    )
    server = uvicorn.Server(config)

    def end() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=end, name="stop", daemon=True).start()
    with listener:
        server.run(sockets=[listener])


def refresh(shelf: Shelf, w3: Web3, sync: Callable[[], object]) -> None:
    """Bring the index up to date, with the times of its blocks and the manifests that pages search.

    Pages show why the index is behind where this fails; it raises nothing that a later call may mend.

    Args:
        shelf: Whose index it is; told the chain's time.
        w3: The node.
        sync: Brings the index up to date.
    """
    time, behind = None, ""
    try:
        with contextlib.suppress(IndexInUse):  # another process brings it up to date
            sync()
        with read_index(shelf.index) as db, contextlib.closing(BlockTimes(times_path(shelf.index))) as times:
            times.learn(LogSource(w3, ()), db)
        time = chain_time(w3)
    except CairnError as error:
        behind = str(error)
        log.warning("the index is behind: %s", error)
    shelf.present.tell(time, behind)
    try:
        with read_index(shelf.index) as db, contextlib.closing(Catalogue(shelf.catalogue, shelf.store)) as catalogue:
            learn_data_sets(db, catalogue)
    except CairnError as error:
        log.warning("manifests are not read: %s", error)

"""Serve the explorer over HTTP, and keep the index that it reads in step with the chain."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import uvicorn

from registry.errors import CairnError, IndexInUse, InputError
from registry.ethereum.node import chain_time
from registry.explorer.connections import PatientProtocol
from registry.explorer.learning import Learned
from registry.explorer.reading import Shelf, Told
from registry.explorer.site import site
from registry.index import queries
from registry.index.block_times import BlockTimes, times_path
from registry.index.database import read_index
from registry.index.log_source import LogSource

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["Keeper", "listening", "serve"]

log = logging.getLogger(__name__)

_AT_ONCE = 512
"""Connections at once; further ones are told to try again."""
_BACKLOG = 128
_IDLE = 10
"""Seconds until an idle connection is closed."""
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


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


def serve(
    shelf: Shelf,
    listener: socket.socket,
    *,
    stop: threading.Event,
    cors: str | None = None,
    names: Collection[str] = (),
) -> None:
    """Serve the explorer until told to stop; not from the main thread, whose signals uvicorn would take.

    On a loopback address it answers requests for this machine's own names alone, so that no page of another site can
    have a browser read it under a name of that site's.

    Args:
        shelf: What its pages read.
        listener: Of `listening`; closed at the end.
        stop: Set to stop.
        cors: Origin whose scripts may read the JSON; None for no other.
        names: Host names under which it answers too.
    """
    local = ipaddress.ip_address(listener.getsockname()[0]).is_loopback
    config = uvicorn.Config(
        site(shelf, cors=cors, names=(*_LOCAL, *names) if local else None, closing=stop),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        http=PatientProtocol,
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


class Keeper:
    """Keeps a shelf's index in step with the chain, with the times of its blocks and the catalogue of manifests."""

    def __init__(self, shelf: Shelf, w3: Web3, sync: Callable[[], object]) -> None:
        """Bind a shelf to a node.

        Args:
            shelf: Whose index it is; told the chain's time.
            w3: The node.
            sync: Brings the index up to date.
        """
        self._shelf = shelf
        self._w3 = w3
        self._sync = sync
        self._timed = -1
        self._manifests = Learned()

    def refresh(self) -> str:
        """Bring all of it up to date, as far as node and store let it; pages say why it is behind.

        Returns:
            An empty text: there is nothing to tell of each time.
        """
        told = self._shelf.present.told
        time, behind, unread = told.time, "", told.unread
        try:
            with contextlib.suppress(IndexInUse):  # another process brings it up to date
                self._sync()
            self._learn_times()
            time = chain_time(self._w3)
        except CairnError as error:  # its text may name the node, which is nobody else's business
            behind = f"{type(error).__name__}, of which the explorer's log says more"
            log.warning("the index is behind: %s", error)
        try:
            unread = self._manifests.learn(self._shelf)
        except CairnError as error:
            log.warning("manifests are not read: %s", error)
        self._shelf.present.tell(Told(time, behind, unread))
        return ""

    def _learn_times(self) -> None:
        index = self._shelf.index
        with read_index(index) as db, contextlib.closing(BlockTimes(times_path(index))) as times:
            times.learn(LogSource(self._w3, ()), db, above=self._timed)
            final = queries.final_block(db)
            self._timed = -1 if final is None else final.number

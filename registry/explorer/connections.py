"""HTTP connections that starve nobody: time limits for half requests and for readers that stop, a cap per address."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["PatientProtocol"]

ASKING = 10.0
"""Seconds that a request may take to arrive, from its connection or its first byte on."""
READING = 30.0
"""Seconds that a reader may take nothing of an answer that waits for it."""
PER_ADDRESS = 128
"""Connections at once from one address, a proxy's included; a further one is closed."""


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which alone waits for ever for the rest of a request and for a reader of its answer."""

    _asking: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request, or close what is one too many of its address."""
        super().connection_made(transport)
        held = transport.get_extra_info("socket")  # asyncio does so only where the listener names its protocol
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=0)  # the end of an answer is waited for no longer than its middle
        here = self.client[0] if self.client else ""
        if sum(1 for one in self.connections if (getattr(one, "client", None) or ("",))[0] == here) > PER_ADDRESS:
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request, which may come one by one, but not for ever."""
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        """Begin to wait for the rest of the next request, if its first bytes came."""
        super().on_response_complete()
        if self.conn.trailing_data[0]:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._wait_no_longer()
        self._resumed()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for the reader of an answer."""
        super().pause_writing()
        self._reading = self._reading or self.loop.call_later(READING, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the reader has taken something."""
        self._resumed()
        super().resume_writing()

    def _wait(self) -> None:
        """Start the time of a request that is not here in full; the bytes that come in between do not start it anew."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._wait_no_longer()
        elif self._asking is None:
            self._asking = self.loop.call_later(ASKING, self.transport.abort)

    def _wait_no_longer(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        self._asking = None

    def _resumed(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._reading = None

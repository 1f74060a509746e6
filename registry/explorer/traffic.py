"""What a served explorer counts: answers by page and class of status, the seconds to them, verifications by state."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from registry.roles.monitoring import Sample

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from registry.explorer.reading import Shelf

__all__ = ["Traffic", "WithTraffic", "sample_explorer"]


class Traffic:
    """Counts answers; shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._seconds: Counter[str] = Counter()

    def count(self, page: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            page: Name of its route, of which there are few.
            status: Its HTTP status.
            seconds: From the request to the answer's beginning.
        """
        with self._lock:
            self._answers[page, f"{status // 100}xx"] += 1
            self._seconds[page] += seconds  # type: ignore[assignment]

    def samples(self) -> tuple[Sample, ...]:
        """Return the counts so far."""
        with self._lock:
            answers, seconds = dict(self._answers), dict(self._seconds)
        return (
            *(
                Sample("explorer_answers", "Answers.", count, labels=(("page", page), ("status", status)), counts=True)
                for (page, status), count in sorted(answers.items())
            ),
            *(
                Sample("explorer_seconds", "Seconds to them.", spent, labels=(("page", page),), counts=True)
                for page, spent in sorted(seconds.items())
            ),
        )


class WithTraffic:
    """Counts each answer under its route's name; `none` where there is no route."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app, self._traffic = app, traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun, told = time.monotonic(), False

        def count(status: int) -> None:
            nonlocal told
            told = True
            self._traffic.count(getattr(scope.get("route"), "name", "none"), status, time.monotonic() - begun)

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counting)
        except Exception:
            if not told:
                count(500)
            raise


def sample_explorer(shelf: Shelf) -> tuple[Sample, ...]:
    """Return the samples of a shelf that is served: answers, and verifications by state where it verifies."""
    found = shelf.traffic.samples()
    if shelf.verifier is None:
        return found
    told = "Verifications that are kept, by state."
    states = shelf.verifier.states()
    return (*found, *(Sample("explorer_verifications", told, states[one], labels=(("state", one),)) for one in states))

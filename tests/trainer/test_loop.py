"""The loop of a participant or aggregator: which errors it retries, and which end it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from registry.chain.contract_errors import (
    AlreadyFinalized,
    BadProgress,
    MissingRole,
    NoPlan,
    NotBetter,
    RoundNotEnded,
    UnknownPlan,
    WrongPhase,
)
from registry.cli.output import Output
from registry.cli.run_loops import say
from registry.errors import (
    BlockNotFound,
    InputError,
    NodeUnavailable,
    StoreUnavailable,
    TransactionFailed,
    VerificationFailed,
    WrongChain,
)
from registry.roles.loop import LoopTask, TaskHealth, follow, supervise
from registry.types import Phase, Role

ID = bytes(32)
PASSING = [
    NodeUnavailable("the node is away"),
    StoreUnavailable("the store is away"),
    BlockNotFound("nobody has it"),
    WrongPhase(ID, Phase.COMMIT, Phase.PUBLISH),
    AlreadyFinalized(ID),
    RoundNotEnded(ID, Phase.COMMIT),
    NotBetter(ID, ID),
    VerificationFailed("the node's events and its contract disagree"),
    NoPlan(ID),
    UnknownPlan(ID, 0),
    MissingRole(ID, bytes(20), Role.PARTICIPANT),
    OSError(28, "No space left on device"),
    WrongChain("the node answers for another chain"),
    BadProgress(bytes(20)),
]
LASTING = [
    InputError("the module has other tensors"),
    TransactionFailed("no money"),
    ValueError("a bug"),
]


def steps(
    *outcomes: str | Exception, stop: threading.Event | None = None
) -> tuple[Callable[[], str], threading.Event, list[int]]:
    """A function that returns or raises the outcomes in turn, and ends the loop after the last."""
    stop, calls = stop or threading.Event(), [0]

    def advance() -> str:
        outcome = outcomes[calls[0]]
        calls[0] += 1
        if calls[0] == len(outcomes):
            stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return advance, stop, calls


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_what_passes_by_itself_is_waited_out(error: Exception) -> None:
    advance, stop, calls = steps(error, "", error, error, "done")
    said: list[str] = []
    follow(advance, stop, poll=0.001, done=said.append)
    assert said == ["done"]
    assert calls == [5]


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_what_lasts_ends_the_loop_with_its_error(error: Exception) -> None:
    advance, stop, calls = steps("done", error, "never")
    with pytest.raises(type(error)):
        follow(advance, stop, poll=0.001)
    assert calls == [2]


def test_nothing_is_waited_for_while_there_is_something_to_do() -> None:
    advance, stop, calls = steps(*["done"] * 50)
    follow(advance, stop, poll=3600.0)
    assert calls == [50]


def test_a_loop_that_is_told_to_stop_ends_after_the_step_in_hand() -> None:
    stop = threading.Event()
    running = threading.Thread(target=follow, args=(lambda: "", stop), kwargs={"poll": 3600.0})
    running.start()
    stop.set()
    running.join(5.0)
    assert not running.is_alive()


class Unwritable:
    """A standard output that takes nothing: its disk is full, or nobody reads the pipe behind it."""

    encoding = "utf-8"

    def __init__(self, error: OSError) -> None:
        self._error = error

    def write(self, text: str) -> int:
        raise self._error

    def flush(self) -> None:
        raise self._error

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return os.open(os.devnull, os.O_WRONLY)  # what rich turns to before it exits over a broken pipe


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Ends a loop, after twenty seconds in any case."""
    event = threading.Event()
    timer = threading.Timer(20, event.set)
    timer.start()
    yield event
    timer.cancel()


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")])
def test_what_cannot_be_told_ends_no_task(
    error: OSError,
    as_json: bool,
    stop: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session: Any = SimpleNamespace(out=Output(as_json))
    advance, _, calls = steps("showed a leaf", "", "showed a leaf", "", stop=stop)
    health = {"answering": TaskHealth()}
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", Unwritable(error))
        supervise(
            [LoopTask("answering", advance)], stop, poll=0.001, done=lambda said: say(session, said), health=health
        )
    assert calls == [4]
    assert (health["answering"].steps, health["answering"].failures) == (4, 0)
    assert "could not report it: showed a leaf" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_is_started_again(stop: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.roles.loop._LOOK_AFTER_THREADS", 0.01)
    calls = [0]

    def exits() -> str:
        calls[0] += 1
        if calls[0] == 1:
            raise SystemExit(1)
        stop.set()
        return ""

    health = {"answering": TaskHealth()}
    supervise([LoopTask("answering", exits)], stop, poll=0.001, health=health)
    assert calls == [2]
    assert health["answering"].failures == 1
    assert "ended" in health["answering"].error

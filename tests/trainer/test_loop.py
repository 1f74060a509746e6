"""The loop of a participant or aggregator: which errors it retries, and which end it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from registry.chain.contract_errors import (
    AlreadyFinalized,
    BadProgress,
    MissingRole,
    NoPlan,
    NotBetter,
    RoundNotEnded,
    WrongPhase,
)
from registry.errors import (
    BlockNotFound,
    InputError,
    NodeUnavailable,
    StoreUnavailable,
    TransactionFailed,
    VerificationFailed,
    WrongChain,
)
from registry.roles.loop import follow
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


def steps(*outcomes: str | Exception) -> tuple[Callable[[], str], threading.Event, list[int]]:
    """A function that returns or raises the outcomes in turn, and ends the loop after the last."""
    stop, calls = threading.Event(), [0]

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

"""The loops of a participant, aggregator or auditor: step, wait, back off, stop; and several of them side by side."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.chain.contract_errors import (
    AlreadyAttested,
    AlreadyCommitted,
    AlreadyDemanded,
    AlreadyFinalized,
    AnswerNotDue,
    BadDeposit,
    BadProgress,
    DemandIsClosed,
    IncompleteEarlyResult,
    ItIsCommitted,
    MissingRole,
    NoPlan,
    NotBetter,
    NotCommitted,
    NotConvicted,
    NotDemanded,
    NotDisputed,
    NotExpelled,
    NothingToWithdraw,
    NothingWrong,
    NotSealed,
    OtherList,
    ResultIsConvicted,
    ResultMismatch,
    RevealIsOver,
    RevealNotOver,
    RoundNotEnded,
    RoundsAreSuspended,
    RunningHashMismatch,
    TooLate,
    UnknownRound,
    WrongParticipantCount,
    WrongPhase,
)
from registry.errors import CairnError, ContentError, NodeUnavailable, VerificationFailed, WrongChain

if TYPE_CHECKING:
    from registry.chain.client import Client

__all__ = ["TaskHealth", "LoopTask", "follow", "keeping", "supervise", "take_step"]

log = logging.getLogger(__name__)

LONGEST_PAUSE = 60.0
_LOOK_AFTER_THREADS = 1.0
"""Seconds between two looks at whether each task's thread runs."""
OVERTAKEN = (
    AlreadyAttested,
    AlreadyCommitted,
    AlreadyDemanded,
    AlreadyFinalized,
    AnswerNotDue,
    BadDeposit,
    BadProgress,
    DemandIsClosed,
    IncompleteEarlyResult,
    ItIsCommitted,
    NotBetter,
    NotCommitted,
    NotConvicted,
    NotDemanded,
    NotDisputed,
    NotExpelled,
    NotSealed,
    NothingToWithdraw,
    NothingWrong,
    OtherList,
    ResultIsConvicted,
    ResultMismatch,
    RevealIsOver,
    RevealNotOver,
    RoundNotEnded,
    RoundsAreSuspended,
    RunningHashMismatch,
    TooLate,
    UnknownRound,
    WrongParticipantCount,
    WrongPhase,
)
"""What the contract says when the chain moved on between looking and sending, or a node that is behind was asked: look
again."""
PASSING = (NodeUnavailable, WrongChain, ContentError, VerificationFailed, NoPlan, MissingRole, OSError)
"""What somebody else may mend meanwhile: a node or store that is away, behind or at odds with itself, one that was on
the right chain and now answers for another, a plan not yet set or a role not yet granted, a full disk."""


@dataclass(frozen=True, slots=True)
class LoopTask:
    """One thing that a role does again and again.

    Attributes:
        name: What it is called where its state is shown.
        step: Does the next thing and says what; an empty string if there was nothing to do.
    """

    name: str
    step: Callable[[], str]


def take_step(tasks: Iterable[LoopTask]) -> str:
    """Take a step of each task in turn until one has done something; return what, or an empty string."""
    return next(filter(None, (task.step() for task in tasks)), "")


def keeping(client: Client) -> LoopTask:
    """Return the task that sees to it that what a client has sent becomes final."""

    def step() -> str:
        client.transactor.keep()
        return ""

    return LoopTask("transactions", step)


@dataclass(slots=True)
class TaskHealth:
    """How a task is doing.

    Attributes:
        steps: Taken so far.
        stepped: When the last one ended, Unix seconds; 0 before the first.
        did: What was done last, and when.
        failing: Since when each step has failed, Unix seconds; 0 while they do not.
        failures: How many steps have failed since the start.
        error: Why the last one that failed did.
    """

    steps: int = 0
    stepped: float = 0.0
    did: str = ""
    did_at: float = 0.0
    failing: float = 0.0
    failures: int = 0
    error: str = ""


def supervise(
    tasks: Sequence[LoopTask],
    stop: threading.Event,
    *,
    poll: float = 2.0,
    done: Callable[[str], None] = log.info,
    health: Mapping[str, TaskHealth] | None = None,
) -> None:
    """Run tasks side by side until stop is set, each in a thread of its own: none waits for another, none ends.

    Whatever a step fails with is told once, and the step is taken again after growing pauses: no node, store, model,
    contract or mistake ends more than the step that met it. A thread that ends all the same is started again.

    Args:
        tasks: What to do.
        stop: Set it to end each task after the step in hand.
        poll: Seconds between two steps of a task when it has nothing to do.
        done: Told what was done, by one task at a time.
        health: By name of task; kept up to date.
    """
    told = threading.Lock()

    def tell(said: str) -> None:
        with told:
            done(said)

    states = health or {task.name: TaskHealth() for task in tasks}

    def start(task: LoopTask) -> threading.Thread:
        more = {"poll": poll, "done": tell, "health": states[task.name], "ends": ()}
        thread = threading.Thread(target=follow, args=(task.step, stop), kwargs=more, name=task.name)
        thread.start()
        return thread

    threads = {task.name: start(task) for task in tasks}
    while not stop.wait(_LOOK_AFTER_THREADS):
        for task in tasks:
            if not threads[task.name].is_alive():
                _tell(states[task.name], RuntimeError("the thread of this task ended"), 0)
                threads[task.name] = start(task)
    for thread in threads.values():
        while thread.is_alive():
            thread.join(1.0)  # so that a signal is seen


def follow(
    advance: Callable[[], str],
    stop: threading.Event,
    *,
    poll: float = 2.0,
    done: Callable[[str], None] = log.info,
    health: TaskHealth | None = None,
    ends: tuple[type[Exception], ...] = (Exception,),
) -> None:
    """Call advance again and again until stop is set.

    What may pass (`PASSING`) is told and waited out with growing pauses. When somebody else was quicker, or a deadline
    passed between looking and sending, it looks again. Everything else ends the loop with its error, if it is of
    those that end it. What `done` fails with, such as a full disk under the output, is logged and ends nothing.

    Args:
        advance: Does the next thing and says what; an empty string if there was nothing to do.
        stop: Set it to end the loop after the step in hand.
        poll: Seconds between two steps when nothing is to be done.
        done: Told what was done.
        health: Kept up to date.
        ends: Of what does not pass by itself, the errors that end the loop; others are waited out too.
    """
    pause, state = poll, health or TaskHealth()
    while not stop.is_set():
        try:
            said = advance()
        except OVERTAKEN as error:
            log.info("overtaken: %s", error)
            said = ""
        except Exception as error:
            if not isinstance(error, PASSING) and isinstance(error, ends):
                raise
            _tell(state, error, pause)
            stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        state.steps, state.stepped = state.steps + 1, time.time()
        if state.failing:
            log.warning("works again, after %.0f s", time.time() - state.failing)
            state.failing = 0.0
        pause = poll
        if said:
            state.did, state.did_at = said, time.time()
            _say(done, said)
        else:
            stop.wait(poll)


def _say(done: Callable[[str], None], said: str) -> None:
    """Pass on what was done; that nobody could be told does not undo it."""
    try:
        done(said)
    except (OSError, ValueError, SystemExit) as error:  # a full disk, a closed file, a pipe that nobody reads
        log.warning("did, but could not say so: %s (%s: %s)", said, type(error).__name__, error)


def _tell(state: TaskHealth, error: Exception, pause: float) -> None:
    """Say why a step failed, unless the one before failed likewise; what nobody foresaw with its traceback."""
    said = f"{type(error).__name__}: {error}"
    if not state.failing or said != state.error:
        foreseen = isinstance(error, (CairnError, OSError))
        log.warning("%s; trying again in %.0f s", said, pause, exc_info=None if foreseen else error)
    state.failing = state.failing or time.time()
    state.failures, state.error = state.failures + 1, said

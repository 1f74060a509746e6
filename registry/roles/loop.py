"""The loop of a participant, aggregator or auditor: steps, polling, retry with backoff; and tasks in parallel."""

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
    AlreadyScored,
    AnswerNotDue,
    BadDeposit,
    BadProgress,
    DemandIsClosed,
    IncompleteEarlyResult,
    ItIsCommitted,
    MissingRole,
    NoPlan,
    NoResult,
    NoScoreTerms,
    NotBetter,
    NotCommitted,
    NotConvicted,
    NotDemanded,
    NotDisputed,
    NotExpelled,
    NothingToWithdraw,
    NothingWrong,
    NoTimeToReveal,
    NotSealed,
    OtherList,
    ResultIsConvicted,
    ResultMismatch,
    RevealIsOver,
    RevealNotOver,
    RoundNotEnded,
    RoundsAreSuspended,
    RunningHashMismatch,
    ScoringIsOver,
    TooEarlyToEnd,
    TooFewCommitments,
    TooLate,
    UnknownPlan,
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
"""Seconds between two checks that each task's thread is alive."""
OVERTAKEN = (
    AlreadyAttested,
    AlreadyCommitted,
    AlreadyDemanded,
    AlreadyFinalized,
    AlreadyScored,
    AnswerNotDue,
    BadDeposit,
    BadProgress,
    DemandIsClosed,
    IncompleteEarlyResult,
    ItIsCommitted,
    NoResult,
    NoTimeToReveal,
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
    ScoringIsOver,
    TooEarlyToEnd,
    TooFewCommitments,
    TooLate,
    UnknownPlan,
    UnknownRound,
    WrongParticipantCount,
    WrongPhase,
)
"""Errors of a lost race: the chain moved on between reading and sending, or the node lags. Read again."""
PASSING = (NodeUnavailable, WrongChain, ContentError, VerificationFailed, NoPlan, NoScoreTerms, MissingRole, OSError)
"""Transient errors, to retry with backoff: a node or store that is unavailable, lagging or inconsistent, a node that
has switched to another chain, a plan not yet set, a role not yet granted, a full disk."""


@dataclass(frozen=True, slots=True)
class LoopTask:
    """A repeated task of a role.

    Attributes:
        name: Its name where its health is shown.
        step: Takes the next step and returns what was done; an empty string if there was nothing to do.
    """

    name: str
    step: Callable[[], str]


def take_step(tasks: Iterable[LoopTask]) -> str:
    """Take a step of each task in turn until one has done something; return what, or an empty string."""
    return next(filter(None, (task.step() for task in tasks)), "")


def keeping(client: Client, name: str = "transactions") -> LoopTask:
    """Return the task that resends a client's transactions, with fee bumps, until they are final."""

    def step() -> str:
        client.transactor.keep()
        return ""

    return LoopTask(name, step)


@dataclass(slots=True)
class TaskHealth:
    """Health of a task.

    Attributes:
        steps: Steps that succeeded so far.
        stepped: When the last of them ended, Unix seconds; 0 before the first.
        did: What was done last.
        did_at: When, Unix seconds.
        failing: Since when all steps have failed, Unix seconds; 0 while they succeed.
        failures: Failed steps since the start.
        error: Error of the last failed step.
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
    """Run tasks in parallel until stop is set, each in its own thread, so that none waits for another.

    Any error of a step is logged once, and the step retried with backoff: no node, store, model, contract or bug ends
    more than one step. A thread that ends all the same is restarted.

    Args:
        tasks: The tasks.
        stop: Set it to end each task after its current step.
        poll: Seconds between two steps of a task with nothing to do.
        done: Called with what was done, by one task at a time.
        health: By name of task; updated.
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
    """Call `advance` repeatedly until stop is set.

    Transient errors (`PASSING`) are logged and retried with backoff. After a lost race (`OVERTAKEN`) the next step
    follows as usual. Any other error ends the loop if it is one of `ends`. An error of `done`, such as a full disk
    under the output, is logged and ends nothing.

    Args:
        advance: Takes the next step and returns what was done; an empty string if there was nothing to do.
        stop: Set it to end the loop after the current step.
        poll: Seconds between two steps with nothing to do.
        done: Called with what was done.
        health: Updated.
        ends: Errors that end the loop unless they are transient; others are retried too.
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
            log.warning("recovered after %.0f s", time.time() - state.failing)
            state.failing = 0.0
        pause = poll
        if said:
            state.did, state.did_at = said, time.time()
            _say(done, said)
        else:
            stop.wait(poll)


def _say(done: Callable[[str], None], said: str) -> None:
    """Report what was done. A failed report is logged: it does not undo the step."""
    try:
        done(said)
    except (OSError, ValueError, SystemExit) as error:  # a full disk, a closed file, a pipe that nobody reads
        log.warning("done, but could not report it: %s (%s: %s)", said, type(error).__name__, error)


def _tell(state: TaskHealth, error: Exception, pause: float) -> None:
    """Log why a step failed, once for a repeated error; an unexpected error with its traceback."""
    name = type(error).__name__
    said = str(error) if str(error).startswith(name) else f"{name}: {error}"  # the contract's errors begin with theirs
    if not state.failing or said != state.error:
        foreseen = isinstance(error, (CairnError, OSError))
        log.warning("%s; retrying in %.0f s", said, pause, exc_info=None if foreseen else error)
    state.failing = state.failing or time.time()
    state.failures, state.error = state.failures + 1, said

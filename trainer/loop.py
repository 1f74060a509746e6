"""The loop around a participant, aggregator or auditor: step, wait, back off, stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from registry.chain.challenge_errors import BadProgress, ItIsCommitted, NotDisputed, NothingWrong, OtherList
from registry.chain.court_errors import (
    AlreadyDemanded,
    AnswerNotDue,
    BadDeposit,
    DemandIsClosed,
    NotConvicted,
    NotDemanded,
    NothingToWithdraw,
    NotSealed,
    RevealIsOver,
    RevealNotOver,
    TooLate,
)
from registry.chain.errors import (
    AlreadyAttested,
    AlreadyCommitted,
    AlreadyFinalized,
    IncompleteEarlyResult,
    MissingRole,
    NoPlan,
    NotBetter,
    NotCommitted,
    NotExpelled,
    ResultIsConvicted,
    ResultMismatch,
    RoundNotEnded,
    RoundsAreSuspended,
    RunningHashMismatch,
    UnknownRound,
    WrongParticipantCount,
    WrongPhase,
)
from registry.errors import ContentError, NodeUnavailable, VerificationFailed, WrongChain

__all__ = ["follow"]

log = logging.getLogger(__name__)

LONGEST_PAUSE = 60.0
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


def follow(
    advance: Callable[[], str], stop: threading.Event, *, poll: float = 2.0, done: Callable[[str], None] = log.info
) -> None:
    """Call advance again and again until stop is set.

    What may pass (`PASSING`) is told and waited out with growing pauses. When somebody else was quicker, or a deadline
    passed between looking and sending, it looks again. Everything else ends the loop with its error.

    Args:
        advance: Does the next thing and says what; an empty string if there was nothing to do.
        stop: Set it to end the loop after the step in hand.
        poll: Seconds between two steps when nothing is to be done.
        done: Told what was done.
    """
    pause = poll
    while not stop.is_set():
        try:
            said = advance()
            pause = poll
        except OVERTAKEN as error:
            log.info("overtaken: %s", error)
            stop.wait(poll)
            continue
        except PASSING as error:
            log.warning("%s: %s; trying again in %.0f s", type(error).__name__, error, pause)
            stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        if said:
            done(said)
        else:
            stop.wait(poll)

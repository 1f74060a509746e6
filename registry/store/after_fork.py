"""Locks and connections that a forked process must not take over: they are made anew there."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["make_anew_after_fork"]


class _Owner(Protocol):
    def after_fork(self) -> None:
        """Replace locks, which another thread may have held, and drop connections, which the parent uses."""


_owners: weakref.WeakSet[_Owner] = weakref.WeakSet()


def make_anew_after_fork(owner: _Owner) -> None:
    """Have owner.after_fork() called in each process forked from this one, as long as owner exists."""
    _owners.add(owner)


def _in_child() -> None:
    for owner in list(_owners):
        owner.after_fork()


os.register_at_fork(after_in_child=_in_child)

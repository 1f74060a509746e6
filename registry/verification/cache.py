"""What was verified before, so that it need not be done again: a small file for each version that passed.

Kept under what was verified: chain, contract, model, the version's anchor, every event that was looked at with its
place on the chain, and the number of the rules it was checked by. So what passed by the word of one node is done again
where another node says otherwise. It is as trustworthy as the folder; nothing of it is passed on to anybody.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from registry.chain.records import roots_hash
from registry.lineage.graph import VersionNode

__all__ = ["RULES", "Row", "VerificationCache", "subject_of"]

RULES = 2
"""Raised whenever what is checked changes: what passed by older rules is checked anew."""
Row = tuple[str, str, str]
"""A check's name, finding and evidence."""


class VerificationCache:
    """A folder of what passed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, subject: str) -> tuple[Row, ...] | None:
        """Return the checks that a subject passed; None if it has not."""
        try:
            held: Any = json.loads(self._path(subject).read_text())
            if held["subject"] != subject:
                return None
            return tuple((str(name), str(finding), str(said)) for name, finding, said in held["checks"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or not whole: it is verified again

    def keep(self, subject: str, checks: Sequence[Row]) -> None:
        """Remember that all checks of a subject passed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(subject)
        temporary = path.with_suffix(f".{os.getpid()}")
        with contextlib.ExitStack() as undo:
            undo.callback(temporary.unlink, missing_ok=True)
            temporary.write_text(json.dumps({"subject": subject, "checks": list(checks)}, indent=1))
            os.replace(temporary, path)

    def _path(self, subject: str) -> Path:
        return self._folder / f"{hashlib.sha256(subject.encode()).hexdigest()}.json"


def subject_of(chain_id: int, contract: bytes, step: VersionNode, facts: Iterable[object]) -> str:
    """Return what a verification is kept under: everything on chain that it depends on.

    Args:
        chain_id: The chain.
        contract: The Cairn.
        step: The version as it is anchored; whether it is deprecated does not matter to what it is made of.
        facts: What else was looked at, such as a running hash or events: values whose repr says all of them.
    """
    anchor = (contract, step.model_id, step.digest, step.parent, roots_hash(step.roots))
    looked = hashlib.sha256("\n".join(map(repr, facts)).encode()).hexdigest()
    return json.dumps([RULES, chain_id, step.round, step.block, *(value.hex() for value in anchor), looked])

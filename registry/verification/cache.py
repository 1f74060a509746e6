"""Verification cache: one small file per version that passed.

The key hashes everything that the verdict depends on: chain, contract, model, the version's anchor, every event with
its position on the chain, and the number of the verification rules. A node that answers differently therefore misses
the cache. Entries are as trustworthy as their folder and are never shared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from registry.chain.contract_hashes import roots_hash
from registry.lineage.graph import VersionNode

__all__ = ["RULES", "Row", "VerificationCache", "subject_of"]

RULES = 2
"""Incremented whenever the checks change, which invalidates entries made under older rules."""
Row = tuple[str, str, str]
"""A check's name, finding and evidence."""


class VerificationCache:
    """A folder of cached verifications."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, subject: str) -> tuple[Row, ...] | None:
        """Return the cached checks of a subject; None on a miss."""
        try:
            held: Any = json.loads(self._path(subject).read_text())
            if held["subject"] != subject:
                return None
            return tuple((str(name), str(finding), str(said)) for name, finding, said in held["checks"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # missing or damaged: a cache miss

    def keep(self, subject: str, checks: Sequence[Row]) -> None:
        """Cache the checks of a subject, all of which passed."""
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
    """Return the cache key of a verification: a hash of everything on chain that it depends on.

    Args:
        chain_id: The chain.
        contract: The address of the Cairn contract.
        step: The version as anchored; the key ignores whether it is deprecated, which does not change its content.
        facts: Further inputs, such as a running hash or events; each must have a complete repr.
    """
    anchor = (contract, step.model_id, step.digest, step.parent, roots_hash(step.roots))
    looked = hashlib.sha256("\n".join(map(repr, facts)).encode()).hexdigest()
    return json.dumps([RULES, chain_id, step.round, step.block, *(value.hex() for value in anchor), looked])

"""The page of a deep verification: how far it is, and every check of a version and its ancestors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.explorer.reading import AsOf, Reading
from registry.explorer.verifying import VerificationJob
from registry.explorer.version_page import entry_of
from registry.index.entries import ModelEntry
from registry.types import Digest
from registry.verification.checks import Finding

__all__ = ["VerificationPage", "verification_page"]


@dataclass(frozen=True, slots=True)
class VerificationPage:
    """The newest deep verification of a version that was started here.

    Attributes:
        offered: Whether this explorer verifies.
        job: None if nobody started one.
        finding: The worst finding so far; None if there is none yet.
    """

    as_of: AsOf
    model: ModelEntry
    version: Digest
    offered: bool
    job: VerificationJob | None
    finding: Finding | None


def verification_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> VerificationPage:
    """Return the verification of a version."""
    model = reading.model(path["model"])
    entry = entry_of(reading, model, path["version"])
    job = None if reading.verifier is None else reading.verifier.job(entry.model_id, entry.digest)
    found = [check.finding for one in job.verified for check in one.checks] if job is not None else []
    return VerificationPage(
        as_of=reading.as_of,
        model=model,
        version=entry.digest,
        offered=reading.verifier is not None,
        job=job,
        finding=max(found, key=list(Finding).index) if found else None,
    )

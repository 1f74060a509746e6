"""A version's verification: whether it passed, and every check with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from registry.types import Digest, ModelId
from registry.verification.checks import Check, Finding, Verification

__all__ = [
    "LineageVerificationFacts",
    "VerificationFacts",
    "lineage_verification_facts",
    "verification_facts",
    "without_places",
]

_UNAVAILABLE = ("BlockNotFound", "StoreUnavailable")
_HERE = "unavailable here: "


@dataclass(frozen=True, slots=True)
class VerificationFacts:
    """The verification of one version.

    Attributes:
        round: Number of the round that made it; None if its owner published it.
        passed: Whether every check was carried out and none failed.
        before: Whether all checks but the anchor came from the cache.
    """

    version: Digest
    round: int | None
    passed: bool
    before: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class LineageVerificationFacts:
    """The verification of a version and its ancestors in its model.

    Attributes:
        passed: Whether all of them passed.
        versions: Genesis first.
    """

    model: ModelId
    version: Digest
    passed: bool
    versions: tuple[VerificationFacts, ...]


def verification_facts(one: Verification) -> VerificationFacts:
    """Return the facts of a verification."""
    return VerificationFacts(one.step.digest, one.step.round or None, one.passed, one.before, one.checks)


def lineage_verification_facts(
    model: ModelId, version: Digest, verified: Sequence[Verification]
) -> LineageVerificationFacts:
    """Return the facts of the verifications of a version and its ancestors."""
    versions = tuple(map(verification_facts, verified))
    return LineageVerificationFacts(model, version, all(one.passed for one in versions), versions)


def without_places(check: Check) -> Check:
    """Return a check whose evidence names neither files nor hosts of the store."""
    if check.finding is Finding.UNCHECKED and check.evidence.startswith(_UNAVAILABLE):
        return replace(check, evidence="what it needs is unavailable from this store")
    if check.finding is Finding.UNCHECKED and _HERE in check.evidence:
        return replace(check, evidence=check.evidence.partition(_HERE)[0] + _HERE.rstrip(": "))
    return check

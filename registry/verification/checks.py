"""Named checks with findings and evidence; converts an error into the check that failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from registry.errors import BlockNotFound, ContentError, InputError, StoreUnavailable, UnknownRule, VerificationFailed
from registry.lineage.graph import VersionNode

__all__ = ["Begun", "Check", "Finding", "Verification", "require_same", "until_failure"]


class Finding(StrEnum):
    """The finding of a check, from best to worst; the worst of several counts."""

    PASSED = "passed"
    ASSERTED = "asserted"
    """The attesters' word: that an update was unavailable in time, which nobody can check later; or what only files
    show, if the verification is of manifests alone."""
    UNCHECKED = "unchecked"
    """Cannot be checked here: unavailable bytes, or rules of a later release. It convicts nobody."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """A named check with its finding and the evidence for it."""

    name: str
    finding: Finding
    evidence: str


@dataclass(frozen=True, slots=True)
class Begun:
    """Marks the start of a check: names the check that fails if an error ends it."""

    name: str


@dataclass(frozen=True, slots=True)
class Verification:
    """All checks of one version.

    Attributes:
        before: Whether all checks but the anchor came from the cache.
    """

    step: VersionNode
    checks: tuple[Check, ...]
    before: bool = False

    @property
    def finding(self) -> Finding:
        """The worst finding of the checks."""
        return max((check.finding for check in self.checks), key=list(Finding).index)

    @property
    def passed(self) -> bool:
        """Whether every check was carried out and none failed; an asserted check counts as passed."""
        return self.finding in (Finding.PASSED, Finding.ASSERTED)


def until_failure(checks: Iterator[Check | Begun], *, after: str = "start") -> Iterator[Check]:
    """Yield a series of checks, converting an error that ends it into a failed or unchecked check.

    Bytes that do not match their CID fail: somebody lies or a disk rots. Unavailable bytes are unchecked.
    """
    name = f"after {after}"
    try:
        for check in checks:
            name = check.name
            if isinstance(check, Check):
                yield check
    except (BlockNotFound, StoreUnavailable, UnknownRule) as error:
        yield Check(name, Finding.UNCHECKED, f"{type(error).__name__}: {error}")
    except (VerificationFailed, InputError, ContentError) as error:
        yield Check(name, Finding.FAILED, f"{type(error).__name__}: {error}")


def require_same(name: str, found: object, expected: object) -> None:
    """Require two values to be equal.

    Raises:
        VerificationFailed: The values differ.
    """
    if found != expected:
        raise VerificationFailed(f"{name}: expected {_shown(expected)}, got {_shown(found)}")


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)

"""Checks by name, how each ended, and what was found; and how an error becomes the check that failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from registry.errors import BlockNotFound, ContentError, InputError, StoreUnavailable, UnknownRule, VerificationFailed
from registry.lineage.graph import VersionNode

__all__ = ["Begun", "Check", "Finding", "Verification", "require_same", "until_failure"]


class Finding(StrEnum):
    """What a check ends in; of several the last in this order counts."""

    PASSED = "passed"
    ASSERTED = "asserted"
    """Said by the attesters, and not checked: that an update was not to be had in time, which nobody can; or what it
    takes files to check, where whoever asks has taken the manifests alone."""
    UNCHECKED = "unchecked"
    """Could not be looked at here: bytes that nobody has, or rules of a later release. It convicts nobody."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, how it ended, and what was found."""

    name: str
    finding: Finding
    evidence: str


@dataclass(frozen=True, slots=True)
class Begun:
    """What is looked at next: the name of the check that fails if it cannot be carried out."""

    name: str


@dataclass(frozen=True, slots=True)
class Verification:
    """All checks of one version.

    Attributes:
        before: All but the anchor were made before, and passed.
    """

    step: VersionNode
    checks: tuple[Check, ...]
    before: bool = False

    @property
    def finding(self) -> Finding:
        """The worst of the checks'."""
        return max((check.finding for check in self.checks), key=list(Finding).index)

    @property
    def passed(self) -> bool:
        """Whether all was looked at and nothing failed. What is only asserted does not fail."""
        return self.finding in (Finding.PASSED, Finding.ASSERTED)


def until_failure(checks: Iterator[Check | Begun], *, after: str = "start") -> Iterator[Check]:
    """Turn the error that ends a series of checks into the check that failed, or could not be carried out.

    Bytes that are not those of their name fail: somebody lies or a disk rots. Bytes that nobody gives are unchecked.
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
    """Check that two values are equal.

    Raises:
        VerificationFailed: They are not.
    """
    if found != expected:
        raise VerificationFailed(f"{name}: expected {_shown(expected)}, got {_shown(found)}")


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)

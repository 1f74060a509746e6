"""Checks as lines, and the error that a failed one ends a command with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from registry.errors import BlockNotFound, VerificationFailed

if TYPE_CHECKING:
    from rich.text import Text

    from registry.verification.verify import Check

__all__ = ["SIGNS", "check_line", "require_passed"]

SIGNS = {
    "passed": ("ok", "green"),
    "asserted": ("said", "yellow"),
    "unchecked": ("UNCHECKED", "bold yellow"),
    "failed": ("FAILED", "bold red"),
}
"""What stands before a check, by its finding."""


def check_line(check: Check, about: str = "") -> Text:
    """Return a check as a line."""
    from rich.text import Text

    return Text.assemble(SIGNS[check.finding], f"  {about}{check.name}: {check.evidence}")


def require_passed(checks: Iterable[tuple[str, Check]]) -> None:
    """End the command unless all were carried out and none failed.

    Args:
        checks: What each is about, and it.

    Raises:
        VerificationFailed: One failed.
        BlockNotFound: None failed, but one could not be carried out: that is no verdict.
    """
    found = [(about, check) for about, check in checks if check.finding in ("unchecked", "failed")]
    for about, check in sorted(found, key=lambda entry: entry[1].finding != "failed"):
        said = f"{about}: {check.name}: {check.evidence}"
        raise VerificationFailed(said) if check.finding == "failed" else BlockNotFound(f"not verified: {said}")

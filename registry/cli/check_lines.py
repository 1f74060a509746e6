"""Format verification checks as lines, and end a command with an error if one failed."""

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
"""Label and style of a check, by finding."""


def check_line(check: Check, about: str = "") -> Text:
    """Return a check as one line."""
    from rich.text import Text

    return Text.assemble(SIGNS[check.finding], f"  {about}{check.name}: {check.evidence}")


def require_passed(checks: Iterable[tuple[str, Check]]) -> None:
    """Raise unless every check was carried out and none failed.

    Args:
        checks: Pairs of a subject and its check.

    Raises:
        VerificationFailed: A check failed.
        BlockNotFound: None failed, but one is unchecked: there is no verdict.
    """
    found = [(about, check) for about, check in checks if check.finding in ("unchecked", "failed")]
    for about, check in sorted(found, key=lambda entry: entry[1].finding != "failed"):
        said = f"{about}: {check.name}: {check.evidence}"
        raise VerificationFailed(said) if check.finding == "failed" else BlockNotFound(f"not verified: {said}")

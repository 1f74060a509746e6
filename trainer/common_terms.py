"""What participants must have in common: digests of task, label map and tokenizer, and an adapter's settings.

A plan names them among the parameters of its algorithm (`registry.rules.algorithms.COMMON`). A participant compares its
own before it trains: another tokenizer or label order would spoil the average, and nobody could see it in the numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from registry.errors import InputError
from registry.rules.algorithms import COMMON, is_common

if TYPE_CHECKING:
    from registry.content.manifest import PlanManifest

__all__ = ["canonical_json", "checked_terms", "json_digest", "parsed_settings", "require_terms_of", "with_common"]


def canonical_json(value: object) -> str:
    """Return a value as JSON with sorted keys and no blanks: one text for one meaning.

    Raises:
        InputError: It is no JSON value.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected what JSON holds, got {value!r:.80}: {error}") from error


def json_digest(value: object) -> str:
    """Return the sha2-256 of a value's canonical JSON in UTF-8, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def checked_terms(common: Mapping[str, str]) -> dict[str, str]:
    """Return what a task states, checked.

    Raises:
        InputError: A name is unknown, or a value is none that a plan may have.
    """
    for name, value in common.items():
        if name not in COMMON:
            raise InputError(f"common: expected names of {', '.join(COMMON)}, got {name!r:.80}")
        if not is_common(name, value):
            raise InputError(f"common: {name}: expected {COMMON[name]}, got {value!r:.80}")
    return dict(common)


def with_common(plan: PlanManifest, common: Mapping[str, str]) -> PlanManifest:
    """Return the plan with these terms in place of those that it names.

    Raises:
        InputError: As `checked_terms`.
    """
    own = {name: value for name, value in plan.algorithm.parameters.items() if name not in COMMON}
    return replace(plan, algorithm=replace(plan.algorithm, parameters={**own, **checked_terms(common)}))


def require_terms_of(plan: PlanManifest, common: Mapping[str, str]) -> None:
    """Compare what a task states with what the plan names.

    Raises:
        InputError: The plan names something that the task does not state, or states otherwise.
    """
    for name, says in COMMON.items():
        wanted, found = plan.algorithm.parameters.get(name), common.get(name)
        if wanted is None or wanted == found:
            continue
        if found is None:
            raise InputError(
                f"{name}: the plan names {says}, {wanted!s:.80}, and the task states none: give it in common= of the "
                "Task, as trainer.huggingface does"
            )
        expected, got = _differing(str(wanted), found) if name == "adapter" else (wanted, found)
        raise InputError(f"{name}: expected {says} that the plan names, {expected}, got {got}")


def _differing(wanted: str, found: str) -> tuple[str, str]:
    """Return the first setting that differs between two JSON objects, as the one and the other have it."""
    ours, theirs = parsed_settings(wanted), parsed_settings(found)
    for key in sorted({*ours, *theirs}):
        one, other = (canonical_json(each[key]) if key in each else "by default" for each in (ours, theirs))
        if one != other:
            return f"{key} {one:.80}", f"{key} {other:.80}"
    return wanted[:80], found[:80]


def parsed_settings(text: str) -> dict[str, Any]:
    """Return an adapter's settings from a plan's text.

    Raises:
        InputError: It is no JSON object.
    """
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise InputError(f"adapter: expected a JSON object in the plan, got {text!r:.80}")
    return settings

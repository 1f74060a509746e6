"""Read and write plans as TOML files, with durations in units."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.cli.statements import read_toml
from registry.errors import FormError, InputError, UnknownRule
from registry.rules.algorithms import CLIENT_ALGORITHMS, require_fitting
from registry.rules.table import (
    COMBINE_RULES,
    DENSE,
    EXAMPLES,
    MEAN,
    PACKED,
    UNIFORM,
    UPDATE_FORMS,
    Entry,
    find,
    lookup,
    packing_of,
    with_usual_values,
)
from registry.types import WALK_STEPS

if TYPE_CHECKING:
    from registry.content.manifest import PlanManifest, ServerRule

__all__ = [
    "duration",
    "field_of",
    "is_fitted",
    "manifest_of",
    "parameters_of",
    "plan_toml",
    "read_plan",
    "require_terms",
    "show_duration",
    "terms_of",
    "without_derived",
]

_DEFAULTS: Mapping[str, Any] = {
    "algorithm": {"name": "fedavg", "parameters": {"epochs": 1}},
    "combine_rule": MEAN.name,
    "combine_parameters": {},
    "weights": None,
    "server": {"name": "fedavg", "parameters": {"rate": 1.0}},
    "update_form": DENSE.name,
    "form_parameters": {},
    "grid_bits": 24,
    "saturate": False,
    "scales": {},
    "buffers": {},
    "values": None,
    "header": None,
    "segments": None,
    "transforms": [],
}
_LEAST, _MOST = 30, 90 * 24 * 3600
"""Seconds that the contract allows a duration."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COMMENTS = {
    "algorithm": "what participants run: cairn rules",
    "combine_rule": "the rule that combines contributions into an aggregate, by name or number: cairn rules",
    "combine_parameters": "parameters of the combine rule",
    "weights": f"{EXAMPLES}: a contribution counts by its weight; {UNIFORM}: each counts once",
    "server": "the rule that makes a version of the aggregate: cairn rules",
    "update_form": "encoding of an update's file: dense, int8, int4, top-8, …: cairn rules",
    "form_parameters": "parameters of the update form",
    "grid_bits": "update values are integers times 2^-grid_bits",
    "saturate": "clip values beyond the grid instead of refusing them",
    "scales": "tensor = e: its update is divided by 2^e before rounding",
    "buffers": "tensors that are running statistics: 1, or 2 if they cannot be negative",
    "values": "of the versions it is for, like the next two; cairn plan set fills them in",
    "transforms": "applied to an update on its way out, in order",
}


_RULES: Mapping[str, tuple[Sequence[Entry], str]] = {
    "combine_rule": (COMBINE_RULES, "combine rule"),
    "update_form": (UPDATE_FORMS, "update form"),
}


def _defaults() -> dict[str, Any]:
    """Return a plan's defaults."""
    from registry.content.manifest import plan_terms

    return {**_DEFAULTS, **{name: term["usual"] for name, term in plan_terms().items()}}


def terms_of(texts: Sequence[str]) -> dict[str, Any]:
    """Parse terms of the form NAME=VALUE.

    Raises:
        InputError: A text is malformed, or names no term.
    """
    from registry.content.manifest import plan_terms

    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in plan_terms():
            raise InputError(f"--term: expected NAME=VALUE, NAME one of {', '.join(plan_terms())}; got {text!r:.80}")
        if name == "hooks":
            found[name] = value.split(",")
        else:
            found[name] = value if name.endswith("_duration") else _whole(value, name)
    return found


def _whole(value: str, name: str) -> int:
    if not re.fullmatch(r"\d{1,20}", value, re.ASCII):
        raise InputError(f"{name}: expected a whole number, got {value!r:.40}")
    return int(value)


def read_plan(path: Path, choose: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None) -> PlanManifest:
    """Read a plan from a TOML file or an encoded manifest; omitted fields take their defaults.

    Args:
        path: The file.
        choose: Maps the file's fields to defaults that replace the usual ones for omitted fields.

    Raises:
        InputError: There is no such file, or a field in it is unknown or invalid.
        FormError: The encoded manifest is malformed.
    """
    if path.suffix in (".cbor", ".dagcbor"):
        from registry.content.manifest import PlanManifest, decode

        try:
            return decode(path.read_bytes(), PlanManifest)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
    given = read_toml(path)
    try:
        manifest = manifest_of(given)
        chosen = choose(given) if choose is not None else {}
        manifest = manifest_of({**chosen, **given}) if chosen else manifest
        require_terms(manifest)
        return manifest
    except InputError as error:
        raise type(error)(f"{path}: {error}" if not str(error).startswith(str(path)) else str(error)) from error


def manifest_of(given: Mapping[str, Any]) -> PlanManifest:
    """Return the plan with these fields and defaults for the rest. Rules may be given by name.

    Raises:
        InputError: A field is unknown or invalid.
        UnknownRule: A rule is not in the table.
    """
    try:
        return _manifest_of(given)
    except FormError as error:  # what people write is input; FormError is for bytes
        raise InputError(str(error)) from error


def _manifest_of(given: Mapping[str, Any]) -> PlanManifest:
    from registry.content.manifest import PlanManifest, Procedure, encode
    from registry.ethereum.keys import address_of
    from registry.rounds.plans import plan_rules

    usual = _defaults()
    unknown = sorted(set(given) - set(usual))
    if unknown:
        raise InputError(f"unknown field {unknown[0]!r}: a plan has {', '.join(usual)}")
    values = {**usual, **given}
    values |= _named_form(values["update_form"], values["form_parameters"])
    for name, (table, kind) in _RULES.items():
        values[name] = lookup(table, values[name], kind).number
    combine = lookup(COMBINE_RULES, values["combine_rule"], "combine rule")
    if isinstance(values["combine_parameters"], Mapping):
        values["combine_parameters"] = with_usual_values(combine, values["combine_parameters"])
    if values["weights"] is None:
        values["weights"] = combine.weights[0]
    try:
        values["algorithm"] = Procedure(**values["algorithm"])
        values["transforms"] = tuple(Procedure(**entry) for entry in values["transforms"])
    except TypeError:
        got = "; ".join(f"{name}: {values[name]!r:.60}" for name in ("algorithm", "transforms"))
        raise InputError(
            f'algorithm, transforms: expected tables as {{name = "fedavg", parameters = {{epochs = 1}}}}, got {got}'
        ) from None
    for name in usual:
        if name.endswith("_duration") and values[name] is not None:
            values[name] = duration(values[name], name)
    if values["answer_duration"] is None:
        values["answer_duration"] = max(values["challenge_duration"] // WALK_STEPS - values["late_duration"], 0)
    values["server"] = _server(values["server"], values["grid_bits"])
    values["values"] = values["values"] or 1
    for name in ("header", "segments"):
        values[name] = bytes(32) if values[name] is None else _hex(values[name], name)
    if not isinstance(values["hooks"], list | tuple):
        raise InputError(f"hooks: expected a list of addresses, got {values['hooks']!r:.60}")
    values["hooks"] = tuple(bytes(address_of(hook)) for hook in values["hooks"])
    try:
        manifest = PlanManifest(**values)
        encode(manifest)
        plan_rules(manifest)
        if manifest.algorithm.name in CLIENT_ALGORITHMS:
            require_fitting(manifest)
    except TypeError as error:
        raise FormError(f"plan: {error}") from error
    return manifest


def _named_form(form: object, parameters: object) -> dict[str, Any]:
    """Return form and parameters of a name such as `int8` or `top-8`; nothing for other forms."""
    from registry.rules.packed import packing_named

    packing = packing_named(form) if isinstance(form, str) else None
    if packing is None:
        if isinstance(form, str) and find(UPDATE_FORMS, form) is None:
            expected = "expected dense, int4, int8, int16, top-N or top-N-int8, N 1..128"
            raise UnknownRule(f"update_form: {expected}; got {form!r:.40}")
        return {}
    named = {"bits": packing.bits, "kept": packing.kept}
    if parameters not in ({}, named):
        raise InputError(f"form_parameters: expected {named} or none with update_form {form!r}, got {parameters!r:.80}")
    return {"update_form": PACKED.number, "form_parameters": named}


def require_terms(manifest: PlanManifest, left_open: Sequence[str] = ()) -> None:
    """Check the durations and prices that the contract checks when a plan is set.

    Args:
        manifest: The plan.
        left_open: Terms that are chosen later.

    Raises:
        InputError: One is out of its range; names the field, the range and the remedy.
    """
    for name in ("commit_duration", "publish_duration", "aggregate_duration", "challenge_duration"):
        _require_between(name, getattr(manifest, name), _LEAST, _MOST)
    _require_enough(manifest)
    late, answer, challenge = manifest.late_duration, manifest.answer_duration, manifest.challenge_duration
    if late and not manifest.bond_gwei:
        raise InputError(f"late_duration: expected 0 without a bond (bond_gwei), got {show_duration(late)}")
    if "challenge_duration" in left_open:
        return
    if challenge < (least := WALK_STEPS * (_LEAST + late)):
        each = f"{show_duration(_LEAST)}{f' and as many late periods of {show_duration(late)}' if late else ''}"
        raise InputError(
            f"challenge_duration: expected at least {show_duration(least)}, {WALK_STEPS} answers of {each}, got "
            f"{show_duration(challenge)}"
        )
    most = challenge // WALK_STEPS - late
    if not _LEAST <= answer <= most:
        raise InputError(
            f"answer_duration: expected {show_duration(_LEAST)} to {show_duration(most)}, 1/{WALK_STEPS} of "
            f"challenge_duration{' less late_duration' if late else ''}, got {show_duration(answer)}: leave it out to "
            "have it derived, or set challenge_duration longer"
        )


def _require_enough(manifest: PlanManifest) -> None:
    """Check the terms by which commits may end early."""
    enough, least = manifest.enough_commitments, manifest.least_commit_duration
    if not enough:
        if least:
            raise InputError(
                f"least_commit_duration: expected 0 without enough_commitments, got {show_duration(least)}"
            )
        return
    if enough < manifest.min_contributions:
        raise InputError(
            f"enough_commitments: expected 0, or at least min_contributions, {manifest.min_contributions}, got {enough}"
        )
    _require_between("least_commit_duration", least, _LEAST, manifest.commit_duration)


def _require_between(name: str, value: int, least: int, most: int) -> None:
    if value < least:
        raise InputError(f"{name}: expected at least {show_duration(least)}, got {show_duration(value)}")
    if value > most:
        raise InputError(f"{name}: expected at most {show_duration(most)}, got {show_duration(value)}")


def without_derived(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan's fields without an answer time that follows from its challenge duration, as `plan_toml` writes it.

    Raises:
        InputError: A duration is malformed.
    """
    usual, found = _defaults(), dict(given)
    if given.get("answer_duration") is None:
        return found
    names = ("answer_duration", "challenge_duration", "late_duration")
    answer, challenge, late = (duration(given.get(name, usual[name]), name) for name in names)
    if answer == max(challenge // WALK_STEPS - late, 0):
        del found["answer_duration"]
    return found


def field_of(term: str) -> str:
    """Return a plan's field by the contract's name of it: `answer_duration` for `answerDuration`."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda found: f"_{found[0].lower()}", term)


def is_fitted(manifest: PlanManifest) -> bool:
    """Return whether a plan names the form of its versions; else `cairn plan set` takes the head's."""
    return any(manifest.header)


def _server(given: Any, grid_bits: Any) -> ServerRule:
    """Resolve a server rule from its name and parameters, or its program."""
    from registry.content.manifest import ServerRule
    from registry.rounds.plans import server_rule

    if not isinstance(given, Mapping) or not set(given) <= {"name", "parameters", "program"}:
        raise InputError("server: expected {name = …, parameters = {…}} or {program = …}")
    name, program = given.get("name"), given.get("program")
    if name is None:
        return ServerRule(None, {}, _hex(program, "server: program"))
    numbers = {
        key: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for key, value in dict(given.get("parameters") or {}).items()
    }
    made = server_rule(str(name), numbers, grid_bits)
    if program is not None and _hex(program, "server: program") != made.program:
        raise InputError(f"server: expected the program that {name} compiles to, got another")
    return made


def _hex(value: Any, name: str) -> bytes:
    try:
        return bytes.fromhex(str(value).removeprefix("0x"))
    except ValueError:
        raise InputError(f"{name}: expected hexadecimal digits, got {value!r:.40}") from None


def plan_toml(manifest: PlanManifest, left_open: Sequence[str] = ()) -> str:
    """Format a plan as TOML that `read_plan` reads back.

    Args:
        manifest: The plan.
        left_open: Terms to write as comments, for `cairn plan set` to choose.
    """
    from registry.content.manifest import ServerRule

    form = find(UPDATE_FORMS, manifest.update_form)
    packing = None if form is None else packing_of(manifest)
    lines = ["# The rules of a model's rounds. Anchor it: cairn plan set MODEL THIS-FILE"]
    for field in fields(manifest):
        value = getattr(manifest, field.name)
        if value is None or (field.name in ("values", "header", "segments") and not is_fitted(manifest)):
            continue
        if isinstance(value, ServerRule):
            named = {"name": value.name, "parameters": value.parameters}
            value = {"program": value.program} if value.name is None else named
        shown = show_duration(value) if field.name.endswith("_duration") else value
        if field.name in _RULES:
            known = find(_RULES[field.name][0], value)
            shown = known.name if known else value
            shown = packing.name if packing is not None and field.name == "update_form" else shown
        if field.name == "form_parameters" and form is not None:
            continue  # the form's name says them
        says = field.metadata.get("says") or _COMMENTS.get(field.name)
        if field.name in left_open:
            lines.append(f"# {field.name} = {_toml(shown)}  # cairn plan set chooses, unless set here; {says}")
            continue
        comment = f"  # {says}" if says else ""
        lines.append(f"{field.name} = {_toml(shown)}{comment}")
    return "\n".join(lines) + "\n"


def parameters_of(texts: Sequence[str]) -> dict[str, int]:
    """Parse parameters of the form NAME=VALUE.

    Raises:
        InputError: A text is malformed, or a name repeated.
    """
    found: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in found or not re.fullmatch(r"-?\d+", value, re.ASCII):
            raise InputError(f"expected NAME=VALUE, each name once and the value a whole number, got {text!r}")
        found[name] = int(value)
    return found


def duration(value: object, name: str) -> int:
    """Parse a duration such as `90`, `90s`, `10m`, `2h`, `1h30m` or `3d` to seconds.

    Raises:
        InputError: The text is not a duration.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    text = str(value).strip().lower()
    if text.isdigit():
        return int(text)
    parts = re.findall(r"(\d+)([smhd])", text)
    if not parts or "".join(count + unit for count, unit in parts) != text:
        raise InputError(f"{name}: expected a duration such as 90s, 10m, 2h or 3d, got {value!r:.40}")
    return sum(int(count) * _UNITS[unit] for count, unit in parts)


def show_duration(seconds: int) -> str:
    """Format seconds so that `duration` parses them back."""
    text, rest = "", seconds
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, _UNITS[unit])
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _toml(value: Any) -> str:
    """Format a value as TOML: text, number, boolean, list or inline table, the types that a plan has."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f'"0x{value.hex()}"'
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return _toml({field.name: getattr(value, field.name) for field in fields(value)})


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)

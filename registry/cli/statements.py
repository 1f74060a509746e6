"""Build an owner's statement about a version from a TOML file and flags."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import InputError

if TYPE_CHECKING:
    from registry.content.manifest import Source, Statement

__all__ = ["read_toml", "statement_of"]

_TEXTS = ("title", "task", "licence", "intended_use", "base_model")


def statement_of(file: Path | None, texts: Mapping[str, str | None], sources: Sequence[str]) -> Statement | None:
    """Return the statement; None if it would be empty.

    Args:
        file: TOML with the fields of a statement; `[[sources]]` have name, licence and data_set, `[metrics]` numbers.
        texts: Fields given as flags, which override the file.
        sources: `NAME` or `NAME=LICENCE` each, added to the file's.

    Raises:
        InputError: The file has unknown fields.
    """
    from registry.content.manifest import Source, Statement

    said: dict[str, Any] = read_toml(file) if file is not None else {}
    unknown = sorted(set(said) - {*_TEXTS, "sources", "metrics"})
    if unknown:
        raise InputError(f"{file}: unknown field {unknown[0]!r}: there are {', '.join(_TEXTS)}, sources, metrics")
    said |= {name: text for name, text in texts.items() if text is not None}
    named = [_source(file, entry) for entry in said.get("sources", [])]
    named += [Source(text.partition("=")[0], text.partition("=")[2], None) for text in sources]
    metrics = {str(name): float(value) for name, value in dict(said.get("metrics", {})).items()}
    if not named and not metrics and not any(said.get(name) for name in _TEXTS):
        return None
    return Statement(**{name: str(said.get(name, "")) for name in _TEXTS}, sources=tuple(named), metrics=metrics)


def read_toml(file: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        InputError: The file does not exist, or is not TOML.
    """
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: expected TOML: {error}") from error


def _source(file: Path | None, entry: Any) -> Source:
    from registry.content.cid import parse_cid
    from registry.content.copied_cids import copied_cid
    from registry.content.manifest import Source

    if not isinstance(entry, dict) or set(entry) - {"name", "licence", "data_set"} or "name" not in entry:
        raise InputError(f"{file}: sources: expected tables with name, licence and data_set, got {entry!r:.80}")
    data_set = entry.get("data_set")
    linked: Any = None
    if isinstance(data_set, str):
        named = copied_cid(data_set)
        linked = parse_cid(named) if named.startswith("baf") else _digest(file, named)
    return Source(str(entry["name"]), str(entry.get("licence", "")), linked)


def _digest(file: Path | None, text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise InputError(
            f"{file}: sources: expected a data set's digest in hex, or its CID, got {text!r:.80}"
        ) from None

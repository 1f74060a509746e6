"""Models and versions as a model registry numbers and names them, from the index: versions in chain order, aliases that
are final, and what stands in the way of a version's use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.explorer.reading import NotThere, Reading
from registry.explorer.version_page import VersionPage, version_page
from registry.index import queries
from registry.index.entries import ModelEntry, VersionEntry
from registry.lineage.version_labels import labels_of
from registry.types import Digest, ModelId
from registry.verification.checks import Finding

__all__ = [
    "NamedModel",
    "NumberedVersion",
    "final_head",
    "named_model",
    "named_models",
    "numbered_versions",
    "obstacle",
    "page_of",
    "version_by_alias",
    "version_by_number",
]


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model by name.

    Attributes:
        name: The operator's name for it, else its id.
        entry: Its entry in the index.
        aliases: Versions by alias, as of the last final block.
    """

    name: str
    entry: ModelEntry
    aliases: Mapping[str, Digest]


@dataclass(frozen=True, slots=True)
class NumberedVersion:
    """A version by number: its place among the model's versions in chain order, the genesis 1."""

    number: int
    entry: VersionEntry


def named_models(reading: Reading, names: Mapping[str, ModelId]) -> tuple[NamedModel, ...]:
    """Return every model, in order of registration, with the operator's names for some."""
    return tuple(_named(reading, entry, names) for entry in queries.models(reading.db))


def named_model(reading: Reading, names: Mapping[str, ModelId], text: str) -> NamedModel:
    """Return the model that an operator's name or a whole id names: a title names none, since anybody may take it.

    Raises:
        InputError: The text is no name and no id.
        NotThere: The index has no such model.
    """
    named = names.get(text)
    return _named(reading, reading.model(text if named is None else f"0x{named.hex()}"), names)


def numbered_versions(reading: Reading, model: NamedModel) -> tuple[NumberedVersion, ...]:
    """Return a model's versions with their numbers. A reorg may change those of provisional versions alone."""
    found = queries.versions(reading.db, model.entry.model_id)
    return tuple(NumberedVersion(number, entry) for number, entry in enumerate(found, 1))


def version_by_number(reading: Reading, model: NamedModel, number: int) -> NumberedVersion:
    """Return a model's version by number.

    Raises:
        NotThere: It has none of this number.
    """
    found = numbered_versions(reading, model)
    if not 1 <= number <= len(found):
        raise NotThere(f"model {model.name}: expected a version from 1 to {len(found)}, got {number:.0f}")
    return found[number - 1]


def version_by_alias(reading: Reading, model: NamedModel, alias: str) -> NumberedVersion:
    """Return the version that an alias names.

    Raises:
        NotThere: The model has no such alias in a final block.
    """
    if alias not in model.aliases:
        known = f"its aliases are {', '.join(model.aliases)}" if model.aliases else "it has none"
        raise NotThere(f"model {model.name}: no alias {alias!r:.100} in a final block: {known}")
    return _of_digest(reading, model, model.aliases[alias])


def final_head(reading: Reading, model: NamedModel) -> NumberedVersion | None:
    """Return the version that was the model's head in the last final block; None before the first."""
    final = [one for one in queries.heads(reading.db, model.entry.model_id) if one.at.final]
    return _of_digest(reading, model, final[-1].digest) if final else None


def page_of(reading: Reading, entry: VersionEntry) -> VersionPage:
    """Return all that is known of a version, with the checks that need no weights."""
    names = {"model": f"0x{entry.model_id.hex()}", "version": f"0x{entry.digest.hex()}"}
    return version_page(reading, names, {})


def obstacle(page: VersionPage, entry: VersionEntry, *, deprecated: bool) -> str:
    """Return why a version's file must not be handed out; empty if it may be.

    Args:
        page: What is known of the version.
        entry: Its entry in the index.
        deprecated: Whether a deprecated one may be.
    """
    failed = next((check for check in page.checks if check.finding is Finding.FAILED), None)
    if failed is not None:
        return f"a check fails: {failed.name}: {failed.evidence}"
    if not entry.at.final:
        return f"provisional: block {entry.at.block} is not final, so a reorg may remove it"
    if entry.deprecated and not deprecated:
        return "deprecated by its owner: deprecated=yes in the registry URI hands out such files"
    return ""


def _named(reading: Reading, entry: ModelEntry, names: Mapping[str, ModelId]) -> NamedModel:
    name = next((word for word, model in names.items() if model == entry.model_id), f"0x{entry.model_id.hex()}")
    final = -1 if reading.as_of.final is None else reading.as_of.final
    changes = [change for change in queries.labels(reading.db, entry.model_id) if change[0] <= final]
    return NamedModel(name, entry, labels_of(changes).aliases)


def _of_digest(reading: Reading, model: NamedModel, digest: Digest) -> NumberedVersion:
    return next(one for one in numbered_versions(reading, model) if one.entry.digest == digest)

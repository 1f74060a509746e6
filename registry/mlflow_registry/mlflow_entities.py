"""MLflow's entities from Cairn's facts: a registered model, and a model version with its anchors, metrics and scores.

Titles, metrics' names, tags and notes are strangers' words: each stands on one line, cut, with characters that steer a
reader as escapes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mlflow.entities import Metric
from mlflow.entities.model_registry import (
    ModelVersion,
    ModelVersionTag,
    RegisteredModel,
    RegisteredModelAlias,
    RegisteredModelTag,
)

from registry.ethereum.keys import to_checksum
from registry.explorer.model_pages import statement_of
from registry.explorer.reading import Reading
from registry.explorer.version_page import VersionPage
from registry.exports.version_record import line
from registry.index.entries import VersionEntry
from registry.mlflow_registry.registered_models import NamedModel, NumberedVersion, obstacle
from registry.verification.checks import Finding

__all__ = ["SCHEME", "model_version", "registered_model"]

SCHEME = "cairn"
_MOST = 500
"""Characters of a stranger's text."""
_Tags = Iterator[tuple[str, str]]


def registered_model(reading: Reading, model: NamedModel, numbers: dict[bytes, int], latest: object) -> RegisteredModel:
    """Return a model.

    Args:
        reading: What is read.
        model: The model.
        numbers: Numbers of its versions by digest.
        latest: The version that is its head in the last final block, as `model_version` returns it; None for none.
    """
    entry, said = model.entry, statement_of(reading, model.entry)
    times = reading.times_of([entry.at])
    title = "" if said is None else _cut(said.title)
    tags = {
        "cairn.model": f"0x{entry.model_id.hex()}",
        "cairn.title": title,
        "cairn.owner": to_checksum(entry.owner),
        "cairn.chain_id": str(reading.as_of.chain_id),
        "cairn.contract": to_checksum(reading.as_of.contract),
        "cairn.block": str(entry.at.block),
        "cairn.suspended": _yes(entry.suspended),
    }
    return RegisteredModel(
        name=model.name,
        creation_timestamp=times[entry.at.block] * 1000,
        last_updated_timestamp=times[entry.at.block] * 1000,
        description=title,
        latest_versions=[] if latest is None else [latest],
        tags=[RegisteredModelTag(key, value) for key, value in tags.items() if value],
        aliases=[RegisteredModelAlias(alias, str(numbers[digest])) for alias, digest in model.aliases.items()],
    )


def model_version(
    reading: Reading, model: NamedModel, version: NumberedVersion, page: VersionPage | None = None
) -> ModelVersion:
    """Return a version; without its page only what the index says of it.

    A failed check makes it FAILED_REGISTRATION, and a block that is not final PENDING_REGISTRATION. Its `version` is an
    int, by which MLflow sorts.
    """
    entry = version.entry
    tags = dict(_anchors(entry))
    time = 1000 * reading.times_of([entry.at])[entry.at.block]
    metrics = []
    why = ""
    if page is not None:
        why = obstacle(page, entry, deprecated=False)
        tags |= dict(_statements(page))
        metrics = [Metric(name, value, time, entry.number) for name, value in _metrics(page).items()]
    failed = page is not None and page.finding is Finding.FAILED
    status = "FAILED_REGISTRATION" if failed else "READY" if entry.at.final else "PENDING_REGISTRATION"
    return ModelVersion(
        name=model.name,
        version=version.number,
        creation_timestamp=time,
        last_updated_timestamp=time,
        description=f"round {entry.number}" if entry.number else "published by the model's owner",
        user_id="",
        current_stage="None",
        source=f"{SCHEME}:/0x{entry.model_id.hex()}/0x{entry.digest.hex()}",
        run_id="",
        run_link="",
        status=status,
        status_message=_cut(why),
        tags=[ModelVersionTag(key, value) for key, value in tags.items() if value],
        aliases=[alias for alias, digest in model.aliases.items() if digest == entry.digest],
        metrics=metrics,
    )


def _anchors(entry: VersionEntry) -> _Tags:
    """Yield what the chain says of a version."""
    yield "cairn.digest", f"0x{entry.digest.hex()}"
    yield "cairn.tensor_root", f"0x{entry.roots.tensor.hex()}"
    yield "cairn.parent", f"0x{entry.parent.hex()}" if any(entry.parent) else ""
    yield "cairn.round", str(entry.number or "")
    yield "cairn.block", str(entry.at.block)
    yield "cairn.final", _yes(entry.at.final)
    yield "cairn.deprecated", _yes(entry.deprecated)


def _statements(page: VersionPage) -> _Tags:
    """Yield what manifests, participants and validators say of a version, and what its records' checks found."""
    facts = page.facts
    yield "cairn.verdict", page.finding.value
    if facts.manifest is not None:
        yield "cairn.sha256", facts.manifest.weights.sha256.hex()
        yield "cairn.cid", str(facts.manifest.weights.cid)
        yield "cairn.size", str(facts.manifest.weights.size)
    if facts.deprecation is not None and any(facts.deprecation.replacement):
        yield "cairn.replacement", f"0x{facts.deprecation.replacement.hex()}"
    yield "cairn.tags", ", ".join(map(_cut, facts.labels.tags))
    for number, note in enumerate(facts.labels.notes, 1):
        yield f"cairn.note.{number}", _cut(note.text)
    for name, value in _metrics(page).items():
        yield f"cairn.metric.{name}", repr(value)
    if facts.score is not None:
        yield "cairn.score", repr(facts.score.value)
        yield "cairn.score.metric", _cut(facts.score.metric)
        yield "cairn.score.worst", "" if facts.score.worst is None else repr(facts.score.worst)
        yield "cairn.score.participants", str(facts.score.participants)
    if facts.validators is not None:
        yield "cairn.validators", str(len(facts.validators.scores))
        yield "cairn.validators.median", "" if facts.validators.score is None else repr(facts.validators.score)


def _metrics(page: VersionPage) -> dict[str, float]:
    """Return metrics by name, cut; those whose names are then equal are numbered, so that each has its own."""
    found: dict[str, float] = {}
    seen: Counter[str] = Counter()
    for whole, value in page.facts.metrics.items():
        name = cut = _cut(whole)
        while name in found:
            seen[cut] += 1
            name = f"{cut} ({seen[cut] + 1})"
        found[name] = value
    return found


def _cut(text: str) -> str:
    told = line(text)
    return told if len(told) <= _MOST else f"{told[: _MOST - 1]}…"


def _yes(said: bool) -> str:
    return "true" if said else "false"

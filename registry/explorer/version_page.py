"""The page of a version: its facts, its relatives, its files, and the checks that need no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from registry.chain.contract_hashes import result_hash
from registry.content.manifest import VersionManifest
from registry.errors import VerificationFailed
from registry.explorer.reading import AsOf, NotThere, Reading, hex_of
from registry.facts.model_card import model_card
from registry.facts.verification_facts import without_places
from registry.facts.version_facts import (
    VersionFacts,
    ancestor_stories,
    lineage_entries,
    lineage_facts,
    version_facts,
)
from registry.index import queries, round_queries
from registry.index.entries import LogPlace, ModelEntry, VersionEntry
from registry.lineage.ancestry import Ancestry, read_ancestry
from registry.lineage.dates_and_metrics import DatesAndMetrics, metrics_of_versions, scores_of_versions
from registry.lineage.graph import VersionNode
from registry.lineage.indexed_rounds import indexed_round
from registry.lineage.provenance import VersionProvenance, provenance_of_version
from registry.store.manifests import found_manifest
from registry.types import Blob, Cid, Digest
from registry.verification.checks import Begun, Check, Finding, require_same, until_failure
from registry.verification.verify import verify_published, verify_records

__all__ = [
    "Relative",
    "StoredFile",
    "VersionPage",
    "card_of",
    "checks_of",
    "entry_of",
    "file_of",
    "lineage_of",
    "version_page",
]

_ANCESTORS, _CHILDREN, _CHECKED = 12, 12, 256
"""Relatives on a page, and commitments of a round up to which the page checks their manifests."""
FILES = ("weights", "state")
"""Files of a version that the site serves."""


@dataclass(frozen=True, slots=True)
class Relative:
    """A version near another one in the lineage.

    Attributes:
        version: Its entry in the same model, or else in the first that has it; None if no model of the contract has it.
        parents: Its parents in all models, as far as its manifest is at hand.
        distance: Steps to it: below 0 for an ancestor, 1 for a child, 0 for the version itself.
    """

    digest: Digest
    version: VersionEntry | None
    parents: tuple[Digest, ...]
    distance: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a version.

    Attributes:
        name: weights or state.
        sha256: Plain hash of the file, as `sha256sum` prints it; None if its manifest does not say.
        here: Whether the store has the file's first block.
    """

    name: str
    cid: Cid
    size: int
    sha256: bytes | None
    here: bool


@dataclass(frozen=True, slots=True)
class VersionPage:
    """A version.

    Attributes:
        at: Where it was anchored.
        facts: As `cairn provenance show` has them.
        relatives: Ancestors from the eldest, then the version, then its children.
        more: Whether there are more ancestors or children than these.
        files: Its files; empty if its manifest is unavailable.
        finding: The worst finding of the checks.
        checks: Those that need no files and no node; `cairn verify` carries out all.
    """

    as_of: AsOf
    model: ModelEntry
    at: LogPlace
    facts: VersionFacts
    relatives: tuple[Relative, ...]
    more: bool
    files: tuple[StoredFile, ...]
    finding: Finding
    checks: tuple[Check, ...]


def version_page(reading: Reading, path: Mapping[str, str], query: Mapping[str, str]) -> VersionPage:
    """Return a version of a model."""
    model = reading.model(path["model"])
    entry = entry_of(reading, model, path["version"])
    story = provenance_of_version(reading.db, reading.store, entry)
    parents = _parents(reading, entry.digest)
    relatives, more = _relatives(reading, entry, parents)
    checks = checks_of(reading, story)
    return VersionPage(
        as_of=reading.as_of,
        model=model,
        at=entry.at,
        facts=version_facts(story, parents, _told(reading, story)),
        relatives=relatives,
        more=more,
        files=tuple(_files(reading, story.manifest)),
        finding=max((check.finding for check in checks), key=list(Finding).index),
        checks=checks,
    )


def card_of(reading: Reading, path: Mapping[str, str]) -> str:
    """Return the model card of a version, Markdown."""
    model = reading.model(path["model"])
    entry = entry_of(reading, model, path["version"])
    ancestry, stories, told = lineage_of(reading, entry)
    facts = lineage_facts(ancestry, stories, model.model_id, entry.digest, told)
    return model_card(facts, chain_id=reading.as_of.chain_id, contract=reading.as_of.contract)


def lineage_of(reading: Reading, entry: VersionEntry) -> tuple[Ancestry, list[VersionProvenance], DatesAndMetrics]:
    """Return a version's lineage: the graph, the story of each ancestor, and dates and metrics."""
    ancestry = read_ancestry(reading.db, reading.catalogue)
    stories = ancestor_stories(reading.db, reading.store, ancestry, entry.model_id, entry.digest)
    shown = tuple(lineage_entries(ancestry, stories, entry.digest))
    told = DatesAndMetrics(
        reading.times_of(one.at for one in shown),
        metrics_of_versions(reading.db, reading.store, shown, stories),
        scores_of_versions(reading.db, reading.store, stories),
    )
    return ancestry, stories, told


def file_of(reading: Reading, path: Mapping[str, str]) -> Blob:
    """Return a file of a version that the store has.

    Raises:
        NotThere: There is no such file, or the store does not have it.
    """
    model = reading.model(path["model"])
    entry = entry_of(reading, model, path["version"])
    manifest = found_manifest(reading.store, entry.digest, VersionManifest)
    file = next((one for one in _files(reading, manifest) if one.name == path["file"]), None)
    if file is None or not file.here:
        raise NotThere(f"version {path['version']}: expected a file of {' or '.join(FILES)} in the store, found none")
    return Blob(file.cid, file.size)


def entry_of(reading: Reading, model: ModelEntry, text: str) -> VersionEntry:
    """Return the version of a model that a path names.

    Raises:
        InputError: The text is no digest.
        NotThere: The model has no such version.
    """
    digest = Digest(hex_of(text, 32, "version's digest"))
    held = queries.versions_of_digest(reading.db, digest)
    entry = next((one for one in held if one.model_id == model.model_id), None)
    if entry is None:
        raise NotThere(f"model 0x{model.model_id.hex()} has no version {text} up to block {reading.as_of.block}")
    return entry


def _told(reading: Reading, story: VersionProvenance) -> DatesAndMetrics:
    times = reading.times_of(one.at for one in (story.entry, *story.elsewhere))
    metrics = metrics_of_versions(reading.db, reading.store, story.elsewhere)
    return DatesAndMetrics(times, metrics, scores_of_versions(reading.db, reading.store, [story]))


def _files(reading: Reading, manifest: VersionManifest | None) -> Iterator[StoredFile]:
    if manifest is not None:
        weights, state = manifest.weights, manifest.state
        yield StoredFile("weights", weights.cid, weights.size, weights.sha256, reading.store.has(weights.cid))
        if state is not None:
            yield StoredFile("state", state.cid, state.size, None, reading.store.has(state.cid))


# Relatives ------------------------------------------------------------------------------------------------------------


def _relatives(reading: Reading, entry: VersionEntry, parents: tuple[Digest, ...]) -> tuple[tuple[Relative, ...], bool]:
    """Return a version's nearest ancestors and children, and whether there are more."""
    found: dict[Digest, Relative] = {}
    waiting, distance = list(parents), -1
    while waiting and len(found) < _ANCESTORS:
        above: list[Digest] = []
        for digest in waiting:
            if digest == entry.digest or digest in found:
                continue  # owners may publish any parent, so a walk may come back
            eldest = _parents(reading, digest)
            found[digest] = Relative(digest, _somewhere(reading, digest, entry), eldest, distance)
            above += eldest
        waiting, distance = above, distance - 1
    children = _children(reading, entry)
    mine = Relative(entry.digest, entry, parents, 0)
    shown = [*reversed(found.values()), mine, *children[:_CHILDREN]]
    return tuple(shown), bool(waiting) or len(children) > _CHILDREN


def _parents(reading: Reading, digest: Digest) -> tuple[Digest, ...]:
    """Return a version's parents in all models: as anchored, and for a genesis as its manifest says."""
    held = queries.versions_of_digest(reading.db, digest)
    said = [one.parent for one in held if any(one.parent)]
    if len(said) < len(held):
        manifest = found_manifest(reading.store, digest, VersionManifest)
        said += [Digest(manifest.parent.digest)] if manifest is not None and manifest.parent is not None else []
    return tuple(dict.fromkeys(said))


def _children(reading: Reading, entry: VersionEntry) -> list[Relative]:
    held = queries.versions_of_digest(reading.db, entry.digest)
    found = {child.digest: child for one in held for child in queries.children(reading.db, one.model_id, one.digest)}
    relatives = [Relative(digest, child, (entry.digest,), 1) for digest, child in found.items()]
    for digest in reading.catalogue.children_of(entry.digest):
        if digest not in found and (other := _somewhere(reading, digest, entry)) is not None:
            relatives.append(Relative(digest, other, (entry.digest,), 1))
    return relatives


def _somewhere(reading: Reading, digest: Digest, near: VersionEntry) -> VersionEntry | None:
    held = queries.versions_of_digest(reading.db, digest)
    return next((one for one in held if one.model_id == near.model_id), held[0] if held else None)


# Checks ---------------------------------------------------------------------------------------------------------------


def checks_of(reading: Reading, story: VersionProvenance) -> tuple[Check, ...]:
    """Return the checks of a version that need no files and no node; those up to the first failure."""
    return tuple(map(without_places, until_failure(_checks(reading, story))))


def _checks(reading: Reading, story: VersionProvenance) -> Iterator[Check | Begun]:
    """Check a version's records against one another: what the index, its manifests and its report say."""
    entry = story.entry
    said = f"block {entry.at.block} anchors 0x{entry.digest.hex()[:12]}, as the index has it from its node"
    checked = reading.as_of.checked is not None and entry.at.block <= reading.as_of.checked
    yield Check("anchor", Finding.PASSED if checked else Finding.ASSERTED, said)
    if story.round is None:
        zero = (entry.number, entry.at.block, entry.deprecated)
        yield from verify_published(
            reading.store, VersionNode(entry.model_id, entry.digest, entry.parent, entry.roots, *zero)
        )
        return
    made = story.round.entry
    yield Begun("commitments")
    record = indexed_round(reading.db, made)
    yield Check("commitments", Finding.PASSED, f"{len(record.commitments)}, under the plan and parent of its beginning")
    yield Begun("quorum")
    results = {one.result_hash: one.result for one in round_queries.results(reading.db, made.round_id)}
    result = results.get(made.result_hash or b"")
    if result is None:
        raise VerificationFailed(f"round {made.number}: expected an attested result that stands, found none")
    require_same("result: hash", result_hash(result), made.result_hash)
    require_same("result: version", result.version_digest, entry.digest)
    if len(story.round.attesters) < record.plan.quorum:
        raise VerificationFailed(f"expected {record.plan.quorum} attesters, got {len(story.round.attesters)}")
    who = ", ".join(f"0x{attester.hex()[:8]}" for attester in story.round.attesters)
    yield Check("quorum", Finding.PASSED, f"{who} attested 0x{result_hash(result).hex()[:12]}")
    if len(record.commitments) > _CHECKED:
        told = f"more than {_CHECKED} commitments: `cairn verify` reads their manifests"
        yield Check("updates", Finding.UNCHECKED, told)
        return
    yield from verify_records(reading.store, record, result)

"""Answers to demands: the leaf and its Merkle path, from stored blobs and cached trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from registry.chain.contract_structs import Demanded, Opening, Result
from registry.chain.demand_terms import is_of_contributions, is_of_gram, is_of_head
from registry.chain.sentinels import NOTHING
from registry.content.manifest import Reason, ReportEntry, UpdateManifest, VersionManifest, manifest_cid
from registry.content.merkle import VALUES, LeafSink, Rows, state_rows
from registry.disputes.charges import reported
from registry.disputes.openings import Listing, listing_of
from registry.disputes.tree_cache import (
    disk_bytes,
    find_opening,
    is_kept,
    keep_blob,
    keep_gram,
    keep_listing,
    tree_bytes,
    tree_writers,
)
from registry.errors import ContentError, FormError, InputError, StoreUnavailable, VerificationFailed
from registry.rounds.admission import UpdateForm, Verdict, judge_declared, update_rows
from registry.rounds.forked import Pipe, answer, forked
from registry.rounds.loaded_round import load_round
from registry.rounds.onchain import RoundRecord
from registry.rounds.reports import found_report
from registry.rounds.results import Outcome, ascending, measured_gram
from registry.rounds.server_steps import continues
from registry.rounds.tiles import require_room
from registry.rules.encoding import RuleSet
from registry.store.base import ContentStore
from registry.store.manifests import found_manifest
from registry.types import Address, Blob, Root

__all__ = ["Misnamed", "answer_to", "keep_trees", "keeping_updates", "require_room_for_trees"]

Misnamed = set[tuple[Blob, Root, Rows]]
"""Blobs whose root is not what a manifest says. They are not read again: a CID always names the same bytes."""
_Named = tuple[Blob, Root, Rows]


def answer_to(
    store: ContentStore,
    record: RoundRecord,
    result: Result,
    demanded: Demanded,
    place: Path,
    misnamed: Misnamed | None = None,
    *,
    make: bool = True,
) -> Opening | None:
    """Return the opening of a demanded leaf, or the proof that there is no such leaf; None if it is unavailable.

    With a cached tree this reads a few blocks of the store and hashes nothing, whatever the blob's size. A missing or
    damaged tree is rebuilt first.

    Args:
        store: Holds, or fetches, the blobs of the round.
        record: The round.
        result: The result whose leaf is demanded.
        demanded: The leaf.
        place: The folder of the round's trees.
        misnamed: Blobs to skip; updated.
        make: Whether to build a tree that is not cached, which hashes a whole blob.

    Raises:
        OSError: The disk is full.
    """
    if is_of_head(demanded):
        try:
            return Opening(NOTHING.counted, store.get(manifest_cid(demanded.root)), ())
        except ContentError:
            return None
    leaf = demanded.root, Rows(demanded.entry_bytes, demanded.entries), demanded.index
    found = find_opening(place, store, *leaf)
    if found is None and make:
        _rebuild(store, record, result, demanded, place, set() if misnamed is None else misnamed)
        found = find_opening(place, store, *leaf)
    return found


def _rebuild(
    store: ContentStore, record: RoundRecord, result: Result, demanded: Demanded, place: Path, misnamed: Misnamed
) -> None:
    """Rebuild a demanded leaf's tree from the report or a blob that the result's manifests name."""
    if is_of_contributions(demanded):
        report = found_report(store, result.report_digest, len(record.commitments))
        listing = None if report is None else _listing(report.entries)
        if listing is not None and listing.root == demanded.root:
            keep_listing(place, listing)
        return
    if is_of_gram(demanded):
        _rebuild_gram(store, record, result, demanded, place)
        return
    rows = Rows(demanded.entry_bytes, demanded.entries)
    for blob in _blobs(store, record, result, demanded):
        named = blob, demanded.root, rows
        if named in misnamed:
            continue
        try:
            if keep_blob(place, store, *named):
                return
        except ContentError:
            continue  # unavailable now
        except FormError:
            pass
        misnamed.add(named)


def _rebuild_gram(store: ContentStore, record: RoundRecord, result: Result, demanded: Demanded, place: Path) -> None:
    """Measure the updates again that the report admits."""
    report = found_report(store, result.report_digest, len(record.commitments))
    if report is None or report.manifest.gram is None or report.manifest.gram.root != demanded.root:
        return
    try:
        round = load_round(store, record)
        said = {entry.participant for entry in report.entries if entry.reason == Reason.ADMITTED}
        verdicts = [judge_declared(store, record, round.form, c) for c in record.commitments if c.participant in said]
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place) as folder:
            gram = measured_gram(store, round, ascending(verdicts), Path(folder))
            if gram.root == demanded.root:
                keep_gram(place, gram)
    except (ContentError, FormError, InputError, VerificationFailed):
        return  # unavailable now


def _listing(entries: Sequence[ReportEntry]) -> Listing:
    return listing_of(reported(entry) for entry in entries if entry.reason == Reason.ADMITTED)


def require_room_for_trees(place: Path, rules: RuleSet, verdicts: Sequence[Verdict]) -> None:
    """Check, before updates are combined, that the disk has room for the trees that `keep_trees` writes.

    Args:
        place: The folder of the round's trees; created if missing.
        rules: The round's rules.
        verdicts: Of all updates, admitted or not.

    Raises:
        InputError: The disk has too little room.
    """
    place.mkdir(parents=True, exist_ok=True)
    roots = [Root(verdict.commitment.tensor_root) for verdict in verdicts if verdict.admitted]
    kept = sum(is_kept(place, root, update_rows(rules.packing)) for root in roots)
    needed = disk_bytes(len(roots), rules.values, len(rules.program.states), selects=rules.shape.selects)
    needed -= kept * tree_bytes(rules.values, VALUES)
    require_room(place, needed, f"the trees of {len(roots)} contributions, for answers to demands")


@contextmanager
def keeping_updates(place: Path, form: UpdateForm, verdicts: Sequence[Verdict]) -> Iterator[Mapping[Address, LeafSink]]:
    """Cache the trees of admitted updates from the leaf hashes that are computed within, which saves reading them anew.

    Args:
        place: The folder of the round's trees.
        form: Form of the round's updates.
        verdicts: Of all updates, admitted or not.

    Yields:
        What takes the leaf hashes of each update whose tree is missing, by participant.

    Raises:
        VerificationFailed: An update's root differs from the committed one.
        OSError: The disk is full.
    """
    admitted = [(v.commitment, v.manifest) for v in verdicts if v.admitted and v.manifest is not None]
    missing = [(c, m) for c, m in admitted if not is_kept(place, c.tensor_root, form.rows)]
    with tree_writers(place, len(missing)) as writers:
        yield {c.participant: writer for (c, _), writer in zip(missing, writers, strict=True)}
        for (commitment, manifest), writer in zip(missing, writers, strict=True):
            if not writer.complete(manifest.delta.blob, len(form.header), commitment.tensor_root, form.rows):
                raise VerificationFailed(f"{manifest.delta.cid}: its leaf hashes do not give the committed root")


def keep_trees(
    store: ContentStore,
    place: Path,
    parent: VersionManifest,
    rules: RuleSet,
    verdicts: Sequence[Verdict],
    outcome: Outcome,
    *,
    processes: int = 1,
) -> None:
    """Cache every tree of which leaves may be demanded once an outcome is attested; skip those cached already.

    Args:
        store: Holds the outcome's blobs.
        place: The folder of the round's trees.
        parent: The version that the round builds on.
        rules: The round's rules.
        verdicts: Of all updates, admitted or not.
        outcome: What is about to be attested.
        processes: How many processes share the work.

    Raises:
        VerificationFailed: A blob's root differs from its manifest's, so demands of it could not be answered.
        ContentError: A block is missing or changed.
        OSError, StoreUnavailable: The disk is full.
    """
    listing = _listing([entry for page in outcome.pages for entry in page.entries])
    keep_listing(place, listing)
    if outcome.gram is not None:
        keep_gram(place, outcome.gram)
    files = {
        outcome.report.aggregate.blob: outcome.aggregate_file,
        outcome.version.weights.blob: outcome.version_file,
    }
    named = dict.fromkeys(_all_named(parent, rules, verdicts, outcome))
    missing = [one for one in named if not is_kept(place, one[1], one[2])]
    if processes == 1 or len(missing) < 2:
        _keep(store, place, missing, files)
        return
    store.close()  # a forked process must not share this one's connections
    with ExitStack() as stack:
        shares = [missing[first::processes] for first in range(min(processes, len(missing)))]
        for pipe in [stack.enter_context(forked(_keep_in_process, store, place, share, files)) for share in shares]:
            answer(pipe)


def _all_named(
    parent: VersionManifest, rules: RuleSet, verdicts: Sequence[Verdict], outcome: Outcome
) -> Iterator[_Named]:
    """Yield the blobs of a round, each with its root and the rows of its leaves."""
    version, states = outcome.version, state_rows(len(rules.program.states)) if rules.program.states else VALUES
    yield outcome.report.aggregate.blob, outcome.result.aggregate_root, VALUES
    for made in (version, parent):
        yield made.weights.blob, Root(made.tensor_root), VALUES
        if made.state is not None and (made is version or continues(parent, rules)):
            yield made.state.blob, Root(made.state.root), states
    for verdict in verdicts:
        if verdict.admitted and verdict.manifest is not None:
            yield verdict.manifest.delta.blob, Root(verdict.commitment.tensor_root), update_rows(rules.packing)


def _keep(store: ContentStore, place: Path, named: Sequence[_Named], files: Mapping[Blob, Path]) -> None:
    for blob, root, rows in named:
        if not keep_blob(place, store, blob, root, rows, file=files.get(blob)):
            raise VerificationFailed(f"{blob.cid}: expected values that hash to 0x{root.hex()}, got others")


def _keep_in_process(
    store: ContentStore, place: Path, named: Sequence[_Named], files: Mapping[Blob, Path], pipe: Pipe
) -> None:
    try:
        _keep(store, place, named, files)
    except OSError as error:
        raise StoreUnavailable(f"{place}: {error.strerror}, while writing trees") from error


def _blobs(store: ContentStore, record: RoundRecord, result: Result, demanded: Demanded) -> Iterator[Blob]:
    """Yield the blobs that have the demanded root by their manifests.

    Of the updates only those that the report admits: anyone can commit another's root with the digest of other bytes.
    """
    report = found_report(store, result.report_digest, len(record.commitments))
    if report is not None and demanded.root == result.aggregate_root:
        yield report.manifest.aggregate.blob
    for digest in (result.version_digest, record.parent):
        version = found_manifest(store, digest, VersionManifest)
        if version is not None and demanded.root == version.tensor_root:
            yield version.weights.blob
        if version is not None and version.state is not None and demanded.root == version.state.root:
            yield version.state.blob
    for entry in report.entries if report is not None else ():
        if entry.reason == Reason.ADMITTED and entry.tensor_root == demanded.root:
            update = found_manifest(store, entry.digest, UpdateManifest)
            if update is not None:
                yield update.delta.blob

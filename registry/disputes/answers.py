"""What a demand is answered with: the leaf, out of what is stored, and the kept tree that proves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from registry.chain.contract_structs import Demanded, Opening, Result
from registry.chain.demand_terms import is_of_contributions, is_of_head
from registry.chain.sentinels import NOTHING
from registry.content.manifest import Reason, ReportEntry, UpdateManifest, VersionManifest, manifest_cid
from registry.content.merkle import VALUES, Rows, state_rows
from registry.disputes.charges import reported
from registry.disputes.openings import Listing, listing_of
from registry.disputes.tree_cache import disk_bytes, find_opening, is_kept, keep_blob, keep_listing, tree_bytes
from registry.errors import ContentError, FormError, StoreUnavailable, VerificationFailed
from registry.rounds.admission import Verdict
from registry.rounds.forked import Pipe, answer, forked
from registry.rounds.onchain import RoundRecord
from registry.rounds.reports import found_report
from registry.rounds.results import Outcome
from registry.rounds.server_steps import continues
from registry.rounds.tiles import require_room
from registry.rules.encoding import RuleSet
from registry.store.base import ContentStore
from registry.store.manifests import found_manifest
from registry.types import Blob, Root

__all__ = ["Misnamed", "answer_to", "keep_trees", "require_room_for_trees"]

Misnamed = set[tuple[Blob, Root, Rows]]
"""Blobs that were read and have another root than a manifest says: a CID names the same bytes for ever."""
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
    """Return what shows a demanded leaf, or that there is none; None if it is not to be had.

    A leaf whose tree is kept takes a few blocks of the store and no hashing, whatever the blob's size; a tree that is
    not, or is damaged, is made first.

    Args:
        store: Holds, or finds, the blobs of the round.
        record: The round.
        result: Whose leaf is demanded.
        demanded: The leaf.
        place: The folder of the round's trees.
        misnamed: Blobs that need not be read again; added to.
        make: Whether to make a tree that is not kept, which hashes a blob.

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
        _make_anew(store, record, result, demanded, place, set() if misnamed is None else misnamed)
        found = find_opening(place, store, *leaf)
    return found


def _make_anew(
    store: ContentStore, record: RoundRecord, result: Result, demanded: Demanded, place: Path, misnamed: Misnamed
) -> None:
    """Make a demanded leaf's tree from what the result's manifests name."""
    if is_of_contributions(demanded):
        report = found_report(store, result.report_digest, len(record.commitments))
        listing = None if report is None else _listing(report.entries)
        if listing is not None and listing.root == demanded.root:
            keep_listing(place, listing)
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
            continue  # not to be had now
        except FormError:
            pass
        misnamed.add(named)


def _listing(entries: Sequence[ReportEntry]) -> Listing:
    return listing_of(reported(entry) for entry in entries if entry.reason == Reason.ADMITTED)


def require_room_for_trees(place: Path, rules: RuleSet, verdicts: Sequence[Verdict]) -> None:
    """Check, before anything is combined, that the disk has room for what `keep_trees` is going to write.

    Args:
        place: The folder of the round's trees; made where it is not there.
        rules: The round's.
        verdicts: What was admitted, and what was not.

    Raises:
        InputError: It has not.
    """
    place.mkdir(parents=True, exist_ok=True)
    roots = [Root(verdict.commitment.tensor_root) for verdict in verdicts if verdict.admitted]
    kept = sum(is_kept(place, root, VALUES) for root in roots)
    needed = disk_bytes(len(roots), rules.values, len(rules.program.states)) - kept * tree_bytes(rules.values, VALUES)
    require_room(place, needed, f"the trees that demands of {len(roots)} contributions are answered from")


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
    """Keep every tree that may be demanded of whoever attests an outcome; those that are kept already are not made.

    Args:
        store: Holds its blobs.
        place: The folder of the round's trees.
        parent: The round's.
        rules: The round's.
        verdicts: What was admitted, and what was not.
        outcome: What is about to be attested.
        processes: How many share the work.

    Raises:
        VerificationFailed: A blob has another root than its manifest says, so demands of it could not be answered.
        ContentError: A block is missing or changed.
        OSError, StoreUnavailable: The disk is full.
    """
    listing = _listing([entry for page in outcome.pages for entry in page.entries])
    keep_listing(place, listing)
    named = dict.fromkeys(_all_named(parent, rules, verdicts, outcome))
    missing = [one for one in named if not is_kept(place, one[1], one[2])]
    if processes == 1 or len(missing) < 2:
        _keep(store, place, missing)
        return
    store.close()  # a forked process must not go on with this one's connections
    with ExitStack() as stack:
        shares = [missing[first::processes] for first in range(min(processes, len(missing)))]
        for pipe in [stack.enter_context(forked(_keep_there, store, place, share)) for share in shares]:
            answer(pipe)


def _all_named(
    parent: VersionManifest, rules: RuleSet, verdicts: Sequence[Verdict], outcome: Outcome
) -> Iterator[_Named]:
    """Yield the blobs of a round, with their roots and what their leaves hold."""
    version, states = outcome.version, state_rows(len(rules.program.states)) if rules.program.states else VALUES
    yield outcome.report.aggregate.blob, outcome.result.aggregate_root, VALUES
    for made in (version, parent):
        yield made.weights.blob, Root(made.tensor_root), VALUES
        if made.state is not None and (made is version or continues(parent, rules)):
            yield made.state.blob, Root(made.state.root), states
    for verdict in verdicts:
        if verdict.admitted and verdict.manifest is not None:
            yield verdict.manifest.delta.blob, Root(verdict.commitment.tensor_root), VALUES


def _keep(store: ContentStore, place: Path, named: Sequence[_Named]) -> None:
    for blob, root, rows in named:
        if not keep_blob(place, store, blob, root, rows):
            raise VerificationFailed(f"{blob.cid}: expected values that hash to 0x{root.hex()}, got others")


def _keep_there(store: ContentStore, place: Path, named: Sequence[_Named], pipe: Pipe) -> None:
    try:
        _keep(store, place, named)
    except OSError as error:
        raise StoreUnavailable(f"{place}: {error.strerror}, while trees were written") from error


def _blobs(store: ContentStore, record: RoundRecord, result: Result, demanded: Demanded) -> Iterator[Blob]:
    """Blobs whose manifests say that they have the demanded root; of updates those that the report admits alone, since
    anybody can commit another's root under a digest of something else.
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

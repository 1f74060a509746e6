"""`cairn provenance …`: query lineages, participants, data sets and differences of versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, group
from registry.cli.finding import find_account, find_model, find_version, members_of
from registry.cli.index_file import open_catalogue, read_synced
from registry.cli.lineage_text import change_row, show_lineage, use_row, version_row
from registry.cli.output import short
from registry.cli.prefixes import digest_named
from registry.cli.session import Session
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.index.entries import VersionEntry
    from registry.lineage.recall import Use
    from registry.lineage.story import VersionStory
    from registry.types import Digest

app = group("Lineage of versions, and use of data. Syncs the index automatically.")
NEEDS = Need.CHAIN | Need.HOME | Need.STORE
_VERSION = "VERSION: a digest or CID or a prefix, genesis or round-N."
Wanted = Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help=_VERSION)]


@command(
    app,
    "show",
    needs=NEEDS,
    example="cairn provenance show 3fa9\ncairn provenance show 3fa9@round-7 --json\n"
    "cairn provenance show 3fa9 --svg lineage.svg",
)
def show(
    session: Session,
    version: Wanted,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Also draw it to this file.")] = None,
) -> None:
    """Show a version's lineage: rounds, contributions, refusals with reasons, data, disputes.

    Goes back to genesis, and into parent models. Reports what chain and manifests claim; `cairn verify` checks it.
    """
    from registry.lineage.ancestry import read_ancestry
    from registry.lineage.picture import draw
    from registry.lineage.story import tell_version

    found = find_version(session.reader, version)
    with read_synced(session) as db, open_catalogue(session) as catalogue, session.out.waiting("reading"):
        ancestry = read_ancestry(db, catalogue)
        if found.version not in ancestry.places:
            raise InputError(f"version {short(found.version)} is not in the index yet: run `cairn index sync`")
        stories: list[VersionStory] = []
        for digest in ancestry.ancestors(found.version):
            held = ancestry.places.get(digest, ())
            at = next((e for e in held if e.model_id == found.model), held[0] if held else None)
            if at is not None:
                stories.append(tell_version(db, session.store, at))
    if svg is not None:
        svg.write_text(draw(stories, ancestry))
    below = [entry for d in ancestry.descendants([found.version])[1:] for entry in ancestry.places.get(d, ())]
    unknown = [d for story in stories for d in ancestry.parents[story.entry.digest] if d not in ancestry.places]
    facts = {
        "model": found.model,
        "version": found.version,
        "lineage": [_facts(story, ancestry.parents[story.entry.digest]) for story in reversed(stories)],
        "descendants": [_place(entry) for entry in below],
        "unknown_parents": unknown,
        "unread": len(ancestry.unread),
    }
    session.out.result(facts, lambda: show_lineage(session.out, stories[::-1], below, unknown))
    if svg is not None:
        session.out.note(f"Drawn to {svg}.")


@command(app, "participant", needs=NEEDS, example="cairn provenance participant 3fa9 0x7099…")
def participant(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's id, or any unique prefix of it.")],
    account: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="An address, a unique prefix of it, or a keystore's name.")
    ],
) -> None:
    """Show an account's contributions to a model, and every version that descends from them, in all models."""
    from registry.lineage.recall import participation_of

    model_id = find_model(session.reader, model)
    who = find_account(session, account, members_of(session.reader, model_id))
    with read_synced(session) as db, open_catalogue(session) as catalogue, session.out.waiting("reading"):
        found = participation_of(db, session.store, catalogue, model_id, who)
    facts = {"model": model_id, "participant": who, **_descent(found.uses, found.versions, found.unread)}
    session.out.result(facts, lambda: _show_descent(session, found.uses, found.versions, found.unread))


@command(
    app,
    "descendants",
    needs=NEEDS,
    example="cairn provenance descendants --data-set 9c1f…\ncairn provenance descendants --update bafyrei…",
)
def descendants(
    session: Session,
    data_set: Annotated[
        str | None, typer.Option("--data-set", metavar="DIGEST", help="A data set's manifest, by digest or CID.")
    ] = None,
    update: Annotated[
        str | None, typer.Option("--update", metavar="DIGEST", help="An update's manifest, by digest or CID.")
    ] = None,
) -> None:
    """Show every version that descends from a data set or an update, in all models, as a data recall requires.

    A data set is found by the updates that name it and by owners' statements about their versions.
    """
    from registry.lineage.recall import recall_data_set, recall_update

    if (data_set is None) == (update is None):
        raise InputError("expected one of --data-set and --update")
    with read_synced(session) as db, open_catalogue(session) as catalogue, session.out.waiting("reading"):
        if update is not None:
            digest = digest_named(update, "an update")
            found = recall_update(db, session.store, catalogue, digest)
        else:
            digest = digest_named(data_set or "", "a data set")
            found = recall_data_set(db, session.store, catalogue, digest)
    facts: dict[str, object] = {"digest": digest, "stated_by": found.stated}
    facts |= _descent(found.uses, found.versions, found.unread)
    session.out.result(facts, lambda: _show_descent(session, found.uses, found.versions, found.unread))


@command(app, "data-set", needs=Need.HOME, example="cairn provenance data-set ward-7.opening")
def data_set(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of `cairn participant data-set`.")],
) -> None:
    """Show the data set that a participant opened, and the digest by which updates name it.

    The updates that name it: `cairn provenance descendants --data-set DIGEST`.
    """
    from registry.cli.local_files import size_of
    from registry.rounds.data_sets import MAX_OPENING_BYTES, open_data_set

    size = size_of(file)
    if size is None or size > MAX_OPENING_BYTES:
        raise InputError(f"{file}: expected a file of at most {MAX_OPENING_BYTES} bytes, got {size}")
    digest, told = open_data_set(file.read_bytes())
    names = ("name", "description", "licence", "source", "records", "sha256")
    session.out.result({"digest": digest, **{name: getattr(told, name) for name in names}})


@command(app, "diff", needs=NEEDS, example="cairn provenance diff 3fa9@round-6 3fa9@round-7")
def diff(session: Session, first: Wanted, second: Wanted) -> None:
    """Compare two versions: each tensor, contributors, plans and metrics."""
    from registry.lineage.ancestry import read_ancestry
    from registry.lineage.diff import compare_tensors, contributors, leads, plan_changes

    old, new = find_version(session.reader, first), find_version(session.reader, second)
    with read_synced(session) as db, open_catalogue(session) as catalogue, session.out.waiting("comparing"):
        before, after = leads(db, session.store, read_ancestry(db, catalogue), old.version, new.version)
        tensors = list(compare_tensors(session.store, old.version, new.version))
    people = contributors(after)
    plans = plan_changes(after)
    facts = {
        "first": old.version,
        "second": new.version,
        "tensors": tensors,
        "contributors": people,
        "plan_changes": plans,
        "metrics": [{"version": s.entry.digest, "metrics": _metrics(s)} for s in after.versions],
        "only_before_first": [story.entry.digest for story in before.versions],
        "only_before_second": [story.entry.digest for story in after.versions],
    }

    def text() -> None:
        out = session.out
        out.table(
            ("tensor", "what", "norm", "relative", "largest", "values"),
            [change_row(change) for change in tensors],
            right=("norm", "relative", "largest", "values"),
        )
        out.line()
        rows = [(f"0x{c.participant.hex()}", c.rounds, f"{c.share:.3f}") for c in people]
        out.table(("contributor", "rounds", "shares"), rows, right=("rounds", "shares"), empty="No contributors.")
        for change in plans:
            said = ", ".join(f"{name} {old} to {new}" for name, (old, new) in change.fields.items())
            out.line(f"plan {change.plan_index} from round {change.number}: {said or 'as before'}")
        for story in after.versions:
            said = ", ".join(f"{name} {value:g}" for name, value in _metrics(story).items())
            out.line(f"version {short(story.entry.digest)}: {said}" if said else f"version {short(story.entry.digest)}")

    session.out.result(facts, text)


def _metrics(story: VersionStory) -> dict[str, float]:
    """Return the owner's metrics, or the weighted mean of the contributions' own; nobody checks either."""
    if story.manifest is not None and story.manifest.statement is not None:
        return dict(story.manifest.statement.metrics)
    found: dict[str, tuple[float, float]] = {}
    for told in story.round.commitments if story.round else ():
        for name, value in (told.update.metrics if told.update and told.share else {}).items():
            total, share = found.get(name, (0.0, 0.0))
            found[name] = total + told.share * value, share + told.share
    return {name: total / share for name, (total, share) in sorted(found.items())}


def _facts(story: VersionStory, parents: tuple[Digest, ...]) -> dict[str, object]:
    entry, made = story.entry, story.round
    return {
        "version": entry.digest,
        "model": entry.model_id,
        "round": entry.number or None,
        "parent": entry.parent if any(entry.parent) else None,
        "parents": parents,
        "block": entry.at.block,
        "final": entry.final,
        "head": story.head,
        "deprecated": entry.deprecated,
        "deprecation": story.deprecation,
        "elsewhere": [_place(other) for other in story.elsewhere],
        "manifest": story.manifest,
        "plan": made.plan if made else None,
        "plan_manifest": made.plan_manifest if made else None,
        "report": made.report if made else None,
        "commitments": [
            {
                "participant": told.entry.participant,
                "digest": told.entry.digest,
                "weight": told.entry.weight,
                "steps": told.entry.steps,
                "share": told.share,
                "reason": told.reason,
                "update": told.update,
                "data_set": told.data_set,
            }
            for told in (made.commitments if made else ())
        ],
        "attesters": made.attesters if made else (),
        "disputes": made.disputes if made else (),
    }


def _place(entry: VersionEntry) -> dict[str, object]:
    return {
        "model": entry.model_id,
        "version": entry.digest,
        "round": entry.number or None,
        "block": entry.at.block,
        "final": entry.final,
        "deprecated": entry.deprecated,
    }


def _descent(uses: tuple[Use, ...], versions: tuple[VersionEntry, ...], unread: int) -> dict[str, object]:
    return {"uses": uses, "versions": [_place(entry) for entry in versions], "unread": unread}


def _show_descent(session: Session, uses: tuple[Use, ...], versions: tuple[VersionEntry, ...], unread: int) -> None:
    out = session.out
    out.table(
        ("model", "round", "participant", "update", "weight", "share", "outcome", "version"),
        [use_row(use) for use in uses],
        right=("round", "weight", "share"),
        empty="No commitments.",
    )
    out.line()
    out.table(
        ("model", "version", "made by", "block", "marks"),
        [version_row(entry) for entry in versions],
        right=("block",),
        empty="No version descends from it.",
    )
    if unread:
        out.warn(f"{unread} manifests are unavailable: there may be more")

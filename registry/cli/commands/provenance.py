"""`cairn provenance …`: query lineages, participants, data sets and differences of versions; export them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, group
from registry.cli.commands.exporting import EXAMPLE, export
from registry.cli.finding import find_account, find_model, find_version
from registry.cli.index_file import open_catalogue, read_lineage, read_synced
from registry.cli.lineage_text import change_row, show_lineage, show_versions, use_row
from registry.cli.output import short
from registry.cli.prefixes import find_digest
from registry.cli.session import Session
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.facts.version_facts import ParticipationFacts, RecallFacts

app = group("Lineage of versions, and use of data. Syncs the index automatically.")
NEEDS = Need.CHAIN | Need.HOME | Need.STORE
_VERSION = "VERSION: a digest, CID or prefix, genesis, round-N, an alias or a date."
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
    from registry.facts.version_facts import lineage_facts
    from registry.lineage.picture import draw

    found = find_version(session.reader, version)
    ancestry, stories, told = read_lineage(session, found)
    if svg is not None:
        svg.write_text(draw(stories, ancestry, told.times, told.scores))
    facts = lineage_facts(ancestry, stories, found.model, found.version, told)
    session.out.result(facts, lambda: show_lineage(session.out, stories[::-1], facts))
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
    from registry.facts.member_facts import members_of
    from registry.facts.version_facts import participation_facts
    from registry.lineage.affected_versions import participation_of
    from registry.lineage.dates_and_metrics import dates_and_metrics

    model_id = find_model(session.reader, model)
    who = find_account(session, account, members_of(session.reader, model_id))
    with read_synced(session) as db, open_catalogue(session) as catalogue, session.out.waiting("reading"):
        found = participation_of(db, session.store, catalogue, model_id, who)
        told = dates_and_metrics(session.w3, db, session.store, found.versions)
    facts = participation_facts(model_id, who, found, told)
    session.out.result(facts, lambda: _show_descent(session, facts))


@command(
    app,
    "descendants",
    needs=NEEDS,
    example="cairn provenance descendants --data-set 9c1f…\ncairn provenance descendants --update bafyrei…",
)
def descendants(
    session: Session,
    data_set: Annotated[
        str | None,
        typer.Option("--data-set", metavar="DIGEST", help="A data set's manifest, by digest or prefix, or CID."),
    ] = None,
    update: Annotated[
        str | None,
        typer.Option("--update", metavar="DIGEST", help="An update's manifest, by digest or prefix, or CID."),
    ] = None,
) -> None:
    """Show every version that descends from a data set or an update, in all models, as a data recall requires.

    A data set is found by the updates that name it and by owners' statements about their versions.
    """
    from registry.facts.version_facts import recall_facts
    from registry.index.queries import committed_digests
    from registry.lineage.affected_versions import learn_data_sets, recall_data_set, recall_update
    from registry.lineage.dates_and_metrics import dates_and_metrics

    def data_sets() -> frozenset[bytes]:
        learn_data_sets(db, catalogue)
        return catalogue.data_sets()

    if (data_set is None) == (update is None):
        raise InputError("expected one of --data-set and --update")
    with read_synced(session) as db, open_catalogue(session) as catalogue, session.out.waiting("reading"):
        if update is not None:
            digest = find_digest(update, "update", lambda: committed_digests(db))
            found = recall_update(db, session.store, catalogue, digest)
        else:
            digest = find_digest(data_set or "", "data set", data_sets)
            found = recall_data_set(db, session.store, catalogue, digest)
        told = dates_and_metrics(session.w3, db, session.store, found.versions)
    facts = recall_facts(digest, found, told)
    session.out.result(facts, lambda: _show_descent(session, facts))


@command(app, "data-set", needs=Need.HOME, example="cairn provenance data-set ward-7.opening")
def data_set(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of `cairn participant data-set`.")],
) -> None:
    """Show the data set that a participant opened, and the digest by which updates name it.

    The updates that name it: `cairn provenance descendants --data-set DIGEST`.
    """
    from registry.cli.local_files import size_of
    from registry.facts.data_set_facts import data_set_facts
    from registry.rounds.data_sets import MAX_OPENING_BYTES

    size = size_of(file)
    if size is None or size > MAX_OPENING_BYTES:
        raise InputError(f"{file}: expected a file of at most {MAX_OPENING_BYTES} bytes, got {size}")
    session.out.result(data_set_facts(file.read_bytes()))


@command(app, "diff", needs=NEEDS, example="cairn provenance diff 3fa9@round-6 3fa9@round-7")
def diff(session: Session, first: Wanted, second: Wanted) -> None:
    """Compare two versions: each tensor, contributors, plans and metrics."""
    from registry.facts.difference_facts import difference_facts
    from registry.lineage.ancestry import read_ancestry

    old, new = find_version(session.reader, first), find_version(session.reader, second)
    with read_synced(session) as db, open_catalogue(session) as catalogue, session.out.waiting("comparing"):
        facts = difference_facts(db, session.store, read_ancestry(db, catalogue), old.version, new.version)

    def text() -> None:
        out = session.out
        out.table(
            ("tensor", "what", "norm", "relative", "largest", "values"),
            [change_row(change) for change in facts.tensors],
            right=("norm", "relative", "largest", "values"),
        )
        out.line()
        rows = [(f"0x{c.participant.hex()}", c.rounds, f"{c.share:.3f}") for c in facts.contributors]
        out.table(("contributor", "rounds", "shares"), rows, right=("rounds", "shares"), empty="No contributors.")
        for change in facts.plan_changes:
            said = ", ".join(f"{name} {old} to {new}" for name, (old, new) in change.fields.items())
            out.line(f"plan {change.plan_index} from round {change.number}: {said or 'as before'}")
        for one in facts.metrics:
            said = ", ".join(f"{name} {value:g}" for name, value in one.metrics.items())
            out.line(f"version {short(one.version)}: {said}" if said else f"version {short(one.version)}")

    session.out.result(facts, text)


command(app, "export", needs=NEEDS | Need.KEYS | Need.SIGNER, example=EXAMPLE)(export)


def _show_descent(session: Session, found: ParticipationFacts | RecallFacts) -> None:
    out = session.out
    out.table(
        ("model", "round", "participant", "update", "weight", "share", "outcome", "version"),
        [use_row(use) for use in found.uses],
        right=("round", "weight", "share"),
        empty="No commitments.",
    )
    out.line()
    show_versions(out, found.versions, empty="No version descends from it.")
    if found.unread:
        out.warn(f"{found.unread} manifests are unavailable: there may be more")

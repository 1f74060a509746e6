"""`cairn model alias`, `tag` and `note`: what a model's owner calls and says of its versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.command import Need, command, single
from registry.cli.finding import find_model, find_version
from registry.cli.send import send, tell
from registry.cli.session import Session
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.types import Digest, ModelId

__all__ = ["ModelText", "VersionText", "app"]

app = single()

ModelText = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, or any unique prefix of it.")]
VersionText = Annotated[
    str,
    typer.Argument(
        metavar="MODEL[@VERSION]",
        help="VERSION: a digest, CID or prefix, head, genesis, round-N, an alias or a date; default head.",
    ),
]


@command(
    app,
    "alias",
    needs=Need.SEND,
    example="cairn model alias 3fa9 production round-7\ncairn model alias 3fa9 production --remove",
)
def alias(
    session: Session,
    model: ModelText,
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 31 of a-z 0-9 - _ . that begin with a letter.")],
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="As in MODEL@VERSION; one that is final and not deprecated.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias.")] = False,
) -> None:
    """Let MODEL@NAME name a version, wherever MODEL@VERSION is accepted; or move it to another. Owner only."""
    from registry.chain.labels import Labels

    if (version is None) != remove:
        raise InputError("expected a VERSION, or --remove")
    labels = Labels(session.reader)
    if version is None:
        found = find_model(session.reader, model)
        digest = labels.alias_of(found, name)
        call, what = labels.call("removeAlias", found, name), "remove the alias"
    else:
        found, digest = find_version(session.reader, f"{model}@{version}")
        call, what = labels.call("setAlias", found, name, digest), "set the alias"
    receipt = send(session, call, what)
    if receipt is not None:
        tell(session, receipt, {"model": found, "alias": name, "version": digest, "removed": remove})


@command(
    app,
    "tag",
    needs=Need.SEND,
    example="cairn model tag 3fa9@round-7 audited\ncairn model tag 3fa9@round-7 audited --remove",
)
def tag(
    session: Session,
    version: VersionText,
    name: Annotated[str, typer.Argument(metavar="TAG", help="1 to 31 of a-z 0-9 - _ .")],
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag away.")] = False,
) -> None:
    """Tag a version. Owner only."""
    from registry.chain.labels import Labels

    found = find_version(session.reader, version)
    if remove:
        _require_tag(session, found.model, found.version, name)
    function, what = ("removeTag", "remove the tag") if remove else ("addTag", "tag the version")
    receipt = send(session, Labels(session.reader).call(function, found.model, found.version, name), what)
    if receipt is not None:
        tell(session, receipt, {"model": found.model, "version": found.version, "tag": name, "removed": remove})


@command(app, "note", needs=Need.SEND, example='cairn model note 3fa9@round-7 "Audited in Lisbon, see report 12"')
def note(
    session: Session,
    version: VersionText,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="At most 280 bytes of UTF-8; public for ever.")],
) -> None:
    """Add a note to a version. Owner only."""
    from registry.chain.labels import Labels

    found = find_version(session.reader, version)
    call = Labels(session.reader).call("addNote", found.model, found.version, text.encode())
    receipt = send(session, call, "add the note")
    if receipt is not None:
        tell(session, receipt, {"model": found.model, "version": found.version, "note": text})


def _require_tag(session: Session, model: ModelId, version: Digest, name: str) -> None:
    from registry.lineage.version_labels import read_labels

    tags = read_labels(session.reader, model).tags.get(version, ())
    if name not in tags:
        raise InputError(f"version {version.hex()[:10]} has no tag {name!r}: it has {', '.join(tags) or 'none'}")

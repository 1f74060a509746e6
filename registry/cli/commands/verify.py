"""`cairn verify`: identify a file and verify a version's lineage."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.check_lines import SIGNS, check_line, require_passed
from registry.cli.command import Need, command, single
from registry.cli.finding import Found, find_model, find_version
from registry.cli.output import short
from registry.cli.session import Session
from registry.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.content.file_kinds import FileKind
    from registry.lineage.graph import VersionNode
    from registry.lineage.identify import FileName, Identified
    from registry.verification.checks import Verification

__all__ = ["app", "name_of", "show", "telling", "verify"]

app = single()


@command(
    app,
    "verify",
    needs=Need.CHAIN | Need.HOME | Need.STORE,
    example="cairn verify model.safetensors\ncairn verify 3fa9\ncairn verify 3fa9@round-7 --json",
)
def verify(
    session: Session,
    version: Annotated[
        str,
        typer.Argument(
            metavar="FILE|CID|sha256:HEX|MODEL[@VERSION]",
            help="A local file, its CID or sha256, or a VERSION: digest, CID or prefix, genesis, round-N, alias, date.",
        ),
    ],
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also check events against receipts and headers, and read the aggregates' blocks."),
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Ignore cached verifications.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Fail unless the file is a version of this model.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if the file is a provisional or deprecated version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print one line per version, and only those checks that did not pass.")
    ] = False,
) -> None:
    """Recompute every round of a version's lineage from chain and content store, and compare it bit for bit.

    A file, its CID or its sha256 is first identified as a version. Cached verifications are reused, except for the
    contract's current state; --again ignores them. Needs no account, no permission and no torch. Exit code 7 if
    anything disagrees, 4 if bytes are unavailable or rules are of a later release, 8 if the file is no version of any
    model. Anybody may anchor any file under a model of their own: what must be a certain model's, needs --model.
    """
    from registry.verification.cache import VerificationCache
    from registry.verification.verify import verify_version

    client = session.reader
    name = _file_named(version)
    identified = None if name is None else _identified(session, version, name)
    found = _chosen(session, version, identified, model, strict)
    done: list[Verification] = []
    with tempfile.TemporaryDirectory(prefix="cairn-verify-") as folder, session.out.waiting("verifying") as say:
        for one in verify_version(
            client,
            session.store,
            found.model,
            found.version,
            Path(folder),
            deep=deep,
            verified=VerificationCache(session.home / "verified"),
            again=again,
            progress=telling(say),
        ):
            done.append(one)
            show(session, one, quiet)
    _tell(session, found, done, identified)


def _tell(session: Session, found: Found, done: list[Verification], identified: Identified | None) -> None:
    """Print the verdict, and end with an error unless every check passed."""
    from registry.facts.plain import plain
    from registry.facts.verification_facts import lineage_verification_facts

    facts = lineage_verification_facts(found.model, found.version, done)
    shown = facts if identified is None else {**plain(facts), "file": identified}
    rounds = sum(1 for one in done if one.step.round)
    versions = "1 version" if len(done) == 1 else f"{len(done)} versions"
    before = sum(one.before for one in done)
    held = f" {before} had passed before: --again recomputes them." if before else ""
    text = f"Verified {versions}, {rounds} recomputed from rounds: all agree with the chain.{held}"
    session.out.result(shown, lambda: session.out.line(text, style="bold green") if facts.passed else None)
    require_passed((name_of(one.step), check) for one in done for check in one.checks)


def _file_named(text: str) -> FileName | None:
    """Return the file that an argument names by path, CID or sha256; None if it names something else."""
    from registry.cli.trusted_hashes import hash_of_32
    from registry.content.cid import parse_cid
    from registry.content.copied_cids import copied_cid
    from registry.lineage.identify import FileName, name_of_file
    from registry.types import Codec

    if Path(text).is_file():
        return name_of_file(Path(text))
    if text.startswith("sha256:"):
        return FileName(None, hash_of_32(text.removeprefix("sha256:"), "a sha256"))
    if "@" in text or not (named := copied_cid(text)).startswith("baf"):
        return None
    cid = parse_cid(named)
    return None if cid.codec is Codec.DAG_CBOR else FileName(cid, None)


def _identified(session: Session, text: str, name: FileName) -> Identified:
    """Print the versions that a file is."""
    from registry.cli.index_file import open_catalogue, read_synced
    from registry.lineage.identify import identify

    with read_synced(session) as db, open_catalogue(session) as catalogue:
        found = identify(db, catalogue, name)
    for entry in found.versions:
        made = f"round {entry.number}" if entry.number else "genesis" if not any(entry.parent) else "owner's version"
        marks = ("" if entry.final else ", provisional") + (", DEPRECATED" if entry.deprecated else "")
        where = f"version {short(entry.digest)} of model {short(entry.model_id)}"
        session.out.line(f"{text} is {where}: {made}{marks}")
    return found


def _chosen(session: Session, text: str, identified: Identified | None, model: str | None, strict: bool) -> Found:
    """Return the version that an argument names, or that a file is taken for.

    Raises:
        InputError: It names no file, so that there is nothing to compare with a model.
        NobodysFile: The file is no version of any model, or none of the model.
        VerificationFailed: It is provisional or deprecated, and strict.
    """
    from registry.cli.verified_file import chosen_version

    if identified is None:
        if model is not None or strict:
            raise InputError(f"expected a file, its CID or sha256 with --model and --strict, got {text!r:.100}")
        return find_version(session.reader, text)
    kind = _kind_of(Path(text))
    said = f"; the file is {kind}" if kind is not None else ""
    of = None if model is None else find_model(session.reader, model)
    entry = chosen_version(text, identified, model=of, strict=strict, kind=said)
    return Found(entry.model_id, entry.digest)


def _kind_of(path: Path) -> FileKind | None:
    """Return what a local file is, if it is of another kind than safetensors."""
    from registry.content.file_kinds import SNIFFED_BYTES, kind_of

    if not path.is_file():
        return None
    with path.open("rb") as file:
        return kind_of(file.read(SNIFFED_BYTES))


def show(session: Session, one: Verification, quiet: bool) -> None:
    """Print a version's checks; with quiet only those that did not pass, what attesters assert included."""
    from rich.text import Text

    mark = SIGNS["passed" if one.passed else one.finding]
    before = "  verified before" if one.before else ""
    session.out.show(Text.assemble(mark, "  ", (name_of(one.step), "bold"), f"  {short(one.step.digest)}{before}"))
    for check in one.checks:
        if not quiet or check.finding != "passed":
            session.out.show(Text("    ") + check_line(check))


def telling(say: Callable[[str], None]) -> Callable[[VersionNode, int], None]:
    """Return a callback that shows the version under verification and the progress of combining its updates."""
    combined: dict[VersionNode, int] = {}

    def progress(step: VersionNode, done: int) -> None:
        combined[step] = combined.get(step, 0) + done
        far = f": {combined[step] / 1e6:,.0f} MB of updates" if combined[step] else ""
        say(f"verifying {name_of(step)}{far}")

    return progress


def name_of(step: VersionNode) -> str:
    """Return a version's name in a lineage."""
    if step.round:
        return f"round {step.round}"
    return "genesis" if not any(step.parent) else "owner's version"

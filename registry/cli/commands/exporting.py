"""`cairn provenance export`: write a version's provenance in the format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.session import Session
from registry.errors import InputError

if TYPE_CHECKING:
    from registry.exports.formats import ExportFormat, Means

__all__ = ["EXAMPLE", "export"]

EXAMPLE = """cairn provenance export 3fa9 --as html
cairn provenance export 3fa9@round-7 --as in-toto --key-file signing.pem --out provenance.intoto.json
cairn provenance export 3fa9 --as eas --eas 0xC2679fBD37d54388Ce493F1DB75320D236e1815e --account owner
cairn provenance export 3fa9 --as prov-json --snapshot demo-out/explorer"""

_NAMES = "prov-json, prov-n, in-toto, cyclonedx, huggingface, model-signing, ro-crate, eas, html or pdf."
Wanted = Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help="As in cairn provenance show.")]
Form = Annotated[str, typer.Option("--as", metavar="FORMAT", help=_NAMES)]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="PATH", help="File or folder; default: the format's own name.")
]
Snapshot = Annotated[
    Path | None, typer.Option("--snapshot", metavar="DIR", help="Of `cairn explorer --save`; asks no chain, no store.")
]
RecordsOnly = Annotated[
    bool, typer.Option("--records-only", help="Do not recompute rounds; their arithmetic is then asserted.")
]
Key = Annotated[
    Path | None, typer.Option("--key-file", metavar="PEM", help="Private key on P-256: for in-toto and model-signing.")
]
KeyPassword = Annotated[
    Path | None, typer.Option("--key-password-file", metavar="FILE", help="Holds the password of --key-file.")
]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="The version's file, instead of fetching it.")
]
Config = Annotated[Path | None, typer.Option("--config", metavar="JSON", help="A config.json to add to the folder.")]
Adapter = Annotated[
    Path | None,
    typer.Option("--adapter", metavar="DIR", help="Of `cairn model pull --as peft`: its files instead of the weights."),
]
Bundle = Annotated[
    Path | None, typer.Option("--bundle", metavar="CAR", help="Of `cairn bundle create`, to add to an RO-Crate.")
]
Eas = Annotated[str | None, typer.Option("--eas", metavar="ADDRESS", help="EAS's contract on this chain: for eas.")]
EasVersion = Annotated[str, typer.Option("--eas-version", metavar="VERSION", help="That contract's version.")]


def export(
    session: Session,
    version: Wanted,
    form: Form,
    output: Out = None,
    snapshot: Snapshot = None,
    records_only: RecordsOnly = False,
    key: Key = None,
    key_password: KeyPassword = None,
    weights: Weights = None,
    config: Config = None,
    adapter: Adapter = None,
    bundle: Bundle = None,
    eas: Eas = None,
    eas_version: EasVersion = "1.3.0",
) -> None:
    """Write a version's provenance in the format of another tool.

    The version is first verified as by `cairn verify`, and each export states what was checked and what is asserted
    only. Nothing is exported if a check fails. docs/exports.md names the tool that validates each format.
    """
    from registry.cli.export_sources import attesting_of, record_of_chain, record_of_snapshot, signing_key
    from registry.cli.export_writing import given_files, verified_weights, write_export
    from registry.exports.formats import FORMATS, Means

    if form not in FORMATS:
        raise InputError(f"--as: expected one of {', '.join(FORMATS)}, got {form!r:.100}")
    told = FORMATS[form]
    means = Means(
        signing_key(key, key_password) if told.needs == "key" else None,
        attesting_of(session, eas, eas_version) if told.needs == "account" else None,
        given_files(config, adapter, bundle),
    )
    _require_taken(form, told, means)
    if snapshot is not None:
        record = record_of_snapshot(snapshot, version)
    else:
        record = record_of_chain(session, version, recompute=not records_only)
    files, where = told.write(record, means), output or Path(told.output)
    with session.out.progress("Writing", None) as done:
        size = write_export(files, where, lambda: verified_weights(session, record.manifest, weights, done))
    session.out.result(
        {"version": record.exported.wanted, "as": form, "out": where, "size": size, "finding": record.finding.value}
    )


def _require_taken(form: str, told: ExportFormat, means: Means) -> None:
    """Refuse files that the format does not take.

    Raises:
        InputError: It takes no such file.
    """
    refused = sorted(set(means.files) - set(told.given))
    if refused:
        raise InputError(f"--as {form}: expected none of the files {', '.join(refused)}, got them")

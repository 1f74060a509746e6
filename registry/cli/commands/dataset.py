"""`cairn dataset …`: quality reports of data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry.cli.command import command, group
from registry.cli.session import Session

app = group("Data sets: a quality report in bands, for the manifest whose salted digest an update names.")


@command(
    app,
    "describe",
    example="cairn dataset describe ward-7.csv --label diagnosis --cleaning 'dropped cases without consent'\n"
    "cairn dataset describe a.jsonl b.jsonl --name 'ward 7' -o ward-7.dataset",
)
def describe(
    session: Session,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="CSV, TSV or JSON lines, in UTF-8.")],
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of the label: its balance.")] = None,
    cleaning: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A step of cleaning that was done; repeatable.")
    ] = None,
    name: Annotated[str, typer.Option(metavar="TEXT", help="Name of the data set in the manifest.")] = "",
    licence: Annotated[str, typer.Option(metavar="SPDX", help="Licence of the data.")] = "",
    source: Annotated[str, typer.Option(metavar="TEXT", help="Where the data come from.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Also write the data set's manifest.")
    ] = None,
) -> None:
    """Report the quality of a data set: counts, missing cells, duplicates, label balance, cleaning steps.

    Counts are powers of ten, shares a few bands; no value, column or class is named. `participant submit --data-set
    @FILE`, or `registry.read_data_set` in a task, takes the manifest; only its salted digest is published.
    """
    from registry.content.manifest import DataSetManifest, encode
    from registry.durable import write_whole
    from registry.facts.plain import printable
    from registry.rounds.data_quality import describe_data

    with session.out.waiting("reading"):
        found = describe_data(files, label=label, cleaning=cleaning or ())
    if output is not None:
        manifest = DataSetManifest(name, "\n".join(found.lines), licence, source, found.least_records, None)
        write_whole(output, encode(manifest))
    session.out.result(found, lambda: session.out.line("\n".join(map(printable, found.lines))))
    if output is not None:
        session.out.note(f"Manifest written to {output}.")

"""`cairn model match`: one network of several versions that were trained apart, of any widths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.command import Need, command, single
from registry.cli.finding import find_version
from registry.cli.output import short
from registry.cli.session import Session
from registry.errors import InputError

__all__ = ["app"]

app = single()


@command(
    app,
    "match",
    needs=Need.CHAIN | Need.HOME | Need.STORE,
    example=(
        "cairn model match 3fa9 77c1@round-5 --layer hidden --layer out -o matched.safetensors\n"
        "cairn model register matched.safetensors --statement matched.toml"
    ),
)
def match(
    session: Session,
    versions: Annotated[
        list[str],
        typer.Argument(metavar="MODEL[@VERSION]...", help="Two or more, as in cairn model pull.", show_default=False),
    ],
    layer: Annotated[
        list[str],
        typer.Option("--layer", metavar="NAME", help="A fully connected layer, first to last; repeat it."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Output file; a statement goes to FILE.toml.")
    ] = Path("matched.safetensors"),
    weight: Annotated[
        list[int] | None,
        typer.Option("--weight", metavar="N", help="How much each version counts, in their order; default alike."),
    ] = None,
) -> None:
    """Average networks that were trained apart, once their hidden units are matched (FedMA, without its retraining).

    They have the same layers, of any widths; the result has the greatest. The statement names all versions in order,
    their weights and the layers: who repeats the command with them gets the same file, bit for bit. Expect less than
    from training together, and little where data differ: docs/algorithms.md has figures.
    """
    from registry.cli.local_files import write_whole
    from registry.durable import whole_file
    from registry.rounds.versions import load_version_manifest, read_arrays, save_arrays, sha256_of
    from registry.rules.matching import match as matched

    if weight and len(weight) != len(versions):
        raise InputError(f"--weight: expected one for each of {len(versions)} versions, got {len(weight)}")
    found = [find_version(session.reader, version) for version in versions]
    with session.out.waiting("matching"):
        arrays = [read_arrays(session.store, load_version_manifest(session.store, one.version)) for one in found]
        made = matched(arrays, layer, weight or [1] * len(versions))
        with whole_file(output) as partial:
            save_arrays(partial, made.arrays)
    statement = output.with_suffix(".toml")
    lines = ["# For cairn model register --statement: the versions that were matched, in order.\n"]
    for one, count in zip(found, weight or [1] * len(versions), strict=True):
        name = f"version of model 0x{one.model.hex()}, weight {count}, matched by layers {', '.join(layer)}"
        lines.append(
            f'[[sources]]\nname = {json.dumps(name, ensure_ascii=False)}\ndata_set = "0x{one.version.hex()}"\n'
        )
    write_whole(["\n".join(lines).encode()], statement)
    widths = [len(made.arrays[f"{name}.bias"]) for name in layer]
    facts = {
        "file": output,
        "statement": statement,
        "sha256": sha256_of(output).hex(),
        "versions": [one.version for one in found],
        "widths": widths,
        "places": made.places,
    }

    def text() -> None:
        told = {"file": output, "statement": statement, "widths": " - ".join(map(str, widths))}
        session.out.fields({**told, "versions": ", ".join(short(one.version) for one in found)})

    session.out.result(facts, text)

"""`cairn combine`: combine update files without a chain or a round."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.command import command, single
from registry.cli.local_files import pieces_of, size_of
from registry.cli.session import Session
from registry.durable import whole_file
from registry.errors import FormError, InputError
from registry.rules.table import COMBINE_RULES, MEAN, Combining, lookup
from registry.types import MAX_GRID_BITS

app = single()
Parameters = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the rule, an integer.")
]

Draw = Annotated[str | None, typer.Option(metavar="HEX", help="Seed of the draw of a rule with buckets, 32 bytes.")]


@command(
    app,
    "combine",
    example="cairn combine a.safetensors:120 b.safetensors:80 --grid 24 -o average.safetensors\n"
    "cairn combine a.safetensors:1 b.safetensors:1 c.safetensors:1 --rule median -o median.safetensors",
)
def combine(
    session: Session,
    updates: Annotated[list[str], typer.Argument(metavar="FILE:WEIGHT", help="Update files and their weights.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Output file.")],
    grid: Annotated[
        int, typer.Option(metavar="S", min=0, max=MAX_GRID_BITS, help="Grid: values are integers times 2^-S.")
    ] = 24,
    rule: Annotated[str, typer.Option(metavar="RULE", help="A combine rule, by name or number.")] = MEAN.name,
    parameter: Parameters = None,
    draw: Draw = None,
    processes: Annotated[int, typer.Option(min=1, metavar="N", help="Worker processes.")] = 1,
) -> None:
    """Combine update files by the weighted mean or another rule: bit-identical in any order, on any machine.

    Only a rule with buckets asks for an order of the files: a round's is that of its participants' addresses. Of a
    round, --draw is sha2-256 of the text "cairn draw", the round's id and its running hash.

    The files are checked as a round checks updates: canonical safetensors, the same float32 tensors in each, every
    value on the grid, no NaN, no infinity, no -0.0.
    """
    from registry.cli.plan_files import parameters_of
    from registry.content.gate import describe
    from registry.rounds.aggregation import combine as average
    from registry.rounds.aggregation import leaves_of_file
    from registry.rules.combine import check_weights

    chosen = lookup(COMBINE_RULES, rule, "combine rule")
    combining = Combining(chosen, chosen.weights[0], parameters_of(parameter or ()))
    named = [_parse(text) for text in updates]
    drawn = _drawn(draw, combining, len(named))
    weights = [weight for _, weight in named]
    check_weights(weights)
    header, size = _form([path for path, _ in named])
    if any(output.exists() and output.samefile(path) for path, _ in named):
        raise InputError(f"{output}: is one of the updates")
    with whole_file(output) as partial, session.out.progress("Combining", size * len(named)) as done:
        readers = [leaves_of_file(path, size) for path, _ in named]
        made = average(
            readers, weights, header, size, grid_bits=grid, combining=combining,
            out=partial, processes=processes, progress=done, names=[str(path) for path, _ in named], drawn=drawn,
        )  # fmt: skip
        facts = describe(pieces_of(partial))
    if facts.sha256 is None or facts.cid != made.cid:
        raise FormError(f"{output}: expected {made.cid} on disk, got {facts.cid}")
    said = {
        "file": output,
        "sha256": facts.sha256.hex(),
        "cid": made.cid,
        "tensor_root": made.tensor_root,
        "total_weight": made.total_weight,
    }
    parts = [
        {"file": path, "weight": weight, "cid": fact.cid, "tensor_root": fact.tensor_root}
        for (path, weight), fact in zip(named, made.updates, strict=True)
    ]
    session.out.result(
        {**said, "size": made.size, "updates": parts},
        lambda: session.out.fields({name.replace("_", " "): value for name, value in said.items()}),
    )


def _parse(text: str) -> tuple[Path, int]:
    name, colon, weight = text.rpartition(":")
    if not colon or not name or not (weight.isascii() and weight.isdigit()):
        raise InputError(f"expected FILE:WEIGHT, the weight a whole number, got {text!r}")
    return Path(name), int(weight)


def _drawn(seed: str | None, combining: Combining, count: int) -> tuple[int, ...]:
    """Return the order of the files that a rule with buckets needs."""
    from registry.rules.draw import shuffled

    if seed is None:
        if combining.needs_draw:
            raise InputError("--draw: expected 32 bytes in hex with a rule that puts updates into buckets, got none")
        return ()
    digits = seed.removeprefix("0x")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise InputError(f"--draw: expected 32 bytes in hex, got {seed!r:.80}")
    return shuffled(bytes.fromhex(digits), count)


def _form(paths: list[Path]) -> tuple[bytes, int]:
    """Return the common header and size of the files."""
    from registry.content.tensors import update_header
    from registry.store.blobs import file_header

    sizes = [size_of(path) or 0 for path in paths]
    if len(set(sizes)) != 1:
        for path in paths:
            file_header(path)  # says which of them is no update
        raise FormError(
            f"expected updates of one size, got {', '.join(f'{p}: {s}' for p, s in zip(paths, sizes, strict=True))}"
        )
    header, prefix = file_header(paths[0])
    for path in paths[1:]:
        if file_header(path)[1] != prefix:
            raise FormError(f"{path}: expected the tensors of {paths[0]}, got others")
    if update_header(header) != prefix:
        raise FormError(f"{paths[0]}: expected an update: float32 tensors only, one value or more, no metadata")
    return prefix, sizes[0]

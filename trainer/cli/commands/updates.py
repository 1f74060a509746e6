"""`cairn update …`: make an update of weights that were trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry.cli.command import command, group
from registry.cli.session import Session
from registry.durable import whole_file

app = group("Make updates of weights that were trained elsewhere.")


@command(
    app,
    "make",
    example="cairn update make parent.safetensors trained.safetensors --plan plan.toml -o delta.safetensors\n"
    "cairn update make parent.safetensors checkpoint.pt --plan plan.toml -o delta.safetensors",
)
def make(
    session: Session,
    before: Annotated[
        Path, typer.Argument(metavar="BEFORE", help="The round's parent, as `cairn model pull` writes it.")
    ],
    after: Annotated[
        Path, typer.Argument(metavar="AFTER", help="The trained weights: safetensors, or a PyTorch state dict.")
    ],
    plan: Annotated[
        Path, typer.Option("--plan", metavar="TOML", help="The round's plan: `cairn plan show MODEL > plan.toml`.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Output file.")],
) -> None:
    """Write what training changed, after the plan's transforms and on its grid: an update to submit.

    Commit it with `cairn participant submit MODEL --update FILE`. Names may differ by the prefixes of torch.compile,
    DataParallel and PEFT, and by which name of a tied tensor is stored; metadata is ignored.
    """
    from registry.cli.plan_files import read_plan
    from trainer.cli.tasks import need_torch

    need_torch("making an update")
    from trainer.deltas import lossy
    from trainer.made_updates import make_update
    from trainer.updates import describe_update

    manifest = read_plan(plan)
    with whole_file(output) as partial, session.out.waiting("computing the update"):
        header, uses = make_update(before, after, manifest, partial)
        made = describe_update(partial)
    for use in uses:
        if lossy(use):
            session.out.warn(str(use))
    facts = {
        "file": output,
        "cid": made.cid,
        "tensor_root": made.tensor_root,
        "tensors": len(header.specs),
        "values": header.data_bytes // 4,
        "size": made.size,
        "smaller": round(header.file_bytes / made.size, 2),
        "changed": sum(use.changed for use in uses),
        "vanished": sum(use.vanished for use in uses),
        "saturated": sum(use.saturated for use in uses),
    }
    session.out.result({**facts, "lossy": [use for use in uses if lossy(use)]}, lambda: session.out.fields(facts))

"""`cairn demo`: run the demo of three hospitals."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.command import command, single
from registry.cli.session import Session
from registry.errors import InputError

app = single()
ROUNDS = 20


@command(app, "demo", example="cairn demo\ncairn demo --rounds 3 --out /tmp/demo")
def demo(
    session: Session,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="How many rounds.")] = ROUNDS,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for plot, figures and snapshot.")] = Path(
        "demo-out"
    ),
    keep: Annotated[Path | None, typer.Option("--keep", metavar="DIR", help="Keep store and files here.")] = None,
) -> None:
    """Run federated learning at three hospitals on real clinical text, anchored on an in-process chain.

    A third party then recomputes every round, and one flipped bit is caught. Needs only this package; takes about
    three minutes on two cores.
    """
    missing = [name for name in ("torch", "matplotlib", "simple_icd_10_cm") if not importlib.util.find_spec(name)]
    if missing:
        raise InputError(f"the demo needs {', '.join(missing)}: in Cairn's checkout, pip install -e '.[demo]'")
    import sys

    from rich.console import Console

    from trainer.demo.run import run

    console = Console(stderr=session.out.as_json, width=None if sys.stdout.isatty() else 120)
    if keep is not None:
        history = run(console, keep, out, rounds=rounds)
    else:
        with tempfile.TemporaryDirectory(prefix="cairn-demo-") as folder:
            history = run(console, Path(folder), out, rounds=rounds)
    if session.out.as_json:
        session.out.result(history)

"""Take part in a model's current round: train, commit, and publish after commits close."""

from __future__ import annotations

import time
from typing import Annotated

import digits
import typer

from registry import Need, Session, find_model, run_script
from trainer import participant

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Any unique prefix of its id works.")]


def submit(
    session: Session,
    model: Model,
    part: Annotated[int, typer.Option(min=0, help="Index of this participant's part of the digits.")] = 0,
    parts: Annotated[int, typer.Option(min=1, help="Number of parts.")] = 1,
) -> None:
    """Take part in a model's current round: train, commit, and publish after commits close.

    `eval "$(cairn localnet env --account participant-1)"` sets chain, store and account to those of `cairn localnet
    up`. It may be stopped at any time and resumes where it stopped. Replace `digits` by your own task; the rest stays.
    """
    client, store = session.client, session.store
    model_id, task = find_model(client, model), digits.task(part, parts)
    folder = session.home / "participants" / f"0x{client.account.hex()}"

    # Each call takes the next step of the round, if any: first commit, then publish.
    while not (said := participant.advance(client, store, folder, model_id, task)).endswith("published"):
        if said:
            session.out.line(said)
        time.sleep(1)
    session.out.line(said)


if __name__ == "__main__":
    run_script(submit, needs=Need.SIGN | Need.STORE)

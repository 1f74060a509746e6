"""Deploy Cairn, register a model, grant roles, set its plan and open its first round."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import digits
import typer

from registry import Grant, Need, Role, Session, find_account, publish_plan, run_script
from trainer import propose_plan, register_module

Accounts = Annotated[list[str] | None, typer.Option(metavar="ADDRESS|NAME", help="Repeatable.")]
Seconds = Annotated[int, typer.Option(help="Seconds of each phase.")]


def deploy(
    session: Session,
    participant: Accounts = None,
    aggregator: Accounts = None,
    seconds: Seconds = 3600,
    challenge_seconds: Annotated[int, typer.Option(help="Seconds of the challenge window.")] = 3600,
) -> None:
    """Deploy Cairn, register a model, grant roles, set its plan and open its first round.

    `cairn localnet up`, then `eval "$(cairn localnet env)"`, or any chain and store of your own. Replace `digits` by
    your own module; the rest stays.
    """
    participants = [find_account(session, text) for text in participant or ()]
    aggregators = [find_account(session, text) for text in aggregator or ()]

    # The contracts: deployed once per chain; deployment is idempotent.
    deployment = session.deploy()
    client, store = session.client, session.store

    # The model: its genesis in the store, its digest on chain.
    module = digits.module()
    session.home.mkdir(parents=True, exist_ok=True)
    model = register_module(client, store, module, session.home / "genesis.safetensors")

    # Roles, and the plan.
    grants = [Grant(account, Role.PARTICIPANT) for account in participants]
    grants += [Grant(account, Role.AGGREGATOR) for account in aggregators]
    if grants:
        client.grant_roles_batch(model, grants)
    plan = propose_plan(
        module, quorum=max(1, len(aggregators)), min_contributions=max(1, len(participants) - 1), grid_bits=22
    )
    plan = replace(
        plan,
        algorithm=replace(plan.algorithm, parameters={"epochs": 5}),
        commit_duration=seconds,
        publish_duration=seconds,
        aggregate_duration=seconds,
        challenge_duration=challenge_seconds,
        answer_duration=challenge_seconds // 32,
    )
    publish_plan(client, store, model, plan)
    client.open_round(model)
    session.out.fields({"contract": deployment.address, "chain": client.chain_id, "model": model})


if __name__ == "__main__":
    run_script(deploy, needs=Need.SIGN | Need.STORE)

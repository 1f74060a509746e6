"""Deploy Cairn, register a model, name its members, set its plan and open its first round.

    cairn localnet up                       # or any chain and store of your own
    eval "$(cairn localnet env)"            # the account `owner` and the other settings
    python scripts/deploy.py --participant 0x… --participant 0x… --aggregator 0x…

Settings are the usual ones: ETH_RPC_URL, ETH_KEYSTORE, ETH_PASSWORD, and CAIRN_STORE for the content store. Replace
`digits` by your own module; the rest stays.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import digits

from registry.chain.client import Client, chain_id_of, open_journal
from registry.chain.deploy import deploy
from registry.chain.records import Grant
from registry.chain.transactions import Transactor
from registry.content.manifest import PlanManifest, Procedure, digest_of
from registry.errors import CairnError
from registry.ethereum.keys import address_of, signer_from_settings, to_checksum
from registry.ethereum.node import connect
from registry.rounds.plans import add_plan, fitted, server_rule
from registry.rounds.versions import read_header
from registry.store.uri import open_store
from registry.types import WALK_STEPS, Role, Root
from trainer.modules import publish_module

HOME = Path(os.environ.get("CAIRN_HOME", "~/.local/share/cairn")).expanduser()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participant", action="append", default=[], type=address_of, metavar="ADDRESS")
    parser.add_argument("--aggregator", action="append", default=[], type=address_of, metavar="ADDRESS")
    parser.add_argument("--seconds", type=int, default=3600, help="longest duration of each phase (default 3600)")
    parser.add_argument("--challenge-seconds", type=int, default=3600, help="the same of the challenge window")
    arguments = parser.parse_args()

    # The chain, the account that pays, the content store.
    w3 = connect(os.environ.get("ETH_RPC_URL", "http://127.0.0.1:8545"))
    chain_id, signer = chain_id_of(w3), signer_from_settings(os.environ, w3)
    journal = open_journal(w3, chain_id, signer.address, HOME / "journals")
    store = open_store(os.environ.get("CAIRN_STORE", str(HOME / "store")))

    # The contract: deployed once for each chain, found the second time.
    transactor = Transactor(w3, signer, journal, chain_id=chain_id)
    deployment = deploy(w3, transactor, chain_id=chain_id, folder=HOME / "deployments")
    client = Client(w3, deployment.address, signer=signer, journal=journal, deployed_at=deployment.block)

    # The model: its genesis in the store, its digest on the chain.
    HOME.mkdir(parents=True, exist_ok=True)
    genesis = publish_module(store, digits.module(), HOME / "genesis.safetensors")
    client.register_model(digest_of(genesis), Root(genesis.tensor_root), Root(genesis.rest_root))
    model = client.model_id(client.account, digest_of(genesis))

    # Who may do what, and by which rules.
    grants = [Grant(account, Role.PARTICIPANT) for account in arguments.participant]
    grants += [Grant(account, Role.AGGREGATOR) for account in arguments.aggregator]
    if grants:
        client.grant_roles_batch(model, grants)
    plan = PlanManifest(
        algorithm=Procedure("fedavg", {"epochs": 5}),
        combine_rule=1,
        combine_parameters={},
        weights="examples",
        server=server_rule("fedavg", {"rate": 1.0}, 22),
        update_form=1,
        grid_bits=22,
        saturate=False,
        scales={},
        buffers={},
        values=1,
        header=bytes(32),
        segments=bytes(32),
        transforms=(),
        quorum=max(1, len(arguments.aggregator)),
        weight_cap=1_000_000,
        min_contributions=max(1, len(arguments.participant) - 1),
        commit_duration=arguments.seconds,
        publish_duration=arguments.seconds,
        aggregate_duration=arguments.seconds,
        challenge_duration=arguments.challenge_seconds,
        answer_duration=arguments.challenge_seconds // WALK_STEPS,
        bond_gwei=0,
        hooks=(),
    )
    client.set_plan(model, *add_plan(store, fitted(plan, read_header(store, genesis.weights.blob))))
    client.open_round(model)
    print(f"contract {to_checksum(deployment.address)} on chain {chain_id}, block {deployment.block}")
    print(f"model    0x{model.hex()}")


if __name__ == "__main__":
    try:
        main()
    except CairnError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)

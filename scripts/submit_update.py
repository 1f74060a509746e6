"""Take part in a model's current round: train, commit, and publish once commits have closed.

    python scripts/submit_update.py 0xMODEL --contract 0x… --part 0 --parts 3

Settings are the usual ones: ETH_RPC_URL, ETH_KEYSTORE, ETH_PASSWORD, and CAIRN_STORE for the content store.
`eval "$(cairn localnet env --account participant-1)"` sets those of `cairn localnet up`. Stop it whenever you like:
started again, it goes on where it was. Replace `digits` by your own task; the rest stays.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import digits

from registry.chain.client import Client
from registry.cli.finding import find_model
from registry.errors import CairnError
from registry.ethereum.keys import address_of, signer_from_settings, to_checksum
from registry.ethereum.node import connect
from registry.store.uri import open_store
from trainer import participant

HOME = Path(os.environ.get("CAIRN_HOME", "~/.local/share/cairn")).expanduser()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the model's id, as deploy.py prints it, or the beginning of it")
    parser.add_argument("--contract", required=True, type=address_of, metavar="ADDRESS")
    parser.add_argument("--from-block", type=int, default=0, metavar="N", help="block the contract was deployed in")
    parser.add_argument("--part", type=int, default=0, metavar="I", help="which part of the digits is here")
    parser.add_argument("--parts", type=int, default=1, metavar="N", help="of how many")
    arguments = parser.parse_args()

    w3 = connect(os.environ.get("ETH_RPC_URL", "http://127.0.0.1:8545"))
    signer = signer_from_settings(os.environ, w3)
    client = Client(w3, arguments.contract, signer=signer, journal=HOME / "journals", deployed_at=arguments.from_block)
    store = open_store(os.environ.get("CAIRN_STORE", str(HOME / "store")))
    model = find_model(client, arguments.model)
    folder = HOME / "participants" / to_checksum(client.account)
    task = digits.task(arguments.part, arguments.parts)

    # Each call does what the round wants next, if anything: first commit, then publish.
    while True:
        said = participant.advance(client, store, folder, model, task)
        if said:
            print(said, flush=True)
        if said.endswith("published"):
            break
        time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except CairnError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)

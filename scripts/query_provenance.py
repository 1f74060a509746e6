"""Ask where a model's version comes from, and recompute it. Needs no account, no permission and no torch.

    python scripts/query_provenance.py 0xMODEL --contract 0x…

Settings are the usual ones: ETH_RPC_URL, and CAIRN_STORE for the content store. `eval "$(cairn localnet env)"` sets
those of `cairn localnet up`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from registry.chain.client import Client
from registry.cli.finding import find_model
from registry.errors import CairnError
from registry.ethereum.keys import address_of, to_checksum
from registry.ethereum.node import connect
from registry.lineage.graph import provenance_of
from registry.store.uri import open_store
from registry.verification.verify import verify_version

HOME = Path(os.environ.get("CAIRN_HOME", "~/.local/share/cairn")).expanduser()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the model's id, as deploy.py prints it, or the beginning of it")
    parser.add_argument("--contract", required=True, type=address_of, metavar="ADDRESS")
    parser.add_argument("--from-block", type=int, default=0, metavar="N", help="block the contract was deployed in")
    arguments = parser.parse_args()

    w3 = connect(os.environ.get("ETH_RPC_URL", "http://127.0.0.1:8545"))
    client = Client(w3, arguments.contract, deployed_at=arguments.from_block)
    store = open_store(os.environ.get("CAIRN_STORE", str(HOME / "store")))
    model = find_model(client, arguments.model)
    head = client.model(model).head

    print(f"head 0x{head.hex()}, newest first:")
    for version in provenance_of(client, store, model, head):
        made = f"round {version.step.round}" if version.step.round else "published by the owner"
        print(f"  version 0x{version.step.digest.hex()[:16]}  {made}")
        for c in version.commitments:
            share = f"{100 * c.share:5.1f} %" if c.share else f"refused: {c.reason.name.lower()}"
            print(f"    {to_checksum(c.participant)}  weight {c.weight:>8}  {share}")

    failed = False
    print("recomputed, oldest first:")
    with tempfile.TemporaryDirectory() as folder:
        for verification in verify_version(client, store, model, head, Path(folder)):
            verdict = "verified" if verification.passed else verification.finding.upper()
            print(f"  version 0x{verification.step.digest.hex()[:16]}  {verdict}, {len(verification.checks)} checks")
            for check in verification.checks:
                if check.finding != "passed":
                    print(f"    {check.finding}: {check.name}: {check.evidence}")
            failed |= not verification.passed
    sys.exit(7 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except CairnError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)

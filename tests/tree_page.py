"""The source tree in docs/tree.md: a line a file, from each file's own first line.

`python tests/tree_page.py` rewrites the page.
"""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tree.md"
BEGIN, END = "<!-- tree -->\n```\n", "```\n<!-- /tree -->\n"
ROOMS = {
    "contracts": "the rules and the anchors",
    "contracts/interfaces": "the specification",
    "contracts/modules": "one concern each",
    "contracts/rules": "server programs on one coordinate",
    "contracts/challenges": "what is wrong with a result",
    "contracts/court": "convictions, demands, money",
    "contracts/hooks": "policies asked at each commit",
    "contracts/selections": "Krum and other rules that select, redone on chain",
    "contracts/tools": "compiler, artifacts, gas",
    "ignition": "deployment by Hardhat Ignition",
    "ignition/modules": "one deployment a file",
    "registry": "what the chain says, what the store holds, what can be recomputed; no torch",
    "registry/content": "bytes and names, no I/O",
    "registry/rules": "what anyone can redo, bit for bit",
    "registry/store": "bytes by CID, verified inside",
    "registry/ethereum": "what is Ethereum's and not Cairn's",
    "registry/chain": "the contracts as typed objects",
    "registry/index": "what the events say, in one file that can be rebuilt",
    "registry/rounds": "one round: admission, combination, result",
    "registry/lineage": "where versions come from",
    "registry/mlflow_registry": "models and versions as MLflow shows them",
    "registry/disputes": "what is wrong with a result, and what is shown when asked",
    "registry/verification": "what was anchored, recomputed by a stranger",
    "registry/bundles": "lineage and proof in one file",
    "registry/roles": "aggregator and auditor: tasks with deadlines",
    "registry/notices": "what happens to a model, told to commands and webhooks",
    "registry/explorer": "pages over index and store, read-only",
    "registry/exports": "a version's provenance in the formats of other tools",
    "registry/explorer/static": "what browsers load",
    "registry/facts": "what commands and pages show, typed",
    "registry/dev": "chains, nodes and lies for development and tests",
    "registry/cli": "`cairn`, but for what needs torch",
    "registry/cli/commands": "one file a group of commands",
    "trainer": "what only those who train do",
    "trainer/algorithms": "one paper, one file",
    "trainer/transforms": "what is done to an update on its way out",
    "trainer/demo": "three hospitals",
    "trainer/experiments": "simulated federations: partitions (IID, Dirichlet), problems, attacks",
    "trainer/cli": "the whole `cairn`",
    "trainer/cli/commands": "one file a group of commands",
    "scripts": "the three things users do",
    "examples": "tasks with other trainers",
    "examples/across_languages": "hospitals of three languages",
    "examples/agents": "agents with private heads that share a body",
    "examples/clinical_coding": "a pretrained encoder at three hospitals",
    "examples/serve": "a service that starts with a verified model alone",
    "examples/text_generation": "a pretrained language model at three hospitals",
    "examples/translation": "a translator at three hospitals",
    "benchmarks": "what the figures come from",
    "benchmarks/learning": "experiments behind the figures of learning",
    "benchmarks/peers": "what others' libraries take for the same",
}
SUFFIXES = {".py", ".sol", ".js"}
UNLISTED = ("tests", "contracts/test")


def first_line(path: Path) -> str:
    """Return what a file says of itself first."""
    text = path.read_text()
    if path.suffix == ".py":
        said = ast.get_docstring(ast.parse(text)) or ""
    elif path.suffix == ".sol":
        said = (re.search(r"@title (.*)", text) or re.search(r"@notice (.*)", text) or [""])[1] if "@" in text else ""
        if said == path.stem:  # its interface says what it does
            return first_line(path.parent / "interfaces" / f"I{path.name}")
    else:
        said = (re.match(r"(?:#!.*\n)?// (.*)", text) or ["", ""])[1]
    line = said.split("\n\n")[0].replace("\n", " ").strip()
    sentence = re.split(r"(?<=[a-z`)…])\. ", line)[0].rstrip(".")
    return sentence if len(sentence) <= 100 else sentence[:99].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def tree() -> str:
    """Return the tree of the tracked source files, without tests.

    Raises:
        KeyError: A folder is not in ROOMS.
    """
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    lines: list[str] = []
    seen: set[str] = set()
    for name in sorted(filter(None, listed)):
        path = Path(name)
        unlisted = name.startswith(tuple(f"{room}/" for room in UNLISTED))
        if path.suffix not in SUFFIXES or path.name == "__init__.py" or unlisted:
            continue
        for depth in range(1, len(path.parts)):
            folder = "/".join(path.parts[:depth])
            if folder not in seen:
                seen.add(folder)
                lines.append(f"{'  ' * (depth - 1) + path.parts[depth - 1] + '/':<30} {ROOMS[folder]}")
        lines.append(f"{'  ' * (len(path.parts) - 1) + path.name:<30} {first_line(ROOT / name)}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def with_tree(page: str) -> str:
    """Return the page with the tree as it is now."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + tree() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_tree(PAGE.read_text()))

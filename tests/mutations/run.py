"""Mutation testing: remove checks one by one and require a test to fail.

    python tests/mutations/run.py --all              every mutation of mutations.toml (hours on two cores: use nice)
    python tests/mutations/run.py --fortieth 3          every fortieth from the third on; `today` takes the day's
    python tests/mutations/run.py --name NAME …      these
    python tests/mutations/run.py --list             what there is

Each mutation replaces one text of one file in a copy of the tree and runs the tests that are expected to catch it:
every one of them must fail, and must pass before. One that names a Solidity test file runs it by Hardhat; one that
changes a contract and names Python tests runs them on the bytecode of the changed source. Python tests run in processes
forked from one that has imported what they import from outside the tree, so that each run begins at once. Exit code 1
says that something survived, 2 that the list no longer fits the source.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutations.toml")
COPIED = ("registry", "trainer", "contracts", "scripts", "tests", "docs")
LINKED = (".venv", "node_modules", ".tools")
ARTIFACTS = Path("registry/chain/artifacts")
TIME_LIMIT = 600.0
PRELOADED = ["eth.vm.forks.prague", "eth_tester", "hypothesis", "ipfshttpclient", "torch", "typer.testing", "web3"]
"""What takes long to import and is none of the tree's own."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "_pytest.assertion.rewrite", *PRELOADED])


class Misfit(Exception):
    """A mutation that does not fit the source any more."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One check taken out.

    Attributes:
        name: What it is called; unique.
        file: Which file, from the root.
        old: What stands there, once.
        new: What stands there instead.
        tests: What must fail: ids as pytest takes them, or Solidity test files.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def solidity_tests(self) -> list[str]:
        return [test for test in self.tests if test.endswith(".sol")]

    @property
    def python_tests(self) -> list[str]:
        return [test for test in self.tests if not test.endswith(".sol")]

    def applied(self, root: Path) -> str:
        """Return the file's text with the mutation in it.

        Raises:
            Misfit: The text is not there exactly once, or nothing changes.
        """
        path = root / self.file
        text = path.read_text() if path.is_file() else ""
        if text.count(self.old) != 1 or self.old == self.new or not self.tests:
            raise Misfit(f"{self.name}: expected its text once in {self.file}, found it {text.count(self.old)} times")
        return text.replace(self.old, self.new)


def load() -> list[Mutation]:
    """Return the list, in its order."""
    entries = tomllib.loads(LIST.read_text())["mutation"]
    return [Mutation(e["name"], e["file"], e["old"], e["new"], tuple(e["tests"])) for e in entries]


def copy_tree(into: Path) -> None:
    """Copy what tests need; what is large and does not change is linked.

    Bytecode is cached by the source's hash: by time and size, a change within a second could be overlooked.
    """
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, into / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, into / path.name)
    for name in LINKED:
        if (ROOT / name).exists():
            (into / name).symlink_to(ROOT / name)
    cached = ("-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "registry", "trainer", "scripts")
    subprocess.run([sys.executable, *cached], cwd=into, check=True)


def environment(root: Path) -> dict[str, str]:
    """What commands run in a copy see: the copy's packages."""
    programs = [str(Path(sys.executable).parent), str(ROOT / ".venv" / "bin"), os.environ.get("PATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": str(root),
        "PATH": os.pathsep.join(programs),
    }


def command(root: Path, *parts: str) -> tuple[int, str]:
    """Run a command in a copy; a hang counts as a failure and is told."""
    try:
        done = subprocess.run(
            parts, cwd=root, env=environment(root), capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return 124, f"no end within {TIME_LIMIT:g} s"
    return done.returncode, done.stdout + done.stderr


def pytested(root: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Run pytest in a copy; as `command`, but in a process that has much imported already."""
    log = root / "pytest.log"
    process = FORKS.Process(target=in_copy, args=(str(root), list(arguments), str(log)))
    process.start()
    process.join(TIME_LIMIT)
    if process.exitcode is None:
        process.kill()
        process.join()
        return 124, f"no end within {TIME_LIMIT:g} s"
    return process.exitcode, log.read_text()


def in_copy(root: str, arguments: list[str], log: str) -> NoReturn:
    """What the forked process does."""
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(root)
    os.environ.update(environment(Path(root)))
    sys.path[:] = [root, *(place for place in sys.path if place != str(Path(__file__).parent))]
    found = importlib.util.find_spec("registry")
    if found is None or not str(found.origin).startswith(root):
        print(f"expected the packages of {root}, got {found}")
        sys.exit(3)
    sys.exit(pytest.main(arguments))


def failing(root: Path, tests: Sequence[str]) -> tuple[set[str], str]:
    """Run Python tests; return those of `tests` of which something failed, and what pytest said."""
    if not tests:
        return set(), ""
    options = ("-q", "-rfE", "-p", "no:cacheprovider", "-p", "no:randomly", "--tb=line")
    code, said = pytested(root, [*options, *tests])
    if code == 124 or code < 0:  # it hangs, or takes the whole process with it: nobody overlooks that
        return set(tests), said
    if code not in (0, 1):
        raise Misfit(f"pytest ended with {code}: {said[-1500:]}")
    failed = [line.split(" ", 1)[1] for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return {test for test in tests if any(belongs(line, test) for line in failed)}, said


def belongs(line: str, test: str) -> bool:
    """Whether a line of pytest's summary is of a test, one of its parameters, or its file."""
    rest = line.removeprefix(test)
    return rest != line and (not rest or rest[0] in "[: ")


def failing_solidity(root: Path, tests: Sequence[str]) -> tuple[set[str], str]:
    """Run Solidity test files; return those of which something failed."""
    failed, told = set(), ""
    for test in tests:
        code, said = command(root, "npx", "hardhat", "test", "solidity", test)
        if "passing" not in said and "failing" not in said:
            raise Misfit(f"hardhat did not get to {test}: {said[-1500:]}")
        if code:
            failed.add(test)
        told += said
    return failed, told


def try_out(mutation: Mutation, root: Path) -> str:
    """Return why a mutation was not caught, or nothing.

    Raises:
        Misfit: Its text is not there, or the changed source does not compile.
    """
    path = root / mutation.file
    original = path.read_text()
    changed = mutation.applied(root)
    shipped = {file: file.read_bytes() for file in (root / ARTIFACTS).glob("*.json")}
    try:
        path.write_text(changed)
        failed, _ = failing_solidity(root, mutation.solidity_tests)
        if mutation.file.endswith(".sol") and mutation.python_tests:
            code, said = command(root, "node", "contracts/tools/artifacts.js")
            if code:
                raise Misfit(f"{mutation.name}: the changed contract does not compile: {said[-1500:]}")
        more, _ = failing(root, mutation.python_tests)
    finally:
        path.write_text(original)
        for file, data in shipped.items():
            file.write_bytes(data)
    survived = [test for test in mutation.tests if test not in failed | more]
    return f"passed: {', '.join(survived)}" if survived else ""


def baseline(mutations: Iterable[Mutation], root: Path) -> None:
    """Run all the tests on the unchanged copy: a test that fails anyway catches nothing.

    Raises:
        Misfit: One fails, or there is none of its name.
    """
    named = list(mutations)
    with ThreadPoolExecutor(2) as both:
        solidity = both.submit(failing_solidity, root, sorted({t for m in named for t in m.solidity_tests}))
        failed, said = failing(root, sorted({t for m in named for t in m.python_tests}))
        wrong, more = solidity.result()
    if failed or wrong:
        raise Misfit(f"these fail on the source as it is: {sorted(failed | wrong)}\n{(said + more)[-3000:]}")


def chosen(arguments: argparse.Namespace) -> list[Mutation]:
    """Return the mutations that are to be tried."""
    everything = load()
    if arguments.name:
        unknown = set(arguments.name) - {mutation.name for mutation in everything}
        if unknown:
            raise Misfit(f"no mutation is called {', '.join(sorted(unknown))}")
        return [mutation for mutation in everything if mutation.name in arguments.name]
    if arguments.fortieth is not None:
        fortieth = int(time.time() // 86400) if arguments.fortieth == "today" else int(arguments.fortieth)
        return everything[fortieth % 40 :: 40]
    return everything


def run(mutations: Sequence[Mutation], jobs: int, *, check_first: bool) -> list[str]:
    """Try mutations out, several at once, each in one of as many copies; return what survived."""
    survivors: list[str] = []
    printing = threading.Lock()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            place = Path(folder) / str(number)
            place.mkdir()
            copy_tree(place)
            copies.put(place)
        for mutation in mutations:
            mutation.applied(Path(folder) / "0")
        if check_first:
            baseline(mutations, Path(folder) / "0")

        def one(mutation: Mutation) -> None:
            place, began = copies.get(), time.monotonic()
            try:
                why = try_out(mutation, place)
            except Misfit as error:
                why = str(error)
            finally:
                copies.put(place)
            with printing:
                verdict = "SURVIVED" if why else "caught"
                print(f"{verdict:9} {time.monotonic() - began:6.1f} s  {mutation.name}  {why}", flush=True)
                if why:
                    survivors.append(mutation.name)

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, mutations))
    return survivors


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Mutation testing: remove checks one by one and require a test to fail."
    )
    parser.add_argument("--all", action="store_true", help="try every mutation (the default)")
    parser.add_argument("--fortieth", help="0..39, any number, or today")
    parser.add_argument("--name", nargs="+", help="try these")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--skip-baseline", action="store_true", help="trust that the tests pass unchanged")
    arguments = parser.parse_args()
    try:
        mutations = chosen(arguments)
        if arguments.list:
            print(*(f"{mutation.name}  {mutation.file}" for mutation in mutations), sep="\n")
            return 0
        survivors = run(mutations, arguments.jobs, check_first=not arguments.skip_baseline)
    except Misfit as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(mutations) - len(survivors)} of {len(mutations)} caught")
    for name in survivors:
        print(f"survived: {name}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

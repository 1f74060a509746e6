"""The rules that keep the house easy to change, read off its own source: who imports whom, what a module shows, how
long a function is, and that importing anything does nothing."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("registry", "trainer")
SOURCES = (*PACKAGES, "scripts", "benchmarks", "examples")

# One carries an error past what came before it and raises it there; the other is the last place that can show it.
ANSWERS_FOR_ALL = {"registry/store/ahead.py", "registry/cli/command.py"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the two packages, by name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def sources() -> list[Path]:
    return sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path, *, inside: bool) -> set[str]:
    """Modules that a file imports when it is loaded or, with `inside`, only when a function runs.

    What stands under TYPE_CHECKING is imported by neither.
    """
    found: set[str] = set()

    def visit(node: ast.AST, within: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if isinstance(node, ast.Import) and within == inside:
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and within == inside:
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(name if name in modules() else node.module for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child, within or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))

    visit(tree_of(path), False)
    return found


def every_import() -> Iterator[tuple[str, str]]:
    """Pairs of a module and what it imports, at any time."""
    for name, path in modules().items():
        for target in imports(path, inside=False) | imports(path, inside=True):
            yield name, target


def beneath(name: str, *rooms: str) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


# Who imports whom -----------------------------------------------------------------------------------------------------


ROOMS = (
    "registry.errors",
    "registry.durable",
    "registry.kernels",
    "registry.types",
    "registry.content",
    "registry.rules",
    "registry.store",
    "registry.ethereum",
    "registry.chain",
    "registry.index",
    "registry.rounds",
    "registry.lineage",
    "registry.disputes",
    "registry.verification",
    "registry.bundles",
    "registry.roles",
    "registry.facts",
    "registry.notices",
    "registry.exports",
    "registry.explorer",
    "registry.cli",
    "registry.mlflow_registry",
    "trainer",
)
"""From the ground up: a room may import those above it in this list. Beside them stands `registry.dev`."""
FOUNDATIONS = ("registry.errors", "registry.durable", "registry.kernels", "registry.types")
ALONE = {
    "registry.content": (),
    "registry.rules": (),
    "registry.store": ("registry.content",),
    "registry.ethereum": (),
    "registry.chain": ("registry.ethereum",),
    "registry.index": ("registry.chain", "registry.ethereum"),
}
"""Which rooms some rooms import at most, beside the foundations and themselves."""
USES_DEVELOPMENT_CHAINS = (
    "registry.cli.commands.doctor",
    "registry.cli.commands.localnet",
    "trainer.cli.commands.simulate",
    "trainer.experiments.federation",
    "trainer.simulation",
    "trainer.demo",
)

SHARES_SETTINGS = {("registry.mlflow_registry.registry_uri", "registry.cli.session")}
"""What is no command, and has the settings of commands."""


def room_of(name: str) -> str:
    return next((room for room in ROOMS if beneath(name, room)), "")


def test_every_module_is_in_a_room() -> None:
    assert [name for name in modules() if not room_of(name) and not beneath(name, "registry.dev")] == ["registry"]


def test_no_arrow_leads_back_up() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, target in every_import()
        if room_of(name) and room_of(target) and ROOMS.index(room_of(name)) < ROOMS.index(room_of(target))
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ALONE)
def test_a_room_imports_only_what_it_rests_on(room: str) -> None:
    wrong = [
        f"{name} imports {target}"
        for name, target in every_import()
        if beneath(name, room) and beneath(target, *PACKAGES)
        if not beneath(target, room, *ALONE[room], *FOUNDATIONS)
    ]
    assert wrong == []


def test_registry_imports_no_torch() -> None:
    assert [name for name, target in every_import() if beneath(name, "registry") and beneath(target, "torch")] == []


def test_only_tools_for_development_import_development_chains() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, target in every_import()
        if beneath(target, "registry.dev") and not beneath(name, "registry.dev", *USES_DEVELOPMENT_CHAINS)
    ]
    assert wrong == []


def test_nothing_but_the_command_line_imports_the_command_line() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, target in every_import()
        if beneath(target, "registry.cli", "trainer.cli") and not beneath(name, "registry.cli", "trainer.cli")
        if (name, target) not in SHARES_SETTINGS
    ]
    assert wrong == []


def test_no_two_files_have_one_name() -> None:
    """But for commands, whose files are called as they are, and the `cairn` that has some of them and that has all."""
    named = [name for name, path in modules().items() if ".commands." not in name and path.name != "__init__.py"]
    names = [name.rpartition(".")[2] for name in named if name != "trainer.cli.root"]
    assert {name for name in names if names.count(name) > 1} == set()


def test_no_two_public_classes_have_one_name() -> None:
    """One word per idea: where two classes have one name, one of them is called by another word."""
    homes: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_nothing_imports_tests_scripts_or_benchmarks() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, target in every_import()
        if beneath(target, "tests", "scripts", "benchmarks", "examples", "conftest")
    ]
    assert wrong == []


def rings(edges: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules that reach one another (Tarjan's strongly connected components of more than one)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: set[frozenset[str]] = set()

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in edges[node]:
            if target not in index:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == index[node]:
            ring = set()
            while node not in ring:
                ring.add(stack.pop())
            if len(ring) > 1:
                found.add(frozenset(ring))

    for node in edges:
        if node not in index:
            visit(node)
    return found


def test_no_import_closes_a_circle() -> None:
    """Not even one inside a function."""
    edges = {
        name: (imports(path, inside=False) | imports(path, inside=True)) & modules().keys()
        for name, path in modules().items()
    }
    assert rings(edges) == set()


# Importing does nothing -----------------------------------------------------------------------------------------------

GUARD = """
import sys

BLOCKED = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec",
           "os.posix_spawn", "os.fork", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link",
           "os.symlink", "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp")

def guard(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        if not str(args[0]).startswith("/dev/"):
            raise RuntimeError(f"importing {NAME} writes {args[0]}")
    if event in BLOCKED:
        raise RuntimeError(f"importing {NAME} does {event}{args[:2]}")

def refuse(name):
    class Missing:
        def find_spec(self, full, path=None, target=None):
            if full.partition(".")[0] == name:
                raise ModuleNotFoundError(f"No module named {full!r}", name=name)
    sys.meta_path.insert(0, Missing())
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script after the guard, with an empty environment and nothing but the source on the path."""
    head = f"{GUARD}\nsys.path.insert(0, {str(ROOT)!r})\nsys.dont_write_bytecode = True\n"
    command = [sys.executable, "-c", head + script]
    return subprocess.run(command, env={}, cwd="/", capture_output=True, text=True, timeout=300, check=False)


def importable() -> list[str]:
    """Every module but those that are programs, which nobody imports, and those that MLflow loads as its plug-in.

    MLflow itself opens a socket and writes a file when it is imported, so nothing else may import it.
    """
    return [name for name in modules() if not name.endswith(".__main__") and not imports_mlflow(name)]


def imports_mlflow(name: str) -> bool:
    """Whether loading a module of the plug-in loads MLflow."""
    found = imports(modules()[name], inside=False)
    if not beneath(name, "registry.mlflow_registry"):
        assert not any(beneath(target, "mlflow") for target in found), f"{name} imports MLflow"
        return False
    return any(beneath(target, "mlflow") or (target in modules() and imports_mlflow(target)) for target in found)


def test_importing_any_module_without_torch_does_no_input_or_output() -> None:
    """Our modules one by one; what they import from elsewhere is loaded on the way, under the same guard."""
    names = [name for name in importable() if not beneath(name, "trainer") or free_of_torch(name)]
    done = run(
        f"refuse('torch')\nimport importlib\nfor NAME in {names!r}:\n"
        "    if NAME == 'registry': sys.addaudithook(guard)\n    importlib.import_module(NAME)\nprint('done')"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


def test_importing_the_trainer_does_no_input_or_output() -> None:
    names = [name for name in importable() if beneath(name, "trainer")]
    done = run(
        f"import importlib, torch\nNAME = ''\nsys.addaudithook(guard)\nfor NAME in {names!r}:\n"
        "    importlib.import_module(NAME)\nprint('done')"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


def free_of_torch(name: str) -> bool:
    """Whether loading a module loads no torch."""
    seen, waiting = set(), [name]
    while waiting:
        at = waiting.pop()
        if at in seen or at not in modules():
            continue
        seen.add(at)
        found = imports(modules()[at], inside=False)
        if any(beneath(target, "torch") for target in found):
            return False
        waiting += found
    return True


@pytest.mark.parametrize(
    "name", ["registry.roles.aggregator", "registry.roles.auditor", "registry.roles.loop", "trainer.cli"]
)
def test_the_command_line_needs_no_torch(name: str) -> None:
    assert free_of_torch(name)


def test_no_module_reads_the_environment_or_a_file_when_it_is_loaded() -> None:
    forbidden = ("os.environ", "os.getenv", "open", "Path.cwd", "Path.home", "os.getcwd", "time.time", "input", "print")
    readers = ("read_text", "read_bytes", "mkdir", "write_text", "write_bytes", "iterdir", "exists", "glob")
    wrong = []
    for name, path in modules().items():
        for node in loaded(tree_of(path)):
            if isinstance(node, ast.Call):
                said = ast.unparse(node.func)
                if said in forbidden or said.rpartition(".")[2] in readers or said.startswith("os.environ"):
                    wrong.append(f"{name}:{node.lineno} calls {said}")
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                wrong.append(f"{name}:{node.lineno} reads os.environ")
    assert wrong == []


def loaded(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when its module is loaded: bodies of functions do not, their decorators and defaults do."""
    yield node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        inner: list[ast.AST] = [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
    elif isinstance(node, ast.Lambda):
        inner = []
    else:
        inner = list(ast.iter_child_nodes(node))
    for child in inner:
        yield from loaded(child)


# What a module shows --------------------------------------------------------------------------------------------------


def shown(tree: ast.Module) -> list[str] | None:
    """The names in a module's `__all__`; None if it has none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def defined(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Public functions and classes, and all other public names, that a module defines."""
    callables = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    values = set()
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        values |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return {n for n in callables if not n.startswith("_")}, {n for n in values if not n.startswith("_")}


def test_all_names_every_public_function_and_class_and_nothing_that_is_not_there() -> None:
    wrong = []
    for name, path in modules().items():
        listed = shown(tree_of(path))
        callables, values = defined(tree_of(path))
        if beneath(name, "registry.cli.commands", "trainer.cli.commands"):
            continue  # found by their decorators
        if name in PACKAGES:
            continue  # a test of their own
        if listed is None:
            wrong += [f"{name} has no __all__ and defines {sorted(callables)}"] if callables else []
            continue
        imported = {
            n.asname or n.name for node in tree_of(path).body if isinstance(node, ast.ImportFrom) for n in node.names
        }
        if len(set(listed)) != len(listed):
            wrong.append(f"{name}: __all__ repeats itself")
        if missing := callables - set(listed):
            wrong.append(f"{name}: __all__ lacks {sorted(missing)}")
        if unknown := set(listed) - callables - values - imported:
            wrong.append(f"{name}: __all__ names {sorted(unknown)}, which it does not define")
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_exports_is_where_it_says(package: str) -> None:
    exported = importlib.import_module(package)
    for name in exported.__all__:
        home = exported._PLACES.get(name)
        if home is None:  # a module of the package
            importlib.import_module(f"{package}.{name}")
        else:
            assert name in importlib.import_module(home).__all__, f"{home} does not show {name}"
            assert getattr(exported, name) is getattr(importlib.import_module(home), name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = exported.nothing


def test_scripts_use_what_the_packages_export_alone() -> None:
    wrong = [
        f"{path.name} imports {target}"
        for path in sorted((ROOT / "scripts").glob("*.py"))
        for target in imports(path, inside=False) | imports(path, inside=True)
        if beneath(target, *PACKAGES) and target not in (*PACKAGES, "trainer.participant", "trainer.simulation")
    ]
    assert wrong == []


def test_what_is_imported_from_a_module_stands_in_its_all() -> None:
    wrong = []
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.ImportFrom) or node.module not in modules():
                continue
            listed = shown(tree_of(modules()[node.module])) or []
            for alias in node.names:
                if alias.name not in listed and f"{node.module}.{alias.name}" not in modules():
                    wrong.append(f"{path.relative_to(ROOT)}: {node.module} does not show {alias.name}")
    assert wrong == []


# Size and manners -----------------------------------------------------------------------------------------------------


def functions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path, node in functions()
        if node.end_lineno is not None and node.end_lineno - node.lineno >= 60
    ]
    assert long == []


def test_no_exception_is_swallowed_by_a_handler_for_all() -> None:
    wrong = []
    for path in sources():
        where = str(path.relative_to(ROOT))
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            kinds = "" if node.type is None else ast.unparse(node.type)
            everything = node.type is None or {"Exception", "BaseException"} & set(kinds.strip("()").split(", "))
            raises = any(isinstance(inner, (ast.Raise, ast.Return)) for inner in ast.walk(node))
            if node.type is None or (everything and not raises and where not in ANSWERS_FOR_ALL):
                wrong.append(f"{where}:{node.lineno} except {kinds}")
    assert wrong == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        name for name, path in modules().items() if path.name != "__init__.py" and not ast.get_docstring(tree_of(path))
    ]
    assert silent == []


def test_every_public_function_is_typed() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path, node in functions()
        if path.parts[len(ROOT.parts)] in PACKAGES and node.returns is None
    ]
    assert wrong == []


def tracked() -> list[Path]:
    """Every text file that is, or is about to be, in the repository."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout, so it is not known which files are the project's")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_no_file_names_a_path_of_somebody_s_machine() -> None:
    home = re.compile(rb"(?<![\w./~])/(?:root|home/\w+|Users/\w+|work/(?:main|shared)|tmp/\w/)")
    wrong = [
        f"{path.relative_to(ROOT)}: {found[0].decode()}"
        for path in tracked()
        if path != Path(__file__) and (found := home.search(path.read_bytes()))
    ]
    assert wrong == []


def test_what_the_threat_model_says_is_tried_is_there() -> None:
    page = (ROOT / "docs" / "assumptions.md").read_text()
    named = set(re.findall(r"`((?:tests|contracts|registry|docs)/[\w./-]+)`", page))
    assert len(named) >= 15
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_tree_page_shows_the_tracked_files() -> None:
    tracked()  # skips where there is no git to ask
    spec = importlib.util.spec_from_file_location("tree_page", ROOT / "tests" / "tree_page.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = tool.PAGE.read_text()
    assert tool.with_tree(page) == page, "run: python tests/tree_page.py"


def stays_patched(function: ast.FunctionDef) -> bool:
    """Whether a fixture of the session yields inside a patch, which then holds for the tests of every other folder."""
    session = any('scope="session"' in ast.unparse(d).replace("'", '"') for d in function.decorator_list)
    patched = [
        node for node in ast.walk(function) if isinstance(node, ast.With) and "patch" in ast.unparse(node).lower()
    ]
    return session and any(isinstance(node, ast.Yield) for inside in patched for node in ast.walk(inside))


def test_no_fixture_of_the_session_leaves_other_tests_a_patch() -> None:
    functions = [
        node
        for path in tracked()
        if path.suffix == ".py" and path.parts[: len(ROOT.parts) + 1] == (*ROOT.parts, "tests")
        for node in tree_of(path).body
        if isinstance(node, ast.FunctionDef)
    ]
    assert [one.name for one in functions if stays_patched(one)] == []
    bad = "@fixture(scope='session')\ndef made():\n    with MonkeyPatch.context() as patch:\n        yield 1\n"
    (made,) = ast.parse(bad).body
    assert isinstance(made, ast.FunctionDef) and stays_patched(made) and len(functions) > 1000

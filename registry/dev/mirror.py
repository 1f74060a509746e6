"""Generate the Python mirror of the contracts from their ABI and NatSpec: structs, events and custom errors.

Types come from the ABI's `internalType`, docstrings from the NatSpec of the sources that the artifacts were compiled
from. So the artifacts are all that is read, and whether they are fresh says whether the mirror is:

    python -m registry.dev.mirror           write the files
    python -m registry.dev.mirror --check   compare, exit 1 if they are stale
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from registry.chain.contracts import DEPLOYED, artifact, standard_input
from registry.errors import InputError

__all__ = [
    "BETWEEN_CONTRACTS",
    "Documented",
    "Field",
    "Mirrored",
    "RENAMED",
    "declarations",
    "generate",
    "main",
    "snake",
]

FOLDER = Path(__file__).resolve().parents[1] / "chain"
WIDTH = 120
BETWEEN_CONTRACTS = {"read", "serverStep", "convict", "extendWindow", "voidResult", "lockBond", "slashBond"}
"""Functions that the contracts call of each other: structs that only they have are not mirrored."""
RENAMED = {"Contribution": "Listed", "Segment": "PlacedSegment"}
"""Structs whose name another class has: `registry.content.merkle.Contribution`, `registry.rules.segments.Segment`."""
OPTIONAL = {
    "Plan": "demand_price_gwei",
    "SignedUpdate": "hook_data",
    "Roots": "state",
    "Middle": "least",
    "Window": "least",
    "Sum": "next",
}
"""From which field on a struct's fields default to zero."""
DIGESTS = re.compile(r"(?:.*_)?digest|parent|replacement|head")
ROOTS = re.compile(r"(?:.*_)?root|tensor|rest|state")
"""Names of the bytes32 fields that hold digests and roots."""
ZEROS = {"int": "0", "bytes": 'b""', "Root": "_ZERO_ROOT", "bytes32": "ZERO32"}
EVENTS_OF = {
    "Cairn": "EVENTS",
    "Challenges": "CHALLENGE_EVENTS",
    "Court": "COURT_EVENTS",
    "Labels": "LABEL_EVENTS",
    "Scores": "SCORE_EVENTS",
}
NOTE = "Generated from the contracts' ABI and NatSpec: do not edit, run `python -m registry.dev.mirror`."


class Documented(NamedTuple):
    """What NatSpec says of a declaration, and of its fields or parameters by their name in Python."""

    notice: str
    fields: Mapping[str, str]


class Field(NamedTuple):
    """A field of a generated class: its name, its type hint, and its default if it has one."""

    name: str
    hint: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A struct, event or error of the ABI, as the class that mirrors it."""

    name: str
    fields: tuple[Field, ...]
    documented: Documented

    def source(self, decorator: str, base: str = "") -> str:
        """Return the class as source text, as `ruff format` leaves it."""
        head = f"@dataclass({decorator})\nclass {self.name}{base and f'({base})'}:\n"
        fields = [f"    {name}: {hint}" + (default and f" = {default}") for name, hint, default in self.fields]
        return head + self._docstring() + ("\n\n" + "\n".join(fields) if fields else "")

    def _docstring(self) -> str:
        notice, attributes = self.documented
        lines = _wrapped(f'    """{notice}', "    ")
        if attributes:
            lines += ["", "    Attributes:"]
            for field in self.fields:
                if field.name in attributes:
                    lines += _wrapped(f"        {field.name}: {attributes[field.name]}", " " * 12)
        if len(lines) == 1 and len(lines[0]) <= WIDTH - 3:
            return lines[0] + '"""'
        return "\n".join([*lines, '    """'])


def snake(name: str) -> str:
    """Return a name of Solidity as Python writes it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def declarations(source: str) -> Iterator[tuple[str, str, Documented]]:
    """Yield (kind, name, NatSpec) of every struct, event and error of a Solidity source, in order."""
    block: list[str] = []
    lines = iter(source.splitlines())
    for line in map(str.strip, lines):
        if line.startswith("///"):
            block.append(line[3:].strip())
            continue
        found = re.match(r"(struct|event|error) (\w+)", line)
        if found is not None:
            kind, name = found.groups()
            notice, fields = _tagged(block)
            yield kind, name, Documented(notice, _members(lines) if kind == "struct" else fields)
        block = []


def generate() -> dict[str, str]:
    """Return the text of every generated file, by its name.

    Raises:
        InputError: The sources document something of the ABI not at all, or have no declaration of it.
    """
    structs, events, errors = _structs(), _entries("event", EVENTS_OF), _entries("error", DEPLOYED)
    tables = [_table(label, contract, [event.name for event in events]) for contract, label in EVENTS_OF.items()]
    return {
        "contract_structs.py": _module(
            "The contracts' structs as frozen dataclasses: fields in snake_case, in the ABI's order.",
            structs,
            ["_ZERO_ROOT = Root(ZERO32)", *(struct.source("frozen=True, slots=True") for struct in structs)],
            known={"ZERO32": "registry.types"},
        ),
        "contract_events.py": _module(
            "The contracts' events as frozen dataclasses: fields in snake_case, in the ABI's order.",
            events,
            [*(event.source("frozen=True, slots=True", "Event") for event in events), "\n\n".join(tables)],
            listed=list(EVENTS_OF.values()),
            known={"Event": "registry.ethereum.positions"}
            | {struct.name: "registry.chain.contract_structs" for struct in structs},
        ),
        "contract_errors.py": _module(
            "The contracts' custom errors as exceptions: fields in snake_case, in the ABI's order.",
            errors,
            [error.source("eq=False", "CustomError") for error in errors],
            known={"CustomError": "registry.chain.custom_error"},
        ),
    }


def main(arguments: Sequence[str]) -> int:
    """Write the generated files or, with `--check`, compare them; return the exit status."""
    texts = generate()
    stale = [name for name in texts if not (FOLDER / name).exists() or (FOLDER / name).read_text() != texts[name]]
    if "--check" not in arguments:
        for name in stale:
            (FOLDER / name).write_text(texts[name])
        return 0
    for name in stale:
        sys.stderr.write(f"stale: registry/chain/{name} is not what the ABI says; run: python -m registry.dev.mirror\n")
    return 1 if stale else 0


# What the ABI has -----------------------------------------------------------------------------------------------------


def _of_kind(contract: str, kind: str) -> list[Mapping[str, Any]]:
    return [entry for entry in artifact(contract).abi if entry["type"] == kind]


def _entries(kind: str, contracts: Iterable[str]) -> list[Mirrored]:
    """Events or errors in the order of their declarations; one that two contracts share is one class."""
    found = {entry["name"]: entry["inputs"] for contract in contracts for entry in _of_kind(contract, kind)}
    return [Mirrored(name, _fields(found[name]), said) for name, said in _documentation(kind, found).items()]


def _structs() -> list[Mirrored]:
    """Structs in the order of their declarations, each after those that it holds."""
    found: dict[str, list[Mapping[str, Any]]] = {}

    def walk(items: Iterable[Mapping[str, Any]]) -> None:
        for item in items:
            if item["type"].startswith("tuple"):
                walk(item["components"])
                found.setdefault(_bare(item["internalType"]), item["components"])

    for contract in DEPLOYED:
        for entry in artifact(contract).abi:
            if entry.get("name") not in BETWEEN_CONTRACTS:
                walk([*entry.get("inputs", ()), *entry.get("outputs", ())])
    documented = _documentation("struct", found)
    ordered: dict[str, Mirrored] = {}

    def place(name: str) -> None:
        for item in found[name]:
            if item["type"].startswith("tuple"):
                place(_bare(item["internalType"]))
        shown, said = RENAMED.get(name, name), documented[name]
        if shown != name:
            said = said._replace(notice=f"{said.notice} `{name}` in the ABI.")
        ordered.setdefault(name, Mirrored(shown, _fields(found[name], OPTIONAL.get(name)), said))

    for name in documented:
        place(name)
    return list(ordered.values())


def _bare(internal: str) -> str:
    """Return the name of a type without its kind, its contract and its brackets."""
    return internal.split(" ")[-1].split(".")[-1].replace("[]", "")


def _fields(items: Iterable[Mapping[str, Any]], optional_from: str | None = None) -> tuple[Field, ...]:
    fields: list[Field] = []
    optional = False
    for item in items:
        name, hint = snake(item["name"]), _hint(item)
        optional = optional or name == optional_from
        kind = "bytes32" if hint == "bytes" and item["type"] == "bytes32" else hint
        zero = "()" if hint.startswith("tuple") else ZEROS.get(kind, f"{hint}()")
        fields.append(Field(name, hint, zero if optional else ""))
    return tuple(fields)


def _hint(item: Mapping[str, Any]) -> str:
    internal, name = str(item["internalType"]), snake(item["name"])
    if internal.endswith("[]"):
        return f"tuple[{_hint({**item, 'internalType': internal[:-2]})}, ...]"
    bare = _bare(internal)
    if internal == "address" or internal.startswith("contract "):
        return "Address"
    if internal == "bytes32" and (DIGESTS.fullmatch(name) or ROOTS.fullmatch(name)):
        return "Digest" if DIGESTS.fullmatch(name) else "Root"
    if re.fullmatch(r"bytes\d*", internal):
        return "bytes"
    if internal == "uint8" and name in ("role", "roles"):
        return "Role"
    if re.fullmatch(r"u?int\d+", internal):
        return "int"
    return {"bool": "bool", "string": "str"}.get(internal, RENAMED.get(bare, bare))


# What NatSpec says ----------------------------------------------------------------------------------------------------


def _documentation(kind: str, names: Iterable[str]) -> dict[str, Documented]:
    """NatSpec by name, for those names only, in the order of the sources."""
    wanted = set(names)
    said: dict[str, Documented] = {}
    for path, source in sorted(standard_input()["sources"].items()):
        if path.startswith("contracts/"):
            for declared, name, documented in declarations(source["content"]):
                if declared == kind and name in wanted:
                    said.setdefault(name, documented)
    if silent := sorted(name for name in wanted if name not in said or not said[name].notice):
        raise InputError(f"contracts/ says nothing of {kind} {', '.join(silent)}: expected a @notice of each")
    return said


def _tagged(block: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The notice of a comment, and its parameters; what else it has is for readers of Solidity."""
    parts: dict[str, list[str]] = {"notice": []}
    tag = "notice"
    for line in block:
        if found := re.match(r"@(param \w+|\w+) (.*)", line):
            tag, line = found.groups()
        parts.setdefault(tag, []).append(line)
    texts = {tag: _python_names(" ".join(lines)) for tag, lines in parts.items()}
    parameters = {snake(tag.split()[1]): text for tag, text in texts.items() if tag.startswith("param ")}
    return texts["notice"], parameters


def _members(lines: Iterator[str]) -> dict[str, str]:
    """What the comments in a struct say of its members: a comment stands above the one it is about."""
    said: dict[str, str] = {}
    block: list[str] = []
    for line in map(str.strip, lines):
        if line == "}":
            break
        if line.startswith("///"):
            block.append(line[3:].strip())
        elif block:
            said[snake(line.partition(";")[0].split()[-1])] = _python_names(" ".join(block))
            block = []
    return said


def _python_names(text: str) -> str:
    """Functions and fields stand in backticks."""
    return re.sub(r"`[a-z][\w.]*`", lambda found: snake(found[0]), text)


# What is written ------------------------------------------------------------------------------------------------------


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _module(
    title: str,
    classes: Sequence[Mirrored],
    parts: Iterable[str],
    *,
    known: Mapping[str, str],
    listed: Sequence[str] = (),
) -> str:
    """A module's text: its parts between two blank lines, below its imports and `__all__`.

    Args:
        title: The first line of its docstring.
        classes: The classes that the parts have.
        parts: Source texts.
        known: Where names that do not stand in `registry.types` come from.
        listed: What else `__all__` names.
    """
    body = "\n\n\n".join(parts) + "\n"
    made = {cls.name for cls in classes}
    hints = {word for cls in classes for field in cls.fields for word in re.findall(r"\w+", field.hint)}
    used = {name for name in hints if name[0].isupper()} - made | {name for name in known if f"({name})" in body}
    homes: dict[str, list[str]] = {"dataclasses": ["dataclass"]}
    for name in sorted(used, key=lambda name: (not name.isupper(), name)):
        homes.setdefault(known.get(name, "registry.types"), []).append(name)
    standard, ours = (
        "".join(_import(home, names) for home, names in sorted(homes.items()) if home.startswith("registry.") is own)
        for own in (False, True)
    )
    shown = "".join(f'    "{name}",\n' for name in sorted([*listed, *made]))
    return (
        f'"""{title}\n\n{NOTE}\n"""\n\nfrom __future__ import annotations\n\n{standard}\n{ours}\n'
        f"__all__ = [\n{shown}]\n\n{'' if body.startswith('_') else chr(10)}{body}"
    )


def _table(label: str, contract: str, events: Sequence[str]) -> str:
    """The tuple of a contract's events, in the order of their declarations."""
    own = {entry["name"] for entry in _of_kind(contract, "event")}
    names = [name for name in events if name in own]
    listed = f"({names[0]},)" if len(names) == 1 else "(\n" + "".join(f"    {name},\n" for name in names) + ")"
    return f'{label}: tuple[type[Event], ...] = {listed}\n"""The events of {contract}."""'


def _import(module: str, names: Sequence[str]) -> str:
    line = f"from {module} import {', '.join(names)}\n"
    if len(line) <= WIDTH + 1:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The reference page of the command line, made from the commands themselves: `python -m trainer.cli.reference`.

A test compares `docs/cli.md` with what this prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from registry.cli.root import EXIT_CODES, load
from registry.cli.settings import SETTINGS
from trainer.cli.root import COMMANDS

__all__ = ["commands", "reference"]

HEAD = """\
# The command line

Made from the commands by `python -m trainer.cli.reference > docs/cli.md`; a test holds it to them.

Every command takes `--json`, which prints one JSON value to standard output, and `--help`. Errors go to standard error,
one line each; with `--json` as `{"error": NAME, "message": TEXT}`. Models, versions, accounts and CIDs may be shortened
to what is unique. What sends a transaction takes `--dry-run`, waits until the transaction is final, and may be stopped
and run again at any time: it is sent once. `cairn --install-completion` sets up the shell.
"""


def reference() -> str:
    """Return the page."""
    parts = [HEAD, "## Exit codes", _table(("code", "means"), [(str(c), text) for c, text in EXIT_CODES.items()])]
    parts += ["## Settings", _SETTINGS_TEXT, _settings()]
    panel = ""
    for entry in COMMANDS.values():
        if entry.panel != panel:
            panel = entry.panel
            parts.append(f"## {panel}")
        for path, command in commands(entry.name):
            parts.append(_section(path, command))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def commands(name: str) -> Iterator[tuple[str, Any]]:
    """Yield a sub-command and, where it is a group, the commands in it, each with how it is called."""
    loaded = load(COMMANDS[name])
    inside = getattr(loaded, "commands", None)
    if not inside:
        yield f"cairn {name}", loaded
        return
    for child in inside.values():
        yield f"cairn {name} {child.name}", child


_SETTINGS_TEXT = """\
A flag goes before the environment, that before `cairn.toml`, that before the default. `cairn.toml` is looked for in the
current folder and those above it (`.localnet/cairn.toml`, which `cairn localnet up` writes, is the second choice in
each), then in `~/.config/cairn/`; `CAIRN_CONFIG` names another. Relative paths in it are relative to it. `cairn doctor`
shows what counts. A store is a folder, `kubo` (the node that `IPFS_PATH` names), `kubo:URL`, `gateway:URL`, or several
joined by `+`: read from in this order, kept in the first, published to the first and to each `kubo`."""


def _settings() -> str:
    rows = [
        (f"`{s.name}`", f"`{s.flag}`" if s.flag else "", f"`{s.env}`", s.help, f"`{s.default}`" if s.default else "")
        for s in SETTINGS
    ]
    return _table(("cairn.toml", "flag", "environment", "", "default"), rows)


def _section(path: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join([path, *(_usage(argument) for argument in arguments), "[OPTIONS]"])
    parts = [f"### `{path}`", _prose(command.help), f"```\n{usage}\n```"]
    rows = [(f"`{_usage(p)}`", _prose(p.help)) for p in arguments]
    rows += [(f"`{_flags(p)}`", _prose(p.help) + _default(p)) for p in options if not _is_shared(p)]
    if rows:
        parts.append(_table(("", ""), rows))
    shared = [f"`{p.opts[0]}`" for p in options if _is_shared(p) and p.name.startswith("setting_")]
    if shared:
        parts.append(f"Settings: {', '.join(shared)}.")
    parts.append(f"```\n{_example(command.epilog)}\n```")
    return "\n\n".join(parts)


def _is_shared(parameter: Any) -> bool:
    return parameter.name.startswith("setting_") or parameter.name in ("as_json", "help", "debug")


def _usage(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    name += "…" if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _flags(option: Any) -> str:
    names = "/".join([*option.opts, *option.secondary_opts])
    metavar = option.metavar if option.metavar is not None else option.display_type(None).strip("<>").upper()
    return f"{names} {metavar}".strip()


def _default(option: Any) -> str:
    value = option.default
    if value in (None, False, ()) or callable(value) or not option.show_default:
        return " Required." if option.required else ""
    flag = bool(option.secondary_opts) and value is True
    return f" Default: {'`' + option.opts[0] + '`' if flag else f'`{value}`'}."


def _prose(text: str | None) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (text or "").strip().split("\n\n"))


def _example(epilog: str) -> str:
    lines = epilog.splitlines()[1:]
    return "\n".join(line.strip().replace("\\[", "[") for line in lines)


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\\[", "[") for cell in cells) + " |"

    return "\n".join([line(columns), line(("---",) * len(columns)), *map(line, rows)])


if __name__ == "__main__":
    sys.stdout.write(reference())

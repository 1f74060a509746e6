"""Generates docs/cli.md, the command reference, from the commands: `python -m trainer.cli.reference > docs/cli.md`.

The page opens with an index by task, which is data here; a test compares the page with what this prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from registry.cli.root import EXIT_CODES, load
from registry.cli.settings import SETTINGS
from trainer.cli.root import COMMANDS

__all__ = ["TASKS", "commands", "reference"]

HEAD = """\
# The command line

`python -m trainer.cli.reference > docs/cli.md` generates this page from the commands; a test fails if it is stale.

Every command takes `--help` and `--json`, which prints one JSON value to standard output. Errors go to standard error,
one line each; with `--json` as `{"error": NAME, "message": TEXT}`. Any unique prefix of a model, version, account or
CID works. A command that sends a transaction takes `--dry-run` and waits until the transaction is final. It is
idempotent: stop it and run it again at any time, and the transaction is sent once. `cairn --install-completion` sets up
the shell.
"""

TASKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("try Cairn on this machine", ("demo", "simulate")),
    ("run a local network", ("localnet up", "localnet status", "localnet env", "localnet warp", "localnet down")),
    ("set up accounts and settings", ("doctor", "key new", "key list", "key show")),
    ("deploy the contracts", ("contracts deploy", "contracts show", "contracts verify")),
    ("register a model", ("model register", "model show", "model list")),
    ("publish a version of your own", ("model publish", "model deprecate")),
    ("hand over or suspend a model", ("model transfer", "model accept", "model suspend", "model resume")),
    ("choose who takes part", ("member grant", "member revoke", "member list")),
    ("choose a model's rules", ("rules", "plan new", "plan set", "plan show", "plan history")),
    ("open and follow a round", ("round open", "round show", "round list", "round watch")),
    ("move a round on", ("round end-commits", "round finalize", "round cancel")),
    ("take part as a participant", ("participant run", "participant submit", "participant publish")),
    ("commit from an account without funds", ("participant sign", "participant relay")),
    ("aggregate", ("aggregator run", "aggregator once", "aggregator status", "combine")),
    ("stake a bond", ("bond deposit", "bond release", "bond withdraw", "bond show")),
    ("watch and convict", ("auditor run", "auditor once", "auditor audit", "auditor plan", "auditor status")),
    ("find out where a version comes from", ("provenance show", "provenance diff")),
    ("find out what data or a participant went into", ("provenance participant", "provenance descendants")),
    ("disclose a private data set", ("participant data-set", "provenance data-set")),
    ("fetch a model and verify it", ("model pull", "verify")),
    ("prove, and verify offline", ("receipt create", "receipt verify", "bundle create", "bundle verify")),
    ("query the contracts' events", ("index sync", "index status", "index repair", "index rebuild", "index dump")),
    ("store and fetch content", ("cid", "store add", "store get", "store stat", "store export", "store import")),
    ("keep and free stored content", ("store pin", "store unpin", "store pins", "store fsck", "store gc")),
)
"""The index: what somebody wants to do, and the commands for it. Each command stands in exactly one row."""

ROLES = """\
## Run every role

On a local network, each in a shell of its own; MODEL is any unique prefix of the model's id. `cairn localnet up` starts
anvil and Kubo (`--nodes 0` keeps content in a folder); `--speed 20` runs the chain's clock twenty times as fast.

```console
$ cairn localnet up --speed 20
$ cairn participant run MODEL --task hospital.py:task --account participant-1
$ cairn participant run MODEL --task hospital.py:task --account participant-2
$ cairn aggregator run MODEL --account aggregator-1
$ cairn aggregator run MODEL --account aggregator-2 --open-rounds     # round after round, until Ctrl-C
$ cairn auditor run MODEL --account auditor --limit 1                 # recompute what is attested, convict whoever lies
```

A participant may also take each step by itself (`participant submit`, `participant publish`), sign a commitment for
somebody else to send (`participant sign`, `participant relay`), or train elsewhere and submit a file (`--update`).
"""


def reference() -> str:
    """Return the page."""
    parts = [
        HEAD,
        "## By task",
        _index(),
        ROLES,
        "## Exit codes",
        _table(("code", "means"), [(str(c), text) for c, text in EXIT_CODES.items()]),
    ]
    parts += ["## Settings", _SETTINGS_TEXT, _settings()]
    panel = ""
    for entry in COMMANDS.values():
        if entry.panel != panel:
            panel = entry.panel
            parts.append(f"## {panel}")
        for path, command in commands(entry.name):
            parts.append(_section(path, command))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _index() -> str:
    rows = [(task, ", ".join(_link(command) for command in commands)) for task, commands in TASKS]
    return _table(("to", "use"), rows)


def _link(command: str) -> str:
    return f"[`{command}`](#cairn-{command.replace(' ', '-')})"


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
A flag overrides the environment, the environment overrides `cairn.toml`, and `cairn.toml` overrides the default. Cairn
looks for `cairn.toml` in the current folder and those above it (in each, `.localnet/cairn.toml`, which `cairn localnet
up` writes, is the second choice), then in `~/.config/cairn/`; `CAIRN_CONFIG` names another. Relative paths in it are
relative to it. `cairn doctor` shows the values in effect. A store is a folder, `kubo` (the node that `IPFS_PATH`
names), `kubo:URL`, `gateway:URL`, or several joined by `+`: Cairn reads from them in this order, keeps blocks in the
first, and publishes to the first and to each `kubo`."""


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

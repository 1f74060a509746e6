"""The root `cairn` command: a table of lazily loaded sub-commands that need no torch."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["COMMANDS", "EXIT_CODES", "Subcommand", "GOVERN", "TAKE_PART", "TRY", "application", "in_order", "load"]


class Subcommand(NamedTuple):
    """A sub-command: its name, help panel, help text, and the module that defines its `app`."""

    name: str
    panel: str
    help: str
    module: str


TRY, TAKE_PART, GOVERN, CHECK, SET_UP = "Try", "Take part", "Own a model", "Check, as anybody", "Set up and look after"
_PANELS = (TRY, TAKE_PART, GOVERN, CHECK, SET_UP)

COMMANDS = tuple(
    Subcommand(name, panel, text, f"registry.cli.commands.{module}")
    for name, panel, module, text in (
        ("localnet", TRY, "localnet", "A local chain and content nodes for development."),
        ("aggregator", TAKE_PART, "aggregator", "Check, average and attest what was committed."),
        ("auditor", TAKE_PART, "auditor", "Recompute what is attested, and convict what is false."),
        ("bond", TAKE_PART, "bonds", "Deposit and take back what aggregators stake."),
        ("dataset", TAKE_PART, "dataset", "Describe a data set in bands, never by values."),
        ("round", TAKE_PART, "rounds", "Open, watch, finalize and cancel rounds."),
        ("member", GOVERN, "members", "Who may take part in a model's rounds."),
        ("rules", CHECK, "rules", "What a plan's rules can be, and who checks them."),
        ("verify", CHECK, "verify", "Recompute every round that led to a version."),
        ("provenance", CHECK, "provenance", "Where a version comes from."),
        ("inclusion", CHECK, "inclusions", "Prove who is in a version, and who is not."),
        ("bundle", CHECK, "bundles", "Where a version comes from, with its proof, in one file."),
        ("explorer", CHECK, "explorer", "Models, rounds and versions as pages, for people and other tools."),
        ("watch", CHECK, "watch", "Run a command or call a webhook on what happens to a model."),
        ("index", CHECK, "index", "Index the contracts' events in a SQLite file."),
        ("combine", CHECK, "combine", "Combine update files, bit for bit."),
        ("cid", CHECK, "cids", "Compute the CIDs of files, as `ipfs add` does."),
        ("contracts", SET_UP, "contracts", "Deploy the contracts, show them, compare them with their source."),
        ("store", SET_UP, "content", "Put, get, pin and check content."),
        ("key", SET_UP, "keys", "Keystores to sign with."),
        ("doctor", SET_UP, "doctor", "Show every setting and check the environment."),
    )
)

EXIT_CODES = {
    0: "done",
    1: "unexpected: a bug",
    2: "bad input or usage",
    3: "bytes that are not what they claim to be",
    4: "content store: missing, changed, or out of reach",
    5: "chain: out of reach, or the contract refused",
    6: "keystore, password or signer",
    7: "verification failed",
    8: "a file that is no version of any model",
    9: "a command or webhook that did not take a notice",
    130: "interrupted",
}
"""Meaning of each exit code: those of `registry.errors`, success, and an unexpected error."""


def in_order(entries: Iterable[Subcommand]) -> dict[str, Subcommand]:
    """Return entries by name, ordered by panel and then as given."""
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: _PANELS.index(entry.panel))}


class _LazyGroup(TyperGroup):
    """A command group that lists commands from a table and imports a command only to run it."""

    table: ClassVar[dict[str, Subcommand]]

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run the command; say in one line what is wrong with its arguments, in JSON where they ask for it."""
        as_json = "--json" in (sys.argv[1:] if args is None else args)
        try:
            code = super().main(args, **{**extra, "standalone_mode": False})
        except typer.Abort:
            sys.exit(130)
        except Exception as error:
            if not hasattr(error, "format_message"):  # what typer raises for wrong arguments, by no public name
                raise
            sys.stderr.write(_usage_error(error, as_json) + "\n")
            sys.exit(2)
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the table's order."""
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a stub with the fields that help and completion show."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        return TyperCommand(name=entry.name, help=entry.help, short_help=entry.help, rich_help_panel=entry.panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load and return the command."""
        self.commands = {
            name: self.get_command(ctx, name) for name in self.table
        }  # searched for `Did you mean` suggestions
        name, found, rest = super().resolve_command(ctx, args)
        return name, load(self.table[name]) if found is not None and name else found, rest


def _usage_error(error: Any, as_json: bool) -> str:
    """Return what is said of wrong arguments: one line, or a group's help where nothing follows its name."""
    text = str(error.format_message())
    if not as_json and type(error).__name__ == "NoArgsIsHelpError":
        return text.rstrip()
    line = " ".join(text.split())
    if as_json:
        return json.dumps({"error": "UsageError", "message": line}, ensure_ascii=False)
    named = error.ctx.command_path if getattr(error, "ctx", None) is not None else "cairn"
    return f"error: {line} (`{named} --help` says how it is used)"


def load(entry: Subcommand) -> Any:
    """Import and return a sub-command."""
    loaded = typer.main.get_command(importlib.import_module(entry.module).app)
    loaded.name = entry.name
    return loaded


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cairn {version('cairn-registry')}")
        raise typer.Exit


_CODES = "\n".join(f"  [bold]{code:>3}[/bold]  {text}" for code, text in EXIT_CODES.items())
_SOURCES = "Settings come from flags, the environment, cairn.toml and defaults: `cairn doctor` shows which won."


def application(table: dict[str, Subcommand]) -> typer.Typer:
    """Return the `cairn` command over a table of sub-commands."""
    app = typer.Typer(
        cls=type("LazyGroup", (_LazyGroup,), {"table": table}),
        name="cairn",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        epilog=f"[bold]Exit codes[/bold]\n{_CODES}\n\n{_SOURCES}",
    )
    app.callback()(_root)
    return app


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Models that many parties train together, and that anybody can check.

    Try: cairn demo
    """

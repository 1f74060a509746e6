"""Declare commands: a function's own parameters, shared options by need, and errors mapped to exit codes."""

from __future__ import annotations

import enum
import errno
import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar, get_args

import typer

from registry.cli.completion import completing
from registry.cli.explained import explained
from registry.cli.session import Session
from registry.cli.settings import SETTINGS, Setting
from registry.errors import CairnError, InputError
from registry.facts.plain import encoded, printable

__all__ = ["Need", "command", "escape", "group", "run_script", "single"]


def escape(text: str) -> str:
    """Return text with rich's markup escaped."""
    return text.replace("[", "\\[")


F = TypeVar("F", bound=Callable[..., None])
CHAIN_PANEL = "Chain and store (also from the environment and cairn.toml)"
SIGNING_PANEL = "Signing (also from the environment and cairn.toml)"


class Need(enum.Flag):
    """The resources that a command needs; they determine its shared options."""

    NOTHING = 0
    HOME = enum.auto()
    STORE = enum.auto()
    CHAIN = enum.auto()
    KEYS = enum.auto()
    SIGNER = enum.auto()
    DRY_RUN = enum.auto()
    SIGN = CHAIN | HOME | KEYS | SIGNER
    SEND = SIGN | DRY_RUN


_SHARED: tuple[tuple[Need, tuple[str, ...], str], ...] = (
    (Need.CHAIN, ("rpc_url", "contract", "chain_id", "finality"), CHAIN_PANEL),
    (Need.STORE, ("store",), CHAIN_PANEL),
    (Need.SIGNER, ("account", "keystore", "password_file", "from"), SIGNING_PANEL),
    (Need.KEYS, ("keys",), SIGNING_PANEL),
)
_SETTINGS = {setting.name: setting for setting in SETTINGS}


def group(help_text: str) -> typer.Typer:
    """Return the app of a group of commands."""
    app = single()

    @app.callback(help=help_text)
    def callback() -> None:
        """Keep the app a group even if it has a single command."""

    return app


def single() -> typer.Typer:
    """Return an app with one command."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode="rich", add_completion=False)


def command(app: typer.Typer, name: str, *, example: str = "", needs: Need = Need.NOTHING) -> Callable[[F], F]:
    """Add a function to an app as a command.

    The function's first parameter is the `Session`; the others are its own arguments and options. `needs` adds shared
    options. A CairnError becomes one line on stderr and the error's exit code.

    Args:
        app: The app to extend.
        name: The command's name.
        example: Examples for the help page, one per line.
        needs: The resources that the command needs.
    """

    def decorate(function: F) -> F:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = _shared_options(needs)

        @functools.wraps(function)
        def run(**given: Any) -> None:
            flags = {key: given.pop(_argument(key)) for key in shared.settings}
            dry_run = given.pop("dry_run") if Need.DRY_RUN in needs else False
            session = Session(flags, as_json=given.pop("as_json"), dry_run=dry_run)
            with _reporting(session, given.pop("debug")):
                function(session, **given)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared.parameters)]
        assert len({p.name for p in parameters}) == len(parameters)
        _name_no_type_of_flags(parameters)
        _complete(parameters)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        lines = "\n".join(f"  {escape(line.strip())}" for line in example.strip().splitlines())
        app.command(name, epilog=f"[bold]Example[/bold]\n{lines}" if lines else None)(run)
        return function

    return decorate


def run_script(function: Callable[..., None], *, needs: Need) -> None:
    """Run a function as a standalone program with the command line's options, settings and errors.

    Args:
        function: Its first parameter is the `Session`; the others are the program's arguments and options, as of
            `typer`. Its docstring is the help.
        needs: The resources that the program needs; they determine its shared options.
    """
    app = typer.Typer(rich_markup_mode="rich", add_completion=False, pretty_exceptions_enable=False)
    command(app, function.__name__, needs=needs)(function)
    app()


class _Options:
    def __init__(self, settings: tuple[str, ...], parameters: list[inspect.Parameter]) -> None:
        self.settings = settings
        self.parameters = parameters


def _shared_options(needs: Need) -> _Options:
    settings: list[str] = []
    parameters: list[inspect.Parameter] = []
    for need, names, panel in _SHARED:
        if need in needs:
            settings += names
            parameters += [_setting_option(_SETTINGS[name], panel) for name in names]
    if Need.DRY_RUN in needs:
        option = typer.Option("--dry-run", help="Send nothing; show the gas and what it costs.")
        parameters.append(_parameter("dry_run", bool, option, False))
    parameters.append(_parameter("as_json", bool, typer.Option("--json", help="Print JSON."), False))
    help_text = "Show tracebacks of errors. \\[env CAIRN_DEBUG]"
    debug = typer.Option("--debug", envvar="CAIRN_DEBUG", show_envvar=False, help=help_text)
    parameters.append(_parameter("debug", bool, debug, False))
    return _Options(tuple(settings), parameters)


def _name_no_type_of_flags(parameters: list[inspect.Parameter]) -> None:
    """Make help show a flag as `--json`, not as `--json <bool>`."""
    for parameter in parameters:
        kind, *options = get_args(parameter.annotation)
        if kind in (bool, bool | None) and options[0].metavar is None:
            options[0].metavar = ""


def _complete(parameters: list[inspect.Parameter]) -> None:
    """Complete models, accounts and roles in shells."""
    for parameter in parameters:
        _, *options = get_args(parameter.annotation)
        options[0].autocompletion = options[0].autocompletion or completing(options[0].metavar)


def _setting_option(setting: Setting, panel: str) -> inspect.Parameter:
    text = f"{setting.help} \\[env {setting.env}]"
    option = typer.Option(setting.flag, help=text, metavar=setting.metavar, rich_help_panel=panel, show_default=False)
    return _parameter(_argument(setting.name), str | None, option, None)


def _parameter(name: str, kind: Any, option: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _argument(setting: str) -> str:
    return f"setting_{setting}"


# Errors to exit codes ----------------------------------------------------------------------------------------------


@contextmanager
def _reporting(session: Session, debug: bool) -> Iterator[None]:
    """Convert an error into a line on stderr and an exit code; close the session in any case."""
    try:
        try:
            yield
        except CairnError as error:
            _fail(session, error, error.exit_code, debug, explained(session, error))
        finally:
            session.close()
    except KeyboardInterrupt:
        _say(session, "Interrupted", "interrupted")
        raise typer.Exit(130) from None
    except (typer.Exit, typer.Abort):
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            _leave_broken_pipe()
        expected = error.filename is not None and error.errno in (
            errno.ENOENT,
            errno.EACCES,
            errno.EISDIR,
            errno.ENOTDIR,
            errno.EEXIST,
            errno.ENOSPC,
            errno.EROFS,
        )
        text = f"{error.filename}: {error.strerror}" if expected else _unexpected(error)
        _fail(session, error, InputError.exit_code if expected else 1, debug, text)
    except Exception as error:  # noqa: BLE001 - the outermost handler
        _fail(session, error, 1, debug, _unexpected(error))


def _fail(session: Session, error: Exception, code: int, debug: bool, text: str | None = None) -> None:
    if debug:
        traceback.print_exception(error)
    _say(session, type(error).__name__, text or str(error) or type(error).__name__)
    raise typer.Exit(code)


def _say(session: Session, name: str, message: str) -> None:
    line = printable(" ".join(message.split()))
    if session.out.as_json:
        sys.stderr.write(encoded({"error": name, "message": line}) + "\n")
    else:
        bold, plain = ("\x1b[1;31m", "\x1b[0m") if _colours() else ("", "")
        sys.stderr.write(f"{bold}error:{plain} {line}\n")


def _unexpected(error: Exception) -> str:
    return f"unexpected {type(error).__name__}: {error} (--debug shows where; this is a bug, please report it)"


def _colours() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _leave_broken_pipe() -> None:
    """Exit silently on a broken pipe, as other programs do."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(141)

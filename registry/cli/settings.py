"""Resolve settings from flags, the environment, cairn.toml and defaults, in this order.

Environment variables have the names that cast and ipfs users know. A cairn.toml is searched in the current folder and
its parents (with .localnet/cairn.toml beside it as a second choice), then in ~/.config/cairn/; if both exist, the
nearer one takes precedence. Relative paths in a file are relative to that file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.errors import InputError

__all__ = ["FILE_NAME", "SETTINGS", "Chosen", "Setting", "Settings", "config_files", "resolve"]

FILE_NAME = "cairn.toml"
LOCALNET_FILE = ".localnet/cairn.toml"
"""Written by `cairn localnet up`; a cairn.toml beside its folder takes precedence."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: Key in cairn.toml; the flag is the same with dashes.
        env: Environment variable.
        help: Help text, one line.
        default: Value if no source gives one; None for none.
        path: Whether the value is a path, or for `store` a list that may contain paths.
        metavar: Placeholder for the value in help.
        has_flag: Whether commands accept it as a flag too.
    """

    name: str
    env: str
    help: str
    default: str | None = None
    path: bool = False
    metavar: str = "TEXT"
    has_flag: bool = True

    @property
    def flag(self) -> str:
        """The flag; empty if the setting has none."""
        return "--" + self.name.replace("_", "-") if self.has_flag else ""


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "home",
        "CAIRN_HOME",
        "Folder of Cairn's own files: journals, store.",
        "~/.local/share/cairn",
        True,
        "DIR",
        False,
    ),
    Setting("rpc_url", "ETH_RPC_URL", "RPC URL of a chain node.", "http://127.0.0.1:8545", metavar="URL"),
    Setting("chain_id", "CAIRN_CHAIN_ID", "Refuse any chain but this one.", metavar="N"),
    Setting("contract", "CAIRN_CONTRACT", "Address of the Cairn contract.", metavar="ADDRESS"),
    Setting(
        "from_block", "CAIRN_FROM_BLOCK", "Block the contract was deployed in, or earlier.", None, False, "N", False
    ),
    Setting("finality", "CAIRN_FINALITY", "When a block is final: finalized, instant or a number.", metavar="POLICY"),
    Setting("store", "CAIRN_STORE", "Content store: FOLDER, kubo, kubo:URL, FOLDER+kubo …", None, True, "STORE"),
    Setting("ipfs_path", "IPFS_PATH", "Kubo's repo, which names its RPC.", "~/.ipfs", True, "DIR", False),
    Setting("keys", "CAIRN_KEYS", "Folder of keystores by name.", "~/.foundry/keystores", True, "DIR"),
    Setting("account", "ETH_KEYSTORE_ACCOUNT", "Keystore to sign with: a name in the keys folder.", metavar="NAME"),
    Setting("keystore", "ETH_KEYSTORE", "Keystore to sign with: a file, or a folder and --from.", None, True, "PATH"),
    Setting("password_file", "ETH_PASSWORD", "File that holds the keystore's password.", None, True, "FILE"),
    Setting("from", "ETH_FROM", "Account to sign with, checked against the keystore.", metavar="ADDRESS"),
)
_BY_NAME = {setting.name: setting for setting in SETTINGS}
_OVERRIDES = {"keystore": ("account",), "account": ("keystore",), "from": ("account",)}
"""Alternative settings of the signer: one from a stronger source hides those of weaker sources."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting's value, its source (`flag --x`, `environment X`, a file, `default`) and the source's precedence."""

    value: str | None
    source: str
    rank: int = 9


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, with the files that were read."""

    chosen: Mapping[str, Chosen]
    files: tuple[Path, ...]

    def __getitem__(self, name: str) -> str | None:
        return self.chosen[name].value

    def path(self, name: str) -> Path:
        """Return a required setting as a path."""
        return Path(self.need(name)).expanduser()

    def need(self, name: str) -> str:
        """Return a required setting.

        Raises:
            InputError: No source gives it.
        """
        value = self[name]
        if value is None:
            setting = _BY_NAME[name]
            ways = [setting.flag, setting.env, f"`{name} = …` in {FILE_NAME}"]
            raise InputError(f"no {name}: give {' or '.join(way for way in ways if way)}")
        return value

    def number(self, name: str) -> int | None:
        """Return a setting as a whole number.

        Raises:
            InputError: The value is not a whole number.
        """
        value = self[name]
        if value is None:
            return None
        if not (value.isascii() and value.isdigit()):
            raise InputError(f"{name} ({self.chosen[name].source}): expected a whole number, got {value!r:.40}")
        return int(value)


def config_files(start: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the cairn.toml files in effect, highest precedence first.

    Args:
        start: The current folder.
        environ: `CAIRN_CONFIG` names a file that replaces all others.

    Raises:
        InputError: CAIRN_CONFIG names a file that does not exist.
    """
    if named := environ.get("CAIRN_CONFIG"):
        path = Path(named).expanduser()
        if not path.is_file():
            raise InputError(f"CAIRN_CONFIG: expected a file, found none at {path}")
        return (path,)
    places = [folder / name for folder in (start, *start.parents) for name in (FILE_NAME, LOCALNET_FILE)]
    here = next((path for path in places if path.is_file()), None)
    config = Path(environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "cairn" / FILE_NAME
    return tuple(path for path in (here, config if config.is_file() else None) if path is not None)


def resolve(flags: Mapping[str, str | None], environ: Mapping[str, str], files: tuple[Path, ...]) -> Settings:
    """Resolve every setting from its first source: flags, environment, files, defaults.

    Raises:
        InputError: A file is malformed, or names an unknown setting.
    """
    tables = [(path, _read(path)) for path in files]
    chosen = {setting.name: _choose(setting, flags, environ, tables) for setting in SETTINGS}
    for name, others in _OVERRIDES.items():
        if any(chosen[other].rank < chosen[name].rank for other in others):
            chosen[name] = Chosen(None, "default")
    return Settings(chosen, files)


def _choose(
    setting: Setting,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    tables: list[tuple[Path, dict[str, str]]],
) -> Chosen:
    flag = flags.get(setting.name)
    if flag is not None:
        return Chosen(flag, f"flag {setting.flag}", 0)
    if environ.get(setting.env):
        return Chosen(environ[setting.env], f"environment {setting.env}", 1)
    for rank, (path, table) in enumerate(tables, 2):
        if setting.name in table:
            return Chosen(table[setting.name], str(path), rank)
    return Chosen(setting.default, "default")


def _read(path: Path) -> dict[str, str]:
    try:
        loaded = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected TOML: {error}") from error
    return {name: _value(path, name, value) for name, value in loaded.items()}


def _value(path: Path, name: str, value: object) -> str:
    setting = _BY_NAME.get(name)
    if setting is None:
        near = difflib.get_close_matches(name, _BY_NAME, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_BY_NAME)}"
        raise InputError(f"{path}: unknown setting {name!r}: {hint}")
    values = value if isinstance(value, list) and name == "store" else [value]
    if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in values):
        raise InputError(f"{path}: {name}: expected text or a whole number, got {value!r:.80}")
    return "+".join(_anchored(str(item), path.parent) if setting.path else str(item) for item in values)


def _anchored(text: str, folder: Path) -> str:
    """Resolve a path relative to its file; leave URLs and other store names alone."""
    if text in ("kubo", "memory:") or text.startswith(("~", "file:", "kubo:", "gateway:", "http:", "https:")):
        return text
    return str(folder.absolute() / text)

"""The command line's fixtures, for what people bring to it."""

from __future__ import annotations

from tests.cli.conftest import cairn, chain, done, world

__all__ = ["cairn", "chain", "done", "world"]

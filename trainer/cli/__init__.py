"""The command line: `cairn`."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command that the process's arguments name."""
    from trainer.cli.root import app

    app()

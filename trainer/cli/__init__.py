"""Entry point of the whole `cairn` command line, training included."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command named by the process's arguments."""
    from trainer.cli.root import app

    app()

"""The whole `cairn` command: what trains, beside what `registry.cli` has."""

from __future__ import annotations

from registry.cli import root
from registry.cli.root import GOVERN, TAKE_PART, TRY, Subcommand, application, in_order

__all__ = ["COMMANDS", "app"]

COMMANDS = in_order(
    (
        *(
            Subcommand(name, panel, text, f"trainer.cli.commands.{module}")
            for name, panel, module, text in (
                ("demo", TRY, "demo", "Watch three hospitals train one model, then check it as a stranger."),
                ("simulate", TRY, "simulate", "Run rounds with many participants in this process."),
                ("participant", TAKE_PART, "participant", "Train and commit an update, and publish it."),
                ("model", GOVERN, "models", "Register, show, publish, hand over and fetch models."),
                ("plan", GOVERN, "plans", "The rules of a model's rounds."),
            )
        ),
        *root.COMMANDS,
    )
)
app = application(COMMANDS)

"""The whole `cairn` command: the commands of `registry.cli` and those that train."""

from __future__ import annotations

from registry.cli import root
from registry.cli.root import GOVERN, TAKE_PART, TRY, Subcommand, application, in_order

__all__ = ["COMMANDS", "app"]

COMMANDS = in_order(
    (
        *(
            Subcommand(name, panel, text, f"trainer.cli.commands.{module}")
            for name, panel, module, text in (
                ("demo", TRY, "demo", "Train one model at three hospitals, then verify it as a third party."),
                ("simulate", TRY, "simulate", "Simulate rounds with many participants in one process."),
                ("participant", TAKE_PART, "participant", "Train and commit an update, and publish it."),
                ("validator", TAKE_PART, "validator", "Score results on a hidden set of your own."),
                ("update", TAKE_PART, "updates", "Make updates of weights that were trained elsewhere."),
                ("model", GOVERN, "models", "Register, show, publish, label, transfer and fetch models."),
                ("plan", GOVERN, "plans", "The rules of a model's rounds."),
            )
        ),
        *root.COMMANDS,
    )
)
app = application(COMMANDS)

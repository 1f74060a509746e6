"""The `cairn` command line; `trainer.cli` adds the commands that need torch."""

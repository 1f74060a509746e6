"""Sub-commands that need torch, one module each, as listed in `trainer.cli.root`."""

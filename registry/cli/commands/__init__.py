"""Sub-commands of `cairn`, one module each, as listed in `registry.cli.root`."""

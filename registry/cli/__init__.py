"""The command line, but for what needs torch, which `trainer.cli` adds."""

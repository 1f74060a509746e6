"""One module a sub-command; `trainer.cli.root` says which."""

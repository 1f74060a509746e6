"""One module a sub-command; `registry.cli.root` says which."""

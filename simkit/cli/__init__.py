"""The `simkit` command: thin commands over the other packages."""

from simkit.cli.app import main

__all__ = ["main"]

"""The `simkit` command: thin commands over the other packages."""

import sys

_INTERRUPTED = 130


def main() -> None:
    """The entry point of the console script."""
    try:
        # Loading everything takes half a second, and Ctrl-C may come in it.
        from simkit.cli.app import main as start
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    start()


__all__ = ["main"]

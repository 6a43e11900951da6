"""`python -m simkit.conformance DIRECTORY`: run sqllogictest files, or SQLite's own test scripts, over simkit's VFS."""

from __future__ import annotations

import sys

from simkit.conformance.command import main

if __name__ == "__main__":
    sys.exit(main())

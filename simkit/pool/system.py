"""The system under test: what answers `execute()` and `close()`.

simkit's own systems live in this package; a user's own is any factory of this shape, named `package.module:factory` in
the scenario. It runs inside tasks of the kernel: it opens connections through `Instance.connect`, waits with the
kernel's primitives, and never with threads or wall-clock time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import apsw

from simkit.kernel import Group, Kernel
from simkit.pool.result import Parameters, Result


class Instance(Protocol):
    """What a system is given: the process it lives in."""

    @property
    def name(self) -> str: ...

    @property
    def kernel(self) -> Kernel: ...

    @property
    def group(self) -> Group:
        """Crashes with the instance; spawn background tasks in it."""

    def connect(self, readonly: bool = False) -> apsw.Connection:
        """A new SQLite connection over the instance's VFS."""


class System(Protocol):
    """Runs statements for any number of tasks at once."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement. Raises `apsw.Error`s, and `DatabaseClosed` after `close()` began."""

    def close(self) -> None:
        """Lets admitted work finish and closes the connections. Returns when the native close is done."""


SystemFactory = Callable[[Instance], System]


class DatabaseClosed(RuntimeError):
    """Work arrived after `close()` had begun."""

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
from simkit.pool.settings import PoolSettings


class Instance(Protocol):
    """What a system is given: the process it lives in."""

    @property
    def name(self) -> str: ...

    @property
    def kernel(self) -> Kernel: ...

    @property
    def group(self) -> Group:
        """Crashes with the instance; spawn background tasks in it."""

    @property
    def settings(self) -> PoolSettings:
        """What the scenario says under `pool`, for this run; a system may use it."""

    def connect(self, readonly: bool = False) -> apsw.Connection:
        """A new SQLite connection over the instance's VFS. Raises `DatabaseClosed` after `close_database()`."""

    def handle_of(self, connection: apsw.Connection) -> int:
        """The number under which the history knows an open connection (`LeaseConnected.handle`); 0 for a stranger."""

    def close_database(self) -> None:
        """The native close, after the last connection was closed: takes time, unregisters the VFS.

        Call it once, at the end of `close()`. A system that does not has it done for it when its `close()` returned.
        """

    def lose(self, cause: str) -> None:
        """Cuts the instance off from its storage: requests under way and later ones fail with `InstanceDead`.

        The last resort of a `close()` that waited long enough for work that does not end.
        """


class System(Protocol):
    """Runs statements for any number of tasks at once."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement. Raises `apsw.Error`s, and `DatabaseClosed` after `close()` began."""

    def close(self) -> None:
        """Lets admitted work finish and closes the connections. Returns when the native close is done."""


SystemFactory = Callable[[Instance], System]


class DatabaseClosed(RuntimeError):
    """Work arrived after `close()` had begun."""


class Overloaded(RuntimeError):
    """Too many statements wait already; nothing of this one was done."""


class TransactionExpired(RuntimeError):
    """The caller's transaction was rolled back without the caller having asked for that.

    It was open past its deadline, or a statement in it was cut off or failed so that all of it was undone. Nothing more
    is run until the caller has sent ROLLBACK or COMMIT, or has left the block in which the transaction began.
    """

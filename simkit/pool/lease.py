"""A lease: the right to use one connection, from the request to the end, however it ends.

Every statement has one; a caller holds one for longer with `read_lease()` and `write_lease()`
(`simkit.pool.held_lease`). This is its state and nothing more: what it goes through is decided by
`simkit.pool.leasing`.

Where a lease was acquired is remembered as code and line: a frame would keep alive whatever the holder had in hand.
"""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from types import CodeType

from simkit.kernel import Cancelled, Crashed, Task
from simkit.pool.connections import Pooled
from simkit.pool.system import DatabaseClosed, Overloaded

# Kinds of leases, as in events.
UNKNOWN_KIND = "unknown"
READ_KIND = "read"
WRITE_KIND = "write"

_PACKAGE = "simkit.pool."


class Phase(enum.Enum):
    """What a lease is doing. The values are the words of `LeaseEnded.while_`."""

    WAITING = "waiting"
    OPENING = "opening"
    RUNNING = "running"
    ENDED = "ended"


class Lease:
    """A lease.

    Attributes:
        number: counts the leases of the instance from 1, in the order of their requests.
        task: who asked for it.
        kind: "read", "write", or "unknown" until its statement was looked at.
        phase: what it is doing.
        since_ns: since when it waits for what it waits for.
        pooled: its connection, while it runs.
        running: the task whose statement runs on it.
        ending: how it ends as soon as that statement has stopped; None when it goes on.
        failed: its connection is not to be used again.
        schema_touched: a statement of it may have changed what texts mean.
        place: where it was acquired, when it is held for longer than a statement.
    """

    __slots__ = (
        "ending",
        "failed",
        "kind",
        "number",
        "phase",
        "place",
        "pooled",
        "running",
        "schema_touched",
        "since_ns",
        "task",
    )

    def __init__(self, number: int, task: Task, kind: str, since_ns: int) -> None:
        self.number = number
        self.task = task
        self.kind = kind
        self.since_ns = since_ns
        self.phase = Phase.WAITING
        self.pooled: Pooled | None = None
        self.running: Task | None = None
        self.ending: str | None = None
        self.failed = False
        self.schema_touched = False
        self.place: Place | None = None

    def __str__(self) -> str:
        return f"{self.kind} lease {self.number}"

    @property
    def ended(self) -> bool:
        return self.phase is Phase.ENDED


@dataclass(frozen=True)
class Place:
    """A line of code outside the pool."""

    code: CodeType
    line: int

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.line}"

    @property
    def function(self) -> str:
        return self.code.co_qualname

    @classmethod
    def of_caller(cls) -> Place:
        """Where the running task came into the pool."""
        frame = sys._getframe(1)
        while frame.f_back is not None and _inside(str(frame.f_globals.get("__name__", ""))):
            frame = frame.f_back
        return cls(frame.f_code, frame.f_lineno)


def _inside(module: str) -> bool:
    return module.startswith(_PACKAGE) or module == "contextlib"


def how_ended(error: BaseException | None) -> str:
    """The word of `LeaseEnded.how` for a lease that ends with this error, or without one."""
    if error is None:
        return "released"
    if isinstance(error, Cancelled):
        return "cancelled"
    if isinstance(error, Crashed):
        return "crashed"
    if isinstance(error, DatabaseClosed | Overloaded):
        return "refused"
    return "failed"

"""The commands of a single worker, and the order in which they are served.

First in, first out, with one exception: while the connection belongs to a task, its commands alone are served, and
those of others keep their places (MODE-2). A task waits for its command, so an owner has one at most; it does not wait
behind others, who wait for the owner to end, and it is not refused when the queue is full.

Nothing here yields: a command has its place from the instant at which it is put.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import apsw

from simkit.kernel import Task
from simkit.pool.scripts import Progress
from simkit.pool.system import Overloaded
from simkit.pool.transaction import may_end_transaction

Work = Callable[[apsw.Connection], Any]


class Command:
    """Something to do with the connection, for a task.

    Attributes:
        sql: what it runs, when that is one statement.
        context: whom its task works for.
        deadline_ns: how long a transaction that it opens may be open; None for what the settings say.
        holds: the connection stays with the task afterwards.
        progress: that of several statements; None when it is one.
        given_up: why the caller does not wait for it any more; None while it does.
        done: it has a result or an error.
    """

    __slots__ = (
        "context",
        "deadline_ns",
        "done",
        "error",
        "given_up",
        "holds",
        "progress",
        "result",
        "sent_ns",
        "sql",
        "task",
        "work",
    )

    def __init__(
        self,
        task: Task,
        work: Work,
        sent_ns: int,
        sql: str | None = None,
        deadline_ns: int | None = None,
        holds: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.task = task
        self.work = work
        self.sql = sql
        self.context = task.context
        self.deadline_ns = deadline_ns
        self.holds = holds
        self.progress = progress
        self.sent_ns = sent_ns
        self.given_up: str | None = None
        self.done = False
        self.error: Exception | None = None
        self.result: Any = None

    @property
    def asked_for_the_end(self) -> bool:
        """Whether it had asked for the end of its transaction, when that is gone after it failed."""
        return may_end_transaction(self.sql) if self.progress is None else not self.progress.failed_inside


class CommandQueue:
    """What waits to be served. `len()` counts what waits in line, without the owner's."""

    def __init__(self, name: str, waiting_max: int) -> None:
        self._name = name
        self._waiting_max = waiting_max
        self._line: OrderedDict[Command, None] = OrderedDict()
        self._owned: Command | None = None

    def __str__(self) -> str:
        return f"{self._name}.queue"

    def __len__(self) -> int:
        return len(self._line)

    def put(self, command: Command, owned: bool) -> None:
        """Appends a command; `owned` when the connection belongs to its task. Raises `Overloaded`."""
        if owned:
            assert self._owned is None, "MODE-2: an owner waits for two commands at once"
            self._owned = command
            return
        waiting = len(self._line)
        if waiting >= self._waiting_max:
            raise Overloaded(
                f"{waiting} statements wait for {self._name} already, which is the most allowed (waiting_max); "
                "nothing of this one was done: send it again when fewer wait"
            )
        self._line[command] = None

    def next_for(self, owner: Task | None) -> Command | None:
        """Takes the command that is next, when the connection belongs to `owner`; None when there is none."""
        if owner is not None:
            return self.take_owned()
        return self._line.popitem(last=False)[0] if self._line else None

    def take_owned(self) -> Command | None:
        """Takes what the owner waits for."""
        command, self._owned = self._owned, None
        return command

    def remove(self, command: Command) -> None:
        """It is not to be served. Does nothing when it was."""
        if self._owned is command:
            self._owned = None
        self._line.pop(command, None)

    def drain(self) -> list[Command]:
        """Takes everything, the owner's first."""
        commands = [*self._line] if self._owned is None else [self._owned, *self._line]
        self._line.clear()
        self._owned = None
        return commands

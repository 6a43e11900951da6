"""A task: a flow of control that the kernel schedules.

It runs ordinary blocking Python, SQLite included, until it yields; a yield says what the task is about to do
(`operation` on `resource`). What carries it is a greenlet, or as the slow reference a thread that passes a baton
(`simkit.kernel.baton`): anything with `switch`, `throw` and `dead`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simkit.kernel.errors import Cancelled, Crashed, TaskEndedEarly

if TYPE_CHECKING:
    import simpy

    from simkit.kernel.group import Group
    from simkit.kernel.kernel import Kernel


class TaskState(enum.Enum):
    """Where a task is in its life."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CRASHED = "crashed"


_READY = TaskState.READY
_WAITING = TaskState.WAITING
_ENDED = (TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED, TaskState.CRASHED)


class Task:
    """One flow of control. Create it with `Kernel.spawn`.

    `operation` and `resource` describe the yield the task is at, `since_ns` when it began to wait there.
    """

    __slots__ = (
        "_at_end",
        "_crashed_by",
        "_function",
        "_groups",
        "_inbox",
        "_joiners",
        "_kernel",
        "_pending",
        "_shields",
        "_supervised",
        "_throw",
        "background",
        "carrier",
        "context",
        "error",
        "name",
        "number",
        "operation",
        "resource",
        "result",
        "since_ns",
        "state",
    )

    def __init__(
        self,
        kernel: Kernel,
        number: int,
        name: str,
        function: Callable[[], Any],
        background: bool,
        supervised: bool,
    ) -> None:
        self._kernel = kernel
        self.number = number
        self.name = name
        self.background = background
        self.state = TaskState.READY
        self.operation = "start"
        self.resource: object = ""
        self.since_ns = 0
        self.result: Any = None
        self.error: BaseException | None = None
        #: whom the task works for: the number of a client's operation, or None (`Kernel.working_for`)
        self.context: Any = None
        self.carrier: Any = None
        self._function: Callable[[], Any] | None = function
        self._supervised = supervised
        self._inbox: Any = None
        self._throw: BaseException | None = None
        #: interruptions to raise at the next yields, first come first
        self._pending: tuple[BaseException, ...] = ()
        self._shields = 0
        self._joiners: list[Task] = []
        self._at_end: dict[Callable[[], None], None] = {}
        self._groups: list[Group] = []
        self._crashed_by: Group | None = None

    def __repr__(self) -> str:
        return f"<Task {self.name} {self.state.value}>"

    def __str__(self) -> str:
        return self.name

    @property
    def holders(self) -> tuple[Task, ...]:
        """Who joins a task waits for it."""
        return (self,)

    @property
    def operation_number(self) -> int:
        """The client's operation that the task works for, -1 when it works for none."""
        return self.context if type(self.context) is int else -1

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    def cancel(self, reason: str = "") -> None:
        """Throws `Cancelled` at the yield point of the task: now if it waits, at its next yield if it is running.

        A task under `kernel.shield()` sees it when the shield ends. Cancelling a task that ended does nothing.
        """
        self._kernel.interrupt(self, Cancelled(reason or f"{self.name} was cancelled"))

    def at_end(self, callback: Callable[[], None]) -> None:
        """Calls it when the task ends, however it does: for whoever granted it something. It cannot wait."""
        self._at_end[callback] = None

    def not_at_end(self, callback: Callable[[], None]) -> None:
        """Takes `at_end` back."""
        self._at_end.pop(callback, None)

    def join(self) -> Any:
        """Waits for the task to end and returns its result.

        Raises what the task raised; `TaskEndedEarly` when it was cancelled or crashed.
        """
        self._kernel.wait_for_end(self)
        if self.state is TaskState.FAILED:
            assert self.error is not None
            raise self.error
        if self.state is not TaskState.DONE:
            raise TaskEndedEarly(f"task {self.name} has no result: it was {self.state.value}")
        return self.result

    def wake(self, event: simpy.Event) -> None:
        """Callback for events: the task goes on with the value of the event."""
        # `Kernel.wake`, without the call: every sleep comes along here.
        if self.state is _WAITING:
            self._inbox = event._value
            self.state = _READY
            self._kernel._ready.append(self)

    def run(self) -> None:
        """The whole life of the task, on its carrier."""
        function = self._function
        assert function is not None, f"{self.name} runs twice"
        try:
            self.result = function()
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever joins, or it ends the run
            self.end_with(error)
        else:
            self._end(TaskState.DONE)

    def end_with(self, error: BaseException) -> None:
        """The task ends, without a result."""
        self.error = error
        if isinstance(error, Cancelled):
            self._end(TaskState.CANCELLED)
        elif isinstance(error, Crashed):
            self._end(TaskState.CRASHED)
        else:
            self._end(TaskState.FAILED)

    def _end(self, state: TaskState) -> None:
        # Whoever keeps an ended task keeps its result and its error, not what it was made of.
        self._function = None
        self._pending = ()
        self._kernel.task_ended(self, state)

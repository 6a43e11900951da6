"""Timeouts: a block that is cancelled when its simulated time is up."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from simkit.kernel.errors import Cancelled, MisuseError, TimedOut
from simkit.kernel.units import format_duration, require_duration

if TYPE_CHECKING:
    import simpy

    from simkit.kernel.clock import Happening
    from simkit.kernel.kernel import Kernel
    from simkit.kernel.task import Task


class _Expired(Cancelled):
    """Thrown by a timeout. Not the same as a cancellation: a task can get both, and must."""


class Timeout:
    """`with kernel.timeout(ns):` raises `TimedOut` at the end of a block that was cut short.

    The block is cut at its yield point by `Cancelled`, which only this timeout turns into `TimedOut`; an outer timeout
    or a `cancel()` passes through untouched.
    """

    __slots__ = ("_cancelled", "_duration_ns", "_kernel", "_task", "_timer")

    def __init__(self, kernel: Kernel, duration_ns: int) -> None:
        require_duration("timeout", duration_ns)
        self._kernel = kernel
        self._duration_ns = duration_ns
        self._task: Task | None = None
        self._timer: Happening | None = None
        self._cancelled: Cancelled | None = None

    def __enter__(self) -> Timeout:
        if self._task is not None:
            raise MisuseError("a timeout is used once; call kernel.timeout() for each block")
        self._task = self._kernel.require_task("set a timeout")
        self._timer = self._kernel.timer(self._duration_ns, self._expire, "timeout")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, timer = self._task, self._timer
        assert task is not None
        assert timer is not None
        timer.revoke()
        cancelled = self._cancelled
        if cancelled is None:
            return
        # The block may have ended by itself while the cancellation was on its way: then it must not hit later code.
        self._kernel.retract(task, cancelled)
        if error is cancelled:
            raise TimedOut(f"{task.name}: not done within {format_duration(self._duration_ns)}") from None

    def _expire(self, event: simpy.Event) -> None:
        assert self._task is not None
        self._cancelled = _Expired("timeout")
        self._kernel.interrupt(self._task, self._cancelled)

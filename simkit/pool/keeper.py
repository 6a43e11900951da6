"""The keeper: the pool's own background task. It takes back what owners left behind, and it closes.

Upholds CLOSE-1 (no `close()` returns before the native close has finished, and that happens once) and the bounds of
PROG-3 for closing. All calls of `close()` wait for the one keeper, so none can return early; one that is cancelled or
crashes leaves, and the closing goes on without it.

The keeper lives in the instance's crash group and dies with it. Work that hangs in storage, its own included, is cut
off by a timer: past `close_timeout_ns` the instance is cut off from its storage, which ends every request under way
with an error. A statement that waits for anything else, such as a function that the user defined, is waited for.
"""

from __future__ import annotations

import logging

from simkit.kernel import Crashed, Happening, Task
from simkit.kernel.units import format_duration
from simkit.pool.events import CLOSED, CloseGaveUp
from simkit.pool.holding import Holding
from simkit.pool.leasing import Leasing
from simkit.pool.system import DatabaseClosed, Instance

_log = logging.getLogger("simkit.pool")


class Keeper:
    """The background task of one pool. Create it once the pool is open."""

    def __init__(self, instance: Instance, leasing: Leasing, holding: Holding) -> None:
        self._instance = instance
        self._kernel = instance.kernel
        self._leasing = leasing
        self._holding = holding
        self._closers: dict[Task, None] = {}
        self._timer: Happening | None = None
        self._closed = False
        self._asleep = False
        holding.wake_keeper = self._wake
        leasing.on_drained = self._wake
        self._task = self._kernel.spawn(
            self._keep, name=f"{instance.name}.keeper", background=True, group=instance.group
        )

    def __str__(self) -> str:
        return f"the close of {self._instance.name}"

    @property
    def holders(self) -> tuple[Task, ...]:
        """Whom closing waits for."""
        return self._leasing.holders or (self._task,)

    @property
    def closed(self) -> bool:
        """Whether the native close has finished."""
        return self._closed

    def close(self, task: Task) -> None:
        """Closes, or waits with all others who do. Raises `DatabaseClosed` when the instance crashes meanwhile."""
        if self._closed:
            return
        if not self._leasing.closing:
            self._begin()
        if not self._task.ended:
            self._closers[task] = None
            try:
                self._kernel.park("wait for", self)
            except BaseException as error:
                if task in self._closers or isinstance(error, Crashed):
                    self._closers.pop(task, None)
                    raise
                self._kernel.postpone(task, error)  # it is closed: that must not get lost
        if not self._closed:
            raise DatabaseClosed(f"{self._instance.name} crashed before it was closed")

    def _begin(self) -> None:
        timeout_ns = self._leasing.settings.close_timeout_ns
        self._timer = self._kernel.timer(timeout_ns, self._give_up, f"{self} gives up", True)
        self._leasing.begin_closing()
        self._holding.begin_closing()
        self._wake()

    def _give_up(self, _event: object) -> None:
        """Work that was admitted does not end. What waits for storage ends with an error now."""
        instance, kernel, leasing = self._instance, self._kernel, self._leasing
        if instance.group.crashed:
            return
        out = ", ".join(f"{lease} of {lease.task.name}" for lease in leasing.out)
        waited = format_duration(leasing.settings.close_timeout_ns)
        cause = f"close() waited {waited} for {out}"
        kernel.record(CloseGaveUp(kernel.now, "", instance.name, tuple(lease.number for lease in leasing.out)))
        _log.warning("%s: %s, which did not end; cutting it off from its storage", instance.name, cause)
        instance.lose(cause)

    # The task

    def _wake(self) -> None:
        if self._asleep:
            self._asleep = False
            self._kernel.wake(self._task)

    def _keep(self) -> None:
        leasing, holding = self._leasing, self._holding
        try:
            while True:
                if holding.take_back_lost(self._task):
                    continue
                if leasing.closing and not leasing.out:
                    break
                self._asleep = True
                self._kernel.park("look after", leasing)
            self._finish()
        finally:
            self._asleep = False
            closers, self._closers = self._closers, {}
            for task in closers:
                self._kernel.wake(task)

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.revoke()
        connections = self._leasing.connections
        assert not connections.open_readers, "LEASE-1: readers are open and nobody has them"
        self._instance.close_database()
        connections.enter(CLOSED, "the native close has finished")
        self._closed = True

"""Lock, Event, Condition and Semaphore: synchronisation between tasks, with the semantics the field is used to.

Uphold PROG-2 (no lost wake-up). All queues are FIFO and hand over directly: what is released goes to the first waiter,
nobody can overtake it. Taking operations yield before they act and can be interrupted there, but for a Lock, in which
the place in line is that of the call; giving operations act first and yield after, and cannot be cancelled. A waiter
that is interrupted after it was granted something (its wake was on the way) passes it on before the interruption goes
up, so a cancellation never loses a permit or a wake-up. A task that crashed can give back but not take.

Every primitive has a `name` for messages, `statistics()` for debugging, and where it makes sense `holders` for the
deadlock report. Misuse raises `MisuseError`. Release, set and notify may also be called by the model, outside tasks.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from simkit.kernel.errors import Crashed, MisuseError
from simkit.kernel.kernel import Kernel
from simkit.kernel.task import Task


class _Waiters:
    """Tasks in the order in which they came; leaving from the middle is cheap."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: OrderedDict[Task, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task: Task) -> bool:
        return task in self._tasks

    def add(self, task: Task) -> None:
        self._tasks[task] = None

    def discard(self, task: Task) -> None:
        self._tasks.pop(task, None)

    def pop_first(self) -> Task:
        return self._tasks.popitem(last=False)[0]

    def names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self._tasks)


@dataclass(frozen=True)
class LockStatistics:
    """`owner` and `waiting` are task names; `acquired_total` counts grants, `contended_total` acquirers that waited."""

    owner: str | None
    waiting: tuple[str, ...]
    acquired_total: int
    contended_total: int


class Lock:
    """Mutual exclusion. Belongs to the task that acquired it; not reentrant."""

    def __init__(self, kernel: Kernel, name: str = "lock") -> None:
        self.name: Final = name
        self._kernel = kernel
        self._owner: Task | None = None
        self._waiters = _Waiters()
        self._acquired_total = 0
        self._contended_total = 0

    def __str__(self) -> str:
        return self.name

    @property
    def holders(self) -> tuple[Task, ...]:
        return (self._owner,) if self._owner is not None else ()

    @property
    def locked(self) -> bool:
        return self._owner is not None

    @property
    def owner(self) -> Task | None:
        return self._owner

    def acquire(self) -> None:
        """Waits until the lock is the caller's. Its place in line is that of the call."""
        task = self._kernel.require_task(f"acquire {self.name}")
        if self._owner is task:
            raise MisuseError(f"{task.name} acquires {self.name}, which it already holds; a Lock is not reentrant")
        if self._owner is not None:
            self._contended_total += 1
            self._wait(task)
            return
        self._grant(task)
        try:
            self._kernel.yield_point("acquire", self)
        except BaseException:
            self._acquired_total -= 1
            self._hand_over()
            raise

    def try_acquire(self) -> bool:
        """Takes the lock if it is free. Does not wait."""
        task = self._kernel.require_task(f"acquire {self.name}")
        self._kernel.yield_point("acquire", self)
        if self._owner is not None:
            return False
        self._grant(task)
        return True

    def release(self) -> None:
        """Hands the lock to the first waiter, or frees it."""
        task = self._kernel.require_task(f"release {self.name}")
        if self._owner is not task:
            if task._crashed_by is not None:
                return  # crashed inside Condition.wait, before the lock came back
            held = f"held by {self._owner.name}" if self._owner is not None else "free"
            raise MisuseError(f"{task.name} releases {self.name}, which is {held}; only its owner may release a Lock")
        self._hand_over()
        self._kernel.yield_after("release", self)

    def statistics(self) -> LockStatistics:
        return LockStatistics(
            owner=self._owner.name if self._owner is not None else None,
            waiting=self._waiters.names(),
            acquired_total=self._acquired_total,
            contended_total=self._contended_total,
        )

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Crashed) and self._owner is not self._kernel.current:
            return  # the same, and the group that crashed is left behind already
        self.release()

    def _grant(self, task: Task) -> None:
        self._owner = task
        self._acquired_total += 1

    def _wait(self, task: Task) -> None:
        self._waiters.add(task)
        try:
            self._kernel.park("acquire", self)
        except BaseException:
            if self._owner is task:
                self._hand_over()
            else:
                self._waiters.discard(task)
            raise

    def _hand_over(self) -> None:
        if self._waiters:
            task = self._waiters.pop_first()
            self._grant(task)
            self._kernel.wake(task)
        else:
            self._owner = None


@dataclass(frozen=True)
class EventStatistics:
    """`waiting` are the tasks that wait for it to be set."""

    is_set: bool
    waiting: tuple[str, ...]


class Event:
    """A flag to wait for. Stays set until it is cleared."""

    def __init__(self, kernel: Kernel, name: str = "event") -> None:
        self.name: Final = name
        self._kernel = kernel
        self._set = False
        self._waiters = _Waiters()

    def __str__(self) -> str:
        return self.name

    @property
    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        """Sets the flag and wakes everybody who waits for it."""
        self._set = True
        while self._waiters:
            self._kernel.wake(self._waiters.pop_first())
        self._kernel.yield_after("set", self)

    def clear(self) -> None:
        self._kernel.yield_point("clear", self)
        self._set = False

    def wait(self) -> None:
        """Returns once the flag is set; at once if it is."""
        task = self._kernel.require_task(f"wait for {self.name}")
        self._kernel.yield_point("wait", self)
        if self._set:
            return
        self._waiters.add(task)
        try:
            self._kernel.park("wait", self)
        except BaseException:
            self._waiters.discard(task)
            raise

    def statistics(self) -> EventStatistics:
        return EventStatistics(is_set=self._set, waiting=self._waiters.names())


@dataclass(frozen=True)
class ConditionStatistics:
    """`waiting` are the tasks that were not notified yet."""

    waiting: tuple[str, ...]
    notified_total: int
    lock: LockStatistics


class Condition:
    """Waiting for a state that is guarded by a lock. Check the state in a loop around `wait()`."""

    def __init__(self, kernel: Kernel, lock: Lock | None = None, name: str = "condition") -> None:
        self.name: Final = name
        self.lock: Final = lock if lock is not None else Lock(kernel, f"{name}.lock")
        self._kernel = kernel
        self._waiters = _Waiters()
        self._notified_total = 0

    def __str__(self) -> str:
        return self.name

    def __enter__(self) -> Condition:
        self.lock.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock.__exit__(kind, error, trace)

    def wait(self) -> None:
        """Gives the lock up, waits to be notified, and takes the lock again before it returns or raises.

        Cancelled while it waits, it leaves the lock held as it found it; a notification that was already on its way
        goes to the next waiter. Crashed, it leaves the lock to the living.
        """
        task = self._require_lock("waits on")
        self._waiters.add(task)
        self.lock._hand_over()
        try:
            self._kernel.park("wait", self)
        except BaseException as error:
            if task in self._waiters:
                self._waiters.discard(task)
            else:
                self._pass_on()
            if not isinstance(error, Crashed):
                self._take_lock_back(task)
            raise
        try:
            self._take_lock_back(task)
        except BaseException:
            # Crashed: nothing else gets through the shield. It never saw the notification.
            self._pass_on()
            raise

    def notify(self, count: int = 1) -> None:
        """Wakes the first `count` waiters. The caller holds the lock."""
        self._require_lock("notifies")
        if count < 0:
            raise MisuseError(f"{self.name}: cannot notify {count} tasks")
        for _ in range(min(count, len(self._waiters))):
            self._notified_total += 1
            self._pass_on()
        self._kernel.yield_after("notify", self)

    def notify_all(self) -> None:
        """Wakes every waiter. The caller holds the lock."""
        self.notify(len(self._waiters))

    def statistics(self) -> ConditionStatistics:
        return ConditionStatistics(
            waiting=self._waiters.names(), notified_total=self._notified_total, lock=self.lock.statistics()
        )

    def _require_lock(self, verb: str) -> Task:
        task = self._kernel.require_task(f"use {self.name}")
        if self.lock._owner is not task:
            raise MisuseError(f"{task.name} {verb} {self.name} without holding {self.lock.name}; acquire it first")
        return task

    def _pass_on(self) -> None:
        if self._waiters:
            self._kernel.wake(self._waiters.pop_first())

    def _take_lock_back(self, task: Task) -> None:
        if self.lock._owner is None:
            self.lock._grant(task)
            return
        with self._kernel.shield():
            self.lock._wait(task)


@dataclass(frozen=True)
class SemaphoreStatistics:
    """`permits` are free now."""

    permits: int
    waiting: tuple[str, ...]
    acquired_total: int


class Semaphore:
    """A number of permits. Whoever acquired one, or somebody on its behalf, releases it.

    `maximum` bounds the permits: releasing past it is misuse.
    """

    def __init__(self, kernel: Kernel, permits: int, name: str = "semaphore", maximum: int | None = None) -> None:
        if permits < 0 or (maximum is not None and maximum < permits):
            raise MisuseError(f"{name}: {permits} permits with a maximum of {maximum}; need 0 <= permits <= maximum")
        self.name: Final = name
        self.maximum: Final = maximum
        self._kernel = kernel
        self._permits = permits
        self._waiters = _Waiters()
        self._granted = _Waiters()
        self._acquired_total = 0

    def __str__(self) -> str:
        return self.name

    @property
    def permits(self) -> int:
        return self._permits

    def acquire(self) -> None:
        """Waits for a permit."""
        task = self._kernel.require_task(f"acquire {self.name}")
        self._kernel.yield_point("acquire", self)
        if self._permits:
            self._permits -= 1
            self._acquired_total += 1
            return
        self._waiters.add(task)
        try:
            self._kernel.park("acquire", self)
        except BaseException:
            if task in self._granted:
                self._granted.discard(task)
                self._give_permit()
            else:
                self._waiters.discard(task)
            raise
        self._granted.discard(task)
        self._acquired_total += 1

    def release(self) -> None:
        """Gives a permit to the first waiter, or back to the semaphore."""
        if self.maximum is not None and self._permits >= self.maximum:
            raise MisuseError(f"{self.name} is released more often than acquired: all {self.maximum} permits are free")
        self._give_permit()
        self._kernel.yield_after("release", self)

    def statistics(self) -> SemaphoreStatistics:
        return SemaphoreStatistics(
            permits=self._permits, waiting=self._waiters.names(), acquired_total=self._acquired_total
        )

    def __enter__(self) -> Semaphore:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _give_permit(self) -> None:
        if self._waiters:
            task = self._waiters.pop_first()
            self._granted.add(task)
            self._kernel.wake(task)
        else:
            self._permits += 1

"""A broken lock: a system under test that forgets a waiter. It breaks PROG-2 on purpose."""

from __future__ import annotations

from simkit.kernel import Lock
from simkit.pool.single import SingleConnection
from simkit.pool.system import Instance


class ForgetfulLock(Lock):
    """Looks whether it is free, and joins the queue a moment later: a release in between wakes nobody."""

    def acquire(self) -> None:
        task = self._kernel.require_task(f"acquire {self.name}")
        self._kernel.yield_point("acquire", self)
        if self._owner is None:
            self._grant(task)
            return
        self._kernel.checkpoint("about to queue")
        self._wait(task)


class LostWakeup(SingleConnection):
    """Serves its callers in turn, with a lock that can miss one."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self._turn = ForgetfulLock(instance.kernel, f"{instance.name}.connection")

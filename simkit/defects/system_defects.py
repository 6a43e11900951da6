"""Broken systems of one connection: one forgets a waiter, one alters values. They break PROG-2 and VAL-1 on purpose."""

from __future__ import annotations

from typing import Any

from simkit.kernel import Lock
from simkit.pool.result import Parameters, Result
from simkit.pool.single import SingleConnection
from simkit.pool.system import Instance

_EXACT_IN_FLOAT_MAX = 2**53 - 1


class BigintTruncated(SingleConnection):
    """Hands integers out through a float of 53 bits."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        result = super().execute(sql, params)
        rows = tuple(tuple(_through_float(value) for value in row) for row in result.rows)
        return Result(result.columns, rows, result.changes, result.last_insert_rowid)


def _through_float(value: Any) -> Any:
    return int(float(value)) if type(value) is int and abs(value) > _EXACT_IN_FLOAT_MAX else value


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

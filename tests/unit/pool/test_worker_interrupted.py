"""The single worker on a simulated depot, with a caller cancelled or crashed at every step of a run in turn.

Whatever the step: the work of others is there, a transaction is there wholly or not at all, whoever comes next is
served, and a close ends with every file closed. The same for a close at every step.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import apsw
import pytest

from simkit.check.events import NativeCloseFinished, NativeCloseStarted
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.kernel import Cancelled, Crashed, Decisions, Kernel, Task
from simkit.kernel.kernel import CarrierKind, Order
from simkit.pool.settings import PoolSettings
from simkit.pool.system import DatabaseClosed
from simkit.pool.worker import SingleWorker
from simkit.scenario.instance import InstanceProcess
from simkit.scenario.parts import Parts
from simkit.vfs.events import FileClosed, FileOpened, TransactionBegan, TransactionEnded, VfsUnregistered
from simkit.vfs.settings import VfsSettings

MS = 1_000_000
ORDERS: tuple[Order, ...] = ("timed", "any")
STEPS_MAX = 2_000

WHOLE = {
    "raw": (10, 11),
    "block": (20, 21),
    "script": (30, 31),
    "migration": (40, 41),
    "mode": (50,),
    "alone": (60,),
    "after": (70,),
}
"""What the victim writes: a name and the rows that come and go together."""


class Home:
    """A worker with a victim, a bystander that writes too, and somebody who comes afterwards and closes."""

    def __init__(self, order: Order, seed: int, carrier: CarrierKind = "greenlet", **settings: Any) -> None:
        self.kernel = Kernel(Decisions(seed), order=order, carrier=carrier)
        self.depot = Depot(self.kernel, LATENCY_PROFILES["local-debug"], DepotImage(None, 0, 4096))
        self.group = self.kernel.group("caller")
        self.settings = PoolSettings(**settings)
        self.acknowledged: list[int] = []
        self.closes: list[int] = []
        self.rows: list[int] = []
        self.errors: list[BaseException] = []
        self.finished = False
        self.interrupted_at: int | None = None
        self.system: SingleWorker | None = None

    def run(self, interrupt: Callable[["Home", Task], None] | None, step: int) -> "Home":
        """Interrupts the victim at that step of the run, counted from the end of the opening."""
        kernel = self.kernel
        opener = kernel.spawn(self._open, name="opener", supervised=True)
        kernel.run()
        assert opener.error is None
        victim = kernel.spawn(self._victim, name="victim", supervised=True)
        bystander = kernel.spawn(self._bystander, name="bystander", supervised=True)
        steps = 0

        def count(running: Task) -> None:
            nonlocal steps
            steps += 1
            # Not at the victim's own step: it has left its yield already. And not before its first.
            at_yield = running is not victim and victim.carrier is not None
            if steps >= step and self.interrupted_at is None and at_yield and interrupt is not None:
                self.interrupted_at = steps
                interrupt(self, victim)

        kernel.on_step = count
        last = kernel.spawn(lambda: self._afterwards(victim, bystander), name="last", supervised=True)
        kernel.run(max_steps=100_000)
        kernel.on_step = None
        for task in (bystander, last):
            assert task.error is None, (step, task.error)
        return self

    def execute(self, sql: str, params: Any = None) -> Any:
        assert self.system is not None
        return self.system.execute(sql, params)

    def _open(self) -> None:
        parts = Parts(system=SingleWorker)
        generation = self.depot.allocate()
        self.instance = InstanceProcess(
            self.kernel, self.depot, generation, parts, VfsSettings(10), 64, self.settings, 5 * MS
        )
        self.instance.open()
        assert isinstance(self.instance.system, SingleWorker)
        self.system = self.instance.system
        self.execute("CREATE TABLE t(id INTEGER PRIMARY KEY)")

    def _victim(self) -> None:
        try:
            with self.group:
                self._write()
                self.finished = True
        except (Cancelled, Crashed, DatabaseClosed) as error:
            self.errors.append(error)
        # It lives on, and what it does now is no part of anything before.
        with suppress(Cancelled):  # held back until what it interrupted had its answer
            self.kernel.checkpoint("goes on")
        with suppress(DatabaseClosed):
            with suppress(apsw.SQLError):  # there may be nothing to roll back
                self.execute("ROLLBACK")
            self.execute("INSERT INTO t VALUES (70)")

    def _write(self) -> None:
        system, execute = self.system, self.execute
        assert system is not None
        execute("BEGIN")
        execute("INSERT INTO t VALUES (10)")
        execute("INSERT INTO t VALUES (11)")
        execute("COMMIT")
        with system.transaction():
            execute("INSERT INTO t VALUES (20)")
            self.kernel.sleep(3 * MS)
            execute("INSERT INTO t VALUES (21)")
        system.execute_script("BEGIN; INSERT INTO t VALUES (30); INSERT INTO t VALUES (31); COMMIT")
        system.migrate(["INSERT INTO t VALUES (40)", ("INSERT INTO t VALUES (?)", (41,))])
        with system.write_mode():
            execute("INSERT INTO t VALUES (50)")
            self.kernel.sleep(3 * MS)
        execute("INSERT INTO t VALUES (60)")

    def _bystander(self) -> None:
        with suppress(DatabaseClosed):
            for number in range(100, 110):
                self.execute("INSERT INTO t VALUES (?)", (number,))
                self.acknowledged.append(number)
                self.kernel.sleep(2 * MS)

    def _afterwards(self, *others: Task) -> None:
        for task in others:
            self.kernel.wait_for_end(task)
        assert self.system is not None
        with suppress(DatabaseClosed):
            self.execute("INSERT INTO t VALUES (1000)")
            self.rows = [row[0] for row in self.execute("SELECT id FROM t").rows]
        self.idle = self.system.snapshot()
        self.system.close()
        self.closed = self.system.snapshot()

    def close_now(self) -> None:
        """Two callers close at once; from here on everybody else is refused."""
        for _ in range(2):
            self.kernel.spawn(self._close, name="closer", supervised=True)

    def _close(self) -> None:
        assert self.system is not None
        self.system.close()
        self.closes.append(self.kernel.now)

    def found(self) -> list[int]:
        """The rows that a later instance finds."""
        rows: list[int] = []

        def look() -> None:
            parts = Parts(system=SingleWorker)
            later = InstanceProcess(self.kernel, self.depot, self.depot.allocate(), parts, VfsSettings(10), 64)
            later.open()
            assert later.system is not None
            rows.extend(row[0] for row in later.system.execute("SELECT id FROM t").rows)  # type: ignore[misc]
            later.system.close()

        task = self.kernel.spawn(look, name="look", supervised=True)
        self.kernel.run()
        assert task.error is None, task.error
        return rows

    def check(self) -> None:
        rows = self.rows
        assert rows[-1] == 1000
        assert [row for row in rows if 100 <= row < 1000] == self.acknowledged == [*range(100, 110)]
        for name, part in WHOLE.items():
            there = [row for row in rows if row in part]
            assert there in ([], [*part]), (name, there)
        assert 70 in rows
        if self.finished:
            assert all(row in rows for part in WHOLE.values() for row in part)
        assert (self.idle.state, self.idle.waiting, self.idle.owner, self.idle.transaction_age_ns) == (
            "running",
            0,
            None,
            None,
        )
        assert self.closed.state == "closed"
        kinds = [type(event) for event in self.kernel.history]
        assert kinds.count(FileOpened) == kinds.count(FileClosed) == 1
        assert kinds.count(TransactionBegan) == kinds.count(TransactionEnded)
        assert kinds.count(VfsUnregistered) == 1


def cancel(_home: Home, victim: Task) -> None:
    victim.cancel()


def crash(home: Home, _victim: Task) -> None:
    home.group.crash()


def every_step(order: Order, seed: int, interrupt: Callable[[Home, Task], None], **settings: Any) -> Iterator[Home]:
    """The run with the victim interrupted at each step, until it finishes before that."""
    for step in range(1, STEPS_MAX):
        home = Home(order, seed, **settings).run(interrupt, step)
        yield home
        if home.finished:
            return
    raise AssertionError(f"the victim does not finish within {STEPS_MAX} steps")


@pytest.mark.parametrize("order", ORDERS)
def test_run_that_is_left_alone_does_everything(order: Order) -> None:
    home = Home(order, 1).run(None, 0)
    home.check()
    assert home.finished
    assert home.errors == []


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("interrupt", [cancel, crash])
def test_caller_may_be_interrupted_at_every_step(order: Order, interrupt: Callable[[Home, Task], None]) -> None:
    interrupted = 0
    for home in every_step(order, 3, interrupt):
        home.check()
        interrupted += not home.finished
    assert interrupted > 20


@pytest.mark.parametrize("order", ORDERS)
def test_caller_may_be_interrupted_at_every_step_when_transactions_expire_early(order: Order) -> None:
    for home in every_step_to_deadline(order):
        rows = home.rows
        assert rows[-1] == 1000
        assert [row for row in rows if 100 <= row < 1000] == home.acknowledged
        for name, part in WHOLE.items():
            assert [row for row in rows if row in part] in ([], [*part]), name
        assert home.idle.owner is None
        assert home.closed.state == "closed"


def every_step_to_deadline(order: Order) -> Iterator[Home]:
    for deadline_ms in range(1, 80, 4):
        home = Home(order, 3, transaction_deadline_ns=deadline_ms * MS)
        home.run(cancel, 10 * deadline_ms)
        yield home


@pytest.mark.parametrize("order", ORDERS)
def test_close_may_come_at_every_step(order: Order) -> None:
    closed_early = 0
    for home in every_step(order, 4, lambda home, _victim: home.close_now()):
        found = home.found()
        assert [row for row in found if 100 <= row < 1000][: len(home.acknowledged)] == home.acknowledged
        assert len([row for row in found if 100 <= row < 1000]) == len(home.acknowledged)
        for name, part in WHOLE.items():
            assert [row for row in found if row in part] in ([], [*part]), name
        assert len(home.closes) in (0, 2)
        kinds = [type(event) for event in home.kernel.history]
        assert kinds.count(FileOpened) == kinds.count(FileClosed) == 2
        assert kinds.count(NativeCloseStarted) == kinds.count(NativeCloseFinished) == 2
        closed_early += len(home.closes) == 2
    assert closed_early > 20


@pytest.mark.parametrize("order", ORDERS)
def test_real_threads_tell_the_same_story(order: Order) -> None:
    by_greenlets = Home(order, 5).run(cancel, 30)
    by_threads = Home(order, 5, carrier="thread").run(cancel, 30)
    assert by_greenlets.kernel.history == by_threads.kernel.history
    by_threads.kernel.close()

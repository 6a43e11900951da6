"""Generated programs over the connection manager.

Each program is data: lists of operations, one list a task, on one instance. Whatever happens to them (cancellation,
timeouts, errors, leases left behind, a close in the middle), in timed and in any order:

- nobody waits for ever, and nobody is told anything but what the documentation says;
- readers and a writer are never open together, and writers are admitted in the order of arrival;
- what was acknowledged is there in the end, and what was refused or rolled back is not;
- what a task inserts between BEGIN and COMMIT is there wholly or not at all, whatever it was told in between;
- at rest the counters are zero, and after `close()` no handle is open.
"""

from contextlib import suppress
from functools import cache
from typing import Any

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.distribution import constant
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.kernel import Cancelled, Crashed, Decisions, Kernel, MisuseError, Task, TimedOut
from simkit.kernel.kernel import Order
from simkit.pool.events import LeaseClassified, LeaseEnded, LeaseGranted, LeaseRequested
from simkit.pool.manager import ConnectionManager
from simkit.pool.settings import PoolSettings
from simkit.pool.system import DatabaseClosed, Overloaded, TransactionExpired
from simkit.scenario.image import prepare
from simkit.scenario.instance import InstanceProcess
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import Parts
from simkit.vfs.errors import InstanceDead
from simkit.vfs.events import FileClosed, FileOpened
from simkit.vfs.settings import VfsSettings

MS = 1_000_000
SCENARIO = """\
name: programs
attacks: Nothing.
setup:
  - CREATE TABLE t(id INTEGER PRIMARY KEY, x)
operations:
  look: {sql: SELECT 1}
clients:
  - {name: nobody, script: [look]}
"""
REFUSALS = (DatabaseClosed, Overloaded, TransactionExpired, TimedOut, MisuseError, apsw.Error)

Operation = tuple[Any, ...]
Program = list[list[Operation]]

SIMPLE = st.one_of(
    st.tuples(st.sampled_from(["read", "insert", "insert anew", "script", "migrate", "begin", "commit", "rollback"])),
    st.tuples(st.just("sleep"), st.sampled_from([0, 1, 3, 40])),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["drop read", "drop write", "close"])),
)


def nested(operations: st.SearchStrategy[Operation]) -> st.SearchStrategy[Operation]:
    body = st.lists(operations, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.sampled_from(["transaction", "write mode", "read lease", "write lease", "raise"]), body),
        st.tuples(st.just("timeout"), st.integers(1, 6), body),
    )


OPERATIONS = st.recursive(SIMPLE, nested, max_leaves=5)
PROGRAMS = st.lists(st.lists(OPERATIONS, min_size=1, max_size=4), min_size=2, max_size=4)


class Oops(Exception):
    """An error of the program itself."""


@cache
def image() -> DepotImage:
    return prepare(parse_scenario(SCENARIO, "programs.yaml")).depot_image


class World:
    def __init__(self, seed: int, order: Order, pool: PoolSettings) -> None:
        self.kernel = Kernel(Decisions(seed), order=order)
        cost = RequestLatency(constant(MS), constant(0))
        depot = Depot(self.kernel, LatencyProfile("test", "made up", cost, cost, cost), image())
        parts = Parts(system=ConnectionManager)
        self.instance = InstanceProcess(self.kernel, depot, depot.allocate(), parts, VfsSettings(2), 2000, pool, 2 * MS)
        self.kernel.spawn(self.instance.open, name="open")
        self.kernel.run()
        assert isinstance(self.instance.system, ConnectionManager)
        self.manager = self.instance.system
        self.tasks: list[Task] = []
        self.rows = 0
        #: autocommitted inserts that were acknowledged, and all that were tried
        self.acknowledged: set[int] = set()
        self.tried: set[int] = set()
        #: rows that come and go together, and those of the transaction that a task believes to be in
        self.groups: list[set[int]] = []
        self.believed: dict[Task, set[int]] = {}

    def start(self, program: Program) -> None:
        for number, operations in enumerate(program):
            self.tasks.append(self.kernel.spawn(self.client, operations, name=f"client-{number}", supervised=True))

    def client(self, operations: list[Operation]) -> None:
        with self.instance.group:
            for operation in operations:
                with suppress(Oops, *REFUSALS):
                    self.perform(operation)

    def insert(self, execute: Any, text: str = "INSERT INTO t VALUES (?, 0)") -> None:
        self.rows += 1
        row = self.rows
        self.tried.add(row)
        execute(text, (row,))
        task = self.kernel.require_task("insert")
        if task in self.believed:
            self.believed[task].add(row)
        else:
            assert self.manager.snapshot().transaction != task.name
            self.acknowledged.add(row)

    def begun(self) -> None:
        group: set[int] = set()
        self.groups.append(group)
        self.believed[self.kernel.require_task("begin")] = group

    def over(self, before: set[int] | None = None) -> None:
        """The transaction of the task is over, unless it is the one that was open `before`."""
        task = self.kernel.require_task("end")
        if self.believed.get(task) is not before:
            self.believed.pop(task, None)

    def perform(self, operation: Operation) -> None:
        manager = self.manager
        before = self.believed.get(self.kernel.require_task("perform"))
        match operation:
            case ("read",):
                manager.execute("SELECT count(*) FROM t")
            case ("insert",):
                self.insert(manager.execute)
            case ("insert anew",):
                self.insert(manager.execute, f"INSERT INTO t VALUES (?, {self.rows})")
            case ("script",):
                manager.execute_script("SELECT 1; SELECT count(*) FROM t")
            case ("migrate",):
                manager.migrate(["CREATE TABLE IF NOT EXISTS m(x)", ("INSERT INTO m VALUES (?)", (1,))])
            case ("begin",):
                manager.execute("BEGIN")
                self.begun()
            case ("commit" | "rollback" as end,):
                try:
                    manager.execute(end.upper())
                finally:
                    self.over()
            case ("sleep", milliseconds):
                self.kernel.sleep(milliseconds * MS)
            case ("cancel", number):
                self.tasks[number % len(self.tasks)].cancel()
            case ("drop read",):
                manager.read_lease().execute("SELECT 1")
            case ("drop write",):
                lease = manager.write_lease()
                self.insert(lease.execute)
                lease.drop()
            case ("close",):
                manager.close()
                assert manager.snapshot().closed
            case ("timeout", milliseconds, body):
                with self.kernel.timeout(milliseconds * MS):
                    self.perform_all(body)
            case ("transaction", body):
                try:
                    with manager.transaction():
                        self.begun()
                        self.perform_all(body)
                finally:
                    self.over(before)
            case ("write mode", body):
                try:
                    with manager.write_mode():
                        self.perform_all(body)
                except BaseException:
                    self.over(before)
                    raise
            case ("read lease", body):
                with manager.read_lease():
                    self.perform_all(body)
            case ("write lease", body):
                try:
                    with manager.write_lease():
                        self.perform_all(body)
                finally:
                    self.over(before)
            case ("raise", body):
                self.perform_all(body)
                raise Oops

    def perform_all(self, body: list[Operation]) -> None:
        for operation in body:
            self.perform(operation)

    # What must hold

    def check_connections(self) -> None:
        open_files: dict[int, bool] = {}
        for event in self.kernel.history:
            if type(event) is FileOpened:
                open_files[event.handle] = event.writable
                writers = sum(open_files.values())
                assert writers <= 1, "MODE-1"
                assert not writers or len(open_files) == 1, "MODE-1"
            elif type(event) is FileClosed:
                del open_files[event.handle]

    def check_order(self) -> None:
        kinds: dict[int, str] = {}
        last = 0
        ended: set[int] = set()
        for event in self.kernel.history:
            if type(event) in (LeaseRequested, LeaseClassified):
                kinds[event.lease] = event.kind  # type: ignore[attr-defined]
            elif type(event) is LeaseGranted and kinds[event.lease] == "write":
                assert event.lease > last, "PROG-1: writers are admitted in the order of arrival"
                last = event.lease
            elif type(event) is LeaseEnded:
                assert event.lease not in ended, "LEASE-2: a lease ends once"
                ended.add(event.lease)
        assert ended == set(kinds), "LEASE-2: every lease ends"

    def check_at_rest(self) -> None:
        snapshot = self.manager.snapshot()
        assert snapshot.active_readers == snapshot.opening_readers == snapshot.waiting_readers == 0, snapshot
        assert snapshot.waiting_writers == 0, snapshot
        assert snapshot.writer is None, snapshot
        assert snapshot.transaction is None, snapshot

    def check_content(self) -> None:
        if self.manager.snapshot().closed:
            return
        content = self.content()
        assert self.acknowledged <= content <= self.tried
        for group in self.groups:
            assert group <= content or group.isdisjoint(content), "a transaction took effect in part"

    def settle(self) -> None:
        """Deadlines pass, and the keeper has every chance to work, whatever order things happen in."""

        def time() -> None:
            for _ in range(200):
                self.kernel.sleep(MS)

        self.kernel.spawn(time, name="time")
        self.kernel.run(max_steps=50_000)

    def content(self) -> set[int]:
        found: set[int] = set()

        def look() -> None:
            rows: Any = self.manager.execute("SELECT id FROM t").rows
            found.update(row for (row,) in rows)

        self.kernel.spawn(look, name="look")
        self.kernel.run()
        return found

    def close(self) -> None:
        for number in range(2):
            self.kernel.spawn(self.manager.close, name=f"close-{number}", group=self.instance.group)
        self.kernel.run()
        assert self.instance.closed
        files = [type(event) for event in self.kernel.history]
        assert files.count(FileOpened) == files.count(FileClosed)

    def dispose(self) -> None:
        self.instance.database.die("the test is over")
        self.kernel.close()
        self.instance.dispose()


@settings(max_examples=120)
@given(
    program=PROGRAMS,
    seed=st.integers(0, 1 << 16),
    order=st.sampled_from(["timed", "any"]),
    max_readers=st.sampled_from([2, 1, 4, 0]),
    waiting_max=st.sampled_from([128, 2]),
)
def test_programs(program: Program, seed: int, order: Order, max_readers: int, waiting_max: int) -> None:
    pool = PoolSettings(max_readers=max_readers, waiting_max=waiting_max, transaction_deadline_ns=30 * MS)
    world = World(seed, order, pool)
    try:
        world.start(program)
        world.kernel.run(max_steps=50_000)
        world.settle()
        for task in world.tasks:
            if task.error is not None and not isinstance(task.error, Cancelled | Crashed | InstanceDead):
                raise task.error
        world.check_at_rest()
        world.check_order()
        world.check_content()
        world.close()
        world.check_connections()
        world.check_at_rest()
    finally:
        world.dispose()

"""A connection manager over a simulated depot, and tasks that use it."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.distribution import constant
from simkit.depot.faults import FaultRule, Faults
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.kernel import Cancelled, Crashed, Decisions, Kernel, Record, Task
from simkit.kernel.kernel import CarrierKind, Order
from simkit.pool.events import LeaseEnded
from simkit.pool.manager import ConnectionManager
from simkit.pool.settings import PoolSettings
from simkit.pool.system import SystemFactory
from simkit.scenario.image import prepare
from simkit.scenario.instance import InstanceProcess
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import Parts
from simkit.vfs.events import FileClosed, FileOpened
from simkit.vfs.settings import VfsSettings

MS = 1_000_000
SCENARIO = """\
name: pool
attacks: Nothing.
setup:
  - CREATE TABLE t(id INTEGER PRIMARY KEY, x)
  - CREATE TABLE other(id INTEGER PRIMARY KEY, x)
  - INSERT INTO t VALUES (1, 1)
operations:
  look: {sql: SELECT 1}
clients:
  - {name: nobody, script: [look]}
"""


@cache
def image() -> DepotImage:
    return prepare(parse_scenario(SCENARIO, "pool.yaml")).depot_image


class PoolWorld:
    """One instance with a manager. Every request to storage takes a millisecond; nothing is cached by the VFS."""

    def __init__(
        self,
        order: Order = "timed",
        seed: int = 1,
        rules: tuple[FaultRule, ...] = (),
        cache_pages: int = 0,
        carrier: CarrierKind = "greenlet",
        system: SystemFactory = ConnectionManager,
        **settings: Any,
    ) -> None:
        self.kernel = Kernel(Decisions(seed), order=order, carrier=carrier)
        cost = RequestLatency(constant(MS), constant(0))
        faults = Faults(self.kernel, rules, lambda _: None) if rules else None
        self.faults = faults
        self.depot = Depot(self.kernel, LatencyProfile("test", "made up", cost, cost, cost), image(), faults=faults)
        self.instance = InstanceProcess(
            self.kernel,
            self.depot,
            self.depot.allocate(),
            Parts(system=system),
            VfsSettings(cache_pages),
            2000,
            PoolSettings(**settings),
            5 * MS,
        )
        self.seen: list[Any] = []
        self.tasks: list[Task] = []
        self.run_now(self.instance.open)
        #: a `ConnectionManager`, unless the test asked for another system
        self.manager: Any = self.instance.system
        #: when the database was open
        self.began_ns = self.kernel.now

    def run_now(self, body: Callable[[], Any]) -> Any:
        task = self.kernel.spawn(body, name="now", supervised=True)
        self.kernel.run()
        if task.error is not None:
            raise task.error
        return task.result

    def spawn(self, name: str, body: Callable[[], Any], after_ms: float = 0) -> Task:
        """A client: it starts later, and is inside the instance's crash group."""

        def run() -> Any:
            if after_ms:
                self.kernel.sleep(int(after_ms * MS))
            with self.instance.group:
                return body()

        task = self.kernel.spawn(run, name=name, supervised=True)
        self.tasks.append(task)
        return task

    def run(self) -> None:
        """Runs to the end, and raises what a client raised: also what pytest raises when nothing was raised."""
        self.kernel.run(max_steps=200_000)
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            if task.error is not None and not isinstance(task.error, Cancelled | Crashed):
                raise task.error

    def at(self, name: str, after_ms: float, body: Callable[[], Any]) -> Task:
        return self.spawn(name, lambda: self.seen.append((name, body(), self.kernel.now)), after_ms)

    def events(self, *kinds: type[Record]) -> list[Any]:
        return [event for event in self.kernel.history if type(event) in kinds]

    def endings(self) -> list[tuple[int, str, str]]:
        return [(event.lease, event.how, event.while_) for event in self.events(LeaseEnded)]

    def open_handles(self) -> list[int]:
        handles = [event.handle for event in self.events(FileOpened)]
        for event in self.events(FileClosed):
            handles.remove(event.handle)
        return handles

    def check_at_rest(self) -> None:
        """Counters are zero or those of idle readers, and no handle is open beside them."""
        snapshot = self.manager.snapshot()
        assert snapshot.active_readers == snapshot.opening_readers == 0, snapshot
        assert snapshot.waiting_readers == snapshot.waiting_writers == 0, snapshot
        assert snapshot.writer is None, snapshot
        assert snapshot.transaction is None, snapshot
        kept = 0 if self.instance.settings.readers_max or snapshot.mode in ("closing", "closed") else 1
        assert len(self.open_handles()) == snapshot.idle_readers + kept, (snapshot, self.open_handles())

    def dispose(self) -> None:
        self.instance.database.die("the test is over")
        self.kernel.close()
        self.instance.dispose()


@pytest.fixture
def pool() -> Any:
    """Makes worlds, and clears up after them."""
    worlds: list[PoolWorld] = []

    def make(*arguments: Any, **keywords: Any) -> PoolWorld:
        worlds.append(PoolWorld(*arguments, **keywords))
        return worlds[-1]

    yield make
    for world in worlds:
        world.dispose()

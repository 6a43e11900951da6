"""What the connection manager costs: a statement through it against the same statement on a bare connection.

Both run in one task on the same instance, in turn, over storage without latency and with all pages cached: what differs
is the manager. A bare connection is one of the instance's own, so it tells the history of its statements as well. The
single worker is measured in the same way, on an instance of its own.

How the cost grows with the number of clients is asked of reads and of writes by themselves: together they would change
what there is to do, since more readers go into each phase. There each read fetches its page from storage, so that
statements really overlap and wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from simkit.bench.figure import Figure, at_most, for_orientation, median_ratio, paired, seconds
from simkit.bench.page_read import build_image
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.distribution import constant
from simkit.depot.latency import LATENCY_PROFILES, LatencyProfile, RequestLatency
from simkit.kernel import Decisions, Event, Kernel, Semaphore
from simkit.kernel.units import MICROSECOND, MILLISECOND
from simkit.pool.manager import ConnectionManager
from simkit.pool.settings import PoolSettings
from simkit.pool.system import System, SystemFactory
from simkit.pool.worker import SingleWorker
from simkit.scenario.instance import InstanceProcess
from simkit.scenario.parts import Parts
from simkit.vfs.settings import PAGE_CACHE_PAGES, VfsSettings

ROWS = 200
_READ = "SELECT length(v) FROM kv WHERE k = ?"
# Another length each time: SQLite does not write what is there already.
_WRITE = "UPDATE kv SET v = zeroblob(2001 + length(v) % 1000) WHERE k = ?"
_AGGREGATE = "SELECT sum(length(v)) FROM kv"
_FLAT = 1.15
_OVERLAP = 1.5
_SQLITE_CACHE_KIB = 2_000
_NO_CACHE_KIB = 16


def measure(reads: int = 1_000, writes: int = 200, rounds: int = 9) -> list[Figure]:
    """What one statement costs through a manager and through a worker, and on a bare connection."""
    image = build_image(ROWS)
    figures: list[Figure] = []
    for name, statement, count in (("read", _READ, reads), ("write", _WRITE, writes)):
        for system, kind in ((ConnectionManager, "manager"), (SingleWorker, "worker")):
            through, bare = _against_bare(image, system, statement, count, rounds)
            note = f"one row by its key, pages cached, storage without latency; {rounds} rounds of {count:,} statements"
            added = sorted(a - b for a, b in zip(through, bare, strict=True))[rounds // 2]
            if system is ConnectionManager:
                figures.append(for_orientation(f"{name} on a bare connection", min(bare) * 1e6, "µs", note))
            figures += [
                for_orientation(f"added to a {name} by the {kind}", added * 1e6, "µs", note),
                for_orientation(f"{name} through the {kind} / bare", median_ratio(through, bare), "times", note),
            ]
    through, bare = _against_bare(image, ConnectionManager, _WRITE, writes, rounds, in_write_mode=True)
    note = f"the same writes in one block of write mode; {rounds} rounds of {writes:,} statements"
    figures.append(for_orientation("write in write mode / bare", median_ratio(through, bare), "times", note))
    return figures


def measure_growth(counts: tuple[int, ...] = (10, 100, 1_000), rounds: int = 5) -> list[Figure]:
    """Cost of a statement by the number of clients that send them."""
    image = build_image(ROWS)
    figures: list[Figure] = []
    for name, statement, total in (("read", _READ, 10_000), ("write", _WRITE, 2_000)):
        cases: list[Callable[[], float]] = [partial(_by_clients, image, statement, total, count) for count in counts]
        results = paired(cases, rounds)
        note = f"{total:,} statements in all, each {name} waits for storage, median of {rounds} rounds"
        first = f"{name} through the manager, {counts[0]} clients"
        figures.append(for_orientation(first, min(results[0]) * 1e6, "µs", note))
        for count, result in zip(counts[1:], results[1:], strict=True):
            label = f"{name} through the manager, {count:,} clients / {counts[0]} clients"
            figures.append(at_most(label, median_ratio(result, results[0]), "times", _FLAT, note))
    return figures


def measure_overlap(readers: int = 4) -> list[Figure]:
    """Simulated time of several aggregates at once against that of one."""
    image = build_image(ROWS)
    one_ns, several_ns = _aggregates_ns(image, 1), _aggregates_ns(image, readers)
    note = f"simulated time, {ROWS} pages of 10 ms each, nothing cached; {one_ns // MILLISECOND:,} ms for one"
    return [at_most(f"{readers} aggregates at once / 1", several_ns / one_ns, "times", _OVERLAP, note)]


class Home:
    """An instance with a system under test on a copy of an image. `run(body)` runs a task in it."""

    def __init__(
        self,
        image: DepotImage,
        system: SystemFactory,
        latency: LatencyProfile = LATENCY_PROFILES["instant"],
        cache: bool = True,
        waiting_max: int = 128,
    ) -> None:
        self.kernel = Kernel(Decisions(1))
        self.depot = Depot(self.kernel, latency, image)
        self.instance = InstanceProcess(
            self.kernel,
            self.depot,
            self.depot.allocate(),
            Parts(system=system),
            VfsSettings(PAGE_CACHE_PAGES if cache else 0),
            _SQLITE_CACHE_KIB if cache else _NO_CACHE_KIB,
            PoolSettings(waiting_max=waiting_max),
        )
        self.run(self.instance.open)

    @property
    def system(self) -> System:
        assert self.instance.system is not None
        return self.instance.system

    def run(self, *bodies: Callable[[], object]) -> None:
        """Runs one task for each body, to the end of all."""
        for number, body in enumerate(bodies):
            self.kernel.spawn(body, name=f"client-{number}")
        self.kernel.run()

    def close(self) -> None:
        self.run(self.system.close)
        self.kernel.close()


def _against_bare(
    image: DepotImage, system: SystemFactory, statement: str, count: int, rounds: int, in_write_mode: bool = False
) -> tuple[list[float], list[float]]:
    """Seconds a statement, through the system and on a bare connection, for each round."""
    home = Home(image, system)
    results: list[list[float]] = []

    def body() -> None:
        bare = home.instance.connect()

        def through_system() -> float:
            home.kernel.history.clear()
            system, execute = home.system, home.system.execute
            assert isinstance(system, ConnectionManager | SingleWorker)
            with system.write_mode() if in_write_mode else nullcontext():
                return seconds(lambda: [execute(statement, (key % ROWS,)) for key in range(count)]) / count

        def on_bare() -> float:
            home.kernel.history.clear()
            execute = bare.execute
            return seconds(lambda: [execute(statement, (key % ROWS,)).fetchall() for key in range(count)]) / count

        results.extend(paired([through_system, on_bare], rounds))
        bare.close(True)

    home.run(body)
    home.close()
    return results[0], results[1]


def _by_clients(image: DepotImage, statement: str, total: int, clients: int) -> float:
    """Seconds a statement when `clients` send `total` of them through a manager."""
    home = Home(image, ConnectionManager, _constant(100 * MICROSECOND), cache=False, waiting_max=clients)
    execute = home.system.execute
    everybody_is_here = Semaphore(home.kernel, 0)
    start = Event(home.kernel)
    begun = 0.0

    def client(first: int) -> None:
        everybody_is_here.release()
        start.wait()
        for number in range(total // clients):
            execute(statement, ((first * 7 + number) % ROWS,))

    def starter() -> None:
        nonlocal begun
        for _ in range(clients):
            everybody_is_here.acquire()
        begun = time.perf_counter()
        start.set()

    home.run(starter, *[partial(client, number) for number in range(clients)])
    taken = time.perf_counter() - begun
    home.close()
    return taken / total


def _aggregates_ns(image: DepotImage, tasks: int) -> int:
    """Simulated time that aggregates over the whole table take when each is sent by a task of its own."""
    home = Home(image, ConnectionManager, _constant(10 * MILLISECOND), cache=False)
    began_ns = home.kernel.now
    home.run(*[partial(home.system.execute, _AGGREGATE)] * tasks)
    taken_ns = home.kernel.now - began_ns
    home.close()
    return taken_ns


def _constant(duration_ns: int) -> LatencyProfile:
    """Every request takes the same time."""
    cost = RequestLatency(constant(0), constant(duration_ns))
    return LatencyProfile("constant", "for measurements of the simulator only", cost, cost, cost)

"""One workload under one configuration: wake an instance on the database that the seed made, run the workload, count.

A wake is what the real system does: open the database, configure the connection, make sure how commits are made, run
the migration, which finds everything there. Then the workload runs, and its simulated time is that of its statements
alone. Everything is the real thing: SQLite over the VFS over the depot model, under the connection manager or one of
the systems with a single connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar, cast, get_args

import apsw
import msgspec

from simkit.bench.cold.schema import SCHEMAS, WAKE
from simkit.bench.cold.seeds import seed_rows
from simkit.bench.cold.session import Answer
from simkit.bench.cold.setup import PAGE_BYTES, SetupCache
from simkit.bench.cold.sizes import Profile, target_bytes
from simkit.bench.cold.workloads import Workload
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.kv import KeyValueImage, KeyValueStore, StoreLimits
from simkit.depot.latency import LATENCY_PROFILES, LatencyProfile
from simkit.kernel import Decisions, Kernel, Task
from simkit.kernel.strategy import Option
from simkit.kernel.units import MILLISECOND
from simkit.pool.metrics import PoolMetrics
from simkit.pool.settings import PoolSettings
from simkit.scenario.instance import InstanceProcess
from simkit.scenario.parts import SYSTEMS, Parts
from simkit.vfs.batch_atomic import probe
from simkit.vfs.counters import PageCounters
from simkit.vfs.settings import PROFILES, VfsSettings

Preset = Literal["merge", "released"]
SystemName = Literal["auto", "pool", "worker", "single"]
T = TypeVar("T")

_WRITER_PRAGMAS: Final = (
    f"page_size = {PAGE_BYTES}",
    "journal_mode = DELETE",
    "synchronous = NORMAL",
    "temp_store = MEMORY",
    "auto_vacuum = NONE",
    "locking_mode = EXCLUSIVE",
)
_TRANSACTION_BYTES: Final = 4 * 1024**3


@dataclass(frozen=True)
class Configuration:
    """Everything that a measurement depends on.

    Attributes:
        name: what tables call it.
        preset: which state of the real system the wake follows. "released" commits once at each wake, and its counts
            begin with the workload; those of "merge" begin with the wake.
        system: what answers the statements. "auto" takes the connection manager for workloads that run statements at
            once and one connection for the others, which is what the published counts show.
        schema: one of `SCHEMAS`.
        sqlite_cache_kib: SQLite's own page cache.
        seed: of the decisions about latency.
    """

    name: str
    preset: Preset
    vfs: VfsSettings
    pool: PoolSettings
    system: SystemName
    schema: str
    sizes: Profile
    latency: LatencyProfile
    sqlite_cache_kib: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schema not in SCHEMAS:
            raise ValueError(f"there is no schema {self.schema!r}; there are {', '.join(SCHEMAS)}")
        if self.preset == "released" and self.schema != "released":
            raise ValueError("the released system has tables of its own; it goes with the schema 'released'")
        if self.sqlite_cache_kib < 0:
            raise ValueError(f"sqlite_cache_kib is {self.sqlite_cache_kib}; it is a size in KiB, at least 0")
        if self.system not in get_args(SystemName):
            raise ValueError(f"there is no system {self.system!r}; there are {', '.join(get_args(SystemName))}")


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What one workload did. `error` is set when it failed; the figures are those up to there.

    Attributes:
        target_bytes: what the seed was asked to write.
        rows: what the workload dealt with; `answer` is a digest of what it read.
        setup_pages, page_count: size of the database before the wake and at the end.
        simulated_ms: time of the workload's statements under the latency profile.
        wall_ms: the same on this machine.
    """

    workload: str
    number: int
    category: str
    size_class: str
    target_bytes: int
    rows: int = 0
    answer: str = ""
    setup_pages: int = 0
    page_count: int = 0
    get_pages: int = 0
    fetched_pages: int = 0
    prefetch_pages: int = 0
    overflow_pages: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    joined: int = 0
    range_reads: int = 0
    preloaded_pages: int = 0
    commits: int = 0
    committed_pages: int = 0
    routed_reads: int = 0
    write_fallbacks: int = 0
    mode_transitions: int = 0
    reader_opens: int = 0
    reader_closes: int = 0
    simulated_ms: float = 0.0
    wall_ms: float = 0.0
    error: str | None = None


_DEFAULTS: Final[dict[Preset, dict[str, Any]]] = {
    "merge": {"system": "auto", "schema": "merge", "sqlite_cache_kib": 2_000},
    "released": {"system": "worker", "schema": "released", "sqlite_cache_kib": 8_192},
}


def configuration(preset: Preset, **overrides: Any) -> Configuration:
    """A state of the real system, with some of it replaced. Raises `ValueError` for what does not go together."""
    if preset not in _DEFAULTS:
        raise ValueError(f"there is no preset {preset!r}; there are {', '.join(_DEFAULTS)}")
    chosen: dict[str, Any] = {
        "name": "defaults",
        "preset": preset,
        "vfs": PROFILES[preset],
        "pool": PoolSettings(),
        "sizes": Profile.SMOKE,
        "latency": LATENCY_PROFILES["instant"],
        **_DEFAULTS[preset],
        **overrides,
    }
    return Configuration(**chosen)


def measure(workload: Workload, chosen: Configuration, cache: SetupCache | None = None) -> Measurement:
    """Runs a workload. Never raises for what goes wrong in it: that is the measurement's `error`."""
    bytes_wanted = target_bytes(workload.size, chosen.sizes)
    measurement = Measurement(
        workload=workload.name,
        number=workload.number,
        category=str(workload.category),
        size_class=str(workload.size),
        target_bytes=bytes_wanted,
    )
    try:
        image, setup_pages = (cache or SetupCache()).image(chosen.schema, workload.seed, bytes_wanted)
        wake = _Wake(image, chosen, _system_for(workload, chosen))
        wake.run(workload, seed_rows(workload.seed, bytes_wanted))
    except (apsw.Error, ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        cause = error.__cause__ if error.__cause__ is not None else error
        return msgspec.structs.replace(measurement, error=f"{type(cause).__name__}: {cause}")
    return msgspec.structs.replace(measurement, setup_pages=setup_pages, **wake.figures())


def _system_for(workload: Workload, chosen: Configuration) -> str:
    if chosen.system == "auto":
        return "pool" if workload.parallel else "single"
    return chosen.system


class _InTurn:
    """Of the tasks that can run, the one that has waited longest to be picked, as in the queue of a single thread."""

    name = "in-turn"

    def __init__(self) -> None:
        self._waiting: dict[Option, None] = {}

    def start(self, draw: Callable[[], float]) -> None:
        """Draws nothing."""

    def pick(self, options: Sequence[Option]) -> int:
        kept = {option: None for option in self._waiting if option in options}
        new = sorted((cast(Task, option) for option in options if option not in kept), key=lambda task: task.number)
        self._waiting = kept | dict.fromkeys(new)
        first = next(iter(self._waiting))
        del self._waiting[first]
        return options.index(first)


class _RoomyDepot(Depot):
    """Takes commits of any size: the real system sends large ones in stages, which is not modelled."""

    def make_store(self, content: KeyValueImage | None) -> KeyValueStore:
        return KeyValueStore(content, limits=StoreLimits(transaction_bytes=_TRANSACTION_BYTES))


class _Instance(InstanceProcess):
    """An instance whose writers are configured as the real system configures them."""

    probes = False

    def connect(self, readonly: bool = False) -> apsw.Connection:
        connection = super().connect(readonly)
        if not readonly:
            try:
                for pragma in _WRITER_PRAGMAS:
                    connection.execute(f"PRAGMA {pragma}").fetchall()
                if self.probes:
                    self.probes = False
                    probe(connection, PAGE_BYTES)
            except BaseException:
                connection.close(True)
                raise
        return connection


class _Session:
    """Statements to a system, by the task that asks."""

    def __init__(self, instance: InstanceProcess) -> None:
        assert instance.system is not None
        self._instance = instance
        self._system = instance.system

    def execute(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return list(self._system.execute(sql, tuple(params) or None).rows)

    def together(self, *parts: Callable[[], T]) -> list[T]:
        kernel = self._instance.kernel
        tasks = [kernel.spawn(part, name=f"part-{place}") for place, part in enumerate(parts, 1)]
        return [task.join() for task in tasks]


class _Wake:
    """One life of an instance."""

    def __init__(self, image: DepotImage, chosen: Configuration, system: str) -> None:
        self._chosen = chosen
        self._kernel = Kernel(Decisions(chosen.seed), strategy=_InTurn())
        self._depot = _RoomyDepot(self._kernel, chosen.latency, image)
        self._instance = _Instance(
            self._kernel,
            self._depot,
            self._depot.allocate(),
            Parts(system=SYSTEMS[system]),
            replace(chosen.vfs, probe_at_open=False),
            chosen.sqlite_cache_kib,
            chosen.pool,
        )
        self._instance.probes = chosen.vfs.probe_at_open
        self._answer = Answer(0, "")
        self._counters = PageCounters()
        self._page_count = 0
        self._simulated_ns = 0
        self._wall_s = 0.0

    def run(self, workload: Workload, rows: int) -> None:
        """The whole life. Raises `TaskFailed` with the cause."""
        self._kernel.spawn(self._live, workload, rows, name="actor")
        try:
            self._kernel.run()
        finally:
            self._instance.database.die("the measurement is over")
            self._instance.dispose()
            self._kernel.close()

    def _live(self, workload: Workload, rows: int) -> None:
        instance, kernel = self._instance, self._kernel
        instance.open()
        session = _Session(instance)
        if self._chosen.preset == "released":
            for statement in ("BEGIN", *WAKE, "COMMIT"):
                session.execute(statement)
        self._migrate(session)
        before = instance.database.counters if self._chosen.preset == "released" else PageCounters()
        began_ns, began_s = kernel.now, time.perf_counter()
        self._answer = workload.body(session, rows)
        self._simulated_ns, self._wall_s = kernel.now - began_ns, time.perf_counter() - began_s
        self._page_count = session.execute("PRAGMA page_count")[0][0]
        self._counters = instance.database.counters.since(before)
        instance.close()

    def _migrate(self, session: _Session) -> None:
        """The migration of a database that has had it: every statement finds its object."""
        steps = SCHEMAS[self._chosen.schema]
        migrate = getattr(self._instance.system, "migrate", None)
        if migrate is not None:
            migrate(steps)
            return
        for statement in steps:
            session.execute(statement)

    def figures(self) -> dict[str, Any]:
        """The fields of a `Measurement` that a run gives."""
        counters = self._counters
        figures: dict[str, Any] = {
            "rows": self._answer.rows,
            "answer": self._answer.digest,
            "page_count": self._page_count,
            "get_pages": counters.get_pages,
            "fetched_pages": counters.fetched_pages,
            "prefetch_pages": counters.prefetched_pages,
            "overflow_pages": counters.overflow_pages,
            "cache_hits": counters.hits,
            "cache_misses": counters.misses,
            "joined": counters.joined,
            "range_reads": counters.range_reads,
            "preloaded_pages": counters.preloaded_pages,
            "commits": counters.commits,
            "committed_pages": counters.committed_pages,
            "simulated_ms": self._simulated_ns / MILLISECOND,
            "wall_ms": self._wall_s * 1_000,
        }
        metrics = getattr(self._instance.system, "metrics", None)
        if isinstance(metrics, PoolMetrics):
            figures |= {
                "routed_reads": metrics.routed_read_queries_total,
                "write_fallbacks": metrics.write_fallback_queries_total,
                "mode_transitions": sum(metrics.mode_transitions_total.values()),
                "reader_opens": metrics.reader_opens_total,
                "reader_closes": metrics.reader_closes_total,
            }
        return figures

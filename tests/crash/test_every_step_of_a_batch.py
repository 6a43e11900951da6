"""A crash at every step of a batch-atomic write, and at every moment of its commit: all of it is there, or nothing.

The stock SQLite makes no such writes: the steps are sent to the file as SQLite would send them. With statements of real
SQLite, its journal commit is turned into a batch where SQLite asks for the sync.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import apsw
import pytest

from simkit.check.events import StateObserved
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.kernel.units import MILLISECOND
from simkit.scenario.image import prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import parts_for
from simkit.scenario.plan import crash_at_marked_io
from simkit.search.execute import Run, execute
from simkit.vfs.database import Database
from simkit.vfs.errors import StorageFailed
from simkit.vfs.filesystem import DepotVfs
from simkit.vfs.main_file import MainFile
from simkit.vfs.settings import VfsSettings

PAGE = 512
BEGIN = apsw.SQLITE_FCNTL_BEGIN_ATOMIC_WRITE
COMMIT = apsw.SQLITE_FCNTL_COMMIT_ATOMIC_WRITE
ROLLBACK = apsw.SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE
POINTS = ("begin atomic", "write", "write", "write", "write", "truncate", "commit atomic", "synced")


def batch(file: MainFile) -> None:
    for level in (apsw.SQLITE_LOCK_SHARED, apsw.SQLITE_LOCK_RESERVED, apsw.SQLITE_LOCK_EXCLUSIVE):
        file.xLock(level)
    file.xFileControl(BEGIN, 0)
    for number, letter in enumerate("wxyz"):
        file.xWrite(letter.encode() * PAGE, number * PAGE)
    file.xTruncate(3 * PAGE)
    file.xFileControl(COMMIT, 0)


class Site:
    def __init__(self) -> None:
        self.kernel = Kernel(Decisions(1))
        self.depot = Depot(self.kernel, LATENCY_PROFILES["network-20ms"], DepotImage(None, 0, PAGE))

    def open(self) -> Database:
        generation = self.depot.allocate()
        database = Database(DirectStorage(self.depot, f"instance-{generation}", generation), VfsSettings())
        database.open()
        return database

    def found_after(self, crash: Callable[[Database, Callable[[], None]], None]) -> bytes:
        """What a fresh instance finds. `crash` arranges for the first one to stop somewhere in its batch."""
        found: list[bytes] = []

        def body() -> None:
            kernel, database = self.kernel, self.open()
            file = MainFile(database, writable=True)
            for level in (apsw.SQLITE_LOCK_SHARED, apsw.SQLITE_LOCK_RESERVED, apsw.SQLITE_LOCK_EXCLUSIVE):
                file.xLock(level)
            for number, letter in enumerate("ab"):
                file.xWrite(letter.encode() * PAGE, number * PAGE)
            file.xSync(0)
            file.xUnlock(apsw.SQLITE_LOCK_NONE)
            group = kernel.group("victim")

            def stop() -> None:
                database.die("crashed")
                group.crash()

            def victim() -> None:
                with group:
                    batch(file)

            crash(database, stop)
            kernel.spawn(victim, name="victim", supervised=True)
            kernel.sleep(1_000 * MILLISECOND)
            again = MainFile(self.open(), writable=False)
            found.append(again.xRead(again.xFileSize(), 0))

        with self.kernel as kernel:
            task = kernel.spawn(body, name="test", supervised=True)
            kernel.run()
            if task.error is not None:
                raise task.error
        return found[0][::PAGE]


@pytest.mark.parametrize("step", range(len(POINTS)))
def test_batch_that_is_cut_off_at_a_step_was_made_or_was_not(step: int) -> None:
    seen: list[str] = []

    def crash(database: Database, stop: Callable[[], None]) -> None:
        def on_io(name: str) -> None:
            seen.append(name)
            if len(seen) == step + 1:
                stop()

        database.on_io = on_io

    found = Site().found_after(crash)
    assert seen == list(POINTS[: step + 1])
    assert found == (b"wxy" if POINTS[step] == "synced" else b"ab")


def test_commit_of_a_batch_that_is_cut_off_at_a_moment_was_made_or_was_not() -> None:
    outcomes = []
    for after_ms in range(0, 40, 2):
        site = Site()

        def crash(_: Database, stop: Callable[[], None], site: Site = site, after_ms: int = after_ms) -> None:
            site.kernel.timer(after_ms * MILLISECOND + 1, lambda _: stop(), "crash")

        outcomes.append(site.found_after(crash))
    # A request goes on when its sender is gone.
    assert set(outcomes) == {b"wxy"}


class BatchingFile(MainFile):
    """Commits what SQLite syncs as a batch."""

    __slots__ = ()

    def xSync(self, flags: int) -> None:
        if not self._database.dirty:
            return
        self.xFileControl(BEGIN, 0)
        try:
            self.xFileControl(COMMIT, 0)
        except StorageFailed:
            self.xFileControl(ROLLBACK, 0)
            raise


class BatchingVfs(DepotVfs):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._main_file = BatchingFile


MARKED = {
    "transaction": "{operation: update, marked: true}",
    "spill": "{operation: spill, marked: true}",
    "vacuum": '{sql: "VACUUM", marked: true}',
    "rollback": "{operation: undo, marked: true}",
}

SCENARIO = """
name: crash-in-a-batch
attacks: one statement, committed by batches and crashed at each of its storage operations
setup:
  - CREATE TABLE t(id INTEGER PRIMARY KEY, x)
  - {{sql: "INSERT INTO t(x) VALUES (zeroblob(:size))", repeat: 40, params: {{size: 1500}}}}
  - DELETE FROM t WHERE id > 20
operations:
  update:
    transaction: [UPDATE t SET x = 1 WHERE id < 4, DELETE FROM t WHERE id = 5, SELECT count(*) FROM t]
  spill:
    transaction: [UPDATE t SET x = zeroblob(1400), UPDATE t SET x = zeroblob(1300)]
  undo:
    transaction: [UPDATE t SET x = zeroblob(1400), DELETE FROM t]
    rollback: true
clients:
  - name: client
    script:
      - {step}
      - {{sql: "INSERT INTO t(x) VALUES ('after')"}}
      - {{sql: "SELECT count(*), sum(length(x)) FROM t"}}
instances: {{sqlite_cache_kib: 20}}
"""


@pytest.mark.parametrize("step", list(MARKED))
def test_statement_that_commits_by_a_batch_is_recovered_from_everywhere(step: str) -> None:
    prepared = prepare(parse_scenario(SCENARIO.format(step=MARKED[step]), "batch.yaml"))
    parts = replace(parts_for("single"), vfs=BatchingVfs)
    plan = prepared.plans.draw(1)
    calm: Run = execute(prepared, plan, Decisions(1), parts)
    assert calm.violations == []
    assert calm.marked_io >= 4, "the step reaches storage"
    for io in range(1, calm.marked_io + 1):
        run = execute(prepared, crash_at_marked_io(plan, io), Decisions(1), parts)
        assert run.violations == [], f"crash at storage operation {io} of {step}"
        observed = [event.when for event in run.history if isinstance(event, StateObserved)]
        assert observed == ["recovery", "end"], f"crash at storage operation {io} of {step} did not happen"

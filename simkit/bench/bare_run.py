"""The least that a crash test of SQLite can cost: the yardstick for what a whole simulated run costs.

Two tasks on real SQLite over a dictionary of pages, ten statements, one sleep for each page that is fetched and
each sync; everything crashes at a random time; a later connection opens what was synced, checks its integrity
and reads the table. No depot, no fences, no history, no oracle, no decisions worth recording: what a run of the
smallest scenario adds to this is what simkit adds to the bare technique.
"""

from __future__ import annotations

import random

import apsw

from simkit.bench.bare_vfs import BareVfs
from simkit.kernel import Crashed, Decisions, Group, Kernel
from simkit.kernel.units import MILLISECOND

SUMMARY = "the same statements, a crash and a recovery, without depot, history and checks"


def _connect(store: BareVfs) -> apsw.Connection:
    connection = apsw.Connection("bare", vfs=store.vfs_name)
    connection.set_busy_handler(lambda _: store.wait() is None)
    return connection


def make_table() -> dict[int, bytes]:
    """The pages of a small table."""
    store = BareVfs({}, lambda: None)
    connection = _connect(store)
    connection.execute("CREATE TABLE counter(id INTEGER PRIMARY KEY, value INTEGER NOT NULL)").fetchall()
    connection.execute("INSERT INTO counter VALUES(1, 0), (2, 0), (3, 0), (4, 0)").fetchall()
    connection.close()
    store.unregister()
    return store.synced


def run(table: dict[int, bytes], seed: int) -> None:
    """One run: work, crash, recover, look."""
    draw = random.Random(seed).random
    kernel = Kernel(Decisions(seed))
    process: Group = kernel.group("process")

    def fetch() -> None:
        if process.crashed:
            raise apsw.IOError("crashed")
        kernel.sleep(MILLISECOND)

    store = BareVfs(dict(table), fetch)

    def client(sql: str) -> None:
        connection = _connect(store)
        try:
            for number in range(5):
                connection.execute(sql, (number % 4 + 1,)).fetchall()
        except (Crashed, apsw.Error):
            pass
        finally:
            connection.close(True)

    kernel.timer(int((5 + draw() * 10) * MILLISECOND), lambda _: process.crash(), "crash")
    for sql in ("UPDATE counter SET value = value + 1 WHERE id = ?", "SELECT value FROM counter WHERE id >= ?"):
        kernel.spawn(client, sql, group=process, name="client")
    kernel.run()
    kernel.close()
    store.unregister()
    later = Kernel(Decisions(seed))
    recovered = BareVfs(store.synced, lambda: later.sleep(MILLISECOND))

    def look() -> None:
        connection = _connect(recovered)
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise AssertionError("the bare technique lost the database")
        connection.execute("SELECT * FROM counter").fetchall()
        connection.close()

    later.spawn(look, name="look")
    later.run()
    later.close()
    recovered.unregister()


def run_all(table: dict[int, bytes], seeds: int) -> None:
    """Runs seeds 0 to `seeds` - 1."""
    for seed in range(seeds):
        run(table, seed)

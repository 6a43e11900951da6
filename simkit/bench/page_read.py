"""What one page read costs: SQLite over a bare Python VFS, suspended in the kernel, and through the whole depot model.

The same statement scans the same table of short rows (count and sum of lengths, about sixty rows a page) with SQLite's
cache switched off, so that every page is one xRead. The kernel case differs from the bare one by one sleep in xRead;
the depot case is what a scenario runs, with latency decisions and history, and a page cache of size zero. The
differences in microseconds are shown beside the ratios, because a ratio depends on what SQLite does with a page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import apsw

from simkit.bench.bare_vfs import PAGE_SIZE, BareVfs
from simkit.bench.figure import Figure, at_most, for_orientation, median_ratio, paired, seconds
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.kernel.units import MICROSECOND
from simkit.vfs.database import Database
from simkit.vfs.filesystem import RandomBytes, registered
from simkit.vfs.settings import VfsSettings

SCANS = 8
_SCAN = "SELECT count(*), sum(length(v)) FROM kv NOT INDEXED"
_ROWS_PER_PAGE = 60


def measure(pages: int = 1_000, rounds: int = 9) -> list[Figure]:
    """The figures for a table of about `pages` pages."""
    image = build_image(pages, _ROWS_PER_PAGE)
    content = page_contents(image)
    cases = [
        lambda: _bare(content, lambda: None),
        lambda: _in_kernel(content),
        lambda: through_depot(image),
        lambda: through_depot(image, cached=True),
    ]
    bare, kernel, depot, cached = paired(cases, rounds)
    note = f"{len(content):,} pages, {SCANS} scans, median of {rounds} rounds"
    return [
        for_orientation("page read, bare Python VFS", min(bare) * 1e6, "µs", note),
        for_orientation("added by suspending in the kernel", (min(kernel) - min(bare)) * 1e6, "µs", note),
        for_orientation("added by the whole depot model", (min(depot) - min(bare)) * 1e6, "µs", note),
        for_orientation("added by a hit of the page cache", (min(cached) - min(bare)) * 1e6, "µs", note),
        at_most("page read that hits the page cache / bare", median_ratio(cached, bare), "times", 1.5, note),
        at_most("page read suspended in the kernel / bare", median_ratio(kernel, bare), "times", 1.8, note),
        at_most("page read through the whole depot model / bare", median_ratio(depot, bare), "times", 4.0, note),
    ]


def build_image(pages: int, rows_per_page: int = 1) -> DepotImage:
    """A database with a table of about `pages` pages, of one large row a page or of many short ones."""
    kernel = Kernel(Decisions(0))
    depot = Depot(kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, PAGE_SIZE))

    def fill() -> None:
        database = Database(DirectStorage(depot, "bench", depot.allocate()), VfsSettings())
        database.open()
        with registered(database, RandomBytes(0, "bench")) as vfs:
            connection = vfs.connect()
            connection.execute("CREATE TABLE kv(k INTEGER PRIMARY KEY, v)").fetchall()
            value = "v" * 50 if rows_per_page > 1 else bytes(3500)
            rows = pages * rows_per_page
            for first in range(0, rows, 500 * rows_per_page):
                with connection:
                    last = min(first + 500 * rows_per_page, rows)
                    connection.executemany("INSERT INTO kv VALUES(?, ?)", ((row, value) for row in range(first, last)))
            connection.close(True)

    kernel.spawn(fill, name="fill")
    kernel.run()
    kernel.close()
    return depot.image()


def page_contents(image: DepotImage) -> dict[int, bytes]:
    """Every page of an image, by number from 0."""
    kernel = Kernel(Decisions(0))
    depot = Depot(kernel, LATENCY_PROFILES["instant"], image)
    pages: dict[int, bytes] = {}

    def read() -> None:
        storage = DirectStorage(depot, "bench", depot.allocate(), immediate=True)
        count = storage.open().page_count
        numbers = tuple(range(1, count + 1))
        pages.update(
            (number - 1, page or b"") for number, page in zip(numbers, storage.get_pages(numbers), strict=True)
        )

    kernel.spawn(read, name="read")
    kernel.run()
    kernel.close()
    return pages


def through_depot(image: DepotImage, cached: bool = False) -> float:
    """Seconds for each page read by a scan through VFS, DirectStorage and depot, one instance, one client.

    Every page is one request, or a hit of the page cache if `cached`, with everything on that learns from hits.
    """
    settings = VfsSettings() if cached else replace(VfsSettings(), page_cache_pages=0, read_ahead="none")
    kernel = Kernel(Decisions(1))
    depot = Depot(kernel, LATENCY_PROFILES["local-debug"], image)
    per_read = 0.0

    def scan() -> None:
        nonlocal per_read
        database = Database(DirectStorage(depot, "bench", depot.allocate()), settings)
        database.open()
        with registered(database, RandomBytes(0, "bench")) as vfs:
            connection = vfs.connect(readonly=True)
            connection.pragma("cache_size", 1)
            connection.execute(_SCAN).fetchall()
            before = database.counters.requested
            taken = seconds(lambda: [connection.execute(_SCAN).fetchall() for _ in range(SCANS)])
            per_read = taken / (database.counters.requested - before)
            connection.close(True)

    kernel.spawn(scan, name="scan")
    kernel.run()
    kernel.close()
    return per_read


def _in_kernel(content: dict[int, bytes]) -> float:
    kernel = Kernel(Decisions(1))
    result = 0.0

    def scan() -> None:
        nonlocal result
        result = _bare(content, lambda: kernel.sleep(MICROSECOND))

    kernel.spawn(scan, name="scan")
    kernel.run()
    kernel.close()
    return result


def _bare(content: dict[int, bytes], wait: Callable[[], None]) -> float:
    """Seconds for each page read by a scan over a VFS that only looks pages up."""
    vfs = BareVfs(content, wait)
    try:
        connection = apsw.Connection("bench", flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs.vfs_name)
        connection.pragma("cache_size", 1)
        connection.execute(_SCAN).fetchall()
        before = vfs.fetched
        taken = seconds(lambda: [connection.execute(_SCAN).fetchall() for _ in range(SCANS)])
        connection.close(True)
        return taken / (vfs.fetched - before)
    finally:
        vfs.unregister()

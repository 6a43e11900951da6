"""What one page read costs: SQLite over a bare Python VFS, suspended in the kernel, and through the whole depot model.

The same statement scans the same table of short rows (count and sum of lengths, about sixty rows a page) with SQLite's
cache switched off, so that every page is one xRead. The kernel case differs from the bare one by one sleep in xRead;
the depot case is what a scenario runs, with latency decisions and history, and a page cache of size zero. The
differences in microseconds are shown beside the ratios, because a ratio depends on what SQLite does with a page.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw

from simkit.bench.figure import Figure, at_most, for_orientation, median_ratio, paired, seconds
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.vfs.database import Database
from simkit.vfs.filesystem import RandomBytes, registered
from simkit.vfs.settings import VfsSettings

PAGE_SIZE = 4096
SCANS = 8
_SCAN = "SELECT count(*), sum(length(v)) FROM kv NOT INDEXED"
_ROWS_PER_PAGE = 60


def measure(pages: int = 1_000, rounds: int = 9) -> list[Figure]:
    """The figures for a table of about `pages` pages."""
    image = build_image(pages, _ROWS_PER_PAGE)
    content = page_contents(image)
    cases = [
        lambda: _bare(content, None),
        lambda: _in_kernel(content),
        lambda: through_depot(image),
    ]
    bare, kernel, depot = paired(cases, rounds)
    note = f"{len(content):,} pages, {SCANS} scans, median of {rounds} rounds"
    return [
        for_orientation("page read, bare Python VFS", min(bare) * 1e6, "µs", note),
        for_orientation("added by suspending in the kernel", (min(kernel) - min(bare)) * 1e6, "µs", note),
        for_orientation("added by the whole depot model", (min(depot) - min(bare)) * 1e6, "µs", note),
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
    """Every page of an image, by number."""
    kernel = Kernel(Decisions(0))
    depot = Depot(kernel, LATENCY_PROFILES["instant"], image)
    pages: dict[int, bytes] = {}

    def read() -> None:
        storage = DirectStorage(depot, "bench", depot.allocate(), immediate=True)
        count = storage.open().page_count
        numbers = tuple(range(1, count + 1))
        pages.update((number, page or b"") for number, page in zip(numbers, storage.get_pages(numbers), strict=True))

    kernel.spawn(read, name="read")
    kernel.run()
    kernel.close()
    return pages


def through_depot(image: DepotImage) -> float:
    """Seconds for each page read by a scan through VFS, DirectStorage and depot, one instance, one client."""
    kernel = Kernel(Decisions(1))
    depot = Depot(kernel, LATENCY_PROFILES["local-debug"], image)
    per_read = 0.0

    def scan() -> None:
        nonlocal per_read
        database = Database(DirectStorage(depot, "bench", depot.allocate()), VfsSettings(page_cache_pages=0))
        database.open()
        with registered(database, RandomBytes(0, "bench")) as vfs:
            connection = vfs.connect(readonly=True)
            connection.pragma("cache_size", 1)
            connection.execute(_SCAN).fetchall()
            before = depot.requests_total
            taken = seconds(lambda: [connection.execute(_SCAN).fetchall() for _ in range(SCANS)])
            per_read = taken / (depot.requests_total - before)
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
        result = _bare(content, lambda: kernel.sleep(1_000))

    kernel.spawn(scan, name="scan")
    kernel.run()
    kernel.close()
    return result


def _bare(content: dict[int, bytes], before_read: Callable[[], None] | None) -> float:
    """Seconds for each page read by a scan over a VFS that only looks pages up."""
    vfs = _LookUpVfs(content, before_read)
    try:
        connection = apsw.Connection("bench", flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs.vfs_name)
        connection.pragma("cache_size", 1)
        connection.execute(_SCAN).fetchall()
        vfs.reads = 0
        taken = seconds(lambda: [connection.execute(_SCAN).fetchall() for _ in range(SCANS)])
        connection.close(True)
        return taken / vfs.reads
    finally:
        vfs.unregister()


class _LookUpVfs(apsw.VFS):
    """As little Python as a VFS can do with: a dictionary of pages."""

    def __init__(self, content: dict[int, bytes], before_read: Callable[[], None] | None) -> None:
        self.vfs_name = "simkit-bench"
        super().__init__(self.vfs_name, "", maxpathname=512)
        self.content = content
        self.before_read = before_read
        self.reads = 0

    def xOpen(self, name: object, flags: list[int]) -> _LookUpFile:
        return _LookUpFile(self)

    def xAccess(self, path: str, flags: int) -> bool:
        return False

    def xFullPathname(self, path: str) -> str:
        return path

    def xDelete(self, path: str, sync: bool) -> None:
        """Nothing is ever there."""


class _LookUpFile:
    def __init__(self, vfs: _LookUpVfs) -> None:
        self._vfs = vfs
        self._content = vfs.content

    def xRead(self, amount: int, offset: int) -> bytes:
        vfs = self._vfs
        vfs.reads += 1
        if vfs.before_read is not None:
            vfs.before_read()
        number, within = divmod(offset, PAGE_SIZE)
        page = self._content[number + 1]
        return page if amount == PAGE_SIZE else page[within : within + amount]

    def xFileSize(self) -> int:
        return len(self._content) * PAGE_SIZE

    def xLock(self, level: int) -> None:
        """One reader: no locks."""

    def xUnlock(self, level: int) -> None:
        """One reader: no locks."""

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, operation: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return PAGE_SIZE

    def xDeviceCharacteristics(self) -> int:
        return 0

    def xClose(self) -> None:
        """Nothing to close."""

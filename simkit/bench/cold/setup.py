"""The database that a workload finds: made once by plain SQLite, kept between runs by what went into it.

A seed's statements decide every page, so the same database comes out of any SQLite file; making it through the
simulated storage would only take longer. A kept file is named by a digest of the schema's and the seed's code, the
sizes and SQLite's version: whatever could change a page makes another file, and none is ever out of date.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO, Final

import apsw

from simkit.bench.cold import seeds
from simkit.bench.cold.schema import SCHEMAS
from simkit.bench.cold.seeds import Seed, seed_statements
from simkit.bench.cold.sizes import ROW_BYTES
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel

PAGE_BYTES: Final = 4_096
_COMMIT_PAGES: Final = 1_000
_IMAGES_KEPT: Final = 2
_PAGES_KEPT: Final = 65_536
"""Pages of all images in memory together, except that the latest is kept whatever its size."""

_HEADER: Final = b"SQLite format 3\x00"


class SetupCache:
    """Databases that were set up, in a folder, and the last of them as images of a depot in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._images: OrderedDict[tuple[str, Seed | None, int], tuple[DepotImage, int]] = OrderedDict()

    def image(self, schema: str, seed: Seed | None, target_bytes: int) -> tuple[DepotImage, int]:
        """A depot that holds the database, and the database's size in pages.

        Raises `KeyError` for an unknown schema and `OSError` when the folder cannot be used.
        """
        key = (schema, seed, target_bytes)
        if key not in self._images:
            with self._content(schema, seed, target_bytes) as content:
                count = content.seek(0, os.SEEK_END) // PAGE_BYTES
                self._make_room(count)
                self._images[key] = (_depot_with(content, count), count)
        self._images.move_to_end(key)
        return self._images[key]

    def _make_room(self, count: int) -> None:
        """For an image of so many pages, by forgetting the one that was used longest ago, and so on."""
        while self._images and (len(self._images) >= _IMAGES_KEPT or self._pages + count > _PAGES_KEPT):
            self._images.popitem(last=False)

    @property
    def _pages(self) -> int:
        return sum(count for _, count in self._images.values())

    def _content(self, schema: str, seed: Seed | None, target_bytes: int) -> BinaryIO:
        """The database file: kept from an earlier run, or made and kept."""
        if self._folder is None:
            connection = _made(":memory:", schema, seed, target_bytes)
            try:
                return io.BytesIO(connection.serialize("main"))
            finally:
                connection.close(True)
        path = self._folder / f"{_digest(schema, seed, target_bytes)}.db"
        if not (path.exists() and _is_whole(path)):
            self._folder.mkdir(parents=True, exist_ok=True)
            # Under another name first: somebody else may look for the file at this moment.
            unfinished = path.with_suffix(f".{os.getpid()}")
            try:
                unfinished.unlink(missing_ok=True)
                _made(str(unfinished), schema, seed, target_bytes).close(True)
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
        return path.open("rb")


def _is_whole(path: Path) -> bool:
    """Whether a kept file is a database of the size that its header says."""
    with path.open("rb") as file:
        head = file.read(32)
    pages = int.from_bytes(head[28:32], "big")
    return head.startswith(_HEADER) and path.stat().st_size == pages * PAGE_BYTES


def _digest(schema: str, seed: Seed | None, target_bytes: int) -> str:
    parts = (
        *SCHEMAS[schema],
        inspect.getsource(seeds),
        str(seed),
        f"{target_bytes} {ROW_BYTES} {PAGE_BYTES}",
        apsw.sqlite_lib_version(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _made(name: str, schema: str, seed: Seed | None, target_bytes: int) -> apsw.Connection:
    """A connection to the database that the schema and the seed make, which is new and without a journal.

    Neither the journal nor where the database is has an influence on its pages, but for the counter of changes in the
    header of the first.
    """
    connection = apsw.Connection(name)
    try:
        for pragma in (f"page_size = {PAGE_BYTES}", "auto_vacuum = NONE", "journal_mode = OFF", "synchronous = OFF"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        for statement in SCHEMAS[schema]:
            connection.execute(statement).fetchall()
        for statement, params in seed_statements(seed, target_bytes):
            connection.execute(statement, params).fetchall()
    except BaseException:
        connection.close(True)
        raise
    return connection


def _depot_with(content: BinaryIO, count: int) -> DepotImage:
    """A depot that holds the `count` pages of a file, in as many commits as its limits ask for."""
    kernel = Kernel(Decisions(0))
    depot = Depot(kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, PAGE_BYTES))
    content.seek(0)

    def load() -> None:
        storage = DirectStorage(depot, "setup", depot.allocate())
        storage.open()
        for first in range(1, count + 1, _COMMIT_PAGES):
            numbers = range(first, min(first + _COMMIT_PAGES, count + 1))
            storage.commit({number: content.read(PAGE_BYTES) for number in numbers}, numbers[-1])

    kernel.spawn(load, name="setup")
    try:
        kernel.run()
    finally:
        kernel.close()
    return depot.image()

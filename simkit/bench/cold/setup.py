"""The database that a workload finds: made once by plain SQLite, kept between runs by what went into it.

A seed's statements decide every page, so the same database comes out of any SQLite file; making it through the
simulated storage would only take longer. A kept file is named by a digest of the schema's and the seed's code, the
sizes and SQLite's version: whatever could change a page makes another file, and none is ever out of date.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections import OrderedDict
from pathlib import Path
from typing import Final

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
            content = self.content(schema, seed, target_bytes)
            while len(self._images) >= _IMAGES_KEPT:
                self._images.popitem(last=False)
            self._images[key] = (_depot_with(content), len(content) // PAGE_BYTES)
        self._images.move_to_end(key)
        return self._images[key]

    def content(self, schema: str, seed: Seed | None, target_bytes: int) -> bytes:
        """The database file: kept from an earlier run, or made and kept."""
        if self._folder is None:
            return _make(schema, seed, target_bytes)
        path = self._folder / f"{_digest(schema, seed, target_bytes)}.db"
        if path.exists():
            content = path.read_bytes()
            if _is_whole(content):
                return content
        content = _make(schema, seed, target_bytes)
        self._folder.mkdir(parents=True, exist_ok=True)
        # Under another name first: somebody else may look for the file at this moment.
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.replace(path)
        return content


def _is_whole(content: bytes) -> bool:
    """Whether a kept file is a database of the size that its header says."""
    pages = int.from_bytes(content[28:32], "big")
    return content.startswith(_HEADER) and len(content) == pages * PAGE_BYTES


def _digest(schema: str, seed: Seed | None, target_bytes: int) -> str:
    parts = (
        *SCHEMAS[schema],
        inspect.getsource(seeds),
        str(seed),
        f"{target_bytes} {ROW_BYTES} {PAGE_BYTES}",
        apsw.sqlite_lib_version(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _make(schema: str, seed: Seed | None, target_bytes: int) -> bytes:
    connection = apsw.Connection(":memory:")
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}").fetchall()
        connection.execute("PRAGMA auto_vacuum = NONE").fetchall()
        for statement in SCHEMAS[schema]:
            connection.execute(statement).fetchall()
        for statement, params in seed_statements(seed, target_bytes):
            connection.execute(statement, params).fetchall()
        return connection.serialize("main")
    finally:
        connection.close(True)


def _depot_with(content: bytes) -> DepotImage:
    """A depot that holds the pages of a file, in as many commits as its limits ask for."""
    kernel = Kernel(Decisions(0))
    depot = Depot(kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, PAGE_BYTES))
    count = len(content) // PAGE_BYTES

    def load() -> None:
        storage = DirectStorage(depot, "setup", depot.allocate())
        storage.open()
        for first in range(1, count + 1, _COMMIT_PAGES):
            numbers = range(first, min(first + _COMMIT_PAGES, count + 1))
            pages = {number: content[(number - 1) * PAGE_BYTES : number * PAGE_BYTES] for number in numbers}
            storage.commit(pages, numbers[-1])

    kernel.spawn(load, name="setup")
    try:
        kernel.run()
    finally:
        kernel.close()
    return depot.image()

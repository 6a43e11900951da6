"""Reading pages: resolve the database, check the fences, find each page's newest owner, load its delta.

Upholds ISO-2 (one request sees one version: it reads a single snapshot of the key-value store) and refuses to
invent data: a page below the size without a readable source is an error, never zeros.

Decoding a delta is the simulator's own cost, not the model's, so decoded deltas are kept; an entry is
good only while the store still holds the very bytes it was decoded from.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from simkit.depot.core import Core
from simkit.depot.errors import ShardCoverageMissing
from simkit.depot.events import PagesRead
from simkit.depot.fault_points import FaultPoint
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import Snapshot
from simkit.depot.ltx import BlobCorrupt
from simkit.depot.request import NO_HEAD, Reply, Request
from simkit.kernel import Happening


class PageReader:
    """Answers get_pages and open."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kernel = core.kernel
        self._store = core.store
        self._blobs = core.blobs
        self._faults = core.faults
        #: deltas by owner row, found in this snapshot: while nothing is committed they need no second look
        self._found: dict[bytes, dict[int, bytes]] = {}
        self._found_in: Snapshot | None = None

    def handle(self, request: Request) -> Generator[Happening, Any, Reply]:
        """Reads the requested pages at one version. Raises the depot's errors."""
        faults = self._faults
        if faults is not None:
            yield from faults.at(FaultPoint.READ_BEFORE_SCOPE_RESOLVE, request)
            yield from faults.at(FaultPoint.READ_AFTER_SCOPE_RESOLVE, request)
            yield from faults.at(FaultPoint.READ_AFTER_PIDX_SCAN, request)
            yield from faults.at(FaultPoint.READ_AFTER_DELTA_BLOB_LOAD, request)
        reply = self.read(request)
        if faults is not None:
            yield from faults.at(FaultPoint.READ_BEFORE_RETURN_PAGES, request)
        return reply

    def read(self, request: Request) -> Reply:
        """The read itself, at one instant."""
        snapshot = self._store.snapshot()
        view = self._core.view(request.database)
        if request.kind == "open" and view.is_empty(snapshot):
            return Reply(NO_HEAD, 0, [None])
        keys, head = view.resolve(snapshot, request, request.kind)
        page_count = head.page_count
        pages: list[bytes | None] = [
            self._page(snapshot, keys, number) if number <= page_count else None for number in request.numbers
        ]
        kernel = self._kernel
        kernel.record(
            PagesRead(kernel.now, request.task_name, request.instance, request.number, request.numbers, head.txid)
        )
        return Reply(head.txid, page_count, pages)

    def _page(self, snapshot: Snapshot, keys: BranchKeys, number: int) -> bytes:
        owner = snapshot.get(keys.pidx(number))
        if owner is None:
            raise ShardCoverageMissing(f"page {number} has no row in the page index")
        if snapshot is not self._found_in:
            self._found_in = snapshot
            self._found.clear()
        pages = self._found.get(owner)
        if pages is None:
            pages = self._found[owner] = self._delta(snapshot, keys, owner)
        page = pages.get(number)
        if page is None:
            raise ShardCoverageMissing(f"page {number} is not in delta {int.from_bytes(owner, 'big')}, its owner")
        return page

    def _delta(self, snapshot: Snapshot, keys: BranchKeys, owner: bytes) -> dict[int, bytes]:
        txid = int.from_bytes(owner, "big")
        try:
            pages = self._blobs.delta(snapshot, keys, txid)
        except BlobCorrupt as error:
            raise ShardCoverageMissing(f"delta {txid} cannot be decoded: {error}") from error
        if pages is None:
            raise ShardCoverageMissing(f"delta {txid} is missing")
        return pages

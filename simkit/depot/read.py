"""Reading pages: resolve the database, check the fences, find each page's newest owner, load its delta.

Upholds ISO-2 (one request sees one version: it reads a single snapshot of the key-value store) and refuses to
invent data: a page below the size without a readable source is an error, never zeros.

Decoding a delta is the simulator's own cost, not the model's, so decoded deltas are kept; an entry is
good only while the store still holds the very bytes it was decoded from.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from simkit.depot.blob import BlobCorrupt, decode_delta, join_chunks
from simkit.depot.content import DatabaseView, DecodedDeltas
from simkit.depot.errors import PageSourceMissing
from simkit.depot.events import PagesRead
from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Faults
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import KeyValueStore, Snapshot
from simkit.depot.request import NO_HEAD, Reply, Request
from simkit.kernel import Happening, Kernel


class PageReader:
    """Answers get_pages."""

    def __init__(
        self,
        kernel: Kernel,
        store: KeyValueStore,
        view: DatabaseView,
        decoded: DecodedDeltas,
        faults: Faults | None,
    ) -> None:
        self._kernel = kernel
        self._store = store
        self._view = view
        self._decoded = decoded
        self._faults = faults
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
        if request.kind == "open" and self._view.is_empty(snapshot):
            return Reply(NO_HEAD, 0, [None])
        keys, head = self._view.resolve(snapshot, request, request.kind)
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
            raise PageSourceMissing(f"page {number} has no row in the page index")
        if snapshot is not self._found_in:
            self._found_in = snapshot
            self._found.clear()
        pages = self._found.get(owner)
        if pages is None:
            pages = self._found[owner] = self._delta(snapshot, keys, owner)
        page = pages.get(number)
        if page is None:
            raise PageSourceMissing(f"page {number} is not in delta {int.from_bytes(owner, 'big')}, its owner")
        return page

    def _delta(self, snapshot: Snapshot, keys: BranchKeys, owner: bytes) -> dict[int, bytes]:
        txid = int.from_bytes(owner, "big")
        first_chunk = snapshot.get(keys.delta(txid, 0))
        if first_chunk is None:
            raise PageSourceMissing(f"delta {txid} is missing")
        pages = self._decoded.get(txid, first_chunk)
        if pages is None:
            rows = snapshot.get_range(*keys.delta_range(txid))
            try:
                pages = decode_delta(join_chunks((keys.parse_delta(key)[1], chunk) for key, chunk in rows)).pages
            except BlobCorrupt as error:
                raise PageSourceMissing(f"delta {txid} cannot be decoded: {error}") from error
            self._decoded.put(txid, first_chunk, pages)
        return pages

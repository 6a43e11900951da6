"""Sweeps a depot in the middle of a run: scans its rows, and has the depot read every version that must be readable.

For DEPOT-1 to DEPOT-19 and COMP-1. What the versions hold is known from the commits, as they became durable. A sweep
takes no simulated time, is nobody's request, and leaves one event in the history, which `swept` judges; so it may come
between any two commits of the store. Of branches that were derived it learns from their records. A version is
read again when a row that it depends on has changed, and once more at the end.
"""

from __future__ import annotations

from simkit.check.contents import Contents, checksum_of
from simkit.check.depot_reading import (
    content_at,
    head_of,
    keepers,
    kept_versions,
    page_count_at,
    parent_of,
    watermark_of,
)
from simkit.check.depot_rows import BranchRows, DepotRows
from simkit.check.depot_scan import DepotScan
from simkit.check.events import DepotSwept, VersionRead
from simkit.check.rereading import Rereading
from simkit.depot.blobs import Readable
from simkit.depot.core import EPOCH_MS
from simkit.depot.depot import Depot
from simkit.depot.errors import DepotError
from simkit.depot.events import ManagerLooked
from simkit.depot.keys import BRANCH_ID_BYTES
from simkit.depot.kv import KeyValueImage
from simkit.depot.ltx import BlobCorrupt
from simkit.depot.records import RecordCorrupt
from simkit.depot.request import Request
from simkit.kernel.units import MILLISECOND

END = "end"
"""The occasion on which every version is read, whatever has changed."""
_IMAGES_MAX = 4
_NAMED_MAX = 5

_known_images: list[tuple[KeyValueImage, Contents]] = []


class Sweeper:
    """Follows the commits of one depot. Create it before the run begins.

    It puts itself in front of whatever `depot.on_applied` calls by then. Who sets that later calls `applied` as well.
    """

    def __init__(self, depot: Depot) -> None:
        self._depot = depot
        self._kernel = depot.kernel
        self._shard_pages = depot.core.settings.shard_pages
        self._scan = DepotScan(depot.store, depot.page_size, self._shard_pages)
        self._contents = self._contents_of_image()
        self._rereading = Rereading()
        self._next = depot.on_applied
        depot.on_applied = self._applied_first

    def _applied_first(self, request: Request) -> None:
        self.applied(request)
        if self._next is not None:
            self._next(request)

    def applied(self, request: Request) -> None:
        """A commit became durable just now."""
        if request.branch not in self._contents:
            self._learn(request.branch)
        self._contents.commit(request.branch, request.txid, request.page_count, request.pages)

    def sweep(self, when: str, at_rest: bool = False) -> DepotSwept:
        """Scans and reads everything at this instant, and records what it found.

        Parameters:
            when: the occasion, for messages.
            at_rest: whether compaction has nothing left to do, so that nothing needless may be left.
        """
        depot, kernel = self._depot, self._kernel
        rows = self._scan.follow()
        for branch in rows.branches.values():
            if branch.number not in self._contents:
                self._learn(branch.number)
        looked_ms = self._looked_ms() if at_rest else None
        findings = self._scan.run(depot.core.now_ms, at_rest, self._contents.shard_problem, looked_ms)
        if when == END:
            self._rereading.forget()
        versions = self._read_versions(rows)
        event = DepotSwept(kernel.now, "", when, at_rest, tuple(findings), tuple(versions), self._kept(rows))
        kernel.record(event)
        return event

    def _read_versions(self, depot: DepotRows) -> list[VersionRead]:
        readable = self._depot.store.snapshot()
        wrong: list[VersionRead] = []
        for rows in depot.branches.values():
            if rows.is_gone:
                continue
            wanted = self._wanted(rows)
            for txid in self._rereading.due(depot, rows, wanted):
                version = self._read(readable, rows, txid, wanted[txid])
                if version.error:
                    wrong.append(version)
                else:
                    self._rereading.is_right(rows, txid)
            watermark = watermark_of(rows)
            self._contents.forget(rows.number, [*wanted, watermark])
        return wrong

    def _looked_ms(self) -> dict[int, int]:
        """By branch: when its compaction manager looked at it last."""
        looks = (event for event in self._kernel.history if isinstance(event, ManagerLooked))
        return {look.branch: EPOCH_MS + look.at // MILLISECOND for look in looks}

    def _kept(self, depot: DepotRows) -> tuple[str, ...]:
        """What must be readable and what for, in words."""
        kept: list[str] = []
        for rows in depot.branches.values():
            head = head_of(rows)
            if head is not None and not rows.is_gone:
                kept.append(f"{rows.number}:{head.txid}:head")
            kept += [f"{rows.number}:{txid}:{why}" for txid, why in keepers(rows, self._depot.core.now_ms)]
        return tuple(kept)

    def _wanted(self, rows: BranchRows) -> dict[int, str]:
        """What must be readable."""
        wanted = kept_versions(rows, self._depot.core.now_ms)
        head = head_of(rows)
        if head is not None:
            wanted.setdefault(head.txid, "head")
        return wanted

    def _read(self, readable: Readable, rows: BranchRows, txid: int, why: str) -> VersionRead:
        number, contents = rows.number, self._contents
        try:
            pages = self._depot.core.sources.contents(readable, rows.keys, txid)
        except (DepotError, BlobCorrupt, RecordCorrupt) as error:
            return VersionRead(number, txid, why, contents.checksum(number, txid), None, _in_words(error))
        if contents.is_latest(number, txid, pages):
            return VersionRead(number, txid, why, None, None)
        expected, found = contents.checksum(number, txid), checksum_of(pages)
        error_text = ""
        if expected is not None and expected != found:
            differing = contents.differing(number, txid, pages)
            named = ", ".join(map(str, differing[:_NAMED_MAX]))
            more = f" and {len(differing) - _NAMED_MAX} more" if len(differing) > _NAMED_MAX else ""
            error_text = f"pages {named}{more} are not what was committed"
        return VersionRead(number, txid, why, expected, found, error_text)

    # What the run began with, and branches that were derived

    def _learn(self, number: int) -> None:
        """A branch that nothing is known of: if it was derived, it begins with what its parent had."""
        depot = self._scan.follow()
        rows = depot.branches.get(number.to_bytes(BRANCH_ID_BYTES, "big"))
        derived = parent_of(depot, rows) if rows is not None else None
        if derived is not None:
            parent, txid = derived
            if parent.number not in self._contents:
                self._learn(parent.number)
            self._contents.derive(number, parent.number, txid)

    def _contents_of_image(self) -> Contents:
        """The contents of what was readable at the start; read once for all runs that begin with one image."""
        image, _ = self._depot.store.changes()
        for known, contents in _known_images:
            if known is image:
                return contents.copy()
        contents = Contents()
        depot, shard_pages = self._scan.rows, self._shard_pages
        for rows in depot.branches.values():
            for txid in sorted(self._wanted(rows)):
                size = page_count_at(depot, rows, txid)
                pages = content_at(depot, rows, txid, shard_pages)
                if size is not None and all(number in pages for number in range(1, size + 1)):
                    present = {number: page for number, page in sorted(pages.items()) if number <= size}
                    contents.commit(rows.number, txid, size, present)
        _known_images.append((image, contents))
        del _known_images[:-_IMAGES_MAX]
        return contents.copy()


def _in_words(error: Exception) -> str:
    return f"it cannot be read: {type(error).__name__}: {error}"

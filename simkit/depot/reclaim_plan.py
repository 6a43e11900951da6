"""What reclaim may delete of a branch: which rows no readable version needs.

Upholds COMP-1 and DEPOT-19. What has to stay readable is the head, the hot watermark w, and every commit that a pin or
an unexpired interval keeps (`retention.py`). With V for w and for each kept commit at or below it:

* A delta at or below w goes when the page index does not name it and, for every V at or above it and each of its pages
  within the size at V, the newest version of the page's shard at or below V is not older than the delta.
* A version of a shard at or below w goes unless it is, for some V, the newest at or below V, and its shard begins
  within the size at V.
* The row and the versionstamp of a commit below w go unless it is kept. The row of w itself stays, because the size of
  the database at w is needed for the two rules above.
* Intervals that have expired go, and so does what jobs staged that are not running any more.

Pages beyond the size at a version need no source there: they come back only with a commit that brings all of them.
Reads one branch at one instant and changes nothing; what its children need is pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from simkit.depot.blobs import Readable
from simkit.depot.core import Core
from simkit.depot.keys import BranchKeys
from simkit.depot.ltx import BlobCorrupt
from simkit.depot.records import PitrInterval, decode_commit_row, decode_row, decode_txid

Kind = Literal["commit", "delta", "shard", "interval", "stage"]
Row = tuple[bytes, bytes]

_ANY_SIZE = 1 << 32


class Doomed(msgspec.Struct, frozen=True):
    """Rows that go together. `job` is the number of the job that staged them."""

    kind: Kind
    rows: tuple[Row, ...]
    job: int = 0

    @property
    def bytes_total(self) -> int:
        return sum(len(key) + len(value) for key, value in self.rows)


class ReclaimPlan(msgspec.Struct, frozen=True):
    """What may be deleted.

    Attributes:
        watermark: the hot watermark it was made at.
        kept: the commits at or below it that had to stay readable.
        history: rows of commits, deltas and shards, in the order in which they have to go.
        cleanup: expired intervals and abandoned stages.
        reason: "reclaim", or why there is nothing to do.
    """

    watermark: int
    kept: frozenset[int]
    history: tuple[Doomed, ...]
    cleanup: tuple[Doomed, ...]
    reason: str

    @property
    def empty(self) -> bool:
        """Whether there is nothing to delete."""
        return not self.history and not self.cleanup


def plan_reclaim(
    core: Core,
    readable: Readable,
    keys: BranchKeys,
    watermark: int,
    kept: frozenset[int],
    is_running: Callable[[int], bool] | None,
) -> ReclaimPlan:
    """What of a branch can be deleted when the commits `kept`, not above the watermark, stay readable.

    `is_running` tells which jobs still use what they staged; without it, none does.
    """
    look = _Look(core, readable, keys, watermark, kept)
    deltas, blocked_by = look.deltas()
    history = (*look.commits(), *deltas, *look.shards())
    cleanup = (*look.intervals(), *look.stages(is_running))
    reason = "reclaim" if history or cleanup else blocked_by or "reclaim:no-actionable-work"
    return ReclaimPlan(watermark, kept, history, cleanup, reason)


class _Look:
    """One branch at one instant, and what of it has to stay readable."""

    def __init__(self, core: Core, readable: Readable, keys: BranchKeys, watermark: int, kept: frozenset[int]) -> None:
        self._core = core
        self._readable = readable
        self._keys = keys
        self._watermark = watermark
        self._kept = kept
        #: how many pages the database had at the versions that must stay readable
        self._sizes = {version: self._size_at(version) for version in sorted(kept | {watermark})}
        #: by shard its versions up to the watermark, ascending
        self._versions = self._shard_versions()

    def commits(self) -> Iterable[Doomed]:
        keys, readable = self._keys, self._readable
        for key, raw in readable.get_range(keys.commits_range()[0], keys.commits(self._watermark)):
            if keys.parse_commits(key) in self._kept:
                continue
            stamp_key = keys.vtx(decode_commit_row(raw).versionstamp)
            named = readable.get(stamp_key)
            yield Doomed("commit", ((key, raw),) if named is None else ((key, raw), (stamp_key, named)))

    def shards(self) -> Iterable[Doomed]:
        keys, shard_pages = self._keys, self._core.settings.shard_pages
        for shard, versions in self._versions.items():
            needed = {
                max((as_of for as_of in versions if as_of <= kept), default=None)
                for kept, size in self._sizes.items()
                if shard * shard_pages <= size
            }
            for as_of in versions:
                if as_of not in needed:
                    yield Doomed("shard", tuple(self._readable.get_range(*keys.shard_range(shard, as_of))))

    def deltas(self) -> tuple[list[Doomed], str]:
        """The deltas that can go, and what keeps others."""
        keys, readable = self._keys, self._readable
        blobs: dict[int, list[Row]] = {}
        for row in readable.get_range(keys.all_deltas_range()[0], keys.delta_range(self._watermark)[1]):
            blobs.setdefault(keys.parse_delta(row[0])[0], []).append(row)
        if not blobs:
            return [], ""
        owners = {decode_txid(raw) for _, raw in readable.get_range(*keys.pidx_range())}
        doomed, blocked_by = [], ""
        for txid, rows in blobs.items():
            if txid in owners:
                blocked_by = blocked_by or "reclaim:pidx-dependencies"
            elif not self._is_covered(txid):
                blocked_by = "reclaim:missing-shard-coverage"
            else:
                doomed.append(Doomed("delta", tuple(rows)))
        return doomed, blocked_by

    def intervals(self) -> Iterable[Doomed]:
        now_ms = self._core.now_ms
        for row in self._readable.get_range(*self._keys.pitr_range()):
            if decode_row(PitrInterval, row[1]).expires_at_ms <= now_ms:
                yield Doomed("interval", (row,))

    def stages(self, is_running: Callable[[int], bool] | None) -> Iterable[Doomed]:
        keys = self._keys
        for row in self._readable.get_range(*keys.stage_range()):
            job = keys.parse_stage(row[0])[0]
            if is_running is None or not is_running(job):
                yield Doomed("stage", (row,), job)

    def _size_at(self, txid: int) -> int:
        raw = self._readable.get(self._keys.commits(txid))
        return decode_commit_row(raw).page_count if raw is not None else _ANY_SIZE

    def _shard_versions(self) -> dict[int, list[int]]:
        keys = self._keys
        versions: dict[int, list[int]] = {}
        at, end = keys.all_shards_range()
        # From first chunk to first chunk: a shard of real size has dozens.
        while rows := self._readable.get_range(at, end, limit=1):
            shard, as_of, _ = keys.parse_shard(rows[0][0])
            at = keys.shard_range(shard, as_of)[1]
            if as_of <= self._watermark:
                versions.setdefault(shard, []).append(as_of)
        return versions

    def _is_covered(self, txid: int) -> bool:
        """Whether shards hold what a delta holds, or later content, at every version that needs it."""
        try:
            pages = self._core.blobs.delta(self._readable, self._keys, txid)
        except BlobCorrupt:
            pages = None
        if pages is None:
            return False  # what is damaged stays, to be found
        shard_pages = self._core.settings.shard_pages
        for version, size in self._sizes.items():
            if version < txid:
                continue
            for shard in dict.fromkeys(number // shard_pages for number in pages if number <= size):
                if not any(txid <= as_of <= version for as_of in self._versions.get(shard, ())):
                    return False
        return True

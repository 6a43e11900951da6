"""DEPOT-16 and DEPOT-19: what must not be left of a branch once compaction is at rest.

By the rules of what is needed, not by those by which the depot deletes: the versions that must stay readable are the
watermark and what pins and intervals keep below it. A row that none of them needs is left over: the row of a commit, a
delta that shards stand in for, a version of a shard that is the newest for none of them, an interval that expired.

Compaction may be at rest since long before the scan. What the clock has made needless since its last look at a branch
is no finding, so the time of that look is what counts. Frozen branches are left as they are and not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simkit.check.depot_reading import head_of, kept_versions, page_count_at, record_of, watermark_of
from simkit.check.depot_rows import BranchRows, DepotRows
from simkit.depot.records import PitrInterval, RecordCorrupt, decode_row

Finding = tuple[str, str]

_ANY_SIZE = 1 << 32


def scan_leftovers(
    depot: DepotRows, rows: BranchRows, shard_pages: int, looked_ms: int | None, now_ms: int
) -> Iterator[Finding]:
    """What is left over of one branch.

    Parameters:
        looked_ms: when compaction looked at the branch last; None: not in this run, so that nothing has expired for it.
        now_ms: as of now, for a branch that is scanned by itself.
    """
    record = record_of(rows)
    if record is None or record.state != "live":
        return
    where = f"branch {rows.number}"
    for job, shard, as_of in rows.staged.names():
        yield (
            "DEPOT-16",
            f"{where}: shard {shard} as of commit {as_of} is left staged by job {job}, and no job runs",
        )
    left = _Leftovers(depot, rows, shard_pages, min(looked_ms or 0, now_ms))
    watermark = watermark_of(rows)
    for txid in left.deltas():
        yield "DEPOT-19", f"{where}: delta {txid} is left below watermark {watermark}, and nothing needs it"
    for shard, as_of in left.shards():
        yield "DEPOT-19", f"{where}: shard {shard} as of commit {as_of} is left, and no readable version needs it"
    for txid in left.commits():
        yield "DEPOT-19", f"{where}: the row of commit {txid} is left below watermark {watermark}, and nothing keeps it"
    for start_ms in left.intervals():
        yield "DEPOT-19", f"{where}: the interval row of {start_ms} ms is left, and has expired"


class _Leftovers:
    """One branch, and what of it was needed when compaction looked at it."""

    def __init__(self, depot: DepotRows, rows: BranchRows, shard_pages: int, looked_ms: int) -> None:
        self._rows = rows
        self._shard_pages = shard_pages
        self._looked_ms = looked_ms
        self._watermark = watermark_of(rows)
        kept = [txid for txid in kept_versions(rows, looked_ms) if txid <= self._watermark]
        #: by version that needs rows at or below the watermark: the size of the database there
        self._sizes: Mapping[int, int] = {
            version: _ANY_SIZE if (size := page_count_at(depot, rows, version)) is None else size
            for version in sorted({self._watermark, *kept})
        }

    def deltas(self) -> Iterator[int]:
        """Those that no index row names and whose pages shards hold at every version that needs them."""
        rows = self._rows
        named = {int.from_bytes(raw, "big") for raw in rows.pidx.values()}
        versions: dict[int, list[int]] = {}
        for shard, as_of in rows.shards.names():
            versions.setdefault(shard, []).append(as_of)
        for txid in rows.deltas.names():
            pages = rows.deltas.pages(txid)
            if txid > self._watermark or txid in named or not pages:
                continue
            needed = {
                (number // self._shard_pages, version)
                for version, size in self._sizes.items()
                if txid <= version
                for number in pages
                if number <= size
            }
            if all(any(txid <= as_of <= version for as_of in versions.get(shard, ())) for shard, version in needed):
                yield txid

    def shards(self) -> Iterator[tuple[int, int]]:
        """Versions at or below the watermark that are the newest ones at no version which still reaches the shard."""
        newest: dict[int, dict[int, int]] = {}
        names = [name for name in self._rows.shards.names() if name[1] <= self._watermark]
        for shard, as_of in names:
            of_shard = newest.setdefault(shard, {})
            for version, size in self._sizes.items():
                if as_of <= version and shard * self._shard_pages <= size:
                    of_shard[version] = max(as_of, of_shard.get(version, 0))
        for shard, as_of in names:
            if as_of not in newest[shard].values():
                yield shard, as_of

    def commits(self) -> Iterator[int]:
        """Below the watermark; its own row tells the size of the database there, and stays."""
        head = head_of(self._rows)
        for txid in sorted(self._rows.commits):
            if txid < self._watermark and txid not in self._sizes and (head is None or txid != head.txid):
                yield txid

    def intervals(self) -> Iterator[int]:
        """The starts of those that had expired."""
        for start_ms, raw in self._rows.pitr.items():
            try:
                if decode_row(PitrInterval, raw).expires_at_ms <= self._looked_ms:
                    yield start_ms
            except RecordCorrupt:
                continue

"""Scans the rows of a depot for what must hold of them at every instant between two commits of its store.

DEPOT-1 to DEPOT-19 (7 stands for rows of no known family; 11 would be about cold objects, which this depot does not
have). The scan has a way of its own to read a database from the rows and shares none of the depot's. Two findings make
sense only when compaction has nothing left to do: staged rows (DEPOT-16) and what is needless (DEPOT-19).

Here are the rules that concern the rows of several branches; those of one branch are in `branch_scan`,
`one_way` and `leftovers`. What was decoded
or replayed once is not looked at again before its rows change, and a branch none of whose rows changed is not scanned
again, so a scan costs what changed and little more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from simkit.check.branch_scan import BranchScan, Finding
from simkit.check.depot_reading import record_of, replay_shard, start_of
from simkit.check.depot_rows import BranchRows, DepotRows, rows_of
from simkit.check.leftovers import scan_leftovers
from simkit.check.one_way import OneWay
from simkit.check.rereading import Rereading
from simkit.depot.keys import BRANCH_ID_BYTES
from simkit.depot.kv import KeyValueStore
from simkit.depot.records import BranchRecord, Pin, RecordCorrupt, RestorePoint, decode_commit_row, decode_row

_PER_INVARIANT_MAX = 3

ShardJudge = Callable[[int, int, dict[int, bytes]], "str | None"]
"""Takes a branch, a transaction and pages: how they differ from what was committed, "" when not, None: not known."""


class DepotScan:
    """The scan of one depot's store, again and again. Create it before the run begins.

    Parameters:
        page_size: bytes of a page.
        shard_pages: pages of a shard.
    """

    def __init__(self, store: KeyValueStore, page_size: int, shard_pages: int) -> None:
        self._store = store
        self._page_size = page_size
        self._shard_pages = shard_pages
        self.rows = rows_of(store, self._verify_shards)
        self._found: dict[bytes, list[Finding]] = {}
        self._one_way: dict[bytes, OneWay] = {}
        self._rereading = Rereading()

    def follow(self) -> DepotRows:
        """The rows as they are now."""
        self.rows.follow(self._store)
        return self.rows

    def run(
        self,
        now_ms: int,
        at_rest: bool,
        judge_shard: ShardJudge | None = None,
        looked_ms: Mapping[int, int] | None = None,
    ) -> list[Finding]:
        """What is wrong with the rows now: (invariant, sentence), a few of each invariant.

        Parameters:
            at_rest: compaction has nothing left to do.
            looked_ms: when it looked at each branch last, by number; None: just now.
        """
        depot = self.follow()
        self._verify_shards(depot, judge_shard)
        found = list(_scan_keys(depot))
        found += _scan_pointers(depot)
        found += _scan_restore_points(depot)
        for branch_id, rows in depot.branches.items():
            if rows.is_gone:
                continue
            found += _scan_record(depot, rows)
            found += _scan_pins(depot, rows)
            found += self._scan_branch(branch_id, rows, now_ms)
            if at_rest:
                looked = now_ms if looked_ms is None else looked_ms.get(rows.number)
                found += scan_leftovers(depot, rows, self._shard_pages, looked, now_ms)
        return _first_of_each(found)

    def _scan_branch(self, branch_id: bytes, rows: BranchRows, now_ms: int) -> list[Finding]:
        scan = BranchScan(self.rows, rows, self._page_size, self._shard_pages, now_ms)
        if rows.changed or branch_id not in self._found:
            rows.changed = False
            one_way = self._one_way.setdefault(branch_id, OneWay())
            self._found[branch_id] = [*scan.findings(), *one_way.look(rows)]
        # Intervals expire and parents change while nothing of the branch itself does.
        return [*self._found[branch_id], *scan.intervals(), *self._readability(scan, rows)]

    def _readability(self, scan: BranchScan, rows: BranchRows) -> list[Finding]:
        wanted, found = scan.needed(), []
        for txid in self._rereading.due(self.rows, rows, wanted):
            findings = list(scan.readability({txid: wanted[txid]}))
            if findings:
                found += findings
            else:
                self._rereading.is_right(rows, txid)
        return found

    def _verify_shards(self, depot: DepotRows, judge_shard: ShardJudge | None = None) -> None:
        """Compares the versions of shards that are new with what was committed, else with the replay of the rows."""
        for rows in depot.branches.values():
            for shard, as_of in rows.new_shards:
                if (shard, as_of) not in rows.shards:
                    continue
                problem = self._shard_problem(depot, rows, shard, as_of, judge_shard)
                if problem:
                    rows.bad_shards[shard, as_of] = problem
            rows.new_shards.clear()

    def _shard_problem(
        self, depot: DepotRows, rows: BranchRows, shard: int, as_of: int, judge_shard: ShardJudge | None
    ) -> str:
        pages = rows.shards.pages((shard, as_of))
        expected = replay_shard(depot, rows, shard, as_of, self._shard_pages)
        if expected is not None and expected != pages:
            differing = [number for number in sorted({*expected, *pages}) if expected.get(number) != pages.get(number)]
            return f"page {differing[0]} (of {len(differing)}) is not what the commits up to it make"
        if judge_shard is not None:
            return judge_shard(rows.number, as_of, pages) or ""
        return ""


def scan_store(store: KeyValueStore, page_size: int, shard_pages: int, now_ms: int, at_rest: bool) -> list[Finding]:
    """One scan of a store by itself."""
    return DepotScan(store, page_size, shard_pages).run(now_ms, at_rest)


def _first_of_each(found: list[Finding]) -> list[Finding]:
    counts: dict[str, int] = {}
    kept = []
    for finding in found:
        counts[finding[0]] = counts.get(finding[0], 0) + 1
        if counts[finding[0]] <= _PER_INVARIANT_MAX:
            kept.append(finding)
    return kept


def _scan_keys(depot: DepotRows) -> Iterator[Finding]:
    for key in depot.unknown:
        yield "DEPOT-7", f"the row {key!r} is of no family that the depot knows"


def _scan_pointers(depot: DepotRows) -> Iterator[Finding]:
    buckets: dict[str, bytes] = {}
    for (database, bucket), branch_id in depot.pointers.items():
        if database in buckets:
            yield "DEPOT-1", f"database {database!r} has more than one pointer"
        buckets[database] = bucket
        if len(branch_id) != BRANCH_ID_BYTES:
            yield "DEPOT-1", f"the pointer of database {database!r} has {len(branch_id)} bytes, a branch id has 16"
            continue
        number = int.from_bytes(branch_id, "big")
        rows = depot.branches.get(branch_id)
        record = record_of(rows) if rows is not None else None
        if record is None:
            yield "DEPOT-1", f"the pointer of database {database!r} names branch {number}, which does not exist"
        elif record.database_id != database:
            yield "DEPOT-1", f"database {database!r} points to branch {number} of database {record.database_id!r}"
        elif record.state != "live":
            yield "DEPOT-1", f"database {database!r} points to branch {number}, which is {record.state}"


def _scan_record(depot: DepotRows, rows: BranchRows) -> Iterator[Finding]:
    where = f"branch {rows.number}"
    raw = rows.single.get("record")
    if raw is None:
        yield "DEPOT-2", f"{where} has rows and no record"
        return
    try:
        record = decode_row(BranchRecord, raw)
    except RecordCorrupt as error:
        yield "DEPOT-2", f"{where}: {error.record} does not decode: {error.reason}"
        return
    if record.branch_id != rows.keys.branch_id:
        yield "DEPOT-2", f"{where} has the record of branch {int.from_bytes(record.branch_id, 'big')}"
        return
    pointed = rows.keys.branch_id in depot.pointers.values()
    if record.state == "live" and not pointed:
        yield "DEPOT-2", f"{where} is live, and no database points to it"
    depth = 0
    if record.parent:
        parent = depot.branches.get(record.parent)
        parent_record = record_of(parent) if parent is not None else None
        number = int.from_bytes(record.parent, "big")
        if parent_record is None:
            yield "DEPOT-2", f"{where} is derived from branch {number}, which does not exist"
            return
        if not rows.keys.branch_id > record.parent:
            yield "DEPOT-2", f"{where} is derived from branch {number}, which is not older"
            return
        depth = parent_record.fork_depth + 1
    if record.fork_depth != depth:
        yield "DEPOT-2", f"{where} says that it has {record.fork_depth} ancestors, and has {depth}"


def _scan_restore_points(depot: DepotRows) -> Iterator[Finding]:
    for (database, name), raw in depot.restore_points.items():
        what = f"restore point {name} of database {database!r}"
        try:
            point = decode_row(RestorePoint, raw)
        except RecordCorrupt as error:
            yield "DEPOT-13", f"{what} does not decode: {error.reason}"
            continue
        rows = depot.branches.get(point.branch_id)
        number = int.from_bytes(point.branch_id, "big")
        if point.id != name:
            yield "DEPOT-13", f"{what} calls itself {point.id}"
        elif rows is None or rows.is_gone:
            yield "DEPOT-13", f"{what} names branch {number}, which does not exist"
        elif not _is_lineage_of(depot, rows, database):
            yield "DEPOT-13", f"{what} names branch {number}, of which the database has nothing"
        elif ("restore_point", name) not in rows.pins:
            yield "DEPOT-13", f"{what} has no pin at branch {number}"
        else:
            problem = _commit_problem(rows, point.txid, point.versionstamp)
            if problem:
                yield "DEPOT-13", f"{what}: {problem}"
            kept = _pinned(rows.pins["restore_point", name])
            if kept is not None and kept != point.txid:
                yield "DEPOT-13", f"{what} is of commit {point.txid}, and its pin keeps commit {kept}"


def _pinned(raw: bytes) -> int | None:
    """The commit that a pin keeps; None for a pin that does not decode, which has its own rule."""
    try:
        return decode_row(Pin, raw).txid
    except RecordCorrupt:
        return None


def _is_lineage_of(depot: DepotRows, rows: BranchRows, database: str) -> bool:
    """Whether a branch is one of the database's, or one that such a branch was derived from."""
    for other in depot.branches.values():
        record = record_of(other)
        if record is None or record.database_id != database:
            continue
        while record is not None:
            if record.branch_id == rows.keys.branch_id:
                return True
            parent = depot.branches.get(record.parent) if record.parent < record.branch_id else None
            record = record_of(parent) if parent is not None else None
    return False


def _scan_pins(depot: DepotRows, rows: BranchRows) -> Iterator[Finding]:
    where = f"branch {rows.number}"
    for (kind, name), raw in rows.pins.items():
        what = f"{where}: pin {kind} {name}"
        try:
            pin = decode_row(Pin, raw)
        except RecordCorrupt as error:
            yield "DEPOT-14", f"{what} does not decode: {error.reason}"
            continue
        problem = _commit_problem(rows, pin.txid, pin.versionstamp)
        if problem:
            yield "DEPOT-14", f"{what}: {problem}"
        if kind == "fork":
            child = depot.branches.get(int(name).to_bytes(BRANCH_ID_BYTES, "big")) if name.isdecimal() else None
            record = record_of(child) if child is not None else None
            if record is None or record.parent != rows.keys.branch_id or record.parent_txid != pin.txid:
                yield "DEPOT-14", f"{what} is for no branch that was derived from commit {pin.txid}"
        elif kind != "restore_point" or not any(point == name for _, point in depot.restore_points):
            yield "DEPOT-14", f"{what} is for nothing that exists"
    record = record_of(rows)
    parent = depot.branches.get(record.parent) if record is not None and record.parent else None
    if parent is not None and ("fork", str(rows.number)) not in parent.pins:
        yield "DEPOT-14", f"{where} is derived from branch {parent.number} and has no pin there"


def _commit_problem(rows: BranchRows, txid: int, versionstamp: bytes) -> str:
    """What is wrong with the commit that somebody keeps readable; "" when nothing is."""
    if txid <= start_of(rows):
        return f"commit {txid} belongs to a branch before branch {rows.number}"
    raw = rows.commits.get(txid)
    if raw is None:
        return f"branch {rows.number} has no row for commit {txid}"
    try:
        row = decode_commit_row(raw)
    except RecordCorrupt as error:
        return f"the row of commit {txid} does not decode: {error.reason}"
    if row.versionstamp != versionstamp:
        return f"it has another versionstamp than commit {txid}"
    if versionstamp not in rows.vtx:
        return f"the versionstamp of commit {txid} leads nowhere"
    return ""

"""Committing pages: one key-value transaction that writes delta, page index, head and commit rows, or nothing.

Upholds DUR-1 and DUR-2: the reply follows the key-value commit, and everything a commit writes is in that one
transaction. Pointer, branch record, generation and head are read serializably, so that two commits which overlap cannot
both succeed on the same head, nor one on a branch that is being left: the later one conflicts, runs again, and meets
the fence. Upholds the sending side of COMP-2: a commit whose branch lags marks it dirty and wakes compaction. So does
one that the quota refuses, but without the mark, as it writes nothing: what it has no room for may be free afterwards.

What is read without conflicts, and why that is safe:

* The quota. It is changed by blind additions, of commits and of compaction, which never conflict. A limit that is
  judged by a sum a moment old is off by what a job freed or folded in that moment.
* The compaction root. A watermark that has moved on meanwhile makes the lag look larger than it is: one wake too many.

The dirty marker is read serializably: if the manager clears it between this read and the commit, and the commit took it
for a reason not to wake, nobody would hear of the lag.

A transaction takes simulated time between its reads and its commit (`service_ns`), which is where another can come in
between; at the grain "operation" before each of its operations. Retries wait 1 ms, doubling up to 64 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from simkit.depot.core import Core
from simkit.depot.errors import BranchNotWritable, CommitInvalid, CommitTooLarge, QuotaExceeded
from simkit.depot.events import CommitApplied, WakeSent
from simkit.depot.fault_points import FaultPoint
from simkit.depot.keys import VERSIONSTAMP_BYTES, BranchKeys
from simkit.depot.kv import STAMP_BYTES, Transaction, TransactionTooLarge, ValueTooLarge, decode_counter
from simkit.depot.ltx import encode_ltx, split_chunks
from simkit.depot.records import (
    STAMP_USER_BYTES,
    BranchRecord,
    CompactionRoot,
    DirtyMarker,
    Head,
    decode_row,
    encode_commit_row_around_stamp,
    encode_row,
    encode_txid,
)
from simkit.depot.request import NO_HEAD, Reply, Request
from simkit.kernel import Happening

Steps = Generator[Happening, Any, None]


class _Base(NamedTuple):
    """What a commit goes on from. `used_bytes`: what the rows of the branch add up to."""

    keys: BranchKeys
    record: BranchRecord
    txid: int
    page_count: int
    used_bytes: int
    watermark: int


class _Lag(NamedTuple):
    """A branch that lags, and whether its manager has to be woken."""

    keys: BranchKeys
    commits: int
    wake: bool


class Committer:
    """Answers commit."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kernel = core.kernel
        self._faults = core.faults
        #: something may happen between two operations
        self._watched = core.faults is not None or core.fine
        #: what the transaction that is about to commit decided; taken up in the same instant
        self._lag: _Lag | None = None
        #: the branch in which a transaction has just found no room, and its head; likewise
        self._full: tuple[_Lag, int] | None = None
        #: when this depot last woke the manager of a branch, by branch id; not if that wake was lost
        self._woken_ns: dict[bytes, int] = {}
        #: called after each key-value commit, before its reply leaves
        self.on_applied: Callable[[Request], None] | None = None

    def handle(self, request: Request, service_ns: int) -> Generator[Happening, Any, Reply]:
        """Runs the commit until it is durable. Raises the depot's errors."""
        self._validate(request)
        if self._faults is not None:
            yield from self._faults.at(FaultPoint.COMMIT_BEFORE_TX, request)
        try:
            txid = yield from self._core.transact(
                request, "commit", lambda transaction: self._write(transaction, request, service_ns)
            )
        except (TransactionTooLarge, ValueTooLarge) as error:
            raise CommitTooLarge(str(error)) from error
        except QuotaExceeded:
            self._refused(request)
            raise
        return (yield from self._applied(request, txid))

    def _write(self, transaction: Transaction, request: Request, service_ns: int) -> Generator[Happening, Any, int]:
        core, watched = self._core, self._watched
        base = yield from self._resolve(transaction, request)
        keys, page_count = base.keys, request.page_count
        if service_ns or core.any_order:
            yield self._kernel.stage(service_ns, None, "commit", request)
        if page_count < base.page_count:
            if core.fine:
                yield from core.between("cut the page index", request)
            # Shards keep what lies beyond the end: older versions need it, and nobody reads it at this one.
            transaction.clear_range(*keys.pidx_range(page_count + 1))
        if watched:
            yield from self._pass(FaultPoint.COMMIT_AFTER_TRUNCATE_CLEANUP, request)

        txid, now_ms = base.txid + 1, core.now_ms
        blob = encode_ltx(txid, page_count, core.page_size, request.pages, timestamp_ms=now_ms)
        if watched:
            yield from self._pass(FaultPoint.COMMIT_AFTER_LTX_ENCODE, request)
        chunks = [
            (keys.delta(txid, number), content)
            for number, content in enumerate(split_chunks(blob, core.settings.chunk_bytes))
        ]
        around_stamp = encode_commit_row_around_stamp(now_ms, page_count, 0)
        added_bytes = _row_bytes(keys, txid, chunks, around_stamp)
        self._check_quota(base, added_bytes)
        lag = yield from self._mark_dirty(transaction, request, base)

        if watched:
            yield from self._pass(FaultPoint.COMMIT_BEFORE_DELTA_WRITES, request, "write delta")
        for key, content in chunks:
            transaction.set(key, content)
        if watched:
            yield from self._pass(FaultPoint.COMMIT_BEFORE_PIDX_WRITES, request, "write page index")
        owner = encode_txid(txid)
        for number in request.numbers:
            transaction.set(keys.pidx(number), owner)
        if watched:
            yield from self._pass(FaultPoint.COMMIT_BEFORE_HEAD_WRITE, request, "write head")
        transaction.set(keys.head, Head(txid, page_count, 0, keys.branch_id).encode())
        if base.record.parent and base.txid == base.record.parent_txid:
            transaction.clear(keys.head_at_fork)
        if watched:
            yield from self._pass(FaultPoint.COMMIT_BEFORE_COMMIT_ROWS, request, "write commit rows")
        transaction.set_versionstamped_value(keys.commits(txid), *around_stamp)
        transaction.set_versionstamped_key(keys.vtx_prefix, STAMP_USER_BYTES, owner)
        if watched:
            yield from self._pass(FaultPoint.COMMIT_BEFORE_QUOTA_MUTATION, request, "add to the quota")
        transaction.add(keys.quota, added_bytes)
        request.branch = keys.number
        self._lag = lag
        return txid

    def _resolve(self, transaction: Transaction, request: Request) -> Generator[Happening, Any, _Base]:
        """The branch, its head and what else the commit depends on, once its fences hold."""
        core, watched = self._core, self._watched
        view = core.view(request.database)
        if core.fine:
            yield from core.between("resolve", request)
        keys = view.branch(transaction)
        if keys is None:
            keys = view.create(transaction, core)
        record = core.sources.record(transaction, keys.branch_id)
        if record is None or record.state != "live":
            why = "has no record" if record is None else f"is {record.state}"
            raise BranchNotWritable(f"branch {keys.number} of {request.database} {why}")
        if watched:
            yield from self._pass(FaultPoint.COMMIT_AFTER_BRANCH_RESOLUTION, request, "read head")
        view.check_generation(transaction, keys, request)
        head = view.head(transaction, keys)
        old_txid, old_count = (head.txid, head.page_count) if head is not None else (NO_HEAD, 0)
        view.check_head(old_txid, request)
        self._check_gap(request, old_count)
        used_bytes = decode_counter(transaction.get(keys.quota, snapshot=True))
        root = transaction.get(keys.root, snapshot=True) if core.signaler is not None else None
        watermark = decode_row(CompactionRoot, root).hot_watermark_txid if root is not None else record.parent_txid
        if watched:
            yield from self._pass(FaultPoint.COMMIT_AFTER_HEAD_READ, request)
        return _Base(keys, record, old_txid, old_count, used_bytes, watermark)

    def _pass(self, point: FaultPoint, request: Request, operation: str | None = None) -> Steps:
        """Passes a fault point, and lets others come in before an operation."""
        if self._faults is not None:
            yield from self._faults.at(point, request)
        if operation is not None and self._core.fine:
            yield from self._core.between(operation, request)

    def _check_quota(self, base: _Base, added_bytes: int) -> None:
        remaining_bytes = self._core.settings.quota_bytes - base.used_bytes
        if added_bytes > remaining_bytes:
            lag = _Lag(base.keys, base.txid - base.watermark, wake=not self._throttled(base.keys))
            self._full = lag, base.txid
            raise QuotaExceeded(remaining_bytes, added_bytes)

    def _mark_dirty(
        self, transaction: Transaction, request: Request, base: _Base
    ) -> Generator[Happening, Any, _Lag | None]:
        """Marks a branch that lags, and decides whether its manager has to be woken."""
        core, keys, txid = self._core, base.keys, base.txid + 1
        settings, lag = core.settings.compaction, txid - base.watermark
        if core.signaler is None or lag < settings.lag_threshold:
            return None
        if core.fine:
            yield from core.between("mark dirty", request)
        marked = transaction.get(keys.dirty) is not None
        transaction.set(keys.dirty, encode_row(DirtyMarker(observed_head_txid=txid, updated_at_ms=core.now_ms)))
        return _Lag(keys, lag, wake=not (marked and self._throttled(keys)))

    def _throttled(self, keys: BranchKeys) -> bool:
        """Whether this depot has woken the manager of the branch only just now."""
        woken_ns = self._woken_ns.get(keys.branch_id)
        return woken_ns is not None and self._kernel.now - woken_ns < self._core.settings.compaction.throttle_ns

    def _applied(self, request: Request, txid: int) -> Generator[Happening, Any, Reply]:
        kernel = self._kernel
        lag, self._lag = self._lag, None
        request.txid = txid
        kernel.record(
            CommitApplied(
                kernel.now,
                request.task_name,
                request.instance,
                request.operation,
                request.number,
                txid,
                request.branch,
                request.database,
            )
        )
        if self.on_applied is not None:
            self.on_applied(request)
        if lag is not None:
            self._marked(lag)
        if self._faults is not None:
            yield from self._faults.at(FaultPoint.COMMIT_AFTER_KV_COMMIT, request)
        yield from self._signal(request, txid, lag)
        return Reply(txid, request.page_count, [])

    def _marked(self, lag: _Lag) -> None:
        signaler = self._core.signaler
        assert signaler is not None, "COMP-2: a branch was marked dirty for nobody"
        signaler.marked(lag.keys)
        if lag.wake:
            # Should the request end before the wake is sent, the next commit has to send one.
            self._woken_ns.pop(lag.keys.branch_id, None)

    def _signal(self, request: Request, txid: int, lag: _Lag | None) -> Steps:
        """Wakes compaction if that was decided. The commit is durable whatever becomes of this."""
        faults = self._faults
        lost = False
        if faults is not None:
            lost = yield from faults.at(FaultPoint.COMMIT_BEFORE_COMPACTION_SIGNAL, request)
        if lag is not None and lag.wake:
            self._wake(request, txid, lag, lost)
        if faults is not None:
            yield from faults.at(FaultPoint.COMMIT_AFTER_COMPACTION_SIGNAL, request)

    def _refused(self, request: Request) -> None:
        """The quota has refused a commit: wakes compaction, unless that has just been done."""
        full, self._full = self._full, None
        if full is not None and full[0].wake:
            self._wake(request, full[1], full[0], lost=False)

    def _wake(self, request: Request, txid: int, lag: _Lag, lost: bool) -> None:
        kernel, signaler = self._kernel, self._core.signaler
        if signaler is None:
            return
        kernel.record(WakeSent(kernel.now, request.task_name, lag.keys.number, txid, lag.commits, lost))
        if not lost:
            self._woken_ns[lag.keys.branch_id] = kernel.now
            signaler.wake(lag.keys, txid, lag.commits)

    def _validate(self, request: Request) -> None:
        if not request.numbers:
            raise CommitInvalid("a commit has at least one page")
        limit = self._core.settings.commit_pages_max
        if limit is not None and len(request.numbers) > limit:
            raise CommitTooLarge(f"the commit has {len(request.numbers):,} pages, the limit is {limit:,}")
        last = 0
        for number, content in request.pages.items():
            if number <= last:
                raise CommitInvalid(f"page {number} follows page {last}: pages come in ascending order, once, from 1")
            if len(content) != self._core.page_size:
                raise CommitInvalid(f"page {number} has {len(content)} bytes, not {self._core.page_size}")
            last = number
        if last > request.page_count:
            raise CommitInvalid(f"page {last} lies beyond the size of {request.page_count} pages")

    def _check_gap(self, request: Request, old_count: int) -> None:
        """A database that grows brings every new page along: otherwise a lost page and an unwritten one look alike."""
        for number in range(old_count + 1, request.page_count + 1):
            if number not in request.pages:
                raise CommitInvalid(
                    f"the database grows from {old_count} to {request.page_count} pages without page {number}"
                )


def _row_bytes(
    keys: BranchKeys, txid: int, chunks: list[tuple[bytes, bytes]], around_stamp: tuple[bytes, bytes]
) -> int:
    """What the rows of a commit add to the branch's quota: its delta, its commit row and its versionstamp."""
    delta = sum(len(key) + len(content) for key, content in chunks)
    row = len(keys.commits(txid)) + len(around_stamp[0]) + STAMP_BYTES + len(around_stamp[1])
    versionstamp = len(keys.vtx_prefix) + VERSIONSTAMP_BYTES + len(encode_txid(txid))
    return delta + row + versionstamp

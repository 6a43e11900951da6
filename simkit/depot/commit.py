"""Committing pages: one key-value transaction that writes delta, page index, head and commit rows, or nothing.

Upholds DUR-1 and DUR-2: the reply follows the key-value commit, and everything a commit writes is in that one
transaction. Head and generation are read serializably, so two commits that overlap cannot both succeed on the
same head: the later one conflicts, runs again, and meets the fence.

A transaction takes simulated time between its reads and its commit (`service_ns`), which is where another can
come in between. Retries wait 1 ms, doubling up to 64 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from simkit.depot.blob import encode_delta, split_chunks
from simkit.depot.content import DatabaseView
from simkit.depot.errors import CommitInvalid, CommitTooLarge, TransactionContended
from simkit.depot.events import CommitApplied
from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Faults
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import Conflict, KeyValueStore, Transaction, TransactionTooLarge, ValueTooLarge
from simkit.depot.records import Head, encode_commit_row_around_stamp, encode_txid
from simkit.depot.request import NO_HEAD, Reply, Request
from simkit.kernel import Happening, Kernel
from simkit.kernel.units import MILLISECOND

ATTEMPTS_MAX = 20
EPOCH_MS = 1_700_000_000_000
"""Wall clock at the start of every run: 2023-11-14 22:13:20 UTC."""

_BACKOFF_FIRST_NS = 1 * MILLISECOND
_BACKOFF_MAX_NS = 64 * MILLISECOND
_STAMP_USER_BYTES = b"\0" * 6


class Committer:
    """Answers commit."""

    def __init__(
        self,
        kernel: Kernel,
        store: KeyValueStore,
        view: DatabaseView,
        page_size: int,
        faults: Faults | None,
        new_branch_id: Callable[[], bytes],
    ) -> None:
        self._kernel = kernel
        self._store = store
        self._view = view
        self._page_size = page_size
        self._faults = faults
        self._new_branch_id = new_branch_id
        self._any_order = kernel.order == "any"
        #: called after each key-value commit, before its reply leaves
        self.on_applied: Callable[[Request], None] | None = None

    def handle(self, request: Request, service_ns: int) -> Generator[Happening, Any, Reply]:
        """Runs the commit until it is durable. Raises the depot's errors."""
        self._validate(request)
        if self._faults is not None:
            yield from self._faults.at(FaultPoint.COMMIT_BEFORE_TX, request)
        for attempt in range(ATTEMPTS_MAX):
            transaction = self._store.begin()
            try:
                txid = yield from self._write(transaction, request, service_ns)
                transaction.commit()
            except Conflict:
                backoff_ns = min(_BACKOFF_FIRST_NS << attempt, _BACKOFF_MAX_NS)
                yield self._kernel.stage(backoff_ns, None, "commit retry", request)
                continue
            except (TransactionTooLarge, ValueTooLarge) as error:
                raise CommitTooLarge(str(error)) from error
            finally:
                transaction.abandon()
            return (yield from self._applied(request, txid))
        raise TransactionContended(f"commit conflicted {ATTEMPTS_MAX} times")

    def _write(self, transaction: Transaction, request: Request, service_ns: int) -> Generator[Happening, Any, int]:
        faults = self._faults
        keys = self._view.branch(transaction)
        if keys is None:
            keys = BranchKeys(self._new_branch_id())
            transaction.set(self._view.pointer_key, keys.branch_id)
        if faults is not None:
            yield from faults.at(FaultPoint.COMMIT_AFTER_BRANCH_RESOLUTION, request)
        self._view.check_generation(transaction, keys, request)
        head = self._view.head(transaction, keys)
        old_txid, old_count = (head.txid, head.page_count) if head is not None else (NO_HEAD, 0)
        self._view.check_head(old_txid, request)
        self._check_gap(request, old_count)
        if faults is not None:
            yield from faults.at(FaultPoint.COMMIT_AFTER_HEAD_READ, request)
        if service_ns or self._any_order:
            yield self._kernel.stage(service_ns, None, "commit", request)

        txid = old_txid + 1
        blob = encode_delta(txid, request.page_count, self._page_size, request.pages)
        if faults is not None:
            yield from faults.at(FaultPoint.COMMIT_AFTER_DELTA_ENCODE, request)
            yield from faults.at(FaultPoint.COMMIT_BEFORE_DELTA_WRITES, request)
        for chunk, content in enumerate(split_chunks(blob)):
            transaction.set(keys.delta(txid, chunk), content)
        if faults is not None:
            yield from faults.at(FaultPoint.COMMIT_BEFORE_PIDX_WRITES, request)
        if request.page_count < old_count:
            transaction.clear_range(*keys.pidx_range(request.page_count + 1))
        owner = encode_txid(txid)
        for number in request.numbers:
            if number <= request.page_count:
                transaction.set(keys.pidx(number), owner)
        if faults is not None:
            yield from faults.at(FaultPoint.COMMIT_BEFORE_HEAD_WRITE, request)
        transaction.set(keys.head, Head(txid, request.page_count, 0, keys.branch_id).encode())
        if faults is not None:
            yield from faults.at(FaultPoint.COMMIT_BEFORE_COMMIT_ROWS, request)
        self._write_commit_rows(transaction, keys, txid, request.page_count)
        return txid

    def _write_commit_rows(self, transaction: Transaction, keys: BranchKeys, txid: int, page_count: int) -> None:
        wall_clock_ms = EPOCH_MS + self._kernel.now // MILLISECOND
        prefix, suffix = encode_commit_row_around_stamp(wall_clock_ms, page_count, 0)
        transaction.set_versionstamped_value(keys.commits(txid), prefix, suffix)
        transaction.set_versionstamped_key(keys.vtx_prefix, _STAMP_USER_BYTES, encode_txid(txid))

    def _applied(self, request: Request, txid: int) -> Generator[Happening, Any, Reply]:
        kernel = self._kernel
        kernel.record(
            CommitApplied(kernel.now, request.task_name, request.instance, request.operation, request.number, txid)
        )
        if self.on_applied is not None:
            self.on_applied(request)
        if self._faults is not None:
            yield from self._faults.at(FaultPoint.COMMIT_AFTER_KV_COMMIT, request)
        return Reply(txid, request.page_count, [])

    def _validate(self, request: Request) -> None:
        if not request.numbers:
            raise CommitInvalid("a commit has at least one page")
        last = 0
        for number, content in request.pages.items():
            if number <= last:
                raise CommitInvalid(f"page {number} follows page {last}: pages come in ascending order, once, from 1")
            if len(content) != self._page_size:
                raise CommitInvalid(f"page {number} has {len(content)} bytes, not {self._page_size}")
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

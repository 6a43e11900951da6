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

from simkit.depot.core import Core
from simkit.depot.errors import CommitInvalid, CommitTooLarge
from simkit.depot.events import CommitApplied
from simkit.depot.fault_points import FaultPoint
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import Transaction, TransactionTooLarge, ValueTooLarge
from simkit.depot.ltx import encode_ltx, split_chunks
from simkit.depot.records import STAMP_USER_BYTES, Head, encode_commit_row_around_stamp, encode_txid
from simkit.depot.request import NO_HEAD, Reply, Request
from simkit.kernel import Happening


class Committer:
    """Answers commit."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kernel = core.kernel
        self._faults = core.faults
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
        return (yield from self._applied(request, txid))

    def _write(self, transaction: Transaction, request: Request, service_ns: int) -> Generator[Happening, Any, int]:
        faults = self._faults
        view = self._core.view(request.database)
        keys = view.branch(transaction)
        if keys is None:
            keys = view.create(transaction, self._core)
        if faults is not None:
            yield from faults.at(FaultPoint.COMMIT_AFTER_BRANCH_RESOLUTION, request)
        view.check_generation(transaction, keys, request)
        head = view.head(transaction, keys)
        old_txid, old_count = (head.txid, head.page_count) if head is not None else (NO_HEAD, 0)
        view.check_head(old_txid, request)
        self._check_gap(request, old_count)
        if faults is not None:
            yield from faults.at(FaultPoint.COMMIT_AFTER_HEAD_READ, request)
        if service_ns or self._core.any_order:
            yield self._kernel.stage(service_ns, None, "commit", request)

        txid = old_txid + 1
        blob = encode_ltx(txid, request.page_count, self._core.page_size, request.pages)
        if faults is not None:
            yield from faults.at(FaultPoint.COMMIT_AFTER_LTX_ENCODE, request)
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
        request.branch = keys.number
        return txid

    def _write_commit_rows(self, transaction: Transaction, keys: BranchKeys, txid: int, page_count: int) -> None:
        prefix, suffix = encode_commit_row_around_stamp(self._core.now_ms, page_count, 0)
        transaction.set_versionstamped_value(keys.commits(txid), prefix, suffix)
        transaction.set_versionstamped_key(keys.vtx_prefix, STAMP_USER_BYTES, encode_txid(txid))

    def _applied(self, request: Request, txid: int) -> Generator[Happening, Any, Reply]:
        kernel = self._kernel
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

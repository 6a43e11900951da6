"""Broken commits and reads beside compaction: what a request does too early, too late, or makes up.

They break DUR-2, ISO-2, COMP-1, DEPOT-3 and DEPOT-10 on purpose. What needs neither faults nor compaction to show is in
depot_defects.py.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from typing import Any, cast

from simkit.defects.transactions import HoldingBack
from simkit.depot.blobs import Pages
from simkit.depot.commit import Committer, _Base, _Lag
from simkit.depot.core import Core, Passer
from simkit.depot.depot import Depot
from simkit.depot.errors import InjectedFault
from simkit.depot.fault_points import Boundary, FaultPoint
from simkit.depot.faults import Faults
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import Transaction
from simkit.depot.page_search import Question
from simkit.depot.read import PageReader
from simkit.depot.records import DirtyMarker, encode_row
from simkit.depot.request import Reply, Request
from simkit.kernel import Happening


class _ShrinkingTransaction(HoldingBack):
    """Cuts the shards where the page index is cut, and takes them off the quota."""

    def __init__(self, transaction: Transaction, keys: BranchKeys, first_shard: int) -> None:
        super().__init__(transaction, lambda _: False)
        self._keys = keys
        self._first_shard = first_shard

    def clear_range(self, begin: bytes, end: bytes) -> None:
        keys, transaction = self._keys, self._transaction
        beyond = keys.shard(self._first_shard, 0, 0), keys.all_shards_range()[1]
        rows = transaction.get_range(*beyond)
        transaction.clear_range(begin, end)
        transaction.clear_range(*beyond)
        transaction.add(keys.quota, -sum(len(key) + len(value) for key, value in rows))


class ShardCuttingCommitter(Committer):
    """Deletes every version of the shards beyond the new end of a database that shrinks."""

    def _write(self, transaction: Transaction, request: Request, service_ns: int) -> Generator[Happening, Any, int]:
        keys = self._core.view(request.database).branch(transaction)
        if keys is None:
            return (yield from super()._write(transaction, request, service_ns))
        first_shard = request.page_count // self._core.settings.shard_pages + 1
        cutting = _ShrinkingTransaction(transaction, keys, first_shard)
        return (yield from super()._write(cast(Transaction, cutting), request, service_ns))


class ShrinkClearsShards(Depot):
    """A commit that shrinks the database takes content away that older versions need."""

    def make_committer(self) -> Committer:
        return ShardCuttingCommitter(self.core)


class MarkingFirstCommitter(Committer):
    """Marks a branch dirty in a transaction of its own, before the commit that makes it lag."""

    def _mark_dirty(
        self, transaction: Transaction, request: Request, base: _Base
    ) -> Generator[Happening, Any, _Lag | None]:
        core, keys, txid = self._core, base.keys, base.txid + 1
        settings, lag = core.settings.compaction, txid - base.watermark
        if core.signaler is None or lag < settings.lag_threshold:
            return None
        with core.store.begin() as earlier:
            earlier.set(keys.dirty, encode_row(DirtyMarker(observed_head_txid=txid, updated_at_ms=core.now_ms)))
            earlier.commit()
        yield self._kernel.stage(settings.job_service_ns, None, "marked dirty", request)
        return _Lag(keys, lag, wake=True)


class MarkedDirtyBeforeCommit(Depot):
    """The dirty marker tells of commits that are not there yet, or never will be."""

    def make_committer(self) -> Committer:
        return MarkingFirstCommitter(self.core)


class HeadKeepingCommitter(Committer):
    """Does not clear the head that a branch was derived with."""

    def _write(self, transaction: Transaction, request: Request, service_ns: int) -> Generator[Happening, Any, int]:
        keys = self._core.view(request.database).branch(transaction)
        keeping = HoldingBack(transaction, lambda key: keys is not None and key == keys.head_at_fork)
        return (yield from super()._write(cast(Transaction, keeping), request, service_ns))


class HeadAtForkStays(Depot):
    """A derived branch goes on with two heads."""

    def make_committer(self) -> Committer:
        return HeadKeepingCommitter(self.core)


class _LateFaults:
    """Fault rules whose failures before the key-value commit are told once it is over."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.failed: dict[int, InjectedFault] = {}

    def at(
        self, point: FaultPoint, passer: Passer, pages: Collection[int] = (), shard: int | None = None
    ) -> Generator[Happening, Any, bool]:
        try:
            return (yield from self._faults.at(point, passer, pages, shard))
        except InjectedFault as error:
            if point.boundary is not Boundary.PRE_DURABLE:
                raise
            self.failed[passer.number] = error
            return False


class PersistentCommitter(Committer):
    """Answers a commit that fails with its error, and goes on with it."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._late = _LateFaults(core.faults) if core.faults is not None else None
        self._faults = cast("Faults | None", self._late)

    def handle(self, request: Request, service_ns: int) -> Generator[Happening, Any, Reply]:
        reply = yield from super().handle(request, service_ns)
        error = self._late.failed.pop(request.number, None) if self._late is not None else None
        if error is not None:
            raise error
        return reply


class FailedCommitGoesOn(Depot):
    """A commit that was refused before it was durable becomes durable all the same."""

    def make_committer(self) -> Committer:
        return PersistentCommitter(self.core)


class InventiveReader(PageReader):
    """Answers for a delta that is missing with whatever the shards hold, else with zeros."""

    def _answer(
        self,
        transaction: Transaction,
        request: Request,
        question: Question,
        number: int,
        answers: dict[Question, Any],
    ) -> Generator[Happening, Any, Any]:
        answer = yield from super()._answer(transaction, request, question, number, answers)
        if answer is None and question.kind == "delta":
            answer = answers[question] = {page: self._any(transaction, question, page) for page in request.numbers}
        return answer

    def _any(self, transaction: Transaction, question: Question, number: int) -> bytes:
        core = self._core
        shard = number // core.settings.shard_pages
        found = core.sources.answer(transaction, Question("shard", question.keys, shard, question.number))
        pages: Pages = (found[1] if found is not None else None) or {}
        return pages.get(number, bytes(core.page_size))


class MissingDeltaReadsZero(Depot):
    """Takes a delta that is missing for one that was never written."""

    def make_reader(self) -> PageReader:
        return InventiveReader(self.core)

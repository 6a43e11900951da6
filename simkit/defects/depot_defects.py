"""Broken depots: each class is a mistake that a page store of this kind has been seen to make.

They break DUR-1, ISO-1 and their neighbours on purpose, by overriding one step of the commit or the read path, so that
the product needs no switch for them. Everything else of the depot, its latencies and fault points included, stays as
it is. They are no faults: a fault is an error that the system must survive, a defect is a system that does not.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

from simkit.defects.transactions import HoldingBack, within
from simkit.depot.commit import Committer
from simkit.depot.content import DatabaseView
from simkit.depot.depot import Depot
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import KeyValueImage, KeyValueStore, Snapshot, Transaction
from simkit.depot.read import PageReader
from simkit.depot.records import encode_txid
from simkit.depot.request import Reply, Request
from simkit.kernel import Happening
from simkit.kernel.units import MILLISECOND

_DELTAS_AFTER_HEAD_NS = 3 * MILLISECOND
_DRIVER_VALUE_BYTES_MAX = 8_192
_NODES = 2


class EarlyReplyCommitter(Committer):
    """Promises the commit once its fences hold, and runs the key-value transaction afterwards."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.late: dict[str, Happening] = {}

    def handle(self, request: Request, service_ns: int) -> Generator[Happening, Any, Reply]:
        self._validate(request)
        _, head = self._core.view(request.database).resolve(self._core.store.snapshot(), request, "commit")
        durable = self.late[request.instance] = self._kernel.gate("durable", request)

        def over(_: object, __: Exception | None) -> None:
            # Whether it worked is told to nobody: the client has its answer.
            del self.late[request.instance]
            durable.happen()

        self._kernel.process(super().handle(request, service_ns), over)
        yield from ()
        return Reply(head.txid + 1, request.page_count, [])


class CommitAcksBeforeDurable(Depot):
    """Replies to a commit before its transaction; what the same instance asks next waits until that is over."""

    _committer: EarlyReplyCommitter

    def make_committer(self) -> EarlyReplyCommitter:
        return EarlyReplyCommitter(self.core)

    def send_read(self, request: Request, arrival_ns: int, service_ns: int, reply_ns: int) -> None:
        self.send(request, arrival_ns, service_ns, reply_ns)

    def _serve(self, request: Request, arrival_ns: int, service_ns: int) -> Generator[Happening, Any, Reply]:
        while (late := self._committer.late.get(request.instance)) is not None:
            yield late
        return (yield from super()._serve(request, arrival_ns, service_ns))


class UnfencedView(DatabaseView):
    """Takes every request for one of the present owner, made against the present head."""

    def check_generation(self, readable: object, keys: BranchKeys, request: Request) -> None:
        """Lets every generation through."""

    def check_head(self, head: int, request: Request) -> None:
        """Lets every head through."""


class FenceSkipped(Depot):
    """Checks neither the generation nor the head that a request carries."""

    def make_view(self, database: str) -> DatabaseView:
        return UnfencedView(database)


class HeadlessView(DatabaseView):
    """Takes every request of the present owner for one that was made against the present head."""

    def check_head(self, head: int, request: Request) -> None:
        """Lets every head through."""


class DuplicateCommitCarriedOut(Depot):
    """Checks who sends a commit, and not what the commit was made from."""

    def make_view(self, database: str) -> DatabaseView:
        return HeadlessView(database)


class CasualTransaction(Transaction):
    """Reads single rows without depending on them."""

    __slots__ = ()

    def get(self, key: bytes, *, snapshot: bool = False) -> bytes | None:
        return super().get(key, snapshot=True)


class CasualStore(KeyValueStore):
    """Gives everybody transactions that conflict over ranges and nothing else."""

    __slots__ = ()

    def begin(self) -> Transaction:
        return CasualTransaction(self._content, self._limits)


class FencesReadCasually(Depot):
    """Looks at its fences as they were when a commit began, and not whether they still hold when it ends."""

    def make_store(self, content: KeyValueImage | None) -> KeyValueStore:
        return CasualStore(content)


class HeadFirstCommitter(Committer):
    """Makes head and page index durable in one transaction and the delta they point to in a later one."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._kept: dict[int, list[tuple[bytes, bytes]]] = {}

    def _write(self, transaction: Transaction, request: Request, service_ns: int) -> Generator[Happening, Any, int]:
        keys = self._core.view(request.database).branch(transaction)
        split = HoldingBack(transaction, within(*keys.all_deltas_range() if keys is not None else (b"", b"")))
        txid = yield from super()._write(cast(Transaction, split), request, service_ns)
        self._kept[request.number] = split.kept
        return txid

    def _applied(self, request: Request, txid: int) -> Generator[Happening, Any, Reply]:
        reply = yield from super()._applied(request, txid)
        yield self._kernel.stage(_DELTAS_AFTER_HEAD_NS, None, "write deltas", request)
        with self._core.store.begin() as transaction:
            for key, value in self._kept.pop(request.number):
                transaction.set(key, value)
            transaction.commit()
        return reply


class HeadBeforeDeltas(Depot):
    """Publishes a head whose delta is still on its way."""

    def make_committer(self) -> Committer:
        return HeadFirstCommitter(self.core)


class NodeIndex:
    """What each depot node remembers of the page index: page number to owner. Instances take turns on the nodes."""

    def __init__(self) -> None:
        self._owners: tuple[dict[int, bytes], ...] = tuple({} for _ in range(_NODES))

    def of(self, request: Request) -> dict[int, bytes]:
        return self._owners[request.generation % _NODES]


class CachingReader(PageReader):
    """Looks a page up in the index of its node, and in the store only the first time. Immediate reads look it up."""

    nodes: NodeIndex
    _owners: dict[int, bytes] | None = None

    def read(self, request: Request) -> Reply:
        self._owners = None if request.immediate else self.nodes.of(request)
        return super().read(request)

    def _page(self, snapshot: Snapshot, keys: BranchKeys, number: int) -> bytes:
        if self._owners is None:
            return super()._page(snapshot, keys, number)
        owner = self._owners.get(number) or snapshot.get(keys.pidx(number))
        page = self._delta(snapshot, keys, owner).get(number) if owner is not None else None
        if owner is None or page is None:
            return super()._page(snapshot, keys, number)
        self._owners[number] = owner
        return page


class CachingCommitter(Committer):
    """Tells the index of the node that served the commit, and no other."""

    nodes: NodeIndex

    def _applied(self, request: Request, txid: int) -> Generator[Happening, Any, Reply]:
        self.nodes.of(request).update(dict.fromkeys(request.numbers, encode_txid(txid)))
        return (yield from super()._applied(request, txid))


class StalePageIndexCache(Depot):
    """A depot of two nodes, each with a page index in memory that commits through the other node do not reach."""

    def make_reader(self) -> PageReader:
        reader = CachingReader(self.core)
        self._nodes = reader.nodes = NodeIndex()
        return reader

    def make_committer(self) -> Committer:
        committer = CachingCommitter(self.core)
        committer.nodes = self._nodes
        return committer


class CuttingTransaction(Transaction):
    """Stores at most the first 8 KiB of a value."""

    __slots__ = ()

    def set(self, key: bytes, value: bytes) -> None:
        super().set(key, value[:_DRIVER_VALUE_BYTES_MAX])


class CuttingStore(KeyValueStore):
    """A key-value driver with a size limit that it applies silently."""

    __slots__ = ()

    def begin(self) -> Transaction:
        return CuttingTransaction(self._content, self._limits)


class ValueMutatedByDriver(Depot):
    """Keeps its data in a store whose driver cuts long values."""

    def make_store(self, content: KeyValueImage | None) -> KeyValueStore:
        return CuttingStore(content)

"""What the parts of one depot share: clock, store, settings, faults, and how a transaction is run.

Committer, reader, branches and compaction each get one `Core` and keep no copies of what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from simkit.depot.blobs import Blobs
from simkit.depot.errors import TransactionContended
from simkit.depot.kv import Conflict, KeyValueStore, Transaction
from simkit.depot.settings import DepotSettings
from simkit.depot.sources import PageSources
from simkit.kernel import Happening, Kernel
from simkit.kernel.units import MILLISECOND

if TYPE_CHECKING:
    from simkit.depot.content import DatabaseView
    from simkit.depot.faults import Faults
    from simkit.depot.signaler import CompactionSignaler

EPOCH_MS = 1_700_000_000_000
"""Wall clock at the start of every run: 2023-11-14 22:13:20 UTC."""

_BACKOFF_FIRST_NS = 1 * MILLISECOND
_BACKOFF_MAX_NS = 64 * MILLISECOND

_T = TypeVar("_T")


class Passer(Protocol):
    """Who works in the depot: a request, or a job. Fault rules, stages and events name it by these."""

    @property
    def task_name(self) -> str: ...

    @property
    def instance(self) -> str: ...

    @property
    def number(self) -> int: ...

    @property
    def database(self) -> str: ...


class Core:
    """The shared parts of one depot.

    Attributes:
        fine: whether others may come in before each operation of a transaction (the grain "operation").
        signaler: how commits wake compaction; None while compaction is off.
    """

    def __init__(
        self,
        kernel: Kernel,
        store: KeyValueStore,
        settings: DepotSettings,
        page_size: int,
        faults: Faults | None,
        blobs: Blobs,
        make_view: Callable[[str], DatabaseView],
        branches: int,
        generation: int,
    ) -> None:
        self.kernel = kernel
        self.store = store
        self.settings = settings
        self.page_size = page_size
        self.faults = faults
        self.blobs = blobs
        self.fine = settings.grain == "operation"
        self.any_order = kernel.order == "any"
        self.signaler: CompactionSignaler | None = None
        self._make_view = make_view
        self._views: dict[str, DatabaseView] = {}
        #: branches made so far, in this depot and in the image it began with
        self.branches = branches
        #: the last generation handed out
        self.generation = generation
        self.sources = PageSources(self)

    @property
    def now_ms(self) -> int:
        """The wall clock in milliseconds since 1970."""
        return EPOCH_MS + self.kernel.now // MILLISECOND

    def view(self, database: str) -> DatabaseView:
        """How requests to a database find its branch."""
        view = self._views.get(database)
        if view is None:
            view = self._views[database] = self._make_view(database)
        return view

    def new_branch_id(self) -> bytes:
        """An id that no branch has had."""
        self.branches += 1
        return self.branches.to_bytes(16, "big")

    def between(self, operation: str, passer: Passer) -> Generator[Happening, Any, None]:
        """Lets others come in before an operation of a transaction. Call it only where `fine` is set."""
        yield self.kernel.stage(self.settings.operation_ns, None, operation, passer)

    def transact(
        self, passer: Passer, label: str, body: Callable[[Transaction], Generator[Happening, Any, _T]]
    ) -> Generator[Happening, Any, _T]:
        """Runs `body` in a transaction, again and again until it commits. Raises TransactionContended, and its errors.

        Retries wait 1 ms, doubling up to 64 ms.
        """
        for attempt in range(self.settings.attempts_max):
            transaction = self.store.begin()
            try:
                result = yield from body(transaction)
                transaction.commit()
            except Conflict:
                backoff_ns = min(_BACKOFF_FIRST_NS << attempt, _BACKOFF_MAX_NS)
                yield self.kernel.stage(backoff_ns, None, f"{label} retry", passer)
                continue
            finally:
                transaction.abandon()
            return result
        raise TransactionContended(f"{label} conflicted {self.settings.attempts_max} times")

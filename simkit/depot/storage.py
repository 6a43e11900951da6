"""DirectStorage: the VFS's only way to the depot, by straight calls into the model.

Upholds the client's half of the fences: every request carries the generation of the instance and the head it
last heard of, and a reply updates the head. A commit whose reply was lost leaves the head unknown to be old or
new; the next request finds out at the fence (DUR-2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simkit.depot.commands import Command, StoreHints
from simkit.depot.depot import Depot
from simkit.depot.errors import DepotError
from simkit.depot.events import CommitAcknowledged, CommitRequested, RequestFailed
from simkit.depot.records import PreloadHints
from simkit.depot.request import DATABASE_ID, NO_HEAD, Reply, Request, RequestKind

_NO_PAGES: Mapping[int, bytes] = {}

RANGE_PAGES_MAX, RANGE_BYTES_MAX = 256, 1024 * 1024
"""The longest range that the depot answers."""


class DirectStorage:
    """One instance's connection to a database of the depot. An `immediate` one reads without latency, queue or faults.

    Attributes:
        head: the txid this instance believes to be current; None before `open`.
        immediate: it reads without latency, queue or faults.
        commits: commits acknowledged to this instance, for telling whether a reply is older than the last of them.
    """

    def __init__(
        self, depot: Depot, instance: str, generation: int, immediate: bool = False, database: str = DATABASE_ID
    ) -> None:
        self.depot = depot
        self.kernel = depot.kernel
        self.instance = instance
        self.generation = generation
        self.database = database
        self.page_size = depot.page_size
        self.head: int | None = None
        self.commits = 0
        self.immediate = immediate
        #: called with the pages of each commit right before it is requested, when set
        self.on_commit: Callable[[Mapping[int, bytes]], None] | None = None

    def open(self, numbers: tuple[int, ...] = (1,)) -> Reply:
        """Fetches the first pages, and the head with them. An empty database has head `NO_HEAD` and no pages."""
        reply = self._call("open", numbers, _NO_PAGES, 0)
        self.head = reply.head
        return reply

    def get_pages(self, numbers: tuple[int, ...], overflow: dict[int, bytes] | None = None) -> list[bytes | None]:
        """The content of the pages, in the order asked; None beyond the end of the database.

        With `overflow` the depot sends the overflow pages of these pages along, which are added to it.
        """
        reply = self._call("get_pages", numbers, _NO_PAGES, 0, False, overflow is not None)
        if overflow is not None and reply.overflow:
            overflow.update(reply.overflow)
        return reply.pages

    def get_range(self, numbers: tuple[int, ...], overflow: dict[int, bytes] | None = None) -> list[bytes | None]:
        """As `get_pages`, for consecutive numbers, up or down: the request names the first and how many."""
        assert 0 < len(numbers) <= RANGE_PAGES_MAX, "the depot cuts longer ranges off"
        assert len(numbers) * self.page_size <= RANGE_BYTES_MAX, "the depot cuts larger ranges off"
        reply = self._call("get_pages", numbers, _NO_PAGES, 0, ranged=True, expand=overflow is not None)
        if overflow is not None:
            overflow.update(reply.overflow)
        return reply.pages

    def commit(self, pages: Mapping[int, bytes], page_count: int) -> None:
        """Makes `pages` (ascending by number) and the size durable. Returns once the depot said so (DUR-3)."""
        reply = self._call("commit", tuple(pages), pages, page_count)
        self.head = reply.head
        self.commits += 1

    def store_hints(self, hints: PreloadHints) -> None:
        """Replaces what the next opening is advised to load. An instance of an earlier generation is refused."""
        self._call("control", (), _NO_PAGES, 0, command=StoreHints(hints))

    def _call(
        self,
        kind: RequestKind,
        numbers: tuple[int, ...],
        pages: Mapping[int, bytes],
        page_count: int,
        ranged: bool = False,
        expand: bool = False,
        command: Command | None = None,
    ) -> Reply:
        kernel, depot = self.kernel, self.depot
        task = kernel.current
        if task is None:
            task = kernel.require_task("send a request to the depot")
        depot.requests_total += 1
        request = Request(
            kind,
            depot.requests_total,
            task,
            self.instance,
            self.generation,
            self.head,
            numbers,
            pages,
            page_count,
            self.immediate,
            self.database,
            command,
            ranged,
            expand,
        )
        if kind == "commit":
            if self.on_commit is not None:
                self.on_commit(pages)
            expected = self.head if self.head is not None else NO_HEAD
            kernel.record(
                CommitRequested(
                    kernel.now,
                    task.name,
                    self.instance,
                    request.operation,
                    request.number,
                    numbers,
                    page_count,
                    expected,
                )
            )
        try:
            reply = depot.call(request)
        except DepotError as error:
            kernel.record(
                RequestFailed(
                    kernel.now,
                    task.name,
                    self.instance,
                    request.operation,
                    request.number,
                    kind,
                    error.code,
                    str(error),
                )
            )
            raise
        if kind == "commit":
            kernel.record(
                CommitAcknowledged(kernel.now, task.name, self.instance, request.operation, request.number, reply.head)
            )
        return reply

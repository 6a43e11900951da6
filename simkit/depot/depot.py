"""The depot: the remote page store of one database, as a model in simulated time.

Upholds DUR-1 and DUR-2 (through `commit.py`), ISO-2 (through `read.py`). A request costs `rtt + server + pages
* per_page`, drawn from the latency profile when it is sent; half the round trip passes before it arrives and
half after it was answered. At most `concurrency` requests are served at once, the others queue in the order of
their arrival. A request goes on when its sender is gone.

The hot path of a simulation is a page read through here: stages of zero length are skipped, and points for
faults cost one comparison when the run has none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from simkit.depot.commit import Committer
from simkit.depot.content import DatabaseView, DecodedDeltas
from simkit.depot.events import InstanceAllocated
from simkit.depot.faults import Faults
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import KeyValueImage, KeyValueStore
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.depot.read import PageReader
from simkit.depot.records import decode_generation, encode_generation
from simkit.depot.request import Reply, Request
from simkit.kernel import Happening, Kernel

DEFAULT_CONCURRENCY = 8
DATABASE_ID = "main"


@dataclass(frozen=True)
class DepotImage:
    """A depot's content, frozen; any number of runs start from it. `generation` is the last one handed out."""

    content: KeyValueImage | None
    generation: int
    page_size: int
    decoded: DecodedDeltas = field(default_factory=DecodedDeltas, repr=False, compare=False)


class Depot:
    """One database's page store.

    Parameters:
        latency: what requests cost.
        image: the content to start from; its page size is the database's.
        concurrency: how many requests are served at once, at least 1.
        faults: rules that act on requests, or None.
    """

    def __init__(
        self,
        kernel: Kernel,
        latency: LatencyProfile,
        image: DepotImage,
        concurrency: int = DEFAULT_CONCURRENCY,
        faults: Faults | None = None,
    ) -> None:
        assert concurrency >= 1
        self.kernel = kernel
        self.page_size = image.page_size
        self.generation = image.generation
        self.store = self.make_store(image.content)
        self.faults = faults
        self.requests_total = 0
        self._image = image
        self._view = self.make_view()
        self._reader = self.make_reader()
        self._committer = self.make_committer()
        self._concurrency = concurrency
        self._serving = 0
        self._queue: deque[Happening] = deque()
        self._costs: dict[str, tuple[RequestLatency, str]] = {
            kind: (latency.of(kind), f"latency/{kind}") for kind in ("get_pages", "commit", "open")
        }
        self._any_order = kernel.order == "any"

    # What a defect or another depot may replace

    def make_store(self, content: KeyValueImage | None) -> KeyValueStore:
        return KeyValueStore(content)

    def make_view(self) -> DatabaseView:
        return DatabaseView(DATABASE_ID)

    def make_reader(self) -> PageReader:
        return PageReader(self.kernel, self.store, self._view, self._image.decoded, self.faults)

    def make_committer(self) -> Committer:
        return Committer(self.kernel, self.store, self._view, self.page_size, self.faults, self._new_branch_id)

    # The control plane: who owns the database

    def allocate(self) -> int:
        """Hands the database to a new generation, from this instant, and returns it."""
        self.generation += 1
        transaction = self.store.begin()
        keys = self._view.branch(transaction)
        if keys is None:
            keys = BranchKeys(self._new_branch_id())
            transaction.set(self._view.pointer_key, keys.branch_id)
        transaction.set(keys.generation, encode_generation(self.generation))
        transaction.commit()
        self.kernel.record(InstanceAllocated(self.kernel.now, "", self.generation))
        return self.generation

    def image(self) -> DepotImage:
        """The present content, frozen."""
        return DepotImage(self.store.image(), self.generation, self.page_size)

    @property
    def on_applied(self) -> Callable[[Request], None] | None:
        """Called with each commit request between its key-value commit and its reply."""
        return self._committer.on_applied

    @on_applied.setter
    def on_applied(self, callback: Callable[[Request], None] | None) -> None:
        self._committer.on_applied = callback

    # Requests

    def call(self, request: Request) -> Reply:
        """Sends a request and suspends the calling task until its reply. Raises the depot's error."""
        if request.immediate:
            return self._reader.read(request)
        latency, stream = self._costs[request.kind]
        decisions = self.kernel.decisions
        rtt_ns = latency.rtt.draw(decisions.stream(stream))
        service_ns = latency.server.draw(decisions.stream(stream)) + latency.per_page_ns * len(request.numbers)
        half_ns = rtt_ns // 2

        def answered(reply: Reply | None, error: Exception | None) -> None:
            request.result, request.error = reply, error
            if half_ns or self._any_order:
                self.kernel.stage(rtt_ns - half_ns, deliver, "reply", request)
            else:
                deliver(None)

        def deliver(_: object) -> None:
            request.done = True
            if request.task is not None:
                self.kernel.wake(request.task)

        self.kernel.process(self._serve(request, half_ns, service_ns), answered)
        if not request.done:
            try:
                self.kernel.park(request.kind, request)
            except BaseException:
                request.task = None
                raise
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _serve(self, request: Request, arrival_ns: int, service_ns: int) -> Generator[Happening, Any, Reply]:
        kernel = self.kernel
        if arrival_ns or self._any_order:
            yield kernel.stage(arrival_ns, None, "arrive", request)
        if self._serving >= self._concurrency:
            gate = kernel.gate("queue", request)
            self._queue.append(gate)
            yield gate
        else:
            self._serving += 1
        try:
            if request.kind == "commit":
                return (yield from self._committer.handle(request, service_ns))
            if service_ns:
                yield kernel.stage(service_ns, None, request.kind, request)
            return (yield from self._reader.handle(request))
        finally:
            # A waiting request takes over the place of the one that ends.
            if self._queue:
                self._queue.popleft().happen()
            else:
                self._serving -= 1

    def _new_branch_id(self) -> bytes:
        return (1).to_bytes(16, "big")

    @property
    def stored_generation(self) -> int:
        """The generation on record, 0 when there is none."""
        snapshot = self.store.snapshot()
        keys = self._view.branch(snapshot)
        raw = snapshot.get(keys.generation) if keys is not None else None
        return decode_generation(raw) if raw is not None else 0

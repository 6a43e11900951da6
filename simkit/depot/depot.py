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

from simkit.depot.blobs import Blobs
from simkit.depot.branches import Branches
from simkit.depot.commit import Committer
from simkit.depot.compaction import Compaction
from simkit.depot.content import DatabaseView
from simkit.depot.core import Core
from simkit.depot.errors import DepotError
from simkit.depot.events import InstanceAllocated
from simkit.depot.faults import Faults
from simkit.depot.flight import ReadFlight
from simkit.depot.kv import KeyValueImage, KeyValueStore
from simkit.depot.latency import LatencyProfile
from simkit.depot.network import Network
from simkit.depot.read import PageReader
from simkit.depot.records import encode_generation
from simkit.depot.request import DATABASE_ID, Reply, Request
from simkit.depot.settings import DEFAULT_SETTINGS, DepotSettings
from simkit.kernel import Happening, Kernel

_READS = ("get_pages", "open")


@dataclass(frozen=True)
class DepotImage:
    """A depot's content, frozen; any number of runs start from it.

    `generation` is the last one handed out, `branches` the number of branches ever made.
    """

    content: KeyValueImage | None
    generation: int
    page_size: int
    branches: int = 0
    blobs: Blobs = field(default_factory=Blobs, repr=False, compare=False)


class Depot:
    """One database's page store.

    Parameters:
        latency: what requests cost.
        image: the content to start from; its page size is the database's.
        settings: limits, grain of concurrency, compaction.
        faults: rules that act on requests and jobs, or None.
        network: what goes wrong between instances and depot, or None.
    """

    def __init__(
        self,
        kernel: Kernel,
        latency: LatencyProfile,
        image: DepotImage,
        settings: DepotSettings = DEFAULT_SETTINGS,
        faults: Faults | None = None,
        network: Network | None = None,
    ) -> None:
        assert settings.concurrency >= 1
        self.kernel = kernel
        self.page_size = image.page_size
        self.store = self.make_store(image.content)
        self.faults = faults
        if faults is not None:
            faults.shard_pages = settings.shard_pages
        self.network = network
        self.requests_total = 0
        self.core = Core(
            kernel,
            self.store,
            settings,
            image.page_size,
            faults,
            image.blobs,
            self.make_view,
            image.branches,
            image.generation,
        )
        self.reader = self.make_reader()
        self._committer = self.make_committer()
        self.branches = self.make_branches()
        #: None while compaction is off
        self.compaction = self.make_compaction() if settings.compaction.enabled else None
        if self.compaction is not None:
            self.core.signaler = self.compaction.signaler
            self.branches.force = self.compaction.force
        self._concurrency = settings.concurrency
        self._serving = 0
        self._queue: deque[Callable[[], None]] = deque()
        self._admitting = False
        #: by kind of request: quantiles of round trip and service, cost of a page, stream of decisions
        self._costs: dict[str, tuple[tuple[int, ...], tuple[int, ...], int, str]] = {
            kind: (cost.rtt.quantiles, cost.server.quantiles, cost.per_page_ns, f"latency/{kind}")
            for kind, cost in (
                ("get_pages", latency.get_pages),
                ("commit", latency.commit),
                ("open", latency.open),
                ("control", latency.open),
            )
        }
        self.any_order = kernel.order == "any"
        #: nothing but time can hold a read up
        self._plain = faults is None and network is None and not self.core.fine

    # What a defect or another depot may replace

    def make_store(self, content: KeyValueImage | None) -> KeyValueStore:
        return KeyValueStore(content)

    def make_view(self, database: str) -> DatabaseView:
        return DatabaseView(database)

    def make_reader(self) -> PageReader:
        return PageReader(self.core)

    def make_committer(self) -> Committer:
        return Committer(self.core)

    def make_branches(self) -> Branches:
        return Branches(self.core)

    def make_compaction(self) -> Compaction:
        return Compaction(self.core)

    # The control plane: who owns the database

    def allocate(self, database: str = DATABASE_ID) -> int:
        """Hands the database to a new generation, from this instant, and returns it."""
        self.core.generation += 1
        view = self.core.view(database)
        transaction = self.store.begin()
        keys = view.branch(transaction)
        if keys is None:
            keys = view.create(transaction, self.core)
        transaction.set(keys.generation, encode_generation(self.generation))
        transaction.commit()
        self.kernel.record(InstanceAllocated(self.kernel.now, "", self.generation, database))
        return self.generation

    @property
    def generation(self) -> int:
        """The last generation handed out."""
        return self.core.generation

    def image(self) -> DepotImage:
        """The present content, frozen."""
        return DepotImage(self.store.image(), self.generation, self.page_size, self.core.branches)

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
            return self.reader.read(request)
        rtt, server, per_page_ns, stream = self._costs[request.kind]
        rtt_ns, service_ns = rtt[0], server[0]
        if len(rtt) > 1 or len(server) > 1:
            choose = self.kernel.decisions.stream(stream)
            rtt_ns, service_ns = rtt[choose(len(rtt))], server[choose(len(server))]
        service_ns += per_page_ns * len(request.numbers)
        arrival_ns = rtt_ns // 2
        if request.kind in _READS and self._plain:
            self.send_read(request, arrival_ns, service_ns, rtt_ns - arrival_ns)
        else:
            self.send(request, arrival_ns, service_ns, rtt_ns - arrival_ns)
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

    def send_read(self, request: Request, arrival_ns: int, service_ns: int, reply_ns: int) -> None:
        """Sends a read in a run without fault rules and network trouble."""
        ReadFlight(self, request, service_ns, reply_ns).send(arrival_ns)

    def send(self, request: Request, arrival_ns: int, service_ns: int, reply_ns: int) -> None:
        """Sends any request."""
        kernel = self.kernel
        if self.network is not None:
            self.network.transmit(request, arrival_ns, service_ns, reply_ns, self._serve_arrived)
            return

        def answered(reply: Reply | None, error: Exception | None) -> None:
            if error is not None and not isinstance(error, DepotError):
                raise error  # a mistake of the model, and no answer
            request.result, request.error = reply, error
            if reply_ns or self.any_order:
                kernel.stage(reply_ns, deliver, "reply", request)
            else:
                deliver(None)

        def deliver(_: object) -> None:
            request.done = True
            if request.task is not None:
                kernel.wake(request.task)

        kernel.process(self._serve(request, arrival_ns, service_ns), answered)

    def _serve_arrived(self, request: Request, service_ns: int) -> Generator[Happening, Any, Reply]:
        return self._serve(request, 0, service_ns)

    def _serve(self, request: Request, arrival_ns: int, service_ns: int) -> Generator[Happening, Any, Reply]:
        kernel = self.kernel
        if arrival_ns or self.any_order:
            yield kernel.stage(arrival_ns, None, "arrive", request)
        admitted = kernel.gate("queue", request)
        self.take_place(admitted.happen)
        yield admitted
        try:
            if request.kind == "commit":
                return (yield from self._committer.handle(request, service_ns))
            if request.kind == "control":
                return (yield from self.branches.handle(request, service_ns))
            if service_ns:
                yield kernel.stage(service_ns, None, request.kind, request)
            return (yield from self.reader.handle(request))
        finally:
            self.leave_place()

    def take_place(self, serve: Callable[[], None]) -> None:
        """Calls `serve` as soon as fewer than `concurrency` requests are being served, in the order of asking."""
        if self._serving < self._concurrency:
            self._serving += 1
            serve()
        else:
            self._queue.append(serve)

    def leave_place(self) -> None:
        """A request was served; the next one in the queue takes its place."""
        self._serving -= 1
        # Not by recursion: a served request may leave at once, and so may the next.
        if self._queue and not self._admitting:
            self._admitting = True
            while self._queue and self._serving < self._concurrency:
                self._serving += 1
                self._queue.popleft()()
            self._admitting = False

"""Watches the depot of one run: sweeps its rows, lets compaction come to rest at the end, looks into the forks.

A sweep reads every row and every readable version at one instant and records what it finds; judging that is not done
here. Runs in which nothing but commits and reads happens to the depot are swept at their end only: what a sweep could
find earlier, it finds there, and most runs are such. With compaction, an operator or a network, a sweep follows each
step of a job and each recovery, because the next step may hide what this one did (COMP-1, DEPOT-1 to 19).
"""

from __future__ import annotations

import apsw

from simkit.check.events import DepotSwept, VersionRead
from simkit.check.lag import compaction_bound_ns
from simkit.check.sweep import Sweeper
from simkit.depot.depot import Depot
from simkit.depot.events import DatabaseForked
from simkit.depot.faults import Faults
from simkit.depot.settings import CompactionSettings
from simkit.kernel import Event
from simkit.kernel.units import MILLISECOND, SECOND
from simkit.scenario.events import DepotMeasured, ForkObserved
from simkit.scenario.inspection import inspected, integrity_of

_LOOK_FIRST_NS = 1 * MILLISECOND
_LOOK_MAX_NS = 1 * SECOND
"""How often compaction is asked whether it rests: at first soon, then at longer and longer intervals."""
_EXTENSIONS_MAX = 8
"""How many times the longest way to rest compaction is waited for at most, as long as it commits something."""


class DepotWatch:
    """The watch over one depot. `often`: something beside commits and reads changes its rows."""

    def __init__(self, depot: Depot, faults: Faults | None, often: bool, inspector: str) -> None:
        self._depot = depot
        self._faults = faults
        self._often = often
        self._inspector = inspector
        self._sweeper = Sweeper(depot)
        self._stepped_ns = 0
        if depot.compaction is not None:
            depot.compaction.on_step = self._job_stepped

    def _job_stepped(self, label: str) -> None:
        self._stepped_ns = self._depot.kernel.now
        self._sweeper.sweep(label, at_rest=False)

    def recovered(self) -> None:
        """A new instance is about to open the database."""
        if self._often:
            self._sweeper.sweep("recovery", at_rest=False)

    def cut_short(self) -> None:
        """The run ended in the middle: what its rows must be at every instant, they must be now."""
        self._sweeper.sweep("end", at_rest=False)

    def finish(self) -> None:
        """Waits for compaction and stops it, then looks at everything. Call it in a task, once nobody else asks."""
        depot = self._depot
        compaction = depot.compaction
        at_rest = True
        if compaction is not None:
            self._settle()
            at_rest = compaction.idle
            compaction.stop()
        self._sweeper.sweep("end", at_rest=at_rest)
        if self._often:
            self._observe_forks()
        if compaction is not None:
            rows = depot.store.snapshot().get_range(b"", b"\xff")
            stored_bytes = sum(len(key) + len(value) for key, value in rows)
            depot.kernel.record(DepotMeasured(depot.kernel.now, "", len(rows), stored_bytes))

    def _settle(self) -> None:
        """Waits until compaction rests, but not for ever: one that never does is what COMP-2 is about."""
        kernel, compaction = self._depot.kernel, self._depot.compaction
        assert compaction is not None
        settings = self._depot.core.settings
        operation_ns = settings.operation_ns if settings.grain == "operation" else 0
        patience_ns = settle_ns_max(settings.compaction, operation_ns)
        since_ns = kernel.now
        until_ns = since_ns + _EXTENSIONS_MAX * patience_ns
        look_after_ns = _LOOK_FIRST_NS
        while not compaction.idle and kernel.now < min(until_ns, max(since_ns, self._stepped_ns) + patience_ns):
            # Patient: in any order, too, the deadlines of compaction that come before it must be able to pass.
            self._pause(look_after_ns)
            look_after_ns = min(2 * look_after_ns, _LOOK_MAX_NS)
            if self._faults is not None:
                self._faults.release("rest")  # nobody else is left who could do anything

    def _pause(self, duration_ns: int) -> None:
        kernel = self._depot.kernel
        over = Event(kernel, "compaction to come to rest")
        kernel.timer(duration_ns, lambda _: over.set(), "look at compaction", patient=True)
        over.wait()

    # Forks

    def _observe_forks(self) -> None:
        depot, kernel = self._depot, self._depot.kernel
        for fork in [event for event in kernel.history if isinstance(event, DatabaseForked)]:
            observed = self._observe_fork(fork.database, depot.allocate(fork.database))
            kernel.record(observed)
            if observed.integrity != ("ok",):
                wrong = observed.error or f"integrity_check: {'; '.join(observed.integrity)}"
                version = VersionRead(
                    fork.branch, fork.txid, f"the fork {fork.database} begins there", None, None, wrong
                )
                kernel.record(DepotSwept(kernel.now, self._inspector, "in the forks", False, (), (version,)))

    def _observe_fork(self, database: str, generation: int) -> ForkObserved:
        kernel, name = self._depot.kernel, self._inspector
        try:
            with inspected(self._depot, name, generation, database) as connection:
                return ForkObserved(kernel.now, name, database, generation, integrity_of(connection))
        except apsw.Error as error:
            return ForkObserved(kernel.now, name, database, generation, (), str(error))


def settle_ns_max(settings: CompactionSettings, operation_ns: int = 0) -> int:
    """How long compaction is waited for at the end of a run while nothing of it is seen, in nanoseconds.

    Twice over what it may take to move on, so that COMP-2 has an opinion of what is not at rest by then.
    """
    return 2 * compaction_bound_ns(settings, operation_ns)

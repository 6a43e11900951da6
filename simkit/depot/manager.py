"""The compaction manager of one branch: looks at it, and has done what is worth doing, one job of a kind at a time.

Upholds COMP-2: a branch that is marked dirty is looked at again and again until nothing is left to do, whether a wake
arrived or not; a job that failed is tried again after a pause that grows and is bounded. The marker is cleared only
while it is what the last look saw, so that a commit which came meanwhile is not forgotten.

A look is one instant and changes nothing. What it finds is done after a deadline, because more of the same is likely to
come. When a job crashes, its manager has lost all it knew, and starts again some time later from what is in the store;
only what an operator has forced is still to be done, because he was told that it would be.

Not here: what a job does (`hot_stage.py`, `hot_install.py`, `reclaim.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Literal

from simkit.depot.blobs import Readable
from simkit.depot.core import Core
from simkit.depot.errors import DepotError
from simkit.depot.events import CompactionRested, JobFailed, ManagerLooked
from simkit.depot.faults import NodeCrashed
from simkit.depot.hot_plan import BranchState, hot_reason, read_state
from simkit.depot.job import Job, JobProcess, Lane
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import Transaction, TransactionTooLarge, ValueTooLarge
from simkit.depot.ltx import BlobCorrupt
from simkit.depot.records import RecordCorrupt
from simkit.kernel import Happening
from simkit.kernel.units import MILLISECOND

if TYPE_CHECKING:
    from simkit.depot.compaction import Compaction

Why = Literal["wake", "silence", "restart", "settle", "forced", "job"]

_FAILURES = (DepotError, BlobCorrupt, RecordCorrupt, TransactionTooLarge, ValueTooLarge)
_PAUSE_MIN_NS = 1 * MILLISECOND


class Manager:
    """Sees to one branch."""

    def __init__(self, core: Core, keys: BranchKeys, compaction: Compaction) -> None:
        self.keys = keys
        self._core = core
        self._kernel = core.kernel
        self._settings = core.settings.compaction
        self._compaction = compaction
        #: up to where an operator wants it folded
        self._forced_to: int | None = None
        self._forced_reclaim = False
        self._forget()

    def _forget(self) -> None:
        self._hot = Lane("hot")
        self._reclaim = Lane("reclaim")
        self._clearing = Lane("clear")
        self._silence: Happening | None = None
        self._settle: Happening | None = None
        self._restart: Happening | None = None
        #: a job has ended since the branch was last taken for clean
        self._unsettled = False

    # What others tell it

    def watch(self) -> None:
        """The branch is marked dirty: looks at it when nothing is heard for long."""
        if self._silence is None and self._restart is None:
            label = f"silence of branch {self.keys.number}"
            self._silence = self._kernel.timer(self._settings.max_silence_ns, self._not_heard, label, patient=True)

    def force(self) -> None:
        """Everything up to the present head is to be folded, and what is not needed then deleted, without delay.

        A manager that is about to start again sees to it once it has.
        """
        self._forced_to = read_state(self._core, self._core.store.snapshot(), self.keys).head
        self._forced_reclaim = True
        for lane in (self._hot, self._reclaim):
            lane.ready_ns = 0
            if lane.deadline is not None:
                lane.deadline.revoke()
                lane.deadline = None
        self.look("forced")

    def start_later(self, delay_ns: int) -> None:
        """Looks at the branch after `delay_ns`; hears nothing until then."""

        def start(_: object) -> None:
            self._restart = None
            self.look("restart")

        self._restart = self._kernel.timer(delay_ns, start, f"restart of branch {self.keys.number}")

    def stop(self) -> None:
        """Ends all it does, and forgets all it knows but what was forced."""
        for lane in (self._hot, self._reclaim, self._clearing):
            lane.stop()
        for timer in (self._silence, self._settle, self._restart):
            if timer is not None:
                timer.revoke()
        self._forget()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way and nothing will happen by itself."""
        waits = self._silence is not None or self._settle is not None or self._restart is not None
        return not (waits or self._hot.busy or self._reclaim.busy or self._clearing.busy)

    def is_running(self, job: int) -> bool:
        """Whether what this job has staged is still in use."""
        return self._hot.process is not None and self._hot.job_number == job

    # Looking

    def look(self, why: Why) -> None:
        """Finds out what there is to do, and sees that it is done."""
        if self._restart is not None:
            return
        snapshot = self._core.store.snapshot()
        state = read_state(self._core, snapshot, self.keys)
        self._listen(state)
        hot = self._hot_wanted(snapshot, state)
        reclaim, reason = False, ""
        folding = hot or self._hot.busy
        if not self._reclaim.busy and not (folding and why == "wake"):
            plan = self._compaction.reclaimer.plan(snapshot, self.keys, self.is_running)
            reclaim, reason = not plan.empty, plan.reason
        if not (folding or reclaim or self._reclaim.busy):
            self._forced_reclaim = False
        found = ["hot"] if hot else ["hot:no-actionable-lag" if state.live else "stop:not-live"]
        found.append("reclaim" if reclaim else reason)
        self._kernel.record(
            ManagerLooked(
                self._kernel.now,
                "compaction manager",
                self.keys.number,
                why,
                state.head,
                state.watermark,
                " ".join(word for word in found if word),
            )
        )
        if hot:
            self._arm(self._hot, 0 if self._forced_to is not None else self._settings.hot_after_ns)
        if reclaim and not (self._forced_reclaim and folding):
            # A branch that is forced is folded first; the look after that reclaims at once.
            self._arm(self._reclaim, 0 if self._forced_reclaim else self._settings.reclaim_after_ns)
        if not (self._hot.busy or self._reclaim.busy):
            self._rest(why, state)

    def _hot_wanted(self, readable: Readable, state: BranchState) -> bool:
        if self._forced_to is not None and (not state.live or state.watermark >= self._forced_to):
            self._forced_to = None
        if self._hot.busy:
            return False
        return self._forced_to is not None or hot_reason(self._core, readable, self.keys, state) is not None

    def _listen(self, state: BranchState) -> None:
        """Something was heard: silence counts from now, and only while the branch is dirty."""
        if self._silence is not None:
            self._silence.revoke()
            self._silence = None
        if state.marker is not None:
            self.watch()

    def _not_heard(self, _: object) -> None:
        self._silence = None
        self.look("silence")

    def _rest(self, why: Why, state: BranchState) -> None:
        """Nothing is to be done: looks once more after a while if there was, else takes the branch for clean."""
        if state.marker is None:
            self._unsettled = False
        elif self._unsettled and why != "settle":
            if self._settle is None:
                self._settle = self._kernel.timer(
                    self._settings.settle_after_ns,
                    self._settled,
                    f"settling of branch {self.keys.number}",
                    patient=True,
                )
        elif not self._clearing.busy:
            self._start(self._clearing, lambda job: self._clear_marker(job, state))

    def _settled(self, _: object) -> None:
        self._settle = None
        self.look("settle")

    def _clear_marker(self, job: Job, seen: BranchState) -> Generator[Happening, Any, None]:
        """Clears the marker if it is still the one that was seen."""
        keys = self.keys

        def body(transaction: Transaction) -> Generator[Happening, Any, bool]:
            yield self._kernel.stage(self._settings.job_service_ns, None, "clear marker", job)
            if transaction.get(keys.dirty) != seen.marker:
                return False
            transaction.clear(keys.dirty)
            return True

        if (yield from self._core.transact(job, "clear marker", body)):
            self._unsettled = False
            self._kernel.record(
                CompactionRested(self._kernel.now, job.task_name, keys.number, seen.head, seen.watermark)
            )
            self._compaction.stepped("marker cleared")

    # Jobs

    def _arm(self, lane: Lane, delay_ns: int) -> None:
        """The lane's next job starts after `delay_ns`, or when its pause after a failure is over."""
        if lane.busy:
            return
        delay_ns = max(delay_ns, lane.ready_ns - self._kernel.now)
        # Work was found: what was going to be the last look is not.
        if self._settle is not None:
            self._settle.revoke()
            self._settle = None

        def due(_: object) -> None:
            lane.deadline = None
            self._start(lane, self._hot_job if lane.kind == "hot" else self._reclaim_job)

        lane.deadline = self._kernel.timer(delay_ns, due, f"{lane.kind} deadline of branch {self.keys.number}")

    def _start(self, lane: Lane, body: Callable[[Job], Generator[Happening, Any, Any]]) -> None:
        core = self._core
        record = core.sources.record(core.store.snapshot(), self.keys.branch_id)
        database = record.database_id if record is not None else ""
        lane.job_number = self._compaction.new_job_number(self.keys)
        names = {"hot": "hot compacter", "reclaim": "reclaimer", "clear": "compaction manager"}
        job = Job(-lane.job_number, names[lane.kind], database, self.keys.number)
        process = JobProcess(self._kernel, core.store, body(job), lambda error: self._ended(lane, job, process, error))
        lane.process = process
        process.start()

    def _hot_job(self, job: Job) -> Generator[Happening, Any, None]:
        staged = yield from self._compaction.stager.stage(job, self.keys)
        if staged is not None:
            yield from self._compaction.installer.install(job, self.keys, staged)

    def _reclaim_job(self, job: Job) -> Generator[Happening, Any, None]:
        yield from self._compaction.reclaimer.run(job, self.keys, self.is_running)

    def _ended(self, lane: Lane, job: Job, process: JobProcess, error: Exception | None) -> None:
        lane.process = None
        if error is not None:
            if not isinstance(error, (NodeCrashed, *_FAILURES)):
                raise error  # a mistake of the model, and no failure of a job
            self._record_failure(lane, job, error)
        if isinstance(error, NodeCrashed):
            self.stop()
            self.start_later(max(self._settings.restart_after_ns, _PAUSE_MIN_NS))
            return
        if error is not None or (lane.kind == "reclaim" and not process.commits):
            # A job that deleted nothing would find the same again.
            lane.failures += 1
            lane.ready_ns = self._kernel.now + self._pause_ns(lane.failures)
        else:
            lane.failures = 0
        if lane.kind != "clear":
            self._unsettled = True
        elif error is None and process.commits:
            self._listen(read_state(self._core, self._core.store.snapshot(), self.keys))
            return
        self.look("job")

    def _pause_ns(self, failures: int) -> int:
        first_ns = max(self._settings.hot_after_ns, _PAUSE_MIN_NS)
        longest_ns = max(self._settings.max_silence_ns, _PAUSE_MIN_NS)
        return int(min(first_ns << min(failures, 20), longest_ns))

    def _record_failure(self, lane: Lane, job: Job, error: Exception) -> None:
        name = error.code if isinstance(error, DepotError) else type(error).__name__
        self._kernel.record(
            JobFailed(self._kernel.now, job.task_name, self.keys.number, job.ordinal, lane.kind, name, str(error))
        )

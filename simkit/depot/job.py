"""One job of compaction, the process that carries it out, and the lane that it waits in.

A job is named in fault rules, stages and events as a request is, under a negative number, so that the two are never
taken for each other. Its process can be ended between two of its steps, whatever it waits for: nothing of it stays
behind in the kernel, and what it had begun in the store is abandoned with its transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal

from simkit.depot.errors import DepotError
from simkit.depot.kv import KeyValueStore
from simkit.kernel import Happening, Kernel

JobKind = Literal["hot", "reclaim", "clear"]

COMPACTION_INSTANCE = "compaction"
"""What jobs give as their instance."""


class JobRejected(DepotError):
    """What the job worked from is not what is there any more, or what it staged is not what it had folded."""

    code = "job_rejected"


@dataclass(frozen=True)
class Job:
    """Who works in the depot. `number` is negative, `branch` the number of the branch that is compacted."""

    number: int
    task_name: str
    database: str
    branch: int
    instance: str = COMPACTION_INSTANCE

    def __post_init__(self) -> None:
        assert self.number < 0, f"a job has a negative number, not {self.number}"

    @property
    def ordinal(self) -> int:
        """The positive number under which the job stages rows and is named in events."""
        return -self.number

    @property
    def name(self) -> str:
        return f"{self.task_name} #{self.ordinal}"

    def __str__(self) -> str:
        return f"{self.name} of branch {self.branch}"


class JobProcess:
    """A generator of the model that works for a job.

    Parameters:
        done: called at the end with the error, or None; not when the process was stopped.
        on_commit: called after each step that committed something, when given.

    Attributes:
        commits: steps so far that changed the store.
    """

    def __init__(
        self,
        kernel: Kernel,
        store: KeyValueStore,
        generator: Generator[Happening, Any, Any],
        done: Callable[[Exception | None], None],
        on_commit: Callable[[], None] | None = None,
    ) -> None:
        self._kernel = kernel
        self._store = store
        self._generator = generator
        self._done = done
        self._on_commit = on_commit
        self._awaited: Happening | None = None
        self._stopped = False
        self.commits = 0

    def start(self) -> None:
        """Runs up to the first thing that takes time."""
        self._kernel.process(self._drive(), self._end)

    def stop(self) -> None:
        """Ends the process where it is. Does nothing once it has ended."""
        self._stopped = True
        if self._awaited is not None:
            self._awaited.revoke()
            self._awaited = None
            self._generator.close()

    def _drive(self) -> Generator[Happening, Any, None]:
        while True:
            version = self._store.version
            try:
                happening = self._generator.send(None)
            except StopIteration:
                return
            finally:
                if self._store.version != version:
                    self.commits += 1
                    if self._on_commit is not None:
                        self._on_commit()
            if self._stopped:
                # Somebody whom this very step called has stopped it.
                happening.revoke()
                self._generator.close()
                return
            self._awaited = happening
            yield happening
            self._awaited = None

    def _end(self, _: object, error: Exception | None) -> None:
        if not self._stopped:
            self._done(error)


class Lane:
    """Jobs of one kind: at most one under way, or one waiting for its deadline.

    Attributes:
        ready_ns: no job starts before this; moved on by each failure.
    """

    def __init__(self, kind: JobKind) -> None:
        self.kind = kind
        self.process: JobProcess | None = None
        self.job_number = 0
        self.deadline: Happening | None = None
        self.failures = 0
        self.ready_ns = 0

    @property
    def busy(self) -> bool:
        return self.process is not None or self.deadline is not None

    def stop(self) -> None:
        """Forgets the deadline and ends the job where it is."""
        if self.deadline is not None:
            self.deadline.revoke()
        if self.process is not None:
            self.process.stop()
        self.deadline = self.process = None

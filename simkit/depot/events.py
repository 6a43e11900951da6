"""What the depot and its clients put into the history.

`instance` is the name of the instance that asked, `request` a number unique in the run, `operation` the client
operation that the asking task worked for (-1 when it worked for none).
"""

from __future__ import annotations

from simkit.kernel import Record


class PagesRead(Record, frozen=True, gc=False, tag=True):
    """The depot read `pages` (page numbers) at the version `head` (a txid); the reply is on its way."""

    instance: str
    request: int
    pages: tuple[int, ...]
    head: int


class CommitRequested(Record, frozen=True, gc=False, tag=True):
    """An instance sent a commit of `pages` that makes the database `page_count` pages long."""

    instance: str
    operation: int
    request: int
    pages: tuple[int, ...]
    page_count: int
    expected_head: int


class CommitApplied(Record, frozen=True, gc=False, tag=True):
    """The key-value transaction of a commit is durable. The client does not know yet. `branch` is its number."""

    instance: str
    operation: int
    request: int
    txid: int
    branch: int = 1
    database: str = "main"


class CommitAcknowledged(Record, frozen=True, gc=False, tag=True):
    """The reply to a commit reached the task that waited for it."""

    instance: str
    operation: int
    request: int
    txid: int


class RequestFailed(Record, frozen=True, gc=False, tag=True):
    """The reply to a request reached its task, and it is an error."""

    instance: str
    operation: int
    request: int
    kind: str
    error: str
    message: str


class FaultFired(Record, frozen=True, gc=False, tag=True):
    """A fault rule acted on a request, or on a job of the depot. `rule` is its position in the plan."""

    instance: str
    request: int
    rule: int
    point: str
    action: str


class InstanceAllocated(Record, frozen=True, gc=False, tag=True):
    """The depot handed the database to a new generation; requests of earlier ones are refused from now on."""

    generation: int
    database: str = "main"


class NetworkDisturbed(Record, frozen=True, gc=False, tag=True):
    """The network did something to a message.

    Attributes:
        leg: "request" or "reply".
        what: "lost", "duplicated", "delayed", "held" (until a clog ends), "refused" (a reply that nobody waits for any
            more), "slow" (the service of a request).
    """

    instance: str
    request: int
    leg: str
    what: str


class WakeSent(Record, frozen=True, gc=False, tag=True):
    """A commit made its branch lag by `lag` commits and signalled the compaction manager; `lost`: nobody will hear."""

    branch: int
    txid: int
    lag: int
    lost: bool = False


class ManagerLooked(Record, frozen=True, gc=False, tag=True):
    """The compaction manager looked at a branch. `why` is "wake", "silence", "restart", "settle", "forced" or "job".

    `plan` is what it found, in words: "hot" and "reclaim" for work, else why there is none, such as
    "hot:no-actionable-lag", or "stop:not-live" for a branch that is folded no more.
    """

    branch: int
    why: str
    head: int
    watermark: int
    plan: str


class HotStaged(Record, frozen=True, gc=False, tag=True):
    """A job has folded the commits above `base` up to `watermark` into staged shards."""

    branch: int
    job: int
    base: int
    watermark: int
    shards: int


class HotInstalled(Record, frozen=True, gc=False, tag=True):
    """What a job staged is published and the watermark moved; `cleared` rows left the page index."""

    branch: int
    job: int
    watermark: int
    manifest_generation: int
    shards: int
    cleared: int


class Reclaimed(Record, frozen=True, gc=False, tag=True):
    """A job has deleted what no readable version needs."""

    branch: int
    job: int
    deltas: int
    commits: int
    shards: int


class JobFailed(Record, frozen=True, gc=False, tag=True):
    """A compaction job ended without its result.

    `kind` is "hot", "reclaim" or "clear" (of the dirty marker), `error` the name of what stopped it. What a hot job had
    installed before stays installed.
    """

    branch: int
    job: int
    kind: str
    error: str
    message: str


class CompactionRested(Record, frozen=True, gc=False, tag=True):
    """The manager found nothing to do and cleared the dirty marker of the branch."""

    branch: int
    head: int
    watermark: int


class ControlReceived(Record, frozen=True, gc=False, tag=True):
    """The depot begins to carry out a command about `database` whose commit somebody names.

    Attributes:
        command: "restore point", "fork" or "rollback".
        target: "latest", "time" or "restore_point".
        restore_point: the name of that one, "" for the other targets.
        ms: that time as a wall clock in milliseconds since 1970, -1 for the other targets.
        keep_undo: it is a rollback that shall leave a restore point of the head that it leaves.
    """

    instance: str
    request: int
    database: str
    command: str
    target: str
    restore_point: str = ""
    ms: int = -1
    keep_undo: bool = False


class RestorePointMade(Record, frozen=True, gc=False, tag=True):
    """Commit `txid` of a branch stays readable under this name. `request` is that of the command, -1: not told."""

    database: str
    restore_point: str
    branch: int
    txid: int
    request: int = -1


class RestorePointDeleted(Record, frozen=True, gc=False, tag=True):
    """Nothing is kept for this restore point any more."""

    database: str
    restore_point: str
    branch: int


class DatabaseForked(Record, frozen=True, gc=False, tag=True):
    """`database` is new, on a branch derived from commit `txid` of branch `parent`. `request`: of the command."""

    database: str
    branch: int
    parent: int
    txid: int
    request: int = -1


class DatabaseRolledBack(Record, frozen=True, gc=False, tag=True):
    """`database` goes on at a new branch derived from commit `txid` of branch `parent`; `left` is frozen now.

    `undo` names the restore point of the head that was left, "" when there is none. `request` is that of the command.
    """

    database: str
    branch: int
    parent: int
    txid: int
    left: int
    undo: str = ""
    request: int = -1


class HintsStored(Record, frozen=True, gc=False, tag=True):
    """The depot keeps what an instance advises to load at the next opening: pages, and first and last of ranges."""

    instance: str
    request: int
    hot_pages: tuple[int, ...]
    early_pages: tuple[int, ...]
    scan_ranges: tuple[tuple[int, int], ...]

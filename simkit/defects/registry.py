"""The defects by their ids: what each breaks, where such a thing happened, and which invariant must catch it where.

A defect is one or two small subclasses put into `Parts`; the product has no switches for them. Every invariant that is
checked has a defect here that violates it, otherwise nobody would know whether its check works.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from simkit.defects.depot_defects import (
    CommitAcksBeforeDurable,
    FenceSkipped,
    HeadBeforeDeltas,
    StalePageIndexCache,
    ValueMutatedByDriver,
)
from simkit.defects.system_defects import BigintTruncated, ForeignStatementJoins, LostWakeup
from simkit.defects.vfs_defects import (
    CountingStorage,
    FatalErrorRetried,
    FlushPublishesUncommitted,
    ReadErrorAsEmpty,
    SyncAcksBeforeCommit,
)
from simkit.scenario.parts import Parts
from simkit.scenario.problems import suggest


class DefectNotFound(LookupError):
    """No defect has this id."""


@dataclass(frozen=True)
class Defect:
    """One deliberate breakage.

    Attributes:
        breaks: what is wrong with the system that has it, in one sentence.
        happened_in: where a mistake of this kind was made.
        scenario: the file that provokes it, below `scenarios/`.
        invariant: the id of the invariant that must be found violated.
        parts: puts the broken classes into sound parts.
    """

    id: str
    breaks: str
    happened_in: str
    scenario: str
    invariant: str
    parts: Callable[[Parts], Parts]


def find_defect(name: str) -> Defect:
    """The defect with this id. Raises `DefectNotFound`, which names the closest one."""
    defect = DEFECTS.get(name)
    if defect is None:
        raise DefectNotFound(f"there is no defect {name!r}; {suggest(name, DEFECTS)}")
    return defect


_ALL = (
    Defect(
        "sync-acks-before-commit",
        "xSync returns while the commit is still on its way to the depot.",
        "A VFS that wrote behind: an acknowledged transaction was gone after a crash.",
        "durability/append-log.yaml",
        "DUR-3",
        lambda parts: replace(parts, database=SyncAcksBeforeCommit),
    ),
    Defect(
        "commit-acks-before-durable",
        "The depot replies to a commit before its key-value transaction commits.",
        "A page store that answered from memory: the transaction failed afterwards and the commit was lost.",
        "durability/slow-commits.yaml",
        "DUR-1",
        lambda parts: replace(parts, depot=CommitAcksBeforeDurable),
    ),
    Defect(
        "fence-skipped",
        "The depot checks neither the generation nor the head that a request carries.",
        "Two processes that both took themselves for the owner of a database and overwrote each other's pages.",
        "takeover/overlapping-instances.yaml",
        "DUR-1",
        lambda parts: replace(parts, depot=FenceSkipped),
    ),
    Defect(
        "head-before-deltas",
        "Head and page index become durable before the delta that they point to.",
        "A commit split into two transactions: whoever read in between found a head without its data.",
        "durability/slow-commits.yaml",
        "DUR-1",
        lambda parts: replace(parts, depot=HeadBeforeDeltas),
    ),
    Defect(
        "stale-page-index-cache",
        "A page index in memory is not told of commits that came another way.",
        "A depot that read an old page under the new head; the fence was right and the data was not.",
        "takeover/readers-after-handover.yaml",
        "ISO-1",
        lambda parts: replace(parts, depot=StalePageIndexCache),
    ),
    Defect(
        "value-mutated-by-driver",
        "The driver of the key-value store silently cuts values above 8 KiB.",
        "A storage driver with a size limit of its own: deltas came back undecodable.",
        "durability/large-transactions.yaml",
        "DUR-1",
        lambda parts: replace(parts, depot=ValueMutatedByDriver),
    ),
    Defect(
        "read-error-as-empty",
        "A failed read is taken for an empty database, or for a page of zeros.",
        "A VFS that told errors apart by their text: an existing database opened empty and was overwritten.",
        "faults/failing-open.yaml",
        "DUR-1",
        lambda parts: replace(parts, database=ReadErrorAsEmpty),
    ),
    Defect(
        "flush-publishes-uncommitted",
        "A full write buffer is sent to the depot although SQLite has not committed.",
        "A VFS whose flush ignored that pages spill out of SQLite's cache in the middle of a transaction.",
        "durability/large-transactions.yaml",
        "DUR-2",
        lambda parts: replace(parts, database=FlushPublishesUncommitted),
    ),
    Defect(
        "foreign-statement-joins-transaction",
        "A statement of one client runs inside the open transaction of another.",
        "A shared connection that queued statements instead of transactions.",
        "reads/readers-beside-writer.yaml",
        "ISO-2",
        lambda parts: replace(parts, system=ForeignStatementJoins),
    ),
    Defect(
        "bigint-truncated",
        "Integers pass through a 53-bit float on their way to the client.",
        "A query layer with JSON numbers inside: ids above 2^53 came back changed.",
        "values/boundary-values.yaml",
        "VAL-1",
        lambda parts: replace(parts, system=BigintTruncated),
    ),
    Defect(
        "lost-wakeup",
        "A waiter looks first and queues later; a release in between wakes nobody.",
        "A connection gate that tested its state before it registered for the change of it.",
        "any-order/busy-connection.yaml",
        "PROG-2",
        lambda parts: replace(parts, system=LostWakeup),
    ),
    Defect(
        "fatal-error-retried",
        "A commit is retried for ever although its instance has lost the database.",
        "A client library that took every error for a transient one.",
        "takeover/overlapping-instances.yaml",
        "PROG-3",
        lambda parts: replace(parts, database=FatalErrorRetried),
    ),
    Defect(
        "process-counter-leaks",
        "A counter of the whole process decides how long a read takes.",
        "A test harness whose runs influenced each other, so that no failure could be repeated.",
        "reads/readers-beside-writer.yaml",
        "DET-1",
        lambda parts: replace(parts, storage=CountingStorage),
    ),
)

DEFECTS: dict[str, Defect] = {defect.id: defect for defect in _ALL}
"""All defects by id."""

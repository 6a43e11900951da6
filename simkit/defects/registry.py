"""The defects by their ids: what each breaks, where such a thing happened, and which invariant must catch it where.

A defect is one or two small subclasses put into `Parts`; the product has no switches for them. Every invariant that is
checked has a defect here that violates it, otherwise nobody would know whether its check works.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from simkit.defects.close_defects import (
    ClosePromiseNeverAssigned,
    DropFlushUnbounded,
    LingeringVfs,
    SecondCloseReturnsEarly,
    WorkAdmittedAfterClose,
)
from simkit.defects.depot_defects import (
    CommitAcksBeforeDurable,
    FenceSkipped,
    HeadBeforeDeltas,
    StalePageIndexCache,
    ValueMutatedByDriver,
)
from simkit.defects.lease_defects import (
    CancelledOpenLeaksSlot,
    CancelledWriterLeaksPending,
    EagerDropOverlaps,
    LeaseDropLeaksCounter,
    LostWakeup,
    MetricSilentlyZero,
    ProgramOrderInversion,
    ReaderStarvation,
)
from simkit.defects.mode_defects import ForeignStatementJoins, SelfDeadlock, TransactionHostage, WriteModeBleed
from simkit.defects.reader_defects import (
    IdleReaderNeverPruned,
    IdleReaderOutlivesWriteMode,
    ReaderWithoutQueryOnly,
    ReadonlyFlagTrusted,
)
from simkit.defects.statement_defects import BigintTruncated, SemicolonHeuristic, TrailingSqlIgnored
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
        "fatal-error-retried",
        "A commit is retried for ever although its instance has lost the database.",
        "A client library that took every error for a transient one.",
        "takeover/overlapping-instances.yaml",
        "PROG-3",
        lambda parts: replace(parts, database=FatalErrorRetried),
    ),
    Defect(
        "lease-drop-leaks-counter",
        "A reader that is dropped without release keeps its slot; the drop is only logged.",
        "A pool whose destructor of a lease wrote a warning: the reader count never fell, and writers waited for ever.",
        "leases/dropped-reads.yaml",
        "LEASE-2",
        lambda parts: replace(parts, system=LeaseDropLeaksCounter),
    ),
    Defect(
        "cancelled-writer-leaks-pending",
        "A writer that gives up while it waits stays counted as pending.",
        "A gate with a counter of pending writers: after one timeout no read was ever admitted again.",
        "leases/given-up-anywhere.yaml",
        "PROG-2",
        lambda parts: replace(parts, system=CancelledWriterLeaksPending),
    ),
    Defect(
        "cancelled-open-leaks-slot",
        "A caller that is cancelled while its connection is opened keeps the slot.",
        "A pool that counted first and opened afterwards, without a way back for a cancellation in between.",
        "leases/given-up-anywhere.yaml",
        "LEASE-2",
        lambda parts: replace(parts, system=CancelledOpenLeaksSlot),
    ),
    Defect(
        "eager-drop-overlaps",
        "A drop gives the slot back at once, although the statement of the lease still runs.",
        "A repair of leaking leases: it mended the counters and let the writer in beside a live reader.",
        "leases/dropped-leases.yaml",
        "MODE-1",
        lambda parts: replace(parts, system=EagerDropOverlaps),
    ),
    Defect(
        "reader-starvation",
        "Writers go before readers, however long those have waited.",
        "A gate with writer preference and no bound: under a steady load of writes no read came through.",
        "modes/writer-storm.yaml",
        "PROG-1",
        lambda parts: replace(parts, system=ReaderStarvation),
    ),
    Defect(
        "transaction-hostage",
        "A transaction has no deadline.",
        "A pool in which a client that began and went away kept write mode for ever.",
        "transactions/walked-away.yaml",
        "PROG-2",
        lambda parts: replace(parts, system=TransactionHostage),
    ),
    Defect(
        "foreign-statement-joins-transaction",
        "A statement of one client runs inside the open transaction of another.",
        "A shared connection that queued statements instead of transactions.",
        "transactions/ones-own.yaml",
        "MODE-2",
        lambda parts: replace(parts, system=ForeignStatementJoins),
    ),
    Defect(
        "self-deadlock-in-transaction",
        "A read of the owner of a transaction waits for write mode to end.",
        "A router that looked at the statement and not at who sent it: read your own writes, and wait for yourself.",
        "transactions/ones-own.yaml",
        "PROG-3",
        lambda parts: replace(parts, system=SelfDeadlock),
    ),
    Defect(
        "program-order-inversion",
        "A write whose text has to be looked at first goes to the end of the line.",
        "A manager that queued after it classified: two writes sent in order were granted the other way round.",
        "modes/one-after-the-other.yaml",
        "PROG-1",
        lambda parts: replace(parts, system=ProgramOrderInversion),
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
        "idle-reader-never-pruned",
        "Idle readers are closed only when somebody reads.",
        "A pool without a timer: connections of a quiet database stayed open beyond their time.",
        "reads/reader-churn.yaml",
        "LEASE-2",
        lambda parts: replace(parts, system=IdleReaderNeverPruned),
    ),
    Defect(
        "idle-reader-outlives-write-mode",
        "Idle readers stay open while a writer works, and serve again after it.",
        "A pool that spared itself reopening its readers: what they knew was of before the write.",
        "reads/reader-churn.yaml",
        "MODE-3",
        lambda parts: replace(parts, system=IdleReaderOutlivesWriteMode),
    ),
    Defect(
        "reader-without-query-only",
        "Readers are opened and configured like the writer, and statements are told apart by their first word.",
        "A pool whose readers missed `query_only` and authorizer: a mutation that began WITH went through one.",
        "values/forms-of-statements.yaml",
        "ROLE-1",
        lambda parts: replace(parts, system=ReaderWithoutQueryOnly),
    ),
    Defect(
        "write-mode-bleed",
        "Reads are sent to the writer while anybody is in write mode.",
        "A manager with one counter of write modes for the database, in place of one for each caller.",
        "transactions/ones-own.yaml",
        "MODE-2",
        lambda parts: replace(parts, system=WriteModeBleed),
    ),
    Defect(
        "second-close-returns-early",
        "A close returns at once when another one is under way.",
        "A close that looked at a flag: its second caller went on before the database was closed.",
        "close/racing-closes.yaml",
        "CLOSE-1",
        lambda parts: replace(parts, system=SecondCloseReturnsEarly),
    ),
    Defect(
        "close-promise-never-assigned",
        "A close under way is kept nowhere, so that the next one cannot join it and does it all itself.",
        "A client library that declared the promise of its close and never assigned it.",
        "close/racing-closes.yaml",
        "CLOSE-1",
        lambda parts: replace(parts, system=ClosePromiseNeverAssigned),
    ),
    Defect(
        "work-admitted-after-close",
        "Until the native close, whoever comes has a connection opened.",
        "A lazy open that raced with close and wrote after the last save.",
        "close/racing-closes.yaml",
        "CLOSE-2",
        lambda parts: replace(parts, system=WorkAdmittedAfterClose),
    ),
    Defect(
        "registration-leaks-on-error",
        "The VFS of an instance that cannot open the database stays registered.",
        "An exception between register and open: the next open of that name met what was left.",
        "faults/failing-open.yaml",
        "CLOSE-2",
        lambda parts: replace(parts, vfs=LingeringVfs),
    ),
    Defect(
        "drop-flush-unbounded",
        "A close waits for the commit under way without a bound.",
        "A drop that flushed: the process hung at exit behind a commit that never resolved.",
        "close/commit-that-never-resolves.yaml",
        "PROG-3",
        lambda parts: replace(parts, system=DropFlushUnbounded),
    ),
    Defect(
        "semicolon-heuristic",
        "A text with a semicolon in it counts as several statements, and is refused.",
        "A query layer that looked for semicolons: literals, comments and triggers have them too.",
        "values/forms-of-statements.yaml",
        "ISO-2",
        lambda parts: replace(parts, system=SemicolonHeuristic),
    ),
    Defect(
        "trailing-sql-ignored",
        "Text after the first statement is dropped silently.",
        "A driver that prepared the first statement of a text and never looked at the rest.",
        "values/forms-of-statements.yaml",
        "DUR-1",
        lambda parts: replace(parts, system=TrailingSqlIgnored),
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
        "readonly-flag-trusted",
        "What SQLite calls read-only runs on a reader: BEGIN does.",
        "A router that asked `sqlite3_stmt_readonly`, and nothing else.",
        "transactions/several-reads-as-one.yaml",
        "ISO-2",
        lambda parts: replace(parts, system=ReadonlyFlagTrusted),
    ),
    Defect(
        "metric-silently-zero",
        "A counter is written under one name and read under another, and an unknown name reads 0.",
        "A benchmark that compared a misspelled metric, and found no difference.",
        "reads/readers-side-by-side.yaml",
        "LEASE-1",
        lambda parts: replace(parts, system=MetricSilentlyZero),
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

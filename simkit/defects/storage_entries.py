"""The defects of instances and depot that need no compaction: VFS, commits, reads, fences."""

from __future__ import annotations

from dataclasses import replace

from simkit.defects.defect import Defect
from simkit.defects.depot_defects import (
    CommitAcksBeforeDurable,
    DuplicateCommitCarriedOut,
    FenceSkipped,
    FencesReadCasually,
    HeadBeforeDeltas,
    StalePageIndexCache,
    ValueMutatedByDriver,
)
from simkit.defects.request_defects import FailedCommitGoesOn, MissingDeltaReadsZero
from simkit.defects.vfs_defects import (
    CountingStorage,
    FailedCommitTakenForNothing,
    FatalErrorRetried,
    FlushPublishesUncommitted,
    ReadErrorAsEmpty,
    SyncAcksBeforeCommit,
)

STORAGE_DEFECTS = (
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
        "fences-read-casually",
        "A commit reads generation and head, and does not conflict with whoever changes them before it ends.",
        "A snapshot read where a serializable one was meant: two commits went on from one head, and one was lost.",
        "durability/provoke-unheard-replies.yaml",
        "DUR-1",
        lambda parts: replace(parts, depot=FencesReadCasually),
    ),
    Defect(
        "duplicate-commit-carried-out",
        "The depot knows who sends a commit, and does not look at the head that it was made from.",
        "A commit without a head fence: a request that the network doubled put old pages back on top of newer ones.",
        "durability/provoke-unheard-replies.yaml",
        "DUR-1",
        lambda parts: replace(parts, depot=DuplicateCommitCarriedOut),
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
        "failed-commit-goes-on",
        "A commit that failed before it was durable becomes durable all the same.",
        "A server that answered at its deadline and left the transaction running behind the answer.",
        "faults/failing-commits.yaml",
        "DUR-2",
        lambda parts: replace(parts, depot=FailedCommitGoesOn),
    ),
    Defect(
        "missing-delta-reads-zero",
        "A delta that is missing is answered with an older shard, or with zeros.",
        "A page store in which no error told a lost delta from a page that was never written.",
        "faults/lost-blobs.yaml",
        "ISO-2",
        lambda parts: replace(parts, depot=MissingDeltaReadsZero),
    ),
    Defect(
        "failed-commit-taken-for-nothing",
        "A commit that failed is taken for one that did not happen: the instance learns the head anew and goes on.",
        "A client that asked for the head after a timeout: its next commit, rightly fenced, mixed two states.",
        "durability/provoke-unheard-replies.yaml",
        "DUR-2",
        lambda parts: replace(parts, database=FailedCommitTakenForNothing),
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
        "process-counter-leaks",
        "A counter of the whole process decides how long a read takes.",
        "A test harness whose runs influenced each other, so that no failure could be repeated.",
        "reads/readers-beside-writer.yaml",
        "DET-1",
        lambda parts: replace(parts, storage=CountingStorage),
    ),
)

"""What a check says: a violation names the invariant, one sentence, and who was involved; silence is nothing found."""

from __future__ import annotations

import msgspec

INVARIANTS: dict[str, str] = {
    "DUR-1": "every acknowledged commit is there after any crash, reload or takeover",
    "DUR-2": "an unacknowledged commit is wholly there or wholly absent",
    "DUR-3": "xSync returns only after the depot acknowledged the commit",
    "ISO-1": "transactions are strictly serialisable, in the order that clients could observe",
    "ISO-2": "a statement sees exactly one committed version",
    "MODE-1": "a reader and a writer connection are never open together, and never two writers",
    "MODE-2": "while a transaction is open, no statement of another caller runs in it",
    "MODE-3": "a reader that is used after a write mode is a fresh connection",
    "ROLE-1": "nothing reaches storage through a reader",
    "PROG-1": "a waiting reader sees at most one writer phase pass, between two queued writers at most one reader "
    "phase runs, and writers are served in order",
    "PROG-2": "at quiescence nobody waits whose condition holds, and nobody waits in a circle",
    "PROG-3": "once faults stop, every operation and every close ends within its bound of simulated time",
    "LEASE-1": "the counters of a pool equal reality: open = active + idle + opening",
    "LEASE-2": "a lease ended in any way gives its slot back within a bound, and not before its statement stopped",
    "CLOSE-1": "no close returns before the native close finished, and that happens once",
    "CLOSE-2": "no work is admitted after close began, and the VFS is unregistered after it",
    "COMP-1": "compaction and reclaim change no page at any readable version",
    "COMP-2": "lag past its threshold wakes compaction, also when one wake is lost",
    "DEPOT-1": "a database has one pointer, to an existing live branch of its own",
    "DEPOT-2": "a branch record stands under its own id, its parent exists, live is only the branch in use, and no "
    "generation goes back",
    "DEPOT-3": "the head of a branch decodes, is its own and has its commit row",
    "DEPOT-4": "commit rows are there from the watermark to the head without a gap, none above it, each with its "
    "stamp, in the order of their times",
    "DEPOT-5": "the delta of a commit is whole, decodes, belongs to its key and holds pages within the size",
    "DEPOT-6": "a shard version is whole, decodes, belongs to its key and holds pages of its shard within the size",
    "DEPOT-7": "every row belongs to a family of keys that the depot knows",
    "DEPOT-8": "the page index names the newest commit of a page, and what it names holds the page",
    "DEPOT-9": "the watermark is not above the head, never passes what was folded, and like the manifest generation "
    "never goes back",
    "DEPOT-10": "the dirty marker is not above the head",
    "DEPOT-12": "an unexpired interval row names a commit that exists, with its stamp and time",
    "DEPOT-13": "a restore point names a commit that exists and is reachable from its database, and its pin keeps "
    "that commit",
    "DEPOT-14": "a pin names a commit that exists, and every derived branch has one at its parent",
    "DEPOT-15": "the quota counter equals the bytes of the rows it counts",
    "DEPOT-16": "no staged rows are left when no job runs",
    "DEPOT-17": "the content of a shard version equals the replay of the commits that it stands for",
    "DEPOT-18": "every page of every head and every pinned commit has a source",
    "DEPOT-19": "no delta, shard version, commit row or expired interval is left that nothing needs, once compaction "
    "is at rest",
    "VAL-1": "values come back bit for bit",
    "DET-1": "the same decisions give the same history",
}
"""The invariants that are checked now, each with what must hold."""


class Violation(msgspec.Struct, frozen=True):
    """An invariant that does not hold in one history.

    Attributes:
        invariant: its id, a key of `INVARIANTS`.
        check: the name of the check that found it.
        sentence: what happened, in one sentence.
        at: simulated time in nanoseconds of the event that shows it.
        tasks: names of the tasks involved.
        operations: numbers of the operations involved.
        details: further lines, such as differing rows.
    """

    invariant: str
    check: str
    sentence: str
    at: int
    tasks: tuple[str, ...] = ()
    operations: tuple[int, ...] = ()
    details: tuple[str, ...] = ()

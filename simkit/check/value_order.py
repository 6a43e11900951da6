"""The orders of transactions that one list or register shows, as edges of a graph (ISO-1).

Three kinds: a transaction saw what another wrote (wr), it wrote over or after what another wrote (ww), it read what
another then wrote over (rw). Whatever contradicts itself within one key is a finding of its own, with a better
explanation than a cycle: a value that nobody wrote, that was undone, that is half of a transaction, that was missing
although it had been acknowledged, or that two transactions replaced.

`observe` goes first, for every key: it finds out which transactions of unknown outcome took effect. `connect` then adds
the edges. Nothing here grows faster than the key's own history: "before all of these" is a node of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simkit.check.graph import Graph
from simkit.check.value_history import Finding, Key, Read, Transaction, Write


@dataclass(frozen=True, slots=True)
class Why:
    """Why one transaction comes before another: "wr", "ww" or "rw", on a list or register, mostly by one value."""

    kind: str
    what: str
    key: Any
    value: Any = None

    def explain(self, first: Transaction, second: Transaction) -> str:
        """One line that says so."""
        where = f"{self.what} {self.key!r}"
        verb = "appended" if self.what == "list" else "wrote"
        value = "to it" if self.value is None else repr(self.value)
        if self.kind == "wr":
            return f"{second.title} found {value} in {where}, which {first.title} {verb}"
        if self.kind == "ww":
            return f"{second.title} {verb} {value} after {first.title}, {where}"
        return f"{first.title} read {where} before {second.title} {verb} {value}"


Order = Graph[Why]


class KeyOrder:
    """What lists and registers have in common."""

    what: str
    verb: str

    def __init__(self, key: Key) -> None:
        self.key = key
        self.findings: list[Finding] = []
        #: no further conclusion is drawn from it
        self.broken = False

    @property
    def silent(self) -> bool:
        """No edge may come from this key."""
        return self.broken or self.key.ambiguous

    def observe(self) -> None:
        """Goes through the reads and notes which transactions took effect for certain."""
        seen: list[Write] = []
        for read in sorted(self.key.reads, key=lambda read: read.answered_at):
            self.take(read, seen)
        if self.key.ambiguous:
            self.findings.clear()
            return
        for write in seen:
            write.transaction.counts = True
        self.judge()
        self.findings.sort(key=lambda finding: finding.transactions[0].invoked_at)

    def take(self, read: Read, seen: list[Write]) -> None:
        """Judges one read by itself, and adds to `seen` whose values it shows for the first time."""
        raise NotImplementedError

    def judge(self) -> None:
        """Judges the reads together."""
        raise NotImplementedError

    def connect(self, order: Order) -> None:
        """Adds the edges that the key shows."""
        raise NotImplementedError

    def writer(self, read: Read, value: Any) -> Write | None:
        """Who wrote a value that a read shows, unless it is none that took effect; says so then."""
        write = self.key.writes.get(value)
        if write is None:
            self.report(read, f"found {value!r} in {self.place}, which nobody {self.verb}")
            return None
        writer = write.transaction
        if writer is read.transaction or read.answered_at < writer.invoked_at or not write.certain:
            self.key.ambiguous = True
            return None
        if writer.undone:
            self.report(
                read, f"found {value!r} in {self.place}, which {writer.title} {self.verb} and did not keep", writer
            )
            return None
        return write

    def look_at_end(self, read: Read, write: Write) -> None:
        """A transaction's writes are seen all together."""
        if not write.last and write.transaction is not read.transaction:
            self.report(
                read,
                f"saw {self.place} in the middle of {write.transaction.title}: {write.value!r} was not the last value "
                "that it gave it",
                write.transaction,
            )

    def report(self, read: Read, what: str, *others: Transaction, details: tuple[str, ...] = ()) -> None:
        self.findings.append(Finding(f"{read.transaction.title} {what}", (read.transaction, *others), details))

    def link(self, order: Order, first: Transaction, second: Transaction, kind: str, value: Any = None) -> None:
        """The first comes before the second, if they are two."""
        if first is not second:
            order.add_edge(first.node, second.node, self.why(kind, value))

    def why(self, kind: str, value: Any = None) -> Why:
        return Why(kind, self.what, self.key.name, value)

    @property
    def place(self) -> str:
        return f"{self.what} {self.key.name!r}"

    def effective(self) -> list[Write]:
        """The writes that took effect for certain, in the order of their transactions."""
        return [write for write in self.key.writes.values() if write.certain and write.transaction.counts]

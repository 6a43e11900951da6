"""The order that one list shows: its longest read is the order of all appends before it (ISO-1).

After Elle (Kingsbury and Alvaro, 2020): every read must be a beginning of the longest one, so the values themselves
tell which version each transaction saw. Appends that no read shows come after the longest one, in an order that is not
known. What a list begins with, and nobody appended, is what its first read begins with.
"""

from __future__ import annotations

from typing import Any

from simkit.check.value_history import Key, Read, Transaction, Write, shown
from simkit.check.value_order import KeyOrder, Order


class ListOrder(KeyOrder):
    """One list."""

    what = "list"
    verb = "appended"

    def __init__(self, key: Key) -> None:
        super().__init__(key)
        self._longest: tuple[Any, ...] = ()
        #: for each value of the longest read, who showed it first
        self._shown_by: list[Read] = []
        self._position: dict[Any, int] = {}
        self._writes: list[Write | None] = []
        #: values at the beginning that were there before the run
        self._initial = 0

    def take(self, read: Read, seen: list[Write]) -> None:
        found, known = read.found, len(self._longest)
        if found[:known] != self._longest[: len(found)]:
            self._clash(read, seen)
            return
        if not self._shown_by and not self._initial:
            while self._initial < len(found) and found[self._initial] not in self.key.writes:
                self._initial += 1
        for value in found[known:]:
            position = len(self._writes)
            if value in self._position:
                self._twice(read)
                return
            write = None if position < self._initial else self.writer(read, value)
            if write is not None:
                seen.append(write)
            self._position[value] = position
            self._writes.append(write)
            self._shown_by.append(read)
        self._longest = max(self._longest, found, key=len)

    def _twice(self, read: Read) -> None:
        self.broken = True
        value = next(value for position, value in enumerate(read.found) if value in read.found[:position])
        write = self.key.writes.get(value)
        self.report(read, f"found {value!r} twice in {self.place}", *([write.transaction] if write else ()))

    def _clash(self, read: Read, seen: list[Write]) -> None:
        """A read that is no beginning of the longest one: it shows what is not there, or another order."""
        self.broken = True
        reported = len(self.findings)
        for value in read.found:
            if value not in self._position:
                write = self.writer(read, value)
                if write is not None:
                    seen.append(write)
        if len(self.findings) > reported:
            return
        if len(dict.fromkeys(read.found)) < len(read.found):
            self._twice(read)
            return
        pairs = zip(read.found, self._longest, strict=False)
        differs = next(position for position, (mine, other) in enumerate(pairs) if mine != other)
        other = self._shown_by[differs].transaction
        self.report(
            read,
            f"found {self.place} in another order than {other.title}: {read.found[differs]!r} and "
            f"{self._longest[differs]!r} both at place {differs + 1}",
            other,
            details=(f"{read.transaction.title}: {shown(read.found)}", f"{other.title}: {shown(self._longest)}"),
        )

    def judge(self) -> None:
        if self.broken:
            return
        for read in self.key.reads:
            write = self._writes[len(read.found) - 1] if read.found else None
            if write is not None:
                self.look_at_end(read, write)
        self._look_for_parts()
        self._look_for_missing()

    def _look_for_parts(self) -> None:
        """The appends of one transaction are seen one right after the other."""
        before: Write | None = None
        for write in self.effective():
            position = self._position.get(write.value, 0)
            apart = self._writes[position - 1] is not before if position else write.value in self._position
            if before is not None and before.transaction is write.transaction and apart:
                self.report(
                    self._shown_by[position],
                    f"found {write.value!r} in {self.place} and not {before.value!r} right before it, although "
                    f"{write.transaction.title} appended them one after the other",
                    write.transaction,
                )
            before = write

    def _look_for_missing(self) -> None:
        """What was acknowledged before a read began must be in it."""
        told = [write for write in self.effective() if write.transaction.acknowledged]
        told.sort(key=lambda write: write.transaction.ended_at or 0)
        missing_from, missing, next_told = self._initial - 1, None, 0
        for read in sorted(self.key.reads, key=lambda read: read.transaction.invoked_at):
            while next_told < len(told) and told[next_told].transaction.was_over_before(read.transaction):
                position = self._position.get(told[next_told].value, len(self._longest))
                if position > missing_from or missing is None:
                    missing_from, missing = max(position, missing_from), told[next_told]
                next_told += 1
            if missing_from < len(read.found):
                continue
            if missing is None:
                self.report(read, f"found {self.place} shorter than it was in the beginning")
                continue
            writer = missing.transaction
            never = () if missing.value in self._position else (f"no read ever showed {missing.value!r}",)
            self.report(
                read,
                f"did not find {missing.value!r} in {self.place}, which {writer.title} had appended before it began",
                writer,
                details=(*never, f"{read.transaction.title}: {shown(read.found)}"),
            )

    def connect(self, order: Order) -> None:
        before = self._link_appends(order)
        after: list[Write | None] = [None] * (len(self._writes) + 1)
        for position in range(len(self._writes) - 1, -1, -1):
            after[position] = self._writes[position] or after[position + 1]
        at_the_end: list[Read] = []
        for read in self.key.reads:
            length = len(read.found)
            last, following = before[length], after[length]
            if last is not None:
                self.link(order, last.transaction, read.transaction, "wr", last.value)
            if following is None:
                at_the_end.append(read)
            else:
                self.link(order, read.transaction, following.transaction, "rw", following.value)
        self._link_unseen(order, before[-1], at_the_end)

    def _link_appends(self, order: Order) -> list[Write | None]:
        """The appends one after the other. Returns for each length the last one within it."""
        before: list[Write | None] = [None]
        for write in self._writes:
            last = before[-1]
            if write is not None and last is not None:
                self.link(order, last.transaction, write.transaction, "ww", write.value)
            before.append(write or last)
        return before

    def _link_unseen(self, order: Order, last: Write | None, at_the_end: list[Read]) -> None:
        """The appends that no read shows come after whatever the longest read shows, and after who read that."""
        end: Transaction | None = last.transaction if last is not None else None
        unseen = [
            write
            for write in self.effective()
            if write.value not in self._position and write.last and write.transaction is not end
        ]
        if not unseen:
            return
        readers = {read.transaction.node: read for read in at_the_end}
        direct = [write for write in unseen if write.transaction.node in readers]
        if len(direct) > 1:
            first, second = direct[0].transaction, direct[1].transaction
            self.report(
                readers[second.node],
                f"appended {direct[1].value!r} to {self.place} in the same place as {first.title} appended "
                f"{direct[0].value!r}: both had read it and found the same",
                first,
            )
            return
        then = order.add_node()
        others = [write.transaction for write in unseen if write.transaction.node not in readers]
        for transaction in others:
            order.add_edge(then, transaction.node)
        if direct:
            # Who read the end and appended comes right after it, and everything unseen after that.
            head, value = direct[0].transaction, direct[0].value
            if end is not None:
                self.link(order, end, head, "ww", value)
            for read in at_the_end:
                self.link(order, read.transaction, head, "rw", value)
            order.add_edge(head.node, then, self.why("ww"))
            return
        if end is not None:
            order.add_edge(end.node, then, self.why("ww"))
        for read in at_the_end:
            order.add_edge(read.transaction.node, then, self.why("rw"))

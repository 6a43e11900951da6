"""The order that one register shows, as far as it is known (ISO-1).

A register forgets what was in it, so two writes have a known order only when one transaction read the one before it
made the other, or when one was over before the other began. What a register holds in the beginning comes before every
write. Nothing else is concluded: two writes that ran side by side and were never told apart may have come in any order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from simkit.check.value_history import Key, Read, Transaction, Write
from simkit.check.value_order import KeyOrder, Order

_LINKS_MAX = 8
"""Edges from one transaction to writes that another edge may imply."""
_ANY = object()


class RegisterOrder(KeyOrder):
    """One register."""

    what = "register"
    verb = "wrote"

    def __init__(self, key: Key) -> None:
        super().__init__(key)
        #: by the value that was read: who wrote it (None: it was there in the beginning) and who read it
        self._versions: dict[Any, tuple[Write | None, list[Read]]] = {}
        self._initial: Read | None = None

    def take(self, read: Read, seen: list[Write]) -> None:
        version = self._versions.get(read.found)
        if version is not None:
            write, readers = version
            if write is None or write.transaction is not read.transaction:
                readers.append(read)
                if write is not None:
                    self.look_at_end(read, write)
            else:
                self.key.ambiguous = True
            return
        write = None
        if read.found in self.key.writes:
            write = self.writer(read, read.found)
            if write is None:
                return
            seen.append(write)
            self.look_at_end(read, write)
        elif self._initial is None:
            self._initial = read
        else:
            self.report(
                read,
                f"found {read.found!r} in {self.place}, which nobody wrote; {self._initial.transaction.title} found "
                f"{self._initial.found!r}, which nobody wrote either",
                self._initial.transaction,
            )
            return
        self._versions[read.found] = write, [read]

    def judge(self) -> None:
        overwritten = _Latest([write.transaction for write in self._final() if write.transaction.acknowledged])
        looks = {
            read.transaction.node: found
            for found, (_, readers) in self._versions.items()
            for read in readers
            if read.transaction.acknowledged or not read.transaction.counts
        }
        seen = _Latest([read.transaction for read in self.key.reads if read.transaction.node in looks], looks)
        for found, (source, readers) in self._versions.items():
            if source is not None and not source.transaction.acknowledged:
                continue
            since = -1 if source is None else source.transaction.ended_at or 0
            for read in readers:
                writer = overwritten.find(read.transaction, since)
                if writer is not None:
                    self.report(
                        read,
                        f"found {found!r} in {self.place}, which {writer.title} had overwritten before it began",
                        writer,
                    )
                    continue
                reader = seen.find(read.transaction, since, found)
                if reader is not None:
                    self.report(
                        read,
                        f"found {found!r} in {self.place}; before it began, {reader.title} had found "
                        f"{looks[reader.node]!r} there, which is later: {found!r} was written before that began",
                        reader,
                    )

    def connect(self, order: Order) -> None:
        final = sorted(self._final(), key=lambda write: write.transaction.invoked_at)
        place = {write.transaction.node: position for position, write in enumerate(final)}
        overwritten: dict[Any, Write] = {}
        for found, (source, readers) in self._versions.items():
            nodes = dict.fromkeys(read.transaction.node for read in readers)
            direct = self._link_version(order, source, readers, [final[place[node]] for node in nodes if node in place])
            if direct is not None:
                overwritten[found] = direct
        self._link_beginning(order, final, place, overwritten)
        self._link_later(order, final, place, overwritten)

    def _link_beginning(
        self, order: Order, final: list[Write], place: dict[int, int], overwritten: dict[Any, Write]
    ) -> None:
        """From what was there in the beginning on, as long as it is known who overwrote whom: the rest came later."""
        if self._initial is None:
            return
        found = self._initial.found
        known: dict[int, Write] = {}
        while found in overwritten and overwritten[found].transaction.node not in known:
            write = overwritten[found]
            known[write.transaction.node] = write
            found = write.value
        others = [write for write in final if write.transaction.node not in known]
        if not others:
            return
        rest = order.add_node()
        for write in others:
            order.add_edge(rest, write.transaction.node)
        if known:
            order.add_edge(list(known)[-1], rest, self.why("ww"))
        _, readers = self._versions.get(found, (None, []))
        for read in readers:
            if read.transaction.node not in place:
                order.add_edge(read.transaction.node, rest, self.why("rw"))

    def _link_later(
        self, order: Order, final: list[Write], place: dict[int, int], overwritten: dict[Any, Write]
    ) -> None:
        """Who saw or overwrote a version comes before all who began to write after the end of its writer."""
        later = [order.add_node() for _ in final]  # each comes before the writes from its place on
        for position, write in enumerate(final):
            order.add_edge(later[position], write.transaction.node)
            if position + 1 < len(final):
                order.add_edge(later[position], later[position + 1])
        began = [write.transaction.invoked_at for write in final]
        for found, (source, readers) in self._versions.items():
            if source is None or not source.transaction.acknowledged or source.transaction.ended_at is None:
                continue
            start = bisect_right(began, source.transaction.ended_at)
            if start < len(final):
                for read in readers:
                    if read.transaction.node not in place:
                        order.add_edge(read.transaction.node, later[start], self.why("rw"))
            direct = overwritten.get(found)
            if direct is not None:
                own = place[direct.transaction.node]
                after = max(start, own + 1)
                if after < len(final):
                    order.add_edge(direct.transaction.node, later[after], self.why("ww"))
                for write in final[start : min(own, start + _LINKS_MAX)]:
                    self.link(order, direct.transaction, write.transaction, "ww", write.value)

    def _link_version(
        self, order: Order, source: Write | None, readers: list[Read], overwriting: list[Write]
    ) -> Write | None:
        """Who wrote it, who read it, and who read it and overwrote it, which is the next version. Returns that."""
        if source is not None:
            for read in readers:
                self.link(order, source.transaction, read.transaction, "wr", source.value)
        if not overwriting:
            return None
        first = overwriting[0]
        if len(overwriting) > 1:
            second = overwriting[1]
            read = next(read for read in readers if read.transaction is second.transaction)
            self.report(
                read,
                f"and {first.transaction.title} both found {read.found!r} in {self.place} and overwrote it, one with "
                f"{second.value!r}, the other with {first.value!r}",
                first.transaction,
            )
            return None
        for read in readers:
            self.link(order, read.transaction, first.transaction, "rw", first.value)
        if source is not None:
            self.link(order, source.transaction, first.transaction, "ww", first.value)
        return first

    def _final(self) -> list[Write]:
        """What each transaction that took effect left in the register."""
        return [write for write in self.effective() if write.last]


class _Latest:
    """Answers: which transaction of these began after one moment and was over before another?

    Those that began last answer for all, so it keeps for the first n that ended which of them began last; and, where
    they have a value each, which one of another value than that did.
    """

    def __init__(self, transactions: list[Transaction], values: dict[int, Any] | None = None) -> None:
        over = [transaction for transaction in transactions if transaction.ended_at is not None]
        over.sort(key=lambda transaction: transaction.ended_at or 0)
        self._values = values or {}
        self._ended = [transaction.ended_at or 0 for transaction in over]
        self._last: list[tuple[Transaction | None, Transaction | None]] = [(None, None)]
        for transaction in over:
            last, other = self._last[-1]
            if last is None or transaction.invoked_at > last.invoked_at:
                if last is not None and self._differ(last, transaction):
                    other = last
                last = transaction
            elif self._differ(last, transaction) and (other is None or transaction.invoked_at > other.invoked_at):
                other = transaction
            self._last.append((last, other))

    def find(self, before: Transaction, since: int, unlike: Any = _ANY) -> Transaction | None:
        """One that began after index `since` and was over when `before` began, with another value than `unlike`."""
        for transaction in self._last[bisect_left(self._ended, before.invoked_at)]:
            if transaction is None or transaction.invoked_at <= since:
                continue
            if unlike is _ANY or self._values[transaction.node] != unlike:
                return transaction
        return None

    def _differ(self, one: Transaction, other: Transaction) -> bool:
        return self._values.get(one.node) != self._values.get(other.node)

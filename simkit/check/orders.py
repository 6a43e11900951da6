"""Looks for any serial order that explains a history whose commits do not say for which operation they were sent.

The walk takes one order, from a guess. Where a system runs statements in tasks of its own and does not tell for whom
(`Kernel.working_for`), a fault of that order is a violation (DUR-1, DUR-2, ISO-1, ISO-2, VAL-1) only when every other
order has one, too. The search knows no commits: an acknowledged operation takes effect between its invocation and its
end, an unacknowledged one at any time after its invocation or never, and what a fresh instance finds is there at that
moment. It is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993), with what Lowe added to it
("Testing for Linearizability", 2017): a state that was reached before with the same operations done is not gone
through again.

Reads that fit are taken at once, as they change nothing. The search is bounded: where it ends early, nothing is known,
and the check must keep silent.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import blake2b

from simkit.check.dump import encode_state
from simkit.check.events import FAILED, OK
from simkit.check.operations import Operation, Timeline, only_looked
from simkit.check.oracle import Oracle, TransactionLost

_WORK_MAX = 10_000
"""Operations tried before the search gives up, and with them the states compared."""
_STATE_PER_WORK_BYTES = 2_000
"""How much of a state is compared in the time of one operation."""
_DIGEST_BYTES = 16


class Explained(Enum):
    """What came out of a search: an order, the certainty that there is none, or neither."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"


class _Role(Enum):
    MUST = "took effect"
    MAY = "took effect or not"
    READ = "changed nothing"


@dataclass(frozen=True, slots=True)
class _Item:
    """Something that happened at one moment between the indices `start` and `end`: an operation or an observation."""

    role: _Role
    start: int
    end: int
    operation: Operation | None
    observed: bytes = b""


@dataclass(slots=True)
class _Node:
    """A state that was reached. `done` has a bit for each item that is behind it, `first` is the first one that is not.

    `options` are the items that may be next and have not been tried.
    """

    mark: int
    done: int
    first: int
    options: list[int] = field(default_factory=list)


class OrderSearch:
    """The search through one timeline. Without `reads` only states and the answers of what changed something count."""

    def __init__(self, timeline: Timeline, oracle: Oracle, reads: bool = True) -> None:
        self._oracle = oracle
        items = [item for item in _items(timeline, oracle) if reads or item.role is not _Role.READ or item.observed]
        self._items = sorted(items, key=lambda item: (item.start, item.end))
        self._work = 0
        #: (first, done, state) of each node, all of them in short
        self._seen: set[tuple[int, int, bytes]] = set()

    def run(self) -> Explained:
        """Whether some order explains every answer and every observed state."""
        if len(self._items) > _WORK_MAX:
            return Explained.UNDECIDED
        with self._oracle.session():
            try:
                return self._run()
            except TransactionLost:
                return Explained.UNDECIDED

    def _run(self) -> Explained:
        oracle = self._oracle
        root = _Node(oracle.mark(), 0, 0)
        if self._settle(root):
            return Explained.YES
        path = [root]
        while path:
            node = path[-1]
            if not node.options:
                path.pop()
                continue
            if self._work > _WORK_MAX:
                return Explained.UNDECIDED
            taken = node.options.pop()
            operation = self._items[taken].operation
            assert operation is not None
            self._work += 1
            oracle.back(node.mark)
            if oracle.apply(operation) is None:
                following = _Node(oracle.mark(), node.done | 1 << taken, node.first)
                if self._settle(following):
                    return Explained.YES
                path.append(following)
        return Explained.NO

    def _settle(self, node: _Node) -> bool:
        """Takes every read and observation that fits, and lists what may come next. True: nothing is left to explain.

        There is nothing to list where the same state was reached before.
        """
        items, state = self._items, encode_state(self._oracle.state())
        self._work += len(state) // _STATE_PER_WORK_BYTES
        fits: dict[int, bool] = {}
        while True:
            self._advance(node)
            open_items = self._open(node)
            if all(items[index].role is _Role.MAY for index in open_items) and not self._left(node):
                return True
            reads = [index for index in open_items if items[index].role is _Role.READ and index not in fits]
            if not reads:
                break
            for index in reads:
                fits[index] = self._fits(items[index], state)
                if fits[index]:
                    node.done |= 1 << index
        place = node.first, node.done >> node.first, blake2b(state, digest_size=_DIGEST_BYTES).digest()
        if place not in self._seen:
            self._seen.add(place)
            node.options = sorted(
                (index for index in open_items if items[index].role is not _Role.READ),
                key=lambda index: (items[index].role is _Role.MUST, -items[index].end, -index),
            )
        return False

    def _fits(self, item: _Item, state: bytes) -> bool:
        if item.operation is None:
            return item.observed == state
        self._work += 1
        return self._oracle.attempt(item.operation) is None

    def _advance(self, node: _Node) -> None:
        while node.first < len(self._items) and node.done >> node.first & 1:
            node.first += 1

    def _open(self, node: _Node) -> list[int]:
        """The items that may be next: those that began before the first end of one that must come."""
        found = []
        border = None
        for index in range(node.first, len(self._items)):
            item = self._items[index]
            if border is not None and item.start > border:
                break
            if node.done >> index & 1:
                continue
            found.append(index)
            if item.role is not _Role.MAY and (border is None or item.end < border):
                border = item.end
        return [index for index in found if border is None or self._items[index].start <= border]

    def _left(self, node: _Node) -> bool:
        """Whether an item that must come is left."""
        return any(
            not node.done >> index & 1 and self._items[index].role is not _Role.MAY
            for index in range(node.first, len(self._items))
        )


def _items(timeline: Timeline, oracle: Oracle) -> list[_Item]:
    end = timeline.end
    found = [_Item(_Role.READ, at, at, None, encode_state(event.state)) for at, event in timeline.observations]
    for operation in timeline.operations:
        ended = operation.ended_at if operation.ended_at is not None else end
        start = operation.invoked_at
        if operation.acknowledged and not only_looked(operation):
            found.append(_Item(_Role.MUST, start, ended, operation))
        elif operation.unknown:
            if not oracle.reads_only(operation):
                found.append(_Item(_Role.MAY, start, end, operation))
        elif operation.durable and not operation.acknowledged:
            found.append(_Item(_Role.MUST, start, end, operation))
        elif (operation.outcome in (OK, FAILED) or operation.settled) and (
            operation.answers or operation.refused_at >= 0
        ):
            found.append(_Item(_Role.READ, _seen_from(timeline, operation), ended, operation))
        if operation.outcome == FAILED and any("FAIL" in sql.upper() for sql, _ in operation.statements):
            # INSERT OR FAIL keeps what it did before it failed.
            found.append(_Item(_Role.MAY, start, end, replace(operation, applied=[(-1, ended)])))
    return found


def _seen_from(timeline: Timeline, operation: Operation) -> int:
    """The moment from which on a read may have seen a version: earlier where its instance was superseded."""
    opened = timeline.opened.get(operation.instance, operation.invoked_at)
    superseded = bisect_left(timeline.allocations, opened + 1)
    if superseded < len(timeline.allocations):
        return min(operation.invoked_at, timeline.allocations[superseded])
    return operation.invoked_at

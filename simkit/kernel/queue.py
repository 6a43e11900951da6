"""A bounded FIFO queue between tasks.

Upholds PROG-2. A cancelled `get` whose item was on its way puts it back in its old place, so no item is lost and none
overtakes another. A `put` that raises has put nothing: when the item was accepted before the cancellation came, `put`
returns and the cancellation is raised at the next yield, so that a caller who tries again makes no double. (A crashed
task has no next yield; its item stays.) An item that was handed to a waiting getter keeps its slot until the getter has
it in hand: the bound holds at every instant.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from simkit.kernel.errors import Crashed, MisuseError
from simkit.kernel.kernel import Kernel
from simkit.kernel.task import Task

Item = TypeVar("Item")


class QueueFull(Exception):
    """`put_nowait` on a queue without a free slot."""


class QueueEmpty(Exception):
    """`get_nowait` on a queue without an item."""


@dataclass(frozen=True)
class QueueStatistics:
    """`length` includes items on their way to a getter; `putting` and `getting` are the tasks that wait."""

    length: int
    capacity: int
    putting: tuple[str, ...]
    getting: tuple[str, ...]
    put_total: int


class Queue(Generic[Item]):
    """First in, first out, at most `capacity` items (at least 1)."""

    def __init__(self, kernel: Kernel, capacity: int, name: str = "queue") -> None:
        if capacity < 1:
            raise MisuseError(f"{name}: capacity {capacity}; a queue holds at least one item")
        self.name: Final = name
        self.capacity: Final = capacity
        self._kernel = kernel
        #: with the number of its put, by which an item finds back to its place
        self._items: deque[tuple[int, Item]] = deque()
        self._putters: OrderedDict[Task, Item] = OrderedDict()
        self._getters: OrderedDict[Task, None] = OrderedDict()
        self._handed: dict[Task, tuple[int, Item]] = {}
        self._put_total = 0

    def __str__(self) -> str:
        return self.name

    def __len__(self) -> int:
        return len(self._items) + len(self._handed)

    def put(self, item: Item) -> None:
        """Appends `item`; waits while the queue is full."""
        task = self._kernel.require_task(f"put into {self.name}")
        self._kernel.yield_point("put", self)
        if self._has_room():
            self._accept(item)
            return
        self._putters[task] = item
        try:
            self._kernel.park("put", self)
        except BaseException as error:
            if task in self._putters:
                del self._putters[task]
                raise
            if isinstance(error, Crashed):
                raise
            self._kernel.postpone(task, error)

    def put_nowait(self, item: Item) -> None:
        """Appends `item` or raises `QueueFull`. The model may call it too."""
        self._kernel.yield_point("put", self)
        self.put_at_once(item)

    def put_at_once(self, item: Item) -> None:
        """`put_nowait` without a yield: works in a task that crashed, and no cancellation comes in between."""
        if not self._has_room():
            raise QueueFull(f"{self.name} holds {self.capacity} items")
        self._accept(item)

    def get(self) -> Item:
        """Takes the first item; waits while the queue is empty."""
        task = self._kernel.require_task(f"get from {self.name}")
        self._kernel.yield_point("get", self)
        if self._items:
            return self._take()
        self._getters[task] = None
        try:
            self._kernel.park("get", self)
        except BaseException:
            if task in self._handed:
                self._put_back(self._handed.pop(task))
            else:
                self._getters.pop(task, None)
            raise
        item = self._handed.pop(task)[1]
        self._admit_putter()
        return item

    def get_nowait(self) -> Item:
        """Takes the first item or raises `QueueEmpty`."""
        self._kernel.yield_point("get", self)
        if not self._items:
            raise QueueEmpty(f"{self.name} is empty")
        return self._take()

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(
            length=len(self),
            capacity=self.capacity,
            putting=tuple(task.name for task in self._putters),
            getting=tuple(task.name for task in self._getters),
            put_total=self._put_total,
        )

    def _has_room(self) -> bool:
        return len(self) < self.capacity and not self._putters

    def _accept(self, item: Item) -> None:
        self._put_total += 1
        self._items.append((self._put_total, item))
        self._hand_out()

    def _take(self) -> Item:
        item = self._items.popleft()[1]
        self._admit_putter()
        return item

    def _put_back(self, entry: tuple[int, Item]) -> None:
        # Others may have been put back before it, with smaller numbers or greater ones.
        place = next((index for index, (number, _) in enumerate(self._items) if number > entry[0]), len(self._items))
        self._items.insert(place, entry)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._items and self._getters:
            task = self._getters.popitem(last=False)[0]
            self._handed[task] = self._items.popleft()
            self._kernel.wake(task)

    def _admit_putter(self) -> None:
        while self._putters and len(self) < self.capacity:
            task, item = self._putters.popitem(last=False)
            self._accept(item)
            self._kernel.wake(task)

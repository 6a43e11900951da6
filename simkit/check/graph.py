"""A graph of what must come before what, and the cycles in it.

Nodes are numbers: those of transactions come first, any others only pass an order on ("after all of these", "before all
of those") and keep the number of edges linear. Every edge may carry a label, which says why. Components are found by
Tarjan's algorithm (1972), without recursion: a history is longer than Python's stack is deep.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Label = TypeVar("Label")

_SEARCH_WORK_MAX = 300_000
"""Edges looked at in search of the shortest cycle of one component, beyond the first search."""


class Graph(Generic[Label]):
    """A directed graph. The first `transactions` nodes stand for transactions, all later ones pass an order on."""

    def __init__(self, transactions: int) -> None:
        self.transactions = transactions
        self.edges = 0
        self._targets: list[list[int]] = [[] for _ in range(transactions)]
        self._labels: list[list[Label | None]] = [[] for _ in range(transactions)]

    def __len__(self) -> int:
        return len(self._targets)

    def add_node(self) -> int:
        """A new node that passes an order on."""
        self._targets.append([])
        self._labels.append([])
        return len(self._targets) - 1

    def add_edge(self, source: int, target: int, label: Label | None = None) -> None:
        """`source` comes before `target`."""
        assert source != target, "nothing comes before itself"
        self._targets[source].append(target)
        self._labels[source].append(label)
        self.edges += 1

    def knots(self) -> list[list[int]]:
        """The strongly connected components of more than one node, each in ascending order, by their first node."""
        return sorted(sorted(component) for component in self._components() if len(component) > 1)

    def _components(self) -> list[list[int]]:
        count = len(self._targets)
        order = [0] * count  # from 1 in the order of discovery; 0: not seen yet
        lowest = [0] * count
        done = [False] * count
        stack: list[int] = []
        components: list[list[int]] = []
        discovered = 0
        for root in range(count):
            if order[root]:
                continue
            path: list[tuple[int, int]] = [(root, 0)]
            while path:
                node, position = path.pop()
                if position == 0:
                    discovered += 1
                    order[node] = lowest[node] = discovered
                    stack.append(node)
                else:
                    lowest[node] = min(lowest[node], lowest[self._targets[node][position - 1]])
                targets = self._targets[node]
                while position < len(targets):
                    target = targets[position]
                    position += 1
                    if not order[target]:
                        path += ((node, position), (target, 0))
                        break
                    if not done[target]:
                        lowest[node] = min(lowest[node], order[target])
                else:
                    if lowest[node] == order[node]:
                        components.append(_cut(stack, node, done))
        return components

    def shortest_cycle(self, knot: list[int]) -> list[tuple[int, Label | None]]:
        """A cycle within a component with the fewest transactions, as (transaction, why the next comes after it).

        In a component of great size only the first transactions are tried as its beginning.
        """
        inside = frozenset(knot)
        best: list[tuple[int, Label | None]] = []
        work = 0
        for start in knot:
            if start >= self.transactions or (best and work > _SEARCH_WORK_MAX):
                break
            found, looked_at = self._cycle_through(start, inside)
            work += looked_at
            if found and (not best or len(found) < len(best)):
                best = found
            if len(best) == 2:
                break
        return best

    def _cycle_through(self, start: int, inside: frozenset[int]) -> tuple[list[tuple[int, Label | None]], int]:
        """The shortest cycle through `start`, and the edges looked at. Steps to nodes that pass on cost nothing."""
        came_from: dict[int, tuple[int, Label | None]] = {}
        queue = deque([start])
        looked_at = 0
        while queue:
            node = queue.popleft()
            for target, label in zip(self._targets[node], self._labels[node], strict=True):
                looked_at += 1
                if target == start:
                    return self._path_back(start, node, label, came_from), looked_at
                if target not in inside or target in came_from:
                    continue
                came_from[target] = node, label
                if target >= self.transactions:
                    queue.appendleft(target)
                else:
                    queue.append(target)
        return [], looked_at

    def _path_back(
        self, start: int, node: int, label: Label | None, came_from: dict[int, tuple[int, Label | None]]
    ) -> list[tuple[int, Label | None]]:
        steps: list[tuple[int, Label | None]] = []
        why = label
        while True:
            if node < self.transactions:
                steps.append((node, why))
                why = None
            if node == start:
                break
            node, before = came_from[node]
            why = before if before is not None else why
        steps.reverse()
        return steps


def _cut(stack: list[int], node: int, done: list[bool]) -> list[int]:
    """Takes a finished component off the stack: everything down to `node`."""
    component: list[int] = []
    while True:
        member = stack.pop()
        done[member] = True
        component.append(member)
        if member == node:
            return component

"""Which versions have to be read again: those that a row changed of since they were found right.

For COMP-1 and DEPOT-18. A version depends on the rows of commits up to it, on its own branch and on those that it was
derived from. A branch notes the lowest commit that each change is about (`BranchRows.touched`), so versions below that
stay as they were found. What was found wrong is not remembered and is looked at each time.

Says nothing about what is in the rows.
"""

from __future__ import annotations

from collections.abc import Collection

from simkit.check.depot_reading import parent_of
from simkit.check.depot_rows import BranchRows, DepotRows

_NOWHERE = 1 << 64


class Rereading:
    """What one reader of versions found right, by branch."""

    def __init__(self) -> None:
        self._right: dict[int, set[int]] = {}
        #: by branch: the branches of its lineage, and how much of what they noted was seen
        self._seen: dict[int, list[tuple[int, int]]] = {}

    def due(self, depot: DepotRows, rows: BranchRows, wanted: Collection[int]) -> list[int]:
        """Those of the wanted versions of a branch that are to be read now, in their order."""
        lowest = self._lowest_change(depot, rows)
        right = self._right.setdefault(rows.number, set())
        if lowest < _NOWHERE:
            right.difference_update([txid for txid in right if txid >= lowest])
        if len(right) > 2 * len(wanted) + 64:
            right.intersection_update(wanted)
        return [txid for txid in wanted if txid not in right]

    def is_right(self, rows: BranchRows, txid: int) -> None:
        """A version was read and is what it should be."""
        self._right[rows.number].add(txid)

    def forget(self) -> None:
        """Everything is to be read again."""
        self._right.clear()

    def _lowest_change(self, depot: DepotRows, rows: BranchRows) -> int:
        """The lowest commit that anything changed about since the last time; `_NOWHERE`: nothing did."""
        before = self._seen.get(rows.number, [])
        seen: list[tuple[int, int]] = []
        number, lowest, cap = rows.number, _NOWHERE, _NOWHERE
        while True:
            place = len(seen)
            if place >= len(before) or before[place][0] != rows.number:
                lowest = 0  # another lineage than before
            else:
                changed = min(rows.touched[before[place][1] :], default=_NOWHERE)
                if changed <= cap:
                    lowest = min(lowest, changed)
            seen.append((rows.number, len(rows.touched)))
            derived = parent_of(depot, rows)
            if derived is None:
                break
            rows, cap = derived[0], min(cap, derived[1])
        if len(seen) != len(before):
            lowest = 0
        self._seen[number] = seen
        return lowest

"""The time axis of a run's picture: to scale, but for long stretches in which nothing happens.

Compaction waits for seconds where clients are done within milliseconds. To scale, such a run is an empty picture with
everything in one line at its left edge. So when most of the time nothing happens, the long empty stretches are drawn
short, each with a mark that says how long it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise

_GAP_PART = 20
"""A stretch is long when it takes more than this part of the whole; drawn short, it has this part of the rest."""
_TICKS = 8


class Axis:
    """Maps times in nanoseconds to places between `left` and `left + width`.

    Attributes:
        gaps: the stretches that are drawn short: places of begin and end, and the duration in nanoseconds.
    """

    def __init__(self, times: Iterable[int], left: float, width: float) -> None:
        seen = sorted({0, *times})
        self._left = left
        self._width = width
        self._starts, self._drawn = seen, _drawn_lengths(seen)
        self._scale = width / self._drawn[-1] if self._drawn[-1] else 0.0
        self.gaps = [
            (self.x(before), self.x(after), after - before)
            for before, after, begin, end in zip(seen, seen[1:], self._drawn, self._drawn[1:], strict=False)
            if end - begin < after - before
        ]

    def x(self, at_ns: int) -> float:
        """The place of a time."""
        index = min(bisect_right(self._starts, at_ns), len(self._starts) - 1)
        before, after = self._starts[index - 1], self._starts[index]
        begin, end = self._drawn[index - 1], self._drawn[index]
        share = (at_ns - before) / (after - before) if after > before else 0.0
        return self._left + self._scale * (begin + share * (end - begin))

    def ticks(self) -> list[tuple[float, int]]:
        """Places at even distances, with their times. None is within a gap."""
        times = [self._time_at(tick) for tick in range(_TICKS + 1)]
        inside = [(begin, end) for begin, end, _ in self.gaps]
        return [(place, at) for at in times for place in (self.x(at),) if not any(a < place < b for a, b in inside)]

    def _time_at(self, tick: int) -> int:
        drawn = self._drawn[-1] * tick // _TICKS
        index = min(bisect_right(self._drawn, drawn), len(self._drawn) - 1)
        return self._starts[index] - (self._drawn[index] - drawn) if index else 0


def _drawn_lengths(seen: list[int]) -> list[int]:
    """For each time how far from the start it is drawn, in nanoseconds of what is to scale."""
    whole = seen[-1]
    steps = [after - before for before, after in pairwise(seen)]
    long = [step for step in steps if step * _GAP_PART > whole]
    busy = whole - sum(long)
    if 2 * busy >= whole or not busy:
        return seen
    short = max(busy // _GAP_PART, 1)
    drawn = [0]
    for step in steps:
        drawn.append(drawn[-1] + (short if step * _GAP_PART > whole else step))
    return drawn

"""How far to read ahead: recognises that pages are being read in order, and reads further ahead then.

Steps of at most eight pages, from the last page or from the tip of the scan, raise a score; anything else lowers it,
so that a scan survives a look at an index now and then. With a high score a scan is taken for sure. Ascending and
descending scans share the score; descending ones are recognised only if asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

GAP_PAGES = 8
"""A step of at most this many pages is one of a scan."""

SCORE_SCAN, SCORE_SURE, SCORE_MAX = 6, 10, 12
BOUNDED_BYTES, SCAN_BYTES = 256 * 1024, 1024 * 1024
BOUNDED_PAGES, LEGACY_PAGES, SCAN_PAGES = 64, 16, 256


class Direction(Enum):
    """What the plan takes the accesses for."""

    NONE = 0
    FORWARD = 1
    BACKWARD = -1


@dataclass(frozen=True, slots=True)
class ReadAheadPlan:
    """At most `depth` pages and `bytes_max` bytes (with the pages asked for), from `seed` on."""

    direction: Direction
    depth: int
    bytes_max: int
    seed: int


class Planner:
    """Follows accesses by page number."""

    __slots__ = ("_adaptive", "_backward", "_depth", "_direction", "_last", "_score", "_tip")

    def __init__(self, depth: int, adaptive: bool, backward: bool) -> None:
        self._depth = depth
        self._adaptive = adaptive
        self._backward = backward
        self._last: int | None = None
        self._tip: int | None = None
        self._score = 0
        self._direction = Direction.NONE

    def record(self, page: int) -> bool:
        """Learns that this page was asked for; whether that was a step of a scan."""
        last, tip = self._last, self._tip
        self._last = page
        if last is None:
            self._tip = page
            return False
        if 1 <= page - last <= GAP_PAGES or (tip is not None and 1 <= page - tip <= GAP_PAGES):
            self._direction = Direction.FORWARD
        elif self._backward and (1 <= last - page <= GAP_PAGES or (tip is not None and 1 <= tip - page <= GAP_PAGES)):
            self._direction = Direction.BACKWARD
        else:
            if page != last:
                if self._score >= SCORE_SCAN and tip is not None:
                    self._score -= 1
                else:
                    self._score = max(0, self._score - 4)
                    self._tip = page
            return False
        self._score = min(SCORE_MAX, self._score + 2)
        self._tip = page
        return True

    def plan(self, targets: tuple[int, ...]) -> ReadAheadPlan:
        """Records the targets, and says how far to read ahead for them."""
        seed = None
        for page in targets:
            if self.record(page):
                seed = page
        if self._adaptive and self._score >= SCORE_SCAN and seed is not None:
            depth = SCAN_PAGES if self._score >= SCORE_SURE else min(SCAN_PAGES, 2 * self._depth)
            return ReadAheadPlan(self._direction, depth, SCAN_BYTES, seed)
        return ReadAheadPlan(Direction.NONE, self._depth, BOUNDED_BYTES, targets[-1])

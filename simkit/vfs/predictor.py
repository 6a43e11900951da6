"""Which pages come next: a run of equal steps goes on; otherwise each step is followed by its most frequent successor.

A step is the difference between the numbers of two pages that follow each other. The model is a Markov chain over
steps, as `vfs.md` of the real system describes it, with one addition: where two successors are equally frequent, the
smaller step wins. The real system leaves that to the order of a hash map, so there two processes may differ (DET-1).
"""

from __future__ import annotations

_NONE: dict[int, int] = {}


class Predictor:
    """Learns from page numbers, predicts page numbers."""

    __slots__ = ("_best", "_counts", "_last_page", "_last_step", "_run")

    def __init__(self) -> None:
        self._last_page: int | None = None
        self._last_step: int | None = None
        self._run = 0
        #: step -> step that followed it -> how often
        self._counts: dict[int, dict[int, int]] = {}
        #: step -> the successor to bet on
        self._best: dict[int, int] = {}

    def record(self, page: int) -> None:
        """Learns that this page was asked for."""
        last = self._last_page
        self._last_page = page
        if last is None:
            return
        step, before = page - last, self._last_step
        self._last_step = step
        if before is None:
            self._run = 1
            return
        self._run = self._run + 1 if step == before else 1
        counts = self._counts.setdefault(before, {})
        count = counts[step] = counts.get(step, 0) + 1
        best = self._best.get(before)
        if best is None or count > counts[best] or (count == counts[best] and step < best):
            self._best[before] = step

    def predict(self, seed: int, depth: int, size: int, ascending_only: bool = False) -> list[int]:
        """Up to `depth` pages of 1..size that may follow `seed`, in the order they are expected, without repetition.

        With `ascending_only` a descending step ends the chain.
        """
        step = self._last_step
        if step is None or depth <= 0 or size <= 0:
            return []
        found: dict[int, None] = {}
        if self._run >= 2 and step > 0:
            found = dict.fromkeys(range(seed + step, min(seed + step * depth, size) + 1, step))
            if len(found) >= depth:
                return list(found)
        page = seed
        for _ in range(depth - len(found)):
            following = self._best.get(step)
            if following is None:
                break
            page += following
            if not 1 <= page <= size or (ascending_only and following < 0):
                break
            found[page] = None
            step = following
        return list(found)

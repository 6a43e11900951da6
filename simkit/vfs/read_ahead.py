"""Read-ahead: which pages to fetch together with those that SQLite asks for.

Predictor and planner learn from every access; the planner says how far, the predictor says which pages. A descending
scan is the exception: there the pages right below are taken, and until it is recognised nothing below. With page
classes, b-tree pages and overflow pages each have a predictor and a planner of their own, since a table with large rows
reads its leaves and its overflow chains in turn, and neither order shows in the mixture. A page whose content is not
known yet counts as a b-tree page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simkit.vfs.planner import BOUNDED_PAGES, LEGACY_PAGES, Direction, Planner
from simkit.vfs.predictor import Predictor
from simkit.vfs.settings import ReadAheadMode, VfsSettings

BTREE_TYPES = frozenset((2, 5, 10, 13))
"""First bytes of b-tree pages."""

_DEPTHS: dict[ReadAheadMode, int] = {
    "adaptive": BOUNDED_PAGES,
    "bounded": BOUNDED_PAGES,
    "legacy": LEGACY_PAGES,
    "none": 0,
}


def is_btree(number: int, page: bytes) -> bool:
    """Whether the content is that of a b-tree page: by its first byte. Page 1 always is."""
    return number == 1 or page[0] in BTREE_TYPES


@dataclass(frozen=True, slots=True)
class Prediction:
    """Pages to fetch beside the targets, in this order; `scan` when they are part of a scan."""

    pages: Sequence[int]
    scan: bool


class ReadAhead:
    """Follows what SQLite asks for. Pages in a *trace* are numbers; those of overflow pages are negative."""

    def __init__(self, settings: VfsSettings, page_size: int) -> None:
        self._page_size = page_size
        self._predictor_learns = settings.train_on_hits
        depth, adaptive = _DEPTHS[settings.read_ahead], settings.read_ahead == "adaptive"
        self._backward = adaptive and settings.backward_scan
        self._btree = Predictor(), Planner(depth, adaptive, self._backward)
        self._overflow = self._btree
        if settings.page_classes:
            self._overflow = Predictor(), Planner(depth, adaptive, self._backward)

    def train(self, trace: Iterable[int]) -> None:
        """Learns from pages that were there already: the planner always, the predictor if it is set to."""
        btree_predictor, btree_planner = self._btree
        overflow_predictor, overflow_planner = self._overflow
        learns = self._predictor_learns
        for page in trace:
            if page > 0:
                btree_planner.record(page)
                if learns:
                    btree_predictor.record(page)
            else:
                overflow_planner.record(-page)
                if learns:
                    overflow_predictor.record(-page)

    def predict(self, targets: tuple[int, ...], missing: int, size: int) -> Prediction:
        """Learns from the targets, `missing` of which have to be fetched, and predicts pages up to `size`."""
        predictor, planner = self._btree
        for page in targets:
            predictor.record(page)
        plan = planner.plan(targets)
        budget = max(1, plan.bytes_max // self._page_size) - missing
        depth = min(budget, plan.depth)
        scan = plan.direction is not Direction.NONE
        if depth <= 0:
            return Prediction((), scan)
        if plan.direction is Direction.BACKWARD:
            return Prediction(range(plan.seed - 1, max(0, plan.seed - 1 - depth), -1), scan)
        size = max(size, plan.seed)
        return Prediction(predictor.predict(plan.seed, depth, size, ascending_only=self._backward), scan)

"""A measured figure, and how to measure ratios on a noisy machine.

Everything that is compared runs in turn within one process, round by round, and the ratio is taken within each
round; the median over the rounds is what counts. Absolute times are shown for orientation only.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One figure.

    Attributes:
        target: what it should be, in words; "" for orientation only.
        met: whether it is; None without a target.
        note: how it was measured.
    """

    name: str
    value: float
    unit: str
    target: str
    met: bool | None
    note: str

    def render(self) -> str:
        return f"{self.value:,.2f} {self.unit}" if self.value < 100 else f"{self.value:,.0f} {self.unit}"


def at_most(name: str, value: float, unit: str, limit: float, note: str) -> Figure:
    """A figure that should not exceed `limit`."""
    return Figure(name, value, unit, f"at most {limit:g}", value <= limit, note)


def at_least(name: str, value: float, unit: str, limit: float, note: str) -> Figure:
    """A figure that should reach `limit`."""
    return Figure(name, value, unit, f"at least {limit:,.0f}", value >= limit, note)


def for_orientation(name: str, value: float, unit: str, note: str) -> Figure:
    """A figure without a target."""
    return Figure(name, value, unit, "", None, note)


@contextmanager
def quiet_collector() -> Iterator[None]:
    """As the searches run: the garbage collector looks rarely, and not at what start-up left."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def paired(subjects: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Runs all subjects in turn, `rounds` times after one warm-up; each returns seconds per unit. One list for
    each subject.
    """
    for subject in subjects:
        subject()
    results: list[list[float]] = [[] for _ in subjects]
    for number in range(rounds):
        order = range(len(subjects)) if number % 2 == 0 else reversed(range(len(subjects)))
        for index in order:
            results[index].append(subjects[index]())
    return results


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median over the rounds of numerator by denominator."""
    return statistics.median(top / bottom for top, bottom in zip(numerators, denominators, strict=True))


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun

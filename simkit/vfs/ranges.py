"""When pages are asked for as a range, and not as a list: enough of them, one after the other, and no more than fit."""

from __future__ import annotations

from collections.abc import Sequence

from simkit.depot.storage import RANGE_BYTES_MAX, RANGE_PAGES_MAX
from simkit.vfs.settings import VfsSettings

RANGE_PAGES_MIN = 65
"""Fewer pages are asked for as a list."""


def is_range(numbers: Sequence[int], settings: VfsSettings, page_size: int) -> bool:
    """Whether one range brings all of these pages."""
    return 0 < len(numbers) == range_length(numbers, settings, page_size)


def range_length(numbers: Sequence[int], settings: VfsSettings, page_size: int) -> int:
    """How many of these pages, from the first on, one range brings; 0 when they are to be asked for as a list.

    They have to go up or down one by one.
    """
    if not settings.range_reads:
        return 0
    length = min(len(numbers), RANGE_PAGES_MAX, RANGE_BYTES_MAX // page_size)
    if length < RANGE_PAGES_MIN:
        return 0
    step = numbers[1] - numbers[0]
    consecutive = abs(step) == 1 and list(numbers) == list(range(numbers[0], numbers[-1] + step, step))
    return length if consecutive else 0

"""Which pages are worth loading at the next open."""

from __future__ import annotations

from collections.abc import Iterable

from simkit.vfs.settings import VfsSettings


class RecentPages:
    """Follows accesses. Numbers of overflow pages are negative."""

    def __init__(self, settings: VfsSettings) -> None:
        self._settings = settings

    def record_all(self, trace: Iterable[int]) -> None:
        """These pages were asked for, in this order."""

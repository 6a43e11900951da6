"""Draws the settings of the VFS for one run, from the stream `vfs`.

Only settings with several values are drawn, in the order of the model; a file without such settings makes no stream
(DET-1). All instances of a run have the same settings.
"""

from __future__ import annotations

from typing import TypeVar

from simkit.kernel.decisions import stream_random
from simkit.scenario.model_vfs import Vfs, vfs_settings
from simkit.vfs.settings import VfsSettings

_T = TypeVar("_T")


class VfsGenerator:
    """The `vfs` of a scenario made ready for drawing."""

    def __init__(self, vfs: Vfs, observe_pages: bool) -> None:
        self._vfs = vfs
        self._observe_pages = observe_pages
        varies = any(len(values) > 1 for _, values in vfs)
        self._fixed = None if varies else vfs_settings(vfs, observe_pages, _first)

    def draw(self, seed: int) -> VfsSettings:
        """The settings of the run of `seed`."""
        if self._fixed is not None:
            return self._fixed
        uniform = stream_random(seed, "vfs").random

        def pick(values: tuple[_T, ...]) -> _T:
            return values[0] if len(values) == 1 else values[int(uniform() * len(values))]

        return vfs_settings(self._vfs, self._observe_pages, pick)


def _first(values: tuple[_T, ...]) -> _T:
    return values[0]

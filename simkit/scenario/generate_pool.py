"""Draws the settings of the system under test for one run, from the stream `pool`.

Only settings with several values are drawn, in the order of the model; a file without such settings makes no stream
(DET-1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from simkit.kernel.decisions import stream_random
from simkit.pool.settings import PoolSettings
from simkit.scenario.model_pool import Pool

_T = TypeVar("_T")


class PoolGenerator:
    """The `pool` of a scenario made ready for drawing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        varies = any(len(values) > 1 for _, values in pool)
        self._fixed = None if varies else _settings(pool, _no_draw)

    def draw(self, seed: int) -> PoolSettings:
        """The settings of the run of `seed`."""
        if self._fixed is not None:
            return self._fixed
        return _settings(self._pool, stream_random(seed, "pool").random)


def _settings(pool: Pool, uniform: Callable[[], float]) -> PoolSettings:
    def pick(values: tuple[_T, ...]) -> _T:
        return values[0] if len(values) == 1 else values[int(uniform() * len(values))]

    return PoolSettings(
        read_pool_enabled=pick(pool.read_pool_enabled),
        max_readers=pick(pool.max_readers),
        idle_ttl_ns=pick(pool.idle_ttl),
        waiting_max=pick(pool.waiting_max),
        transaction_deadline_ns=pick(pool.transaction_deadline),
        close_timeout_ns=pick(pool.close_timeout),
    )


def _no_draw() -> float:
    raise AssertionError("settings of one value each draw nothing")

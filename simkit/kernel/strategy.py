"""Strategies: which of the possible next steps is taken.

A strategy sees what every option is about to do (`operation` on `resource`) and returns an index. It draws only from
the function it is given at `start`, so its run is determined by the seed. Replay does not ask it at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Option(Protocol):
    """A possible next step: a task that can run, or in any-order mode a reply that may arrive or the next timer."""

    @property
    def name(self) -> str: ...

    @property
    def operation(self) -> str: ...

    @property
    def resource(self) -> object: ...


class Strategy(Protocol):
    """Picks the next step of a run among at least two."""

    @property
    def name(self) -> str: ...

    def start(self, draw: Callable[[], float]) -> None:
        """A run begins; `draw` gives floats in [0, 1) from the schedule stream."""

    def pick(self, options: Sequence[Option]) -> int:
        """The index of the step to take."""


class RandomWalk:
    """Any possible step, each as likely as the others."""

    name = "random-walk"

    def start(self, draw: Callable[[], float]) -> None:
        self._draw = draw

    def pick(self, options: Sequence[Option]) -> int:
        return int(self._draw() * len(options))


#: Strategies by the name a scenario uses.
STRATEGIES: dict[str, Callable[[], Strategy]] = {RandomWalk.name: RandomWalk}

"""Draws the settings of the depot and the steps of the operator for one run, from the streams `depot` and `operator`.

Only settings with several values are drawn, in the order of the model; a file without such settings, or without an
operator, makes no stream (DET-1). Whether a step is done is drawn before anything of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, assert_never

from simkit.depot.distribution import Distribution
from simkit.depot.settings import DepotSettings
from simkit.kernel.decisions import stream_random
from simkit.scenario.model_depot import Depot, depot_settings
from simkit.scenario.model_operator import (
    LATEST,
    Before,
    CompactStep,
    DeleteStep,
    ForkStep,
    RestorePointStep,
    RollbackStep,
    Step,
)
from simkit.scenario.plan import OperatorAction, PlannedStep

_T = TypeVar("_T")


class DepotGenerator:
    """The `depot` of a scenario made ready for drawing."""

    def __init__(self, depot: Depot) -> None:
        self._depot = depot
        self._fixed = None if _varies(depot) else depot.settings()

    def draw(self, seed: int) -> DepotSettings:
        """The settings of the run of `seed`."""
        if self._fixed is not None:
            return self._fixed
        uniform = stream_random(seed, "depot").random

        def pick(values: tuple[_T, ...], /) -> _T:
            return values[0] if len(values) == 1 else values[int(uniform() * len(values))]

        return depot_settings(self._depot, pick)


def _varies(depot: Depot) -> bool:
    return any(
        isinstance(values, tuple) and len(values) > 1
        for part in (depot, depot.pitr, depot.compaction)
        for _, values in part
    )


class OperatorGenerator:
    """The `operator` of a scenario made ready for drawing."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._steps = steps

    def draw(self, seed: int) -> tuple[PlannedStep, ...]:
        """What the operator does in the run of `seed`, in order."""
        if not self._steps:
            return ()
        uniform = stream_random(seed, "operator").random
        planned: list[PlannedStep] = []
        for step in self._steps:
            if uniform() < step.probability:
                low, high = step.count
                count = low + int(uniform() * (high - low + 1))
                planned.extend(_planned(step, number, high > 1, uniform) for number in range(1, count + 1))
        return tuple(planned)


def _planned(step: Step, number: int, numbered: bool, uniform: Callable[[], float]) -> PlannedStep:
    after_ns = _pick(step.after, uniform)
    action, name, target = _words(step)
    if numbered and action == "fork":
        name = f"{name}-{number}"
    if isinstance(target, Before):
        return PlannedStep(action=action, name=name, at="", before_ns=_pick(target.before, uniform), after_ns=after_ns)
    return PlannedStep(action=action, name=name, at=target, after_ns=after_ns)


def _words(step: Step) -> tuple[OperatorAction, str, str | Before]:
    """What a step does, the name in it, and the state that it takes."""
    match step:
        case RestorePointStep():
            return "restore_point", step.restore_point, step.at
        case ForkStep():
            return "fork", step.fork, step.at
        case RollbackStep():
            return "rollback", "", step.rollback
        case DeleteStep():
            return "delete", step.delete, LATEST
        case CompactStep():
            return "compact", "", LATEST
    assert_never(step)


def _pick(distribution: Distribution, uniform: Callable[[], float]) -> int:
    return distribution.draw(lambda count: int(uniform() * count))

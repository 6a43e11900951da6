"""Draws what goes wrong in one run, from the streams `crash`, `takeover` and `faults` (delays of fault rules).

A swarm removes from these after they were drawn, so that what it keeps is the same as without it (DET-1). Whether a
fault rule with a probability fires is not drawn here but while the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress
from typing import Any, TypeVar

from simkit.depot.distribution import Distribution
from simkit.kernel.decisions import stream_random
from simkit.scenario.model import Scenario
from simkit.scenario.model_faults import EVERY_IO, AtIo, AtTime, Crash, Delay, FaultRule, Pause, WhenNth
from simkit.scenario.plan import PlannedCrash, PlannedFault, PlannedTakeover
from simkit.scenario.swarm import Swarm

PARTS_PER_MILLION = 1_000_000

_T = TypeVar("_T")


class TroubleGenerator:
    """The crashes, takeovers and fault rules of a scenario made ready for drawing."""

    def __init__(self, scenario: Scenario) -> None:
        self._crashes = tuple(crash for crash in scenario.crash if crash.at != EVERY_IO)
        self._takeovers = scenario.takeover
        self._faults = scenario.faults
        self._fixed_faults = (
            None
            if any(_draws(rule) for rule in scenario.faults)
            else tuple(_fault(rule, _no_draw) for rule in scenario.faults)
        )

    def draw(
        self, seed: int, swarm: Swarm | None
    ) -> tuple[tuple[PlannedCrash, ...], tuple[PlannedTakeover, ...], tuple[PlannedFault, ...]]:
        """Crashes, takeovers and fault rules of the run of `seed`, less what the swarm removes."""
        crashes, takeovers, faults = self._draw_crashes(seed), self._draw_takeovers(seed), self._draw_faults(seed)
        if swarm is not None:
            crashes = _only(crashes, swarm.crashes)
            takeovers = _only(takeovers, swarm.takeovers)
            faults = _only(faults, swarm.faults)
        return (
            tuple([crash for crash in crashes if crash is not None]),
            tuple([takeover for takeover in takeovers if takeover is not None]),
            faults,
        )

    def _draw_crashes(self, seed: int) -> tuple[PlannedCrash | None, ...]:
        """One for each crash of the scenario; None where its probability spared the run."""
        if not self._crashes:
            return ()
        uniform = stream_random(seed, "crash").random
        return tuple([_crash(crash, uniform) if uniform() < crash.probability else None for crash in self._crashes])

    def _draw_takeovers(self, seed: int) -> tuple[PlannedTakeover | None, ...]:
        if not self._takeovers:
            return ()
        uniform = stream_random(seed, "takeover").random
        return tuple(
            [
                PlannedTakeover(at_ns=_pick(takeover.at.time, uniform)) if uniform() < takeover.probability else None
                for takeover in self._takeovers
            ]
        )

    def _draw_faults(self, seed: int) -> tuple[PlannedFault, ...]:
        if self._fixed_faults is not None:
            return self._fixed_faults
        uniform = stream_random(seed, "faults").random
        return tuple([_fault(rule, uniform) for rule in self._faults])


def _only(items: tuple[_T, ...], kept: tuple[bool, ...]) -> tuple[_T, ...]:
    return tuple(compress(items, kept))


def _pick(distribution: Distribution, uniform: Callable[[], float]) -> int:
    return distribution.draw(lambda count: int(uniform() * count))


def _crash(crash: Crash, uniform: Callable[[], float]) -> PlannedCrash:
    match crash.at:
        case AtTime(time=time):
            return PlannedCrash(at_ns=_pick(time, uniform))
        case AtIo(io=(low, high)):
            return PlannedCrash(io=low + int(uniform() * (high - low + 1)))
    raise AssertionError("'every io' is enumerated by the search, not drawn")


def _draws(rule: FaultRule) -> bool:
    return isinstance(rule.action, Delay) and len(rule.action.delay.quantiles) > 1


def _no_draw() -> float:
    raise AssertionError("a fault rule without a distribution draws nothing")


def _fault(rule: FaultRule, uniform: Callable[[], float]) -> PlannedFault:
    when, action = rule.when, rule.action
    common: dict[str, Any] = {
        "point": rule.point,
        "nth": when.nth if isinstance(when, WhenNth) else None,
        "probability_ppm": None if isinstance(when, WhenNth) else max(1, round(when.probability * PARTS_PER_MILLION)),
        "once": rule.once,
        "expected": rule.is_expected,
    }
    match action:
        case Delay(delay=delay):
            return PlannedFault(action="delay", delay_ns=_pick(delay, uniform), **common)
        case Pause(pause=pause):
            return PlannedFault(action="pause", until=pause.until, at_most_ns=pause.at_most, **common)
    return PlannedFault(action=action, **common)

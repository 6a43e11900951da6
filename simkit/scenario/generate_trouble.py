"""Draws what goes wrong in one run, from the streams `crash`, `takeover`, `faults` and `network`.

A swarm removes from these after they were drawn, so that what it keeps is the same as without it (DET-1). Whether a
rule with a probability acts is not drawn here but while the run goes on. Which fault of a matrix a run gets is not
drawn at all: its seed says it, so that a search of enough seeds in a row has had every one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, compress
from typing import Any, NamedTuple, TypeVar, assert_never

from simkit.depot.armed import PPM
from simkit.depot.distribution import Distribution
from simkit.depot.fault_points import FaultPoint
from simkit.depot.network_rules import (
    Clog,
    Duplicate,
    Lose,
    NetworkRule,
    Partition,
    Reorder,
    SlowDisk,
    SwizzleClog,
)
from simkit.kernel.decisions import stream_random
from simkit.scenario.model import Scenario
from simkit.scenario.model_fault_matrix import FaultMatrix
from simkit.scenario.model_faults import EVERY_IO, AtIo, AtTime, Crash, Delay, FaultRule, Pause, When, WhenNth
from simkit.scenario.model_network import (
    ClogRule,
    DuplicateRule,
    LoseRule,
    NetworkRuleModel,
    PartitionRule,
    ReorderRule,
    SlowRule,
    Span,
    SwizzleClogRule,
)
from simkit.scenario.plan import PlannedCrash, PlannedFault, PlannedTakeover
from simkit.scenario.swarm import Swarm

_T = TypeVar("_T")

Uniform = Callable[[], float]


class Trouble(NamedTuple):
    """What goes wrong in one run."""

    crashes: tuple[PlannedCrash, ...]
    takeovers: tuple[PlannedTakeover, ...]
    faults: tuple[PlannedFault, ...]
    network: tuple[NetworkRule, ...]


class TroubleGenerator:
    """The crashes, takeovers, fault rules, fault matrices and network rules of a scenario made ready for drawing."""

    def __init__(self, scenario: Scenario) -> None:
        self._crashes = tuple(crash for crash in scenario.crash if crash.at != EVERY_IO)
        self._takeovers = scenario.takeover
        compaction = any(scenario.depot.compaction.enabled)
        self._faults = tuple(_fault_maker(entry, compaction) for entry in scenario.faults)
        self._faults_draw = any(isinstance(entry, FaultMatrix) or _draws(entry) for entry in scenario.faults)
        self._network = scenario.network

    def draw(self, seed: int, swarm: Swarm | None) -> Trouble:
        """What goes wrong in the run of `seed`, less what the swarm removes."""
        crashes, takeovers = self._draw_crashes(seed), self._draw_takeovers(seed)
        faults, network = self._draw_faults(seed), self._draw_network(seed)
        if swarm is not None:
            crashes = _only(crashes, swarm.crashes)
            takeovers = _only(takeovers, swarm.takeovers)
            faults = _only(faults, swarm.faults)
            network = _only(network, swarm.network)
        return Trouble(
            tuple([crash for crash in crashes if crash is not None]),
            tuple([takeover for takeover in takeovers if takeover is not None]),
            tuple(chain.from_iterable(faults)),
            network,
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

    def _draw_faults(self, seed: int) -> tuple[tuple[PlannedFault, ...], ...]:
        """For each entry of `faults` what it makes of this run."""
        if not self._faults:
            return ()
        uniform = stream_random(seed, "faults").random if self._faults_draw else _no_draw
        return tuple([make(seed, uniform) for make in self._faults])

    def _draw_network(self, seed: int) -> tuple[NetworkRule, ...]:
        if not self._network:
            return ()
        uniform = stream_random(seed, "network").random
        return tuple([_network_rule(rule, uniform) for rule in self._network])


def _only(items: tuple[_T, ...], kept: tuple[bool, ...]) -> tuple[_T, ...]:
    return tuple(compress(items, kept))


def _pick(distribution: Distribution, uniform: Uniform) -> int:
    return distribution.draw(lambda count: int(uniform() * count))


def _crash(crash: Crash, uniform: Uniform) -> PlannedCrash:
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


_MakeFaults = Callable[[int, Uniform], tuple[PlannedFault, ...]]
"""What an entry of `faults` makes of the run of a seed."""


def _fault_maker(entry: FaultRule | FaultMatrix, compaction: bool) -> _MakeFaults:
    if isinstance(entry, FaultRule):
        return lambda _, uniform: (_fault(entry, uniform),)
    pairs = entry.pairs(compaction)
    assert pairs, "a matrix without a fault is refused when it is loaded"

    def make(seed: int, uniform: Uniform) -> tuple[PlannedFault, ...]:
        point, action = pairs[seed % len(pairs)]
        return _matrix_fault(entry, point, action, uniform)

    return make


def _matrix_fault(matrix: FaultMatrix, point: FaultPoint, action: Any, uniform: Uniform) -> tuple[PlannedFault, ...]:
    low, high = matrix.nth
    # Both are drawn whatever the action is: seeds that differ in it alone differ in nothing else.
    nth, delay_ns = low + int(uniform() * (high - low + 1)), _pick(matrix.delay, uniform)
    scope = matrix.scope.planned
    common: dict[str, Any] = {"point": point, "action": action, "expected": matrix.expected, "scope": scope}
    if action == "delay":
        common["delay_ns"] = delay_ns
    elif action == "pause":
        common.update(until=matrix.pause.until, at_most_ns=matrix.pause.at_most)
    if not point.needs_lost_delta:
        return (PlannedFault(nth=nth, **common),)
    lost = PlannedFault(point=FaultPoint.READ_AFTER_DELTA_BLOB_LOAD, action="drop", nth=nth, scope=scope)
    return lost, PlannedFault(nth=1, **common)


def _when(when: When) -> dict[str, Any]:
    if isinstance(when, WhenNth):
        return {"nth": when.nth}
    return {"probability_ppm": max(1, round(when.probability * PPM))}


def _fault(rule: FaultRule, uniform: Uniform) -> PlannedFault:
    common: dict[str, Any] = {
        "point": rule.point,
        **_when(rule.when),
        "once": rule.once,
        "expected": rule.is_expected,
        "scope": rule.scope.planned,
    }
    match rule.action:
        case Delay(delay=delay):
            return PlannedFault(action="delay", delay_ns=_pick(delay, uniform), **common)
        case Pause(pause=pause):
            return PlannedFault(action="pause", until=pause.until, at_most_ns=pause.at_most, **common)
    return PlannedFault(action=rule.action, **common)


def _network_rule(rule: NetworkRuleModel, uniform: Uniform) -> NetworkRule:
    scope = rule.scope.planned
    match rule:
        case LoseRule():
            return Lose(leg=rule.lose, timeout_ns=rule.timeout, once=rule.once, scope=scope, **_when(rule.when))
        case ReorderRule():
            return Reorder(leg=rule.reorder, by_ns=rule.by.quantiles, once=rule.once, scope=scope, **_when(rule.when))
        case DuplicateRule():
            return Duplicate(after_ns=rule.by.quantiles, once=rule.once, scope=scope, **_when(rule.when))
        case SlowRule():
            return SlowDisk(takes_ns=rule.takes.quantiles, once=rule.once, scope=scope, **_when(rule.when))
        case PartitionRule():
            return Partition(timeout_ns=rule.timeout, scope=scope, **_span(rule.partition, uniform))
        case ClogRule():
            return Clog(scope=scope, **_span(rule.clog, uniform))
        case SwizzleClogRule():
            return SwizzleClog(scope=scope, **_span(rule.swizzle_clog, uniform))
    assert_never(rule)


def _span(span: Span, uniform: Uniform) -> dict[str, int]:
    return {"at_ns": _pick(span.at, uniform), "lasts_ns": _pick(span.lasts, uniform)}

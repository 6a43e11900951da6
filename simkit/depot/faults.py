"""Faults: rules that make named points of the depot fail, wait or crash the asking instance.

A point is one line in `commit.py` or `read.py`, free when the run has no rules. All rules of a point count each
passage; the first that is ready acts, an unready one never blocks a later one. What a client may find after a
failure is the point's boundary class (`simkit.depot.fault_points`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

from simkit.depot.core import Passer
from simkit.depot.errors import InjectedFault
from simkit.depot.events import FaultFired
from simkit.depot.fault_points import FaultPoint
from simkit.kernel import Happening, Kernel

PPM = 1_000_000

PauseUntil = Literal["rest", "crash", "takeover"]


@dataclass(frozen=True)
class Fail:
    """The request ends with `InjectedFault`."""


@dataclass(frozen=True)
class Delay:
    """The request is held up for a simulated time."""

    duration_ns: int


@dataclass(frozen=True)
class Pause:
    """The request is held up until something happens to the run, at most `at_most_ns`."""

    until: PauseUntil
    at_most_ns: int


@dataclass(frozen=True)
class Drop:
    """What was just loaded, or is about to be written, is lost without a word. Only where a point allows it."""


@dataclass(frozen=True)
class Crash:
    """The instance that asked crashes; the request itself goes on, as requests do. A job dies with all it knows."""


class NodeCrashed(Exception):
    """The compaction process that passed a point is dead. What is in the store stays."""


Action = Fail | Delay | Pause | Drop | Crash


@dataclass(frozen=True)
class Scope:
    """Whom a rule concerns; None: anybody. A page or shard is matched where the point knows of one."""

    instance: str | None = None
    database: str | None = None
    page: int | None = None
    shard: int | None = None


@dataclass(frozen=True)
class FaultRule:
    """When `point` is passed for the `nth` time (from 1), or each time with `probability_ppm`, do `action`."""

    point: FaultPoint
    action: Action
    nth: int | None = None
    probability_ppm: int = PPM
    once: bool = False
    expected: bool = False
    scope: Scope = Scope()


@dataclass
class _Armed:
    number: int
    rule: FaultRule
    passages: int = 0
    fired: int = 0


@dataclass
class _Held:
    until: PauseUntil
    until_ns: int
    gate: Happening = field(repr=False)


class Faults:
    """The fault rules of one run and what they have done so far."""

    def __init__(self, kernel: Kernel, rules: Iterable[FaultRule], crash_instance: Callable[[str], None]) -> None:
        self._kernel = kernel
        self._crash_instance = crash_instance
        self._armed: dict[FaultPoint, list[_Armed]] = {}
        self._all: list[_Armed] = []
        self._held: list[_Held] = []
        for number, rule in enumerate(rules):
            armed = _Armed(number, rule)
            self._armed.setdefault(rule.point, []).append(armed)
            self._all.append(armed)

    def unfired(self) -> list[int]:
        """The numbers of the rules that were expected to act and never did."""
        return [armed.number for armed in self._all if armed.rule.expected and not armed.fired]

    @property
    def pausing(self) -> bool:
        """Whether a request is held up until the run comes to rest."""
        return any(held.until == "rest" for held in self._held)

    @property
    def may_pause_until_rest(self) -> bool:
        """Whether a rule asks for such a pause; then `release_overdue` must be called as time passes."""
        actions = [armed.rule.action for armed in self._all]
        return any(isinstance(action, Pause) and action.until == "rest" for action in actions)

    def release_overdue(self) -> None:
        """Lets go of the requests that have been paused for as long as they may be."""
        now = self._kernel.now
        overdue = [held for held in self._held if held.until_ns <= now]
        for held in overdue:
            self._held.remove(held)
            held.gate.happen()

    def release(self, event: PauseUntil) -> None:
        """Lets go of every request that was paused until `event`."""
        released = [held for held in self._held if held.until == event]
        self._held = [held for held in self._held if held.until != event]
        for held in released:
            held.gate.happen()

    def at(
        self, point: FaultPoint, request: Passer, pages: Collection[int] = (), shard: int | None = None
    ) -> Generator[Happening, Any, bool]:
        """A request or job passes `point`, with what it has in hand there. Raises `InjectedFault` or `NodeCrashed`, or
        returns, maybe later, whether what the point stands for is lost.
        """
        armed = self._ready_rule(point)
        if armed is None:
            return False
        armed.fired += 1
        action = armed.rule.action
        kernel = self._kernel
        kernel.record(
            FaultFired(
                kernel.now,
                request.task_name,
                request.instance,
                request.number,
                armed.number,
                point.value,
                type(action).__name__.lower(),
            )
        )
        match action:
            case Fail():
                raise InjectedFault(f"injected at {point.value}")
            case Delay(duration_ns):
                yield kernel.stage(duration_ns, None, "delayed", request)
            case Pause(until, at_most_ns):
                yield self._hold(until, at_most_ns, request)
            case Drop():
                return True
            case Crash():
                # On the kernel's own turn: the task that asked may be the one that runs now.
                yield kernel.timer(0, lambda _: self._crash_instance(request.instance), "crash")
            case _:
                assert_never(action)
        return False

    def _ready_rule(self, point: FaultPoint) -> _Armed | None:
        ready = None
        for armed in self._armed.get(point, ()):
            armed.passages += 1
            rule = armed.rule
            if ready is not None or (rule.once and armed.fired):
                continue
            if rule.nth is not None:
                if armed.passages == rule.nth:
                    ready = armed
            elif rule.probability_ppm >= PPM or self._draw(point) < rule.probability_ppm:
                ready = armed
        return ready

    def _draw(self, point: FaultPoint) -> int:
        return self._kernel.decisions.choose(f"faults/{point.value}", PPM)

    def _hold(self, until: PauseUntil, at_most_ns: int, request: Passer) -> Happening:
        gate = self._kernel.gate("paused", request)
        held = _Held(until, self._kernel.now + at_most_ns, gate)
        self._held.append(held)
        if until == "rest":
            # A timer would be something that can still happen, and so keep the run from ever coming to rest.
            return gate

        def give_up(_: object) -> None:
            if held in self._held:
                self._held.remove(held)
                gate.happen()

        self._kernel.timer(at_most_ns, give_up, "pause bound")
        return gate

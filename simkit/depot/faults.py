"""Faults: rules that make named points of the depot fail, wait, lose something, or crash whoever passes them.

A point is one line in the commit, the read, a hot job or a reclaim, free when the run has no rules. Every rule of a
point counts the passages within its scope; the first that is ready acts, an unready one never blocks a later one. What
may be found after a failure is the point's boundary class (`simkit.depot.fault_points`): DUR-1 and DUR-2 for commits,
COMP-1 for jobs. What is lost between instances and depot is not the business of points (`simkit.depot.network`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

from simkit.depot.armed import PPM, Armed, fire_first
from simkit.depot.core import Passer
from simkit.depot.errors import InjectedFault
from simkit.depot.events import FaultFired
from simkit.depot.fault_points import FaultPoint
from simkit.depot.settings import DEFAULT_SETTINGS
from simkit.kernel import Happening, Kernel

PauseUntil = Literal["rest", "crash", "takeover"]


@dataclass(frozen=True)
class Fail:
    """The request or job ends with `InjectedFault`."""


@dataclass(frozen=True)
class Delay:
    """The request or job is held up for a simulated time."""

    duration_ns: int


@dataclass(frozen=True)
class Pause:
    """The request or job is held up until something happens to the run, at most `at_most_ns`."""

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
    """Whom a rule concerns; None: anybody.

    A passage is of the pages and the shard that the point says it has in hand, and else of the pages of its request. A
    job passes under the name of "compaction". A scope that no passage of a point can be in lets its rule never act.
    """

    instance: str | None = None
    database: str | None = None
    page: int | None = None
    shard: int | None = None


_ANYBODY = Scope()


@dataclass(frozen=True)
class FaultRule:
    """When `point` is passed for the `nth` time (from 1), or each time with `probability_ppm`, do `action`."""

    point: FaultPoint
    action: Action
    nth: int | None = None
    probability_ppm: int = PPM
    once: bool = False
    expected: bool = False
    scope: Scope = _ANYBODY


@dataclass
class _Held:
    until: PauseUntil
    until_ns: int
    gate: Happening = field(repr=False)


class Faults:
    """The fault rules of one run and what they have done so far.

    `shard_pages` is the depot's: it tells which pages a shard has.
    """

    def __init__(self, kernel: Kernel, rules: Iterable[FaultRule], crash_instance: Callable[[str], None]) -> None:
        self.shard_pages = DEFAULT_SETTINGS.shard_pages
        self._kernel = kernel
        self._crash_instance = crash_instance
        self._armed: dict[FaultPoint, list[Armed[FaultRule]]] = {}
        self._all: list[Armed[FaultRule]] = []
        self._held: list[_Held] = []
        for number, rule in enumerate(rules):
            if isinstance(rule.action, Drop) and not rule.point.can_drop:
                raise ValueError(f"rule {number}: nothing can be dropped at {rule.point.value}")
            armed = Armed(rule, number)
            self._armed.setdefault(rule.point, []).append(armed)
            self._all.append(armed)

    def unfired(self) -> list[int]:
        """The numbers of the rules that were expected to act and never did."""
        return [armed.number for armed in self._all if armed.rule.expected and not armed.fired]

    @property
    def pausing(self) -> bool:
        """Whether a request or job is held up until the run comes to rest."""
        return any(held.until == "rest" for held in self._held)

    @property
    def may_pause_until_rest(self) -> bool:
        """Whether a rule asks for such a pause; then `release_overdue` must be called as time passes."""
        actions = [armed.rule.action for armed in self._all]
        return any(isinstance(action, Pause) and action.until == "rest" for action in actions)

    def release_overdue(self) -> None:
        """Lets go of whoever has been paused for as long as may be."""
        now = self._kernel.now
        overdue = [held for held in self._held if held.until_ns <= now]
        for held in overdue:
            self._held.remove(held)
            held.gate.happen()

    def release(self, event: PauseUntil) -> None:
        """Lets go of whoever was paused until `event`."""
        released = [held for held in self._held if held.until == event]
        self._held = [held for held in self._held if held.until != event]
        for held in released:
            held.gate.happen()

    def at(
        self, point: FaultPoint, passer: Passer, pages: Collection[int] = (), shard: int | None = None
    ) -> Generator[Happening, Any, bool]:
        """A request or job passes `point`, with what it has in hand there. Raises `InjectedFault` or `NodeCrashed`, or
        returns, maybe later, whether what the point stands for is lost.
        """
        armed = self._fire(point, passer, pages, shard)
        if armed is None:
            return False
        action = armed.rule.action
        kernel = self._kernel
        name = type(action).__name__.lower()
        kernel.record(
            FaultFired(kernel.now, passer.task_name, passer.instance, passer.number, armed.number, point.value, name)
        )
        match action:
            case Fail():
                raise InjectedFault(f"injected at {point.value}")
            case Delay(duration_ns):
                yield kernel.stage(duration_ns, None, "delayed", passer)
            case Pause(until, at_most_ns):
                yield self._hold(until, at_most_ns, passer)
            case Drop():
                return True
            case Crash() if _is_job(passer):
                raise NodeCrashed(f"crashed at {point.value}")
            case Crash():
                # On the kernel's own turn: the task that asked may be the one that runs now.
                yield kernel.timer(0, lambda _: self._crash_instance(passer.instance), "crash")
            case _:
                assert_never(action)
        return False

    def _fire(
        self, point: FaultPoint, passer: Passer, pages: Collection[int], shard: int | None
    ) -> Armed[FaultRule] | None:
        """The first rule that acts at this passage; all whose scope it is in count it."""
        rules = self._armed.get(point)
        if rules is None:
            return None
        concerned = (
            armed
            for armed in rules
            if armed.rule.scope is _ANYBODY or self._within(armed.rule.scope, passer, pages, shard)
        )
        return fire_first(concerned, lambda: self._draw(point))

    def _within(self, scope: Scope, passer: Passer, pages: Collection[int], shard: int | None) -> bool:
        if scope.instance is not None and scope.instance != passer.instance:
            return False
        if scope.database is not None and scope.database != passer.database:
            return False
        if scope.page is None and scope.shard is None:
            return True
        numbers: Collection[int] = pages or getattr(passer, "numbers", ())
        if scope.page is not None and scope.page not in numbers:
            return False
        if scope.shard is None:
            return True
        if shard is not None:
            return scope.shard == shard
        return any(number // self.shard_pages == scope.shard for number in numbers)

    def _draw(self, point: FaultPoint) -> int:
        return self._kernel.decisions.choose(f"faults/{point.value}", PPM)

    def _hold(self, until: PauseUntil, at_most_ns: int, passer: Passer) -> Happening:
        gate = self._kernel.gate("paused", passer)
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


def _is_job(passer: Passer) -> bool:
    """Requests are counted from 1, jobs from -1 down."""
    return passer.number < 0

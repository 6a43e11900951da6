"""What goes wrong between instances and depot: messages lost, doubled, late or held, and a disk that is slow at times.

Upholds DUR-2 by never hiding it: whoever hears nothing gets `TransportFailed`, which says nothing about what the depot
did. A request whose reply is lost was carried out all the same, and a doubled commit is carried out twice, unless its
fences refuse it (DUR-1, ISO-1); control requests have no fence of their own and are never doubled.

Each message (a request, a reply) is one passage. Every rule of its way counts the passages within its scope; the first
that is ready acts on it. A partition or a clog is looked at when a message arrives, so it also meets those that were
under way when it began; a partition meets those that are sent into it, too. What is held arrives in the order in which
it would have.

A run without rules has no network at all, and its reads keep their lean way (`simkit.depot.flight`). Nobody waits for a
lost message but its sender: only for that is there a timer, so nothing else is ever late enough to be given up. Fault
points, which lie inside the depot, are `simkit.depot.faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from simkit.depot.armed import PPM, Armed, fire_first
from simkit.depot.errors import DepotError, TransportFailed
from simkit.depot.events import NetworkDisturbed
from simkit.depot.network_rules import (
    Clog,
    Duplicate,
    Leg,
    Lose,
    NetworkRule,
    Partition,
    Reorder,
    SlowDisk,
    SwizzleClog,
)
from simkit.depot.request import Reply, Request
from simkit.kernel import Happening, Kernel
from simkit.kernel.units import format_duration

Serve = Callable[[Request, int], Generator[Happening, Any, Reply]]
"""Carries a request out once it has arrived, with a service time in nanoseconds. Raises the depot's errors."""

_LEGS: tuple[Leg, Leg] = ("request", "reply")
_SWIZZLE_STEPS = 1_000
"""A link's place among the others of a swizzle is one of so many."""

_Rule = TypeVar("_Rule", Lose | Reorder, Duplicate, SlowDisk)


@dataclass
class _Call:
    """What one sender waits for: `request` is its own, `sent_ns` when it was sent."""

    request: Request
    sent_ns: int
    gives_up: Happening | None = None


class Network:
    """The network of one run, and what it has done so far."""

    def __init__(self, kernel: Kernel, rules: Iterable[NetworkRule]) -> None:
        self._kernel = kernel
        self._any_order = kernel.order == "any"
        given = tuple(rules)
        self._ways: dict[Leg, list[Armed[Lose | Reorder]]] = {
            leg: [Armed(rule) for rule in given if isinstance(rule, Lose | Reorder) and rule.leg == leg]
            for leg in _LEGS
        }
        self._doubling = [Armed(rule) for rule in given if isinstance(rule, Duplicate)]
        self._slowing = [Armed(rule) for rule in given if isinstance(rule, SlowDisk)]
        self._partitions = [rule for rule in given if isinstance(rule, Partition)]
        self._clogs = [rule for rule in given if isinstance(rule, Clog | SwizzleClog)]
        #: when each link of a swizzle is clogged, by rule and link: from and until, in nanoseconds
        self._swizzled: dict[tuple[int, str, str], tuple[int, int]] = {}

    def transmit(self, request: Request, arrival_ns: int, service_ns: int, reply_ns: int, serve: Serve) -> None:
        """Sends a request, and wakes its task with the first reply that comes back, or when it is given up."""
        kernel = self._kernel
        call = _Call(request, kernel.now)
        doubled = self._ready(self._doubling, request) if request.kind != "control" else None
        if doubled is not None:
            # Made before the first one sets out: it may be back, and its task further, before this returns.
            copy = _copy(request)

            def send_again(_: object) -> None:
                self._set_out(call, copy, arrival_ns, service_ns, reply_ns, serve)

            self._record(request, "request", "duplicated")
            kernel.stage(self._draw(doubled.after_ns, "duplicate"), send_again, "copy", copy)
        self._set_out(call, request, arrival_ns, service_ns, reply_ns, serve)

    def _set_out(
        self, call: _Call, message: Request, arrival_ns: int, service_ns: int, reply_ns: int, serve: Serve
    ) -> None:
        self._kernel.process(self._journey(call, message, arrival_ns, service_ns, reply_ns, serve))

    def _journey(
        self, call: _Call, message: Request, arrival_ns: int, service_ns: int, reply_ns: int, serve: Serve
    ) -> Generator[Happening, Any, None]:
        """To the depot and back."""
        if not (yield from self._travel(call, message, "request", arrival_ns, "arrive")):
            return
        slow = self._ready(self._slowing, message)
        if slow is not None:
            service_ns = max(service_ns, self._draw(slow.takes_ns, "slow"))
            self._record(message, "request", "slow")
        reply: Reply | None = None
        error: DepotError | None = None
        try:
            reply = yield from serve(message, service_ns)
        except DepotError as refusal:
            error = refusal
        if not (yield from self._travel(call, message, "reply", reply_ns, "reply")):
            return
        if call.request.done:
            self._record(message, "reply", "refused")
        else:
            self._answer(call, reply, error)

    def _answer(self, call: _Call, reply: Reply | None, error: DepotError | None) -> None:
        if call.gives_up is not None:
            call.gives_up.revoke()
        request = call.request
        request.result, request.error, request.done = reply, error, True
        if request.task is not None:
            self._kernel.wake(request.task)

    # One message

    def _travel(
        self, call: _Call, message: Request, leg: Leg, travel_ns: int, label: str
    ) -> Generator[Happening, Any, bool]:
        """Whether the message arrived."""
        rule = self._ready(self._ways[leg], message)
        cut: Lose | Partition | None = rule if isinstance(rule, Lose) else self._partition(message)
        if cut is None:
            if isinstance(rule, Reorder):
                travel_ns += self._draw(rule.by_ns, "reorder")
                self._record(message, leg, "delayed")
            if travel_ns or self._any_order:
                yield self._kernel.stage(travel_ns, None, label, message)
            cut = self._partition(message)
        if cut is not None:
            self._record(message, leg, "lost")
            self._give_up_after(call, cut.timeout_ns)
            return False
        held_until_ns = self._clogged_until(message)
        if held_until_ns > self._kernel.now:
            self._record(message, leg, "held")
            while held_until_ns > self._kernel.now:
                # A timer and no stage: in any order, too, what is held stays so until the clog has ended.
                yield self._kernel.timer(held_until_ns - self._kernel.now, _nothing, "clogged")
                held_until_ns = self._clogged_until(message)
        return True

    def _give_up_after(self, call: _Call, timeout_ns: int) -> None:
        """The sender waits for `timeout_ns` from when it sent; another copy of its request may still be answered."""
        if call.request.done or call.gives_up is not None:
            return
        kernel = self._kernel

        def give_up(_: object) -> None:
            call.gives_up = None
            waited = format_duration(kernel.now - call.sent_ns)
            self._answer(call, None, TransportFailed(f"{call.request.name} was not answered within {waited}"))

        left_ns = max(0, call.sent_ns + timeout_ns - kernel.now)
        call.gives_up = kernel.timer(left_ns, give_up, "no reply", patient=True)

    # What the rules say

    def _ready(self, rules: list[Armed[_Rule]], message: Request) -> _Rule | None:
        """The first of these rules that acts on this message; all of them count it."""
        concerned = (armed for armed in rules if armed.rule.scope.has(message))
        fired = fire_first(concerned, lambda: self._kernel.decisions.choose("network", PPM))
        return None if fired is None else fired.rule

    def _partition(self, message: Request) -> Partition | None:
        """The partition that cuts the link of a message off at this instant."""
        now = self._kernel.now
        for rule in self._partitions:
            if rule.at_ns <= now < rule.until_ns and rule.scope.has(message):
                return rule
        return None

    def _clogged_until(self, message: Request) -> int:
        """When the link of a message is free again; not later than now when it is free."""
        now = free_ns = self._kernel.now
        for number, rule in enumerate(self._clogs):
            if rule.at_ns <= now < rule.until_ns and rule.scope.has(message):
                begin_ns, end_ns = self._window(number, rule, message)
                if begin_ns <= now < end_ns:
                    free_ns = max(free_ns, end_ns)
        return free_ns

    def _window(self, number: int, rule: Clog | SwizzleClog, message: Request) -> tuple[int, int]:
        if isinstance(rule, Clog):
            return rule.at_ns, rule.until_ns
        link = number, message.instance, message.kind
        window = self._swizzled.get(link)
        if window is None:
            half_ns = rule.lasts_ns // 2
            begin_ns = rule.at_ns + half_ns * self._place("clog") // _SWIZZLE_STEPS
            end_ns = rule.at_ns + half_ns + half_ns * (self._place("unclog") + 1) // _SWIZZLE_STEPS
            window = self._swizzled[link] = begin_ns, end_ns
        return window

    def _place(self, what: str) -> int:
        return self._kernel.decisions.choose(f"network/{what}", _SWIZZLE_STEPS)

    def _draw(self, quantiles: tuple[int, ...], what: str) -> int:
        if len(quantiles) == 1:
            return quantiles[0]
        return quantiles[self._kernel.decisions.choose(f"network/{what}", len(quantiles))]

    def _record(self, message: Request, leg: Leg, what: str) -> None:
        kernel = self._kernel
        kernel.record(NetworkDisturbed(kernel.now, message.task_name, message.instance, message.number, leg, what))


def _copy(request: Request) -> Request:
    """The same request once more; nobody waits for it."""
    assert request.task is not None, "a request is doubled when it is sent, by the task that waits for it"
    copy = Request(
        request.kind,
        request.number,
        request.task,
        request.instance,
        request.generation,
        request.expected_head,
        request.numbers,
        request.pages,
        request.page_count,
        database=request.database,
        command=request.command,
        ranged=request.ranged,
        expand=request.expand,
    )
    copy.task = None
    return copy


def _nothing(_: object) -> None:
    """Somebody yielded the timer."""

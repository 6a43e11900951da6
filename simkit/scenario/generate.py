"""Draws the plan of a run from (scenario, seed).

`PlanGenerator` compiles a scenario into closures once; `draw` then costs a few microseconds a step. Each client
draws from its own stream `workload/<client>`, crashes from `crash`, takeovers from `takeover`, fault delays
from `faults`: a draw more in one moves no other, so that a changed client leaves the others' plans alone.
Upholds DET-1: streams give only `random()` and `getrandbits()`, which Python keeps stable. A stream that
nothing draws from is never made.

Sequences are dealt out like cards: with n clients, client k takes start+k, start+k+n, and so on. They are
therefore unique in the run and grow for each client without any client depending on how much another draws.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, assert_never

from simkit.depot.distribution import Distribution
from simkit.kernel.decisions import stream_random
from simkit.scenario.model import Scenario
from simkit.scenario.model_faults import EVERY_IO, AtIo, AtTime, Crash, Delay, FaultRule, Pause, WhenNth
from simkit.scenario.model_operations import (
    Client,
    OperationStep,
    SleepStep,
    SqlStep,
    StatementOperation,
    TransactionOperation,
)
from simkit.scenario.parameters import Draw, Stream, compile_parameter, setup_bindings
from simkit.scenario.plan import (
    BoundSql,
    ClientPlan,
    Plan,
    PlannedCrash,
    PlannedFault,
    PlannedTakeover,
    Sleep,
    Statement,
    Step,
    Transaction,
)

OPERATIONS_DEFAULT = 5
PARTS_PER_MILLION = 1_000_000

MakeStep = Callable[[Stream, int], Step]
"""Draws one step, given the stream of its client and the think time before it in nanoseconds."""


def draw_plan(scenario: Scenario, seed: int) -> Plan:
    """The plan of `seed`. For many seeds keep a `PlanGenerator`."""
    return PlanGenerator(scenario).draw(seed)


class PlanGenerator:
    """A scenario made ready for drawing plans."""

    def __init__(self, scenario: Scenario) -> None:
        self._page_size = scenario.page_size
        self._names = scenario.statement_names
        self._specs = scenario.operations
        self._operations = {name: self._operation(name, spec) for name, spec in scenario.operations.items()}
        names = [(name, client) for client in scenario.clients for name in client.names]
        steps = {client.name: self._client(client) for client in scenario.clients}
        self._clients = tuple((name, f"workload/{name}", steps[client.name]) for name, client in names)
        self._crashes = tuple(crash for crash in scenario.crash if crash.at != EVERY_IO)
        self._takeovers = scenario.takeover
        self._faults = scenario.faults
        self._fixed_faults = (
            None
            if any(_draws(rule) for rule in scenario.faults)
            else tuple(_fault(rule, _no_draw) for rule in scenario.faults)
        )

    def draw(self, seed: int) -> Plan:
        """The plan of `seed`; the same for the same scenario and seed, everywhere."""
        clients = []
        stride = len(self._clients)
        for offset, (name, stream_name, steps) in enumerate(self._clients):
            random = stream_random(seed, stream_name)
            clients.append(
                ClientPlan(name=name, steps=steps(Stream(random.random, random.getrandbits, name, offset, stride)))
            )
        faults = self._fixed_faults
        if faults is None:
            uniform = stream_random(seed, "faults").random
            faults = tuple(_fault(rule, uniform) for rule in self._faults)
        crashes: tuple[PlannedCrash, ...] = ()
        if self._crashes:
            uniform = stream_random(seed, "crash").random
            crashes = tuple(_crash(crash, uniform) for crash in self._crashes if uniform() < crash.probability)
        takeovers: tuple[PlannedTakeover, ...] = ()
        if self._takeovers:
            uniform = stream_random(seed, "takeover").random
            takeovers = tuple(
                PlannedTakeover(at_ns=_pick(takeover.at.time, uniform))
                for takeover in self._takeovers
                if uniform() < takeover.probability
            )
        return Plan(clients=tuple(clients), crashes=crashes, takeovers=takeovers, faults=faults)

    def _client(self, client: Client) -> Callable[[Stream], tuple[Step, ...]]:
        think = _compile_duration(client.think)
        if client.script is not None:
            makers = tuple(self._step(step) for step in client.script)
            return lambda stream: tuple(make(stream, think(stream)) for make in makers)
        assert client.mix is not None, "a client has a mix or a script"
        low, high = client.operations or (OPERATIONS_DEFAULT, OPERATIONS_DEFAULT)
        width = high - low + 1
        choices = tuple(self._operations[name] for name in client.mix)
        bounds = tuple(accumulate(client.mix.values()))
        last = len(choices) - 1

        def draw(stream: Stream) -> tuple[Step, ...]:
            random = stream.random
            count = low if width == 1 else low + int(random() * width)
            steps: list[Step] = []
            for _ in range(count):
                make = choices[min(last, bisect_right(bounds, random() * bounds[-1]))]
                steps.append(make(stream, think(stream)))
            return tuple(steps)

        return draw

    def _operation(self, name: str, spec: StatementOperation | TransactionOperation, marked: bool = False) -> MakeStep:
        match spec:
            case StatementOperation():
                return self._statement(name, spec.sql, spec.params, marked)
            case TransactionOperation():
                return self._transaction(name, spec, marked)
        assert_never(spec)

    def _statement(self, name: str, sql: str, params: Mapping[str, Any], marked: bool) -> MakeStep:
        draws = self._draws(params)

        def make(stream: Stream, think_ns: int) -> Step:
            values = {key: draw(stream) for key, draw in draws}
            return Statement(operation=name, sql=sql, params=values, marked=marked, think_ns=think_ns)

        return make

    def _transaction(self, name: str, spec: TransactionOperation, marked: bool) -> MakeStep:
        draws = self._draws(spec.params)
        begin, rollback = spec.begin, spec.rollback
        texts = tuple((sql, self._names.get(sql, tuple(spec.params))) for sql in spec.transaction)

        def make(stream: Stream, think_ns: int) -> Step:
            values = {key: draw(stream) for key, draw in draws}
            return Transaction(
                operation=name,
                begin=begin,
                statements=tuple([BoundSql(sql=sql, params={key: values[key] for key in keys}) for sql, keys in texts]),
                rollback=rollback,
                marked=marked,
                think_ns=think_ns,
            )

        return make

    def _step(self, step: OperationStep | SqlStep | SleepStep) -> MakeStep:
        match step:
            case OperationStep():
                return self._marked_operation(step)
            case SqlStep():
                return self._statement("", step.sql, step.params, step.marked)
            case SleepStep():
                sleep = _compile_duration(step.sleep)
                return lambda stream, think_ns: Sleep(duration_ns=sleep(stream) + think_ns)
        assert_never(step)

    def _marked_operation(self, step: OperationStep) -> MakeStep:
        spec = self._specs[step.operation]
        return self._operation(step.operation, spec, marked=True) if step.marked else self._operations[step.operation]

    def _draws(self, params: Mapping[str, Any]) -> tuple[tuple[str, Draw], ...]:
        return tuple((name, compile_parameter(spec, self._page_size)) for name, spec in params.items())


def setup_statements(scenario: Scenario) -> Iterator[BoundSql]:
    """The statements of the setup in order, repeats written out. The same for every seed."""
    for index, item in enumerate(scenario.setup):
        for bindings in setup_bindings(item.params, item.repeat, scenario.page_size, index):
            yield BoundSql(sql=item.sql, params=bindings)


def _compile_duration(distribution: Distribution) -> Callable[[Stream], int]:
    quantiles = distribution.quantiles
    count = len(quantiles)
    if count == 1:
        fixed = quantiles[0]
        return lambda _: fixed
    return lambda stream: quantiles[int(stream.random() * count)]


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

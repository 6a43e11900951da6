"""Draws the plan of a run from (scenario, seed).

`PlanGenerator` compiles a scenario into closures once; `draw` then costs a few microseconds a step. Each client draws
from its own stream `workload/<client>`: a draw more in one moves no other, so that a changed client leaves the others'
plans alone. What goes wrong, the settings, the operator, and what a swarm switches off have streams of their own as
well (`generate_trouble`, `generate_pool`, `generate_depot`, `swarm`). Upholds DET-1: streams give only `random()` and
`getrandbits()`, which Python keeps stable. A stream that nothing draws from is never made.

Sequences are dealt out like cards: with n clients, client k takes start+k, start+k+n, and so on. They are
therefore unique in the run and grow for each client without any client depending on how much another draws.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, compress
from typing import Any, assert_never

from simkit.depot.distribution import Distribution
from simkit.kernel.decisions import stream_random
from simkit.scenario.generate_depot import DepotGenerator, OperatorGenerator
from simkit.scenario.generate_pool import PoolGenerator
from simkit.scenario.generate_trouble import TroubleGenerator
from simkit.scenario.generate_vfs import VfsGenerator
from simkit.scenario.model import Scenario
from simkit.scenario.model_effect import EffectSpec
from simkit.scenario.model_operations import (
    Client,
    CloseOperation,
    OperationSpec,
    OperationStep,
    SleepStep,
    SqlStep,
    StatementOperation,
    TransactionOperation,
)
from simkit.scenario.parameters import Draw, Stream, Value, compile_parameter, setup_bindings
from simkit.scenario.plan import (
    BoundSql,
    ClientPlan,
    Close,
    Effect,
    Plan,
    Sleep,
    Statement,
    Step,
    Transaction,
)
from simkit.scenario.swarm import Kept, SwarmGenerator

OPERATIONS_DEFAULT = 5

MakeStep = Callable[[Stream, int], Step]
"""Draws one step, given the stream of its client and the think time before it in nanoseconds."""

MakeSteps = Callable[[Stream, Kept], tuple[Step, ...]]
"""Draws the steps of one client, given its stream and which entries of its mix stay."""


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
        # Client, name of its stream, what draws its steps, and its place in the file.
        self._clients = tuple(
            (name, client, f"workload/{name}", make, place)
            for place, client in enumerate(scenario.clients)
            for make in (self._client(client),)
            for name in client.names
        )
        self._swarm = SwarmGenerator(scenario) if scenario.swarm else None
        self._pool = PoolGenerator(scenario.pool)
        self._vfs = VfsGenerator(scenario.vfs, scenario.observe_pages)
        self._trouble = TroubleGenerator(scenario)
        self._depot = DepotGenerator(scenario.depot)
        self._operator = OperatorGenerator(scenario.operator)

    def draw(self, seed: int) -> Plan:
        """The plan of `seed`; the same for the same scenario and seed, everywhere."""
        swarm = None if self._swarm is None else self._swarm.draw(seed)
        clients = []
        stride = len(self._clients)
        for offset, (name, client, stream_name, steps, place) in enumerate(self._clients):
            random = stream_random(seed, stream_name)
            stream = Stream(random.random, random.getrandbits, name, offset, stride)
            kept = None if swarm is None else swarm.mixes[place]
            clients.append(ClientPlan(name=name, steps=steps(stream, kept), in_flight=client.in_flight))
        trouble = self._trouble.draw(seed, swarm)
        return Plan(
            clients=tuple(clients),
            crashes=trouble.crashes,
            takeovers=trouble.takeovers,
            faults=trouble.faults,
            network=trouble.network,
            pool=self._pool.draw(seed),
            vfs=self._vfs.draw(seed),
            depot=self._depot.draw(seed),
            operator=self._operator.draw(seed),
        )

    def _client(self, client: Client) -> MakeSteps:
        think = _compile_duration(client.think)
        if client.script is not None:
            makers = tuple(self._step(step) for step in client.script)
            return lambda stream, _: tuple(make(stream, think(stream)) for make in makers)
        assert client.mix is not None, "a client has a mix or a script"
        low, high = client.operations or (OPERATIONS_DEFAULT, OPERATIONS_DEFAULT)
        width = high - low + 1
        choices = tuple(self._operations[name] for name in client.mix)
        weights = tuple(client.mix.values())
        bounds = tuple(accumulate(weights))

        def draw(stream: Stream, kept: Kept) -> tuple[Step, ...]:
            random = stream.random
            count = low if width == 1 else low + int(random() * width)
            makers, ends = choices, bounds
            if kept is not None:
                makers = tuple(compress(choices, kept))
                ends = tuple(accumulate(compress(weights, kept)))
            last = len(makers) - 1
            steps: list[Step] = []
            for _ in range(count):
                make = makers[min(last, bisect_right(ends, random() * ends[-1]))]
                steps.append(make(stream, think(stream)))
            return tuple(steps)

        return draw

    def _operation(self, name: str, spec: OperationSpec, marked: bool = False) -> MakeStep:
        match spec:
            case StatementOperation():
                return self._statement(name, spec, marked)
            case TransactionOperation():
                return self._transaction(name, spec, marked)
            case CloseOperation():
                timeout = _compile_timeout(spec.timeout)
                return lambda stream, think_ns: Close(timeout_ns=timeout(stream), think_ns=think_ns)
        assert_never(spec)

    def _statement(self, name: str, spec: StatementOperation, marked: bool) -> MakeStep:
        draws = self._draws(spec.params)
        sql, via, several, effect = spec.sql, spec.via, spec.several, spec.effect
        timeout = _compile_timeout(spec.timeout)

        def make(stream: Stream, think_ns: int) -> Step:
            values = {key: draw(stream) for key, draw in draws}
            return Statement(
                operation=name,
                sql=sql,
                params=values,
                effect=None if effect is None else _effect(effect, values),
                via=via,
                several=several,
                timeout_ns=timeout(stream),
                marked=marked,
                think_ns=think_ns,
            )

        return make

    def _transaction(self, name: str, spec: TransactionOperation, marked: bool) -> MakeStep:
        draws = self._draws(spec.params)
        begin, rollback, via, leave = spec.begin, spec.rollback, spec.via, spec.leave
        effects = spec.effects or (None,) * len(spec.transaction)
        texts = tuple(
            (sql, self._names.get(sql, tuple(spec.params)), effect)
            for sql, effect in zip(spec.transaction, effects, strict=True)
        )
        pause, timeout = _compile_duration(spec.pause), _compile_timeout(spec.timeout)
        pauses = len(texts) + 1 if any(spec.pause.quantiles) else 0

        def make(stream: Stream, think_ns: int) -> Step:
            values = {key: draw(stream) for key, draw in draws}
            return Transaction(
                operation=name,
                begin=begin,
                statements=tuple(
                    [
                        BoundSql(
                            sql=sql,
                            params={key: values[key] for key in keys},
                            effect=None if effect is None else _effect(effect, values),
                        )
                        for sql, keys, effect in texts
                    ]
                ),
                rollback=rollback,
                via=via,
                pauses_ns=tuple([pause(stream) for _ in range(pauses)]),
                leave=leave or "",
                timeout_ns=timeout(stream),
                marked=marked,
                think_ns=think_ns,
            )

        return make

    def _step(self, step: OperationStep | SqlStep | SleepStep) -> MakeStep:
        match step:
            case OperationStep():
                return self._marked_operation(step)
            case SqlStep():
                return self._statement("", StatementOperation(sql=step.sql, params=step.params), step.marked)
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


def _compile_timeout(distribution: Distribution | None) -> Callable[[Stream], int]:
    """Draws a time of at least a nanosecond: in a plan, 0 means never."""
    if distribution is None:
        return lambda _: 0
    timeout = _compile_duration(distribution)
    return lambda stream: max(1, timeout(stream))


def _effect(spec: EffectSpec, values: Mapping[str, Value]) -> Effect:
    """The effect with the values of its parameters; a key that is no parameter stands for itself."""
    key, name = spec.names
    drawn = values.get(key, key) if isinstance(key, str) else key
    value = None if name is None else values[name]
    assert isinstance(drawn, int | str), "ISO-1: a key is an integer or text"
    assert value is None or isinstance(value, int | str), "ISO-1: a value that is followed is an integer or text"
    return Effect(kind=spec.kind, key=drawn, value=value)

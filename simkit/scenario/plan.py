"""What one run will do, as plain data: the steps of clients and operator, crashes, takeovers, fault rules, settings.

A plan is drawn from (scenario, seed) and then stands by itself: it is what a capsule stores and what shrinking
cuts down. Upholds DET-1 and VAL-1: `plan_to_json` and `plan_from_json` give the same plan back bit for bit.
Within parameters, values that JSON cannot carry exactly are written as a mapping with one key: {"real":
"-0.0"}, {"int": "9007199254740993"}, {"blob": "<base64>"}. Knows no scenario and draws nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, assert_never, cast

import msgspec

from simkit.depot.armed import PPM
from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Action, Crash, Delay, Drop, Fail, FaultRule, Pause, PauseUntil, Scope
from simkit.depot.network_rules import NetworkRule
from simkit.depot.settings import DepotSettings
from simkit.pool.settings import PoolSettings
from simkit.vfs.settings import VfsSettings

if TYPE_CHECKING:
    Value = int | float | str | bytes | None
else:
    Value = Any  # msgspec cannot tell str from bytes in one union; the exact form is written by plan_to_json

OperatorAction = Literal["restore_point", "fork", "rollback", "delete", "compact"]

_JSON_EXACT_INTEGER_MAX = 2**53


class Effect(msgspec.Struct, frozen=True, gc=False):
    """What a statement means to a checker that knows no SQL: "append" value to the list at key, "list" all of it,
    "write" value to the register at key, "read" it. `value` is None for the two that read.
    """

    kind: Literal["append", "list", "write", "read"]
    key: int | str
    value: int | str | None = None


class BoundSql(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One SQL text with the values of its own parameters."""

    sql: str
    params: dict[str, Value] = {}
    effect: Effect | None = None


class Statement(msgspec.Struct, frozen=True, kw_only=True, tag="statement", gc=False):
    """A statement in its own transaction, after a pause of `think_ns`; `operation` is empty for SQL of a script.

    Attributes:
        via: how the system is asked: "execute", "execute_write", "query", "run", "execute_script", "lease" (a read or
            write lease, released), "dropped_lease" (let go while the statement runs).
        several: the text may hold several statements; they must all run, or none of them.
        timeout_ns: the client gives up after this time; 0: never.
    """

    operation: str
    sql: str
    params: dict[str, Value] = {}
    effect: Effect | None = None
    via: str = "execute"
    several: bool = False
    timeout_ns: int = 0
    marked: bool = False
    think_ns: int = 0


class Transaction(msgspec.Struct, frozen=True, kw_only=True, tag="transaction", gc=False):
    """Statements between BEGIN and COMMIT (or ROLLBACK), after a pause of `think_ns`.

    Attributes:
        via: "sql" (BEGIN and COMMIT as statements), "transaction" or "write_mode" (the system's context managers),
            "migrate".
        pauses_ns: a pause before each statement and one before the end; empty: none.
        leave: "" to end it; "end": the task ends with the transaction open; "linger": the task lives on and never ends
            it.
        timeout_ns: the client gives up after this time; 0: never.
    """

    operation: str
    begin: str
    statements: tuple[BoundSql, ...]
    rollback: bool = False
    via: str = "sql"
    pauses_ns: tuple[int, ...] = ()
    leave: Literal["", "end", "linger"] = ""
    timeout_ns: int = 0
    marked: bool = False
    think_ns: int = 0


class Close(msgspec.Struct, frozen=True, kw_only=True, tag="close", gc=False):
    """Closes the database, after a pause of `think_ns`; a new instance opens it again.

    With `timeout_ns` the first try is cancelled after that time, and a second one without it follows.
    """

    timeout_ns: int = 0
    think_ns: int = 0


class Sleep(msgspec.Struct, frozen=True, kw_only=True, tag="sleep", gc=False):
    """A pause."""

    duration_ns: int


Step = Statement | Transaction | Close | Sleep


class ClientPlan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The steps of one client, in order; with `in_flight` above 1 it has up to that many under way, begun in order."""

    name: str
    steps: tuple[Step, ...]
    in_flight: int = 1


class PlannedCrash(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A crash at a time since the start, or at the nth storage operation (`marked`: of the marked step)."""

    at_ns: int | None = None
    io: int | None = None
    marked: bool = False

    def __post_init__(self) -> None:
        if (self.at_ns is None) == (self.io is None):
            raise ValueError("a planned crash has a time or a storage operation, and not both")


class PlannedTakeover(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A later instance opens the database at this time since the start."""

    at_ns: int


class PlannedFault(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fault rule with either `nth` or `probability_ppm`; `delay_ns`, `until` and `at_most_ns` go with its action.

    Attributes:
        scope: the passages that it counts; None: all of its point.
    """

    point: FaultPoint
    action: Literal["fail", "crash", "delay", "pause", "drop"]
    nth: int | None = None
    probability_ppm: int | None = None
    once: bool = False
    expected: bool = False
    delay_ns: int = 0
    until: str = ""
    at_most_ns: int = 0
    scope: Scope | None = None

    def __post_init__(self) -> None:
        if (self.nth is None) == (self.probability_ppm is None):
            raise ValueError("a planned fault has nth or probability_ppm, and not both")

    def rule(self) -> FaultRule:
        """The rule as the depot takes it."""
        return FaultRule(
            self.point,
            self._action(),
            self.nth,
            PPM if self.probability_ppm is None else self.probability_ppm,
            self.once,
            self.expected,
            self.scope or Scope(),
        )

    def _action(self) -> Action:
        match self.action:
            case "fail":
                return Fail()
            case "crash":
                return Crash()
            case "drop":
                return Drop()
            case "delay":
                return Delay(self.delay_ns)
            case "pause":
                return Pause(cast(PauseUntil, self.until), self.at_most_ns)
        assert_never(self.action)


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One step of the operator, `after_ns` after the one before it.

    Attributes:
        name: of the restore point or fork that it makes, or of the restore point that it deletes.
        at: which state it takes: "latest", "undo", or the name of a restore point; "" when `before_ns` says it.
        before_ns: the state of so long ago, at the moment of the step.
    """

    action: OperatorAction
    name: str = ""
    at: str = "latest"
    before_ns: int | None = None
    after_ns: int = 0

    def __post_init__(self) -> None:
        if (not self.at) == (self.before_ns is None):
            raise ValueError("a step of the operator takes a state by its name or by its age, and not both")


class Plan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything that one run does; the decisions taken while it runs are not part of it."""

    clients: tuple[ClientPlan, ...]
    crashes: tuple[PlannedCrash, ...] = ()
    takeovers: tuple[PlannedTakeover, ...] = ()
    faults: tuple[PlannedFault, ...] = ()
    network: tuple[NetworkRule, ...] = ()
    pool: PoolSettings = PoolSettings()
    vfs: VfsSettings = VfsSettings()
    depot: DepotSettings = DepotSettings()
    operator: tuple[PlannedStep, ...] = ()

    @property
    def marked_step(self) -> tuple[int, int] | None:
        """The client and step index of the marked step."""
        for client_index, client in enumerate(self.clients):
            for step_index, step in enumerate(client.steps):
                if isinstance(step, Statement | Transaction) and step.marked:
                    return client_index, step_index
        return None


def crash_at_marked_io(plan: Plan, io: int) -> Plan:
    """The plan with one more crash, at storage operation `io` (from 1) of the marked step."""
    assert io >= 1, "storage operations are counted from 1"
    if plan.marked_step is None:
        raise ValueError("the plan has no marked step: give one script step `marked: true`")
    return msgspec.structs.replace(plan, crashes=(*plan.crashes, PlannedCrash(io=io, marked=True)))


def plan_to_json(plan: Plan) -> bytes:
    """The plan as JSON, exact for every value SQLite can store."""
    tree = msgspec.to_builtins(plan, builtin_types=(bytes,))
    _each_params(tree, _encode)
    return msgspec.json.encode(tree)


def plan_from_json(data: bytes | str) -> Plan:
    """The plan that `plan_to_json` wrote. Raises `msgspec.ValidationError` with the place of what is wrong."""
    tree = msgspec.json.decode(data)
    _each_params(tree, _decode)
    return msgspec.convert(tree, Plan)


def _each_params(node: Any, change: Callable[[Any], Any]) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "params" and isinstance(value, dict):
                node[key] = {name: change(item) for name, item in value.items()}
            else:
                _each_params(value, change)
    elif isinstance(node, list | tuple):
        for item in node:
            _each_params(item, change)


def _encode(value: Value) -> Any:
    if isinstance(value, bytes):
        return {"blob": base64.b64encode(value).decode("ascii")}
    if isinstance(value, float):
        return {"real": repr(value)}
    if isinstance(value, int) and not -_JSON_EXACT_INTEGER_MAX < value < _JSON_EXACT_INTEGER_MAX:
        return {"int": str(value)}
    return value


def _decode(value: Any) -> Value:
    if value is None or isinstance(value, int | str):
        return value
    try:
        match value:
            case {"blob": str(text)}:
                return base64.b64decode(text, validate=True)
            case {"real": str(text)}:
                return float(text)
            case {"int": str(text)}:
                return int(text)
    except ValueError as error:
        raise msgspec.ValidationError(f"a parameter value of a plan is damaged: {value!r} ({error})") from None
    raise msgspec.ValidationError(
        f"{value!r} is no parameter value of a plan: expected null, int, text or one of blob, real, int"
    )

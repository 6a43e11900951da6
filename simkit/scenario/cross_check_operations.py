"""Rules between the keys of an operation, and between an operation and the system under test.

What simkit's own systems offer is known; any other may offer anything, and a method that it lacks is found when
the run asks for it. Upholds ISO-1 on the input side: effects name values that are never written twice, because a check
that follows values must be able to tell their writes apart. Works on the positioned text; shapes are the model's
business.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from simkit.scenario.model_effect import EFFECT_KINDS
from simkit.scenario.model_operations import STATEMENT_VIAS, TRANSACTION_VIAS
from simkit.scenario.model_pool import READER_SETTINGS
from simkit.scenario.parameters import (
    Choice,
    ClientName,
    Edge,
    IntegerRange,
    Sequence,
    TextLength,
    Unique,
    parse_params,
)
from simkit.scenario.positions import Located, PositionedList, PositionedMapping
from simkit.scenario.problems import Problem, suggest

Path = tuple[str | int, ...]

SINGLE = "single"
WORKER = "worker"

STATEMENT_VIAS_OF = {
    SINGLE: ("execute",),
    WORKER: tuple(via for via in STATEMENT_VIAS if via not in ("lease", "dropped_lease")),
}
"""What systems of simkit offer of the ways to run a statement; those that are not here offer all."""

TRANSACTION_VIAS_OF = {SINGLE: ("sql",)}
"""The same for transactions."""


def check_pool(located: Located, root: PositionedMapping) -> Iterator[Problem]:
    """Settings that the system under test would ignore."""
    pool, system = root.get("pool"), root.get("system", SINGLE)
    if not isinstance(pool, PositionedMapping):
        return
    if system == SINGLE:
        yield located.problem(
            ("pool",), "the system single has no settings", "set `system: pool`, or remove this", key=True
        )
    elif system == WORKER:
        for name in READER_SETTINGS:
            if name in pool:
                yield located.problem(
                    ("pool", name), f"the system worker has no readers, so no {name}", "remove it", key=True
                )


def check_operations(located: Located, root: PositionedMapping) -> Iterator[Problem]:
    """Every problem within the operations, SQL aside."""
    operations = root.get("operations")
    if not isinstance(operations, PositionedMapping):
        return
    system = root.get("system", SINGLE)
    values = _Values()
    for name, operation in operations.items():
        if not isinstance(operation, PositionedMapping):
            continue
        path: Path = ("operations", name)
        yield from _kinds(located, path, operation)
        if "transaction" in operation:
            yield from _via(located, path, operation, system, TRANSACTION_VIAS, TRANSACTION_VIAS_OF)
            yield from _transaction(located, path, operation, system)
        elif "sql" in operation:
            yield from _via(located, path, operation, system, STATEMENT_VIAS, STATEMENT_VIAS_OF)
            yield from _script(located, path, operation)
        yield from _effects(located, path, operation, values)


def closing_names(operations: Any) -> tuple[str, ...]:
    """The names of the operations that close the database."""
    if not isinstance(operations, PositionedMapping):
        return ()
    return tuple(
        name
        for name, operation in operations.items()
        if isinstance(operation, PositionedMapping) and "close" in operation
    )


def _kinds(located: Located, path: Path, operation: PositionedMapping) -> Iterator[Problem]:
    """An operation is one thing. The model takes the first it finds and reports the other as an unknown key."""
    first, *others = [kind for kind in ("transaction", "close", "sql") if kind in operation] or [""]
    for other in others:
        yield located.problem(
            (*path, other), f"an operation has {other} or {first}, not both", "make two operations", key=True
        )


def _via(
    located: Located,
    path: Path,
    operation: PositionedMapping,
    system: Any,
    known: tuple[str, ...],
    offered: Mapping[str, tuple[str, ...]],
) -> Iterator[Problem]:
    via = operation.get("via")
    allowed = offered.get(system) if isinstance(system, str) else None
    if via not in known or allowed is None or via in allowed:
        return
    what = {"lease": "leases", "dropped_lease": "leases"}.get(via, f"{via}()")
    yield located.problem(
        (*path, "via"),
        f"the system {system} has no {what}",
        f"set `system: pool`, or write one of: {', '.join(allowed)}",
    )


def _transaction(located: Located, path: Path, operation: PositionedMapping, system: Any) -> Iterator[Problem]:
    via = operation.get("via", "sql")
    if via in ("transaction", "migrate") and "begin" in operation:
        yield located.problem((*path, "begin"), f"{via}() begins the transaction itself", "remove it", key=True)
    if via == "migrate":
        for key in ("rollback", "leave", "pause"):
            if key in operation:
                yield located.problem(
                    (*path, key), f"migrate() runs its steps by itself, without {key}", "remove it", key=True
                )
    if operation.get("leave") is None:
        return
    if operation.get("rollback") is True:
        yield located.problem(
            (*path, "rollback"), "a transaction that is left is never rolled back by its client", "keep one", key=True
        )
    if via == "write_mode" and operation["leave"] == "linger":
        yield located.problem(
            (*path, "leave"),
            "a block of write mode lasts as long as its task: the others would wait for ever",
            "write `leave: end`, or `via: transaction`, which has a deadline",
        )
    if system == SINGLE:
        yield located.problem(
            (*path, "leave"),
            "the system single has no deadline for a transaction, so the others would wait for ever",
            "set `system: pool` or `system: worker`",
            key=True,
        )


def _script(located: Located, path: Path, operation: PositionedMapping) -> Iterator[Problem]:
    if operation.get("via") == "execute_script" and operation.get("params"):
        yield located.problem(
            (*path, "params"), "execute_script() takes no parameters", "write the values into the text", key=True
        )


class _Values:
    """Where the values of the file's effects come from: two sequences with different starts may meet."""

    def __init__(self) -> None:
        self.start: int | None = None
        self.line = 0


def _effects(located: Located, path: Path, operation: PositionedMapping, values: _Values) -> Iterator[Problem]:
    effects = operation.get("effects")
    statements = operation.get("transaction")
    items: list[tuple[Path, Any]] = []
    if "effect" in operation and "sql" in operation:
        items.append(((*path, "effect"), operation["effect"]))
    elif isinstance(effects, PositionedList) and isinstance(statements, PositionedList):
        items.extend(((*path, "effects", index), item) for index, item in enumerate(effects))
        if len(effects) != len(statements):
            yield located.problem(
                (*path, "effects"),
                f"{len(effects)} effects for {len(statements)} statements",
                "write one a statement, null where there is none",
            )
    raw = operation.get("params", {})
    params = parse_params(raw) if isinstance(raw, dict) else None
    if params is None:
        return  # the model reports which parameter is wrong
    written: set[str] = set()
    for place, item in items:
        if isinstance(item, PositionedMapping):
            yield from _effect(located, place, item, params, values, written)


def _effect(
    located: Located,
    place: Path,
    item: PositionedMapping,
    params: dict[str, Any],
    values: _Values,
    written: set[str],
) -> Iterator[Problem]:
    kind = next((name for name in EFFECT_KINDS if name in item), None)
    if kind is None or len(item) != 1:
        return
    parts = item[kind]
    place = (*place, kind)
    if kind in ("list", "read"):
        yield from _key(located, place, parts, params)
        return
    if not isinstance(parts, PositionedList) or len(parts) != 2 or not isinstance(parts[1], str):
        return
    yield from _key(located, (*place, 0), parts[0], params)
    name, at = parts[1], (*place, 1)
    spec = params.get(name)
    if name not in params:
        yield located.problem(at, f"there is no parameter {name!r}", suggest(name, params))
    elif not isinstance(spec, Sequence | Unique):
        yield located.problem(
            at,
            f"the values of {name!r} may repeat, and a check that follows values could not tell their writes apart",
            "draw it from {sequence: 1} or {unique: value}",
        )
    elif name in written:
        yield located.problem(at, f"{name!r} is written twice by this operation", "give each effect a value of its own")
    elif isinstance(spec, Sequence):
        yield from _sequence(located, at, spec.sequence, values)
    written.add(name)


def _sequence(located: Located, at: Path, start: int, values: _Values) -> Iterator[Problem]:
    if values.start is None:
        values.start, values.line = start, located.find(at)[0]
    elif start != values.start:
        yield located.problem(
            at,
            f"this sequence starts at {start} and that of line {values.line} at {values.start}: they may meet",
            "use one start for the values of all effects: such sequences share their numbers",
        )


def _key(located: Located, at: Path, key: Any, params: dict[str, Any]) -> Iterator[Problem]:
    if not isinstance(key, str):
        return
    if key in params:
        if not _gives_keys(params[key]):
            yield located.problem(at, f"the parameter {key!r} may be no integer and no text", "a key is one of these")
    elif difflib.get_close_matches(key, params, n=1):
        yield located.problem(at, f"there is no parameter {key!r}", suggest(key, params))


def _gives_keys(spec: Any) -> bool:
    match spec:
        case IntegerRange() | Sequence() | Unique() | TextLength() | ClientName():
            return True
        case Choice():
            return all(isinstance(value, int | str) for value in spec.choice)
        case Edge():
            return spec.edge in ("int", "text")
    return isinstance(spec, int | str)

"""Rules of a scenario that concern more than one key: names that must exist, keys that exclude each other, marked
steps.

Works on the positioned text and not on the model, so that these problems are reported together with wrong
values elsewhere. Parts of a wrong shape are passed over here: the model reports those. Operations are checked in
`cross_check_operations`, SQL in `sql_check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from simkit.depot.fault_points import FaultPoint
from simkit.scenario.cross_check_operations import SINGLE, Path, check_operations, check_pool, closing_names
from simkit.scenario.model_checks import CHECK_IDS
from simkit.scenario.model_fault_matrix import actions_of, points_of
from simkit.scenario.model_marks import COMPACTION, DEPOT_MARKS, FAULT_MARKS, NETWORK_MARKS, never_given
from simkit.scenario.model_operator import RESERVED
from simkit.scenario.positions import Located, PositionedList, PositionedMapping
from simkit.scenario.problems import Problem, suggest

__all__ = ["Path", "cross_check"]


def cross_check(located: Located) -> list[Problem]:
    """Every problem between keys of the file."""
    root = located.root
    if not isinstance(root, PositionedMapping):
        return []
    problems: list[Problem] = []
    operations = root.get("operations")
    names = tuple(operations) if isinstance(operations, PositionedMapping) else ()
    problems.extend(check_pool(located, root))
    problems.extend(check_operations(located, root))
    closes = closing_names(operations)
    marked = 0
    seen: dict[str, int] = {}
    for path, client in _mappings(root.get("clients"), ("clients",)):
        problems.extend(_client(located, path, client, names))
        problems.extend(_client_names(located, path, client, seen))
        problems.extend(_marked_closes(located, path, client, closes))
        marked += _marked_steps(client)
    problems.extend(_every_io(located, root, marked))
    problems.extend(_faults(located, root))
    problems.extend(_operator(located, root))
    problems.extend(_expectation(located, root))
    problems.extend(_marks(located, root))
    return problems


def _mappings(value: Any, path: Path) -> Iterator[tuple[Path, PositionedMapping]]:
    if isinstance(value, PositionedList):
        for index, item in enumerate(value):
            if isinstance(item, PositionedMapping):
                yield (*path, index), item


def _client(located: Located, path: Path, client: PositionedMapping, names: tuple[str, ...]) -> Iterator[Problem]:
    if "mix" in client and "script" in client:
        yield located.problem((*path, "script"), "a client has mix or script, not both", "make two clients", key=True)
    if "mix" not in client and "script" not in client:
        yield located.problem(path, "a client needs mix or script", "write for example mix: {transfer: 1}")
    if "operations" in client and "script" in client and "mix" not in client:
        yield located.problem(
            (*path, "operations"),
            "operations says how many to draw from a mix",
            "remove it: a script is its own length",
            key=True,
        )
    mix = client.get("mix")
    if isinstance(mix, PositionedMapping):
        for name in mix:
            if name not in names:
                yield _no_operation(located, (*path, "mix", name), name, names, key=True)
    script = client.get("script")
    if isinstance(script, PositionedList):
        for index, step in enumerate(script):
            wanted = step.get("operation") if isinstance(step, PositionedMapping) else step
            at = (
                (*path, "script", index, "operation")
                if isinstance(step, PositionedMapping)
                else (*path, "script", index)
            )
            if isinstance(wanted, str) and wanted not in names:
                yield _no_operation(located, at, wanted, names, key=False)


def _no_operation(located: Located, path: Path, name: str, names: tuple[str, ...], *, key: bool) -> Problem:
    hint = suggest(name, names) if names else "this scenario has no operations: add it under operations"
    return located.problem(path, f"there is no operation {name!r}", hint, key=key)


def _client_names(located: Located, path: Path, client: PositionedMapping, seen: dict[str, int]) -> Iterator[Problem]:
    name, count = client.get("name"), client.get("count", 1)
    if not isinstance(name, str) or not isinstance(count, int) or not 1 <= count <= 1000:
        return
    position = located.find((*path, "name"))
    for full in (name,) if count == 1 else (f"{name}-{number}" for number in range(1, count + 1)):
        if full in seen:
            yield located.problem(
                (*path, "name"), f"the client name {full!r} is taken", f"the other is at line {seen[full]}: rename one"
            )
            return
        seen[full] = position[0]


def _marked_steps(client: PositionedMapping) -> int:
    script, count = client.get("script"), client.get("count", 1)
    if not isinstance(script, PositionedList):
        return 0
    marked = sum(1 for step in script if isinstance(step, PositionedMapping) and step.get("marked") is True)
    return marked * (count if isinstance(count, int) else 1)


def _marked_closes(
    located: Located, path: Path, client: PositionedMapping, closes: tuple[str, ...]
) -> Iterator[Problem]:
    for at, step in _mappings(client.get("script"), (*path, "script")):
        if step.get("operation") in closes and "marked" in step:
            yield located.problem((*at, "marked"), "a close cannot be the marked step", "mark another", key=True)


def _every_io(located: Located, root: PositionedMapping, marked: int) -> Iterator[Problem]:
    crash = root.get("crash")
    crashes = list(_mappings(crash, ("crash",)))
    if isinstance(crash, PositionedMapping):
        crashes = [(("crash",), crash)]
    enumerating: list[Path] = [path for path, item in crashes if item.get("at") == "every io"]
    if not enumerating:
        return
    if marked != 1:
        yield located.problem(
            (*enumerating[0], "at"),
            f"'every io' needs exactly one marked step, and there are {marked}",
            "give one step of one script `marked: true`, on a client with count 1",
        )
    for path in enumerating[1:]:
        yield located.problem((*path, "at"), "'every io' is given twice", "keep one")
    for path in enumerating:
        if "probability" in located.value(path):
            yield located.problem(
                (*path, "probability"),
                "'every io' runs each crash once, so it takes no probability",
                "remove it",
                key=True,
            )


_JOB_GROUPS = ("hot", "reclaim")


def _fault_entries(root: PositionedMapping) -> Iterator[tuple[Path, PositionedMapping]]:
    faults = root.get("faults")
    if isinstance(faults, PositionedMapping):
        yield ("faults",), faults
    yield from _mappings(faults, ("faults",))


def _faults(located: Located, root: PositionedMapping) -> Iterator[Problem]:
    """What a point cannot do, and points that no run passes."""
    compaction = _has_compaction(root)
    for path, entry in _fault_entries(root):
        if "expected" in entry and "optional" in entry:
            yield located.problem(
                (*path, "optional"), "expected and optional are two words for one thing", "keep one", key=True
            )
        named = points_of(entry, compaction)
        if entry.get("action") == "drop" and named and not named[0].can_drop:
            yield located.problem(
                (*path, "action"),
                f"nothing can be dropped at {named[0].value}: nothing there gets lost by itself",
                f"drop at one of {', '.join(point.value for point in FaultPoint if point.can_drop)}",
            )
        if "each" in entry and named and actions_of(entry) == ("drop",) and not any(p.can_drop for p in named):
            yield located.problem((*path, "actions"), "nothing can be dropped at any of these points", "add an action")
        yield from _fault_scope(located, path, entry, named)
        if not compaction:
            each = entry.get("each")
            words = [point.value for point in named if point.needs_compaction]
            words += [group for group in _JOB_GROUPS if isinstance(each, list) and group in each]
            if words:
                yield located.problem(
                    (*path, "point" if "point" in entry else "each"),
                    f"no run passes {words[0]}: there is no compaction",
                    "add depot: {compaction: true}",
                )


def _fault_scope(
    located: Located, path: Path, entry: PositionedMapping, named: tuple[FaultPoint, ...]
) -> Iterator[Problem]:
    scope = entry.get("scope")
    if not isinstance(scope, PositionedMapping) or not named:
        return
    for key, known in (("page", [p.knows_pages for p in named]), ("shard", [p.knows_shard for p in named])):
        if key in scope and not any(known):
            where = named[0].value if len(named) == 1 else "any of these points"
            yield located.problem(
                (*path, "scope", key), f"no single {key} is in hand at {where}", "remove it, or name another point"
            )


def _has_compaction(root: PositionedMapping) -> bool:
    """Whether some run may have compaction, as far as the file can be read."""
    depot = root.get("depot")
    compaction = depot.get("compaction", False) if isinstance(depot, PositionedMapping) else False
    if isinstance(compaction, PositionedMapping):
        compaction = compaction.get("enabled", True)
    return compaction is not False and compaction != [False]


def _operator(located: Located, root: PositionedMapping) -> Iterator[Problem]:
    """Names must have been given by an earlier step, and forks are made once."""
    names: list[str] = []
    forks: dict[str, int] = {}
    rolled_back = False
    for path, step in _mappings(root.get("operator"), ("operator",)):
        for word in ("at", "rollback", "delete"):
            name = step.get(word)
            if not isinstance(name, str) or name in names:
                continue
            if name not in RESERVED:
                hint = suggest(name, names) if names else "make one first: {restore_point: " + name + "}"
                yield located.problem((*path, word), f"no earlier step makes the restore point {name!r}", hint)
            elif word == "delete":
                yield located.problem((*path, word), f"{name!r} is no restore point that has a name", "remove the step")
            elif name == "undo" and not rolled_back:
                yield located.problem((*path, word), "there is no earlier rollback to undo", "put one before it")
        if isinstance(step.get("restore_point"), str):
            names.append(step["restore_point"])
        rolled_back = rolled_back or "rollback" in step
        if "compact" in step and not _may_compact(root):
            yield located.problem(
                (*path, "compact"), "compaction is off, so nobody can be asked for it", "add depot: {compaction: true}"
            )
        fork = step.get("fork")
        if isinstance(fork, str) and fork in forks:
            yield located.problem(
                (*path, "fork"), f"the database {fork!r} is made at line {forks[fork]} already", "rename one"
            )
        elif isinstance(fork, str):
            forks[fork] = located.find((*path, "fork"))[0]


def _may_compact(root: PositionedMapping) -> bool:
    depot = root.get("depot")
    compaction = depot.get("compaction", False) if isinstance(depot, PositionedMapping) else False
    enabled = compaction.get("enabled", True) if isinstance(compaction, PositionedMapping) else compaction
    return enabled is not False


def _expectation(located: Located, root: PositionedMapping) -> Iterator[Problem]:
    """What is expected to be violated must be judged."""
    expect, checks = root.get("expect"), root.get("checks")
    expected = expect.get("violation") if isinstance(expect, PositionedMapping) else None
    if not isinstance(expected, str) or expected not in CHECK_IDS:
        return
    without = checks.get("without") if isinstance(checks, PositionedMapping) else None
    is_left_out = isinstance(without, PositionedList) and expected in without
    if is_left_out or (isinstance(checks, PositionedList) and expected not in checks):
        line, _ = located.find(("checks",), key=True)
        yield located.problem(
            ("expect", "violation"),
            f"{expected} can never be found violated: it is not among the checks of line {line}",
            "let it be checked, or expect another",
        )


def _marks(located: Located, root: PositionedMapping) -> Iterator[Problem]:
    """What a system of simkit never gives can only be missed, and so can what no rule of the file brings about."""
    system, marks = root.get("system", SINGLE), root.get("sometimes")
    if not isinstance(marks, PositionedList):
        return
    compaction = _has_compaction(root)
    points = {point for _, entry in _fault_entries(root) for point in points_of(entry, compaction)}
    rules = [rule for _, rule in _mappings(root.get("network"), ("network",))]
    for index, mark in enumerate(marks):
        if not isinstance(mark, str):
            continue  # the model reports it
        advice = never_given(system, mark)
        if advice is not None:
            yield located.problem(("sometimes", index), f"the system {system} never gives the mark {mark!r}", advice)
        elif mark in FAULT_MARKS and FAULT_MARKS[mark] not in points:
            point = FAULT_MARKS[mark].value
            yield located.problem(
                ("sometimes", index), f"no fault of this file is at {point}", f"add {{point: {point}, ...}} to faults"
            )
        elif mark in NETWORK_MARKS and not any(word in rule for rule in rules for word in NETWORK_MARKS[mark]):
            words = " or ".join(NETWORK_MARKS[mark])
            yield located.problem(
                ("sometimes", index), f"nothing of this file can be the cause of {mark!r}", f"add {words} to network"
            )
        elif mark in DEPOT_MARKS and not _brings(DEPOT_MARKS[mark], compaction, root):
            cause = DEPOT_MARKS[mark]
            hint = "add depot: {compaction: true}" if cause == COMPACTION else f"add a step {cause} to operator"
            yield located.problem(("sometimes", index), f"nothing of this file can be the cause of {mark!r}", hint)


def _brings(cause: str, compaction: bool, root: PositionedMapping) -> bool:
    if cause == COMPACTION:
        return compaction
    return any(cause in step for _, step in _mappings(root.get("operator"), ("operator",)))

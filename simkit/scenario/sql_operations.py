"""An operation compared with its SQL, as SQLite understands it: how it is run, and what it is said to mean.

query() gives rows and run() gives changes, so each needs a statement that answers with nothing else. A script commits
each of its statements by itself; with one that writes it still happens wholly or not at all (DUR-2). An effect that
writes belongs to a statement that writes, one that reads to a statement that only reads, and its parameters are those
of that statement. What the statement does with them cannot be told: that `append` puts a value at the end of a list is
the word of whoever wrote the file, and ISO-1 is checked against that word.
"""

from __future__ import annotations

from collections.abc import Iterator

from simkit.scenario.cross_check_operations import Path
from simkit.scenario.model_effect import EFFECT_KINDS
from simkit.scenario.positions import PositionedMapping
from simkit.scenario.sql_prepare import Prepared
from simkit.scenario.sql_rules import Finding


def operation_findings(
    path: Path, operation: PositionedMapping, prepared: list[Prepared]
) -> Iterator[tuple[Path, Finding]]:
    """What is wrong with the operation at `path`, given its statements."""
    yield from _effects(path, operation, prepared)
    only_reads = all(statement.is_readonly for statement in prepared)
    match operation.get("via"):
        case "query" if not only_reads:
            yield (*path, "via"), ("query() is for reading, and this writes", "use run, execute or execute_write")
        case "run" if any(statement.has_columns for statement in prepared):
            yield (
                (*path, "via"),
                ("run() gives no rows, and this answers with rows", "use query, execute or execute_write"),
            )
        case "execute_script" if sum(1 for statement in prepared if not statement.is_readonly) > 1:
            yield (
                (*path, "sql"),
                (
                    "a script commits each statement by itself: a crash could leave one write without the other",
                    "keep one statement that writes, or use `transaction:` with `via: migrate`",
                ),
            )


def _effects(path: Path, operation: PositionedMapping, prepared: list[Prepared]) -> Iterator[tuple[Path, Finding]]:
    if "transaction" not in operation:
        if "effect" in operation:
            yield from _effect((*path, "effect"), operation["effect"], operation, prepared)
        return
    effects = operation.get("effects")
    if isinstance(effects, list) and len(effects) == len(prepared):
        for index, (effect, statement) in enumerate(zip(effects, prepared, strict=True)):
            yield from _effect((*path, "effects", index), effect, operation, [statement])


def _effect(
    path: Path, effect: object, operation: PositionedMapping, statements: list[Prepared]
) -> Iterator[tuple[Path, Finding]]:
    kind = next((kind for kind in EFFECT_KINDS if kind in effect), None) if isinstance(effect, dict) else None
    if kind is None:
        return
    assert isinstance(effect, dict)
    writes = any(not statement.is_readonly for statement in statements)
    if writes != (kind in ("append", "write")):
        what = "writes" if writes else "only reads"
        yield path, (f"the statement {what}, so {kind} is not its effect", "correct one of them")
    parts = effect[kind] if isinstance(effect[kind], list) else [effect[kind]]
    params = operation.get("params", {})
    used = [name for statement in statements for name in statement.names]
    for index, part in enumerate(parts):
        if isinstance(part, str) and part in params and part not in used:
            place: Path = (*path, kind, index) if len(parts) > 1 else (*path, kind)
            yield place, (f"the statement does not use the parameter {part!r}", "name one that it uses")

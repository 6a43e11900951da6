"""Rules for SQL whose answers a native SQLite can repeat: what depends on a connection, a file or chance is refused.

Upholds VAL-1 and ISO-2 on the input side. A check compares every answer with that of a native database in memory. It
would condemn a sound system for an answer that depends on anything but the database's contents, so such statements are
refused before any run. Pragmas are a list of what is allowed: whatever a later SQLite adds is refused until somebody
has thought about it. Works on what `sql_prepare` gathers, and gives `(message, hint)` pairs; positions belong to
`sql_check`.

Not seen: a key that is computed (`SELECT max(id) + 1`), which can reach the largest rowid as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from simkit.check.statement_kinds import PRAGMAS_REPEATED
from simkit.pool.reader_authorizer import FUNCTIONS_OF_THE_CONNECTION
from simkit.scenario.cross_check import Path
from simkit.scenario.parameters import INTEGER_MAX, Choice, Edge, IntegerRange, Sequence, parse_params
from simkit.scenario.problems import suggest
from simkit.scenario.sql_prepare import KeyWrite, Pragma, Prepared

Finding = tuple[str, str]
"""Message and hint."""

CHANCE = frozenset({"random", "randomblob"})
CLOCK = frozenset(
    [
        "current_time",
        "current_date",
        "current_timestamp",
        "date",
        "time",
        "datetime",
        "julianday",
        "unixepoch",
        "strftime",
        "timediff",
    ]
)

PRAGMAS_OF_CONTENTS = PRAGMAS_REPEATED | {"foreign_keys"}
"""Pragmas about what the database holds, with or without an argument; the checks follow `foreign_keys`."""

PRAGMAS_SET = frozenset(
    [
        "auto_vacuum",
        "busy_timeout",
        "cache_size",
        "cache_spill",
        "cell_size_check",
        "checkpoint_fullfsync",
        "fullfsync",
        "incremental_vacuum",
        "journal_mode",
        "journal_size_limit",
        "locking_mode",
        "mmap_size",
        "page_size",
        "secure_delete",
        "synchronous",
        "temp_store",
        "threads",
        "wal_autocheckpoint",
        "wal_checkpoint",
    ]
)
"""Pragmas that may be set: they change how storage is used, and no answer."""

PRAGMAS_OF_SETUP = frozenset(["encoding"])
"""May be set by the setup, which the native database runs as well."""

PRAGMAS_RUN = frozenset(["incremental_vacuum", "shrink_memory", "wal_checkpoint"])
"""Pragmas that do something when they have no argument."""

_CANNOT_REPEAT = "so the native SQLite that checks the answers cannot repeat it"

_KEY_HINT = (
    "give the key in every INSERT, such as {sequence: 1}, or keep the largest one (also {edge: int} and {edge: any})"
    " out of it"
)


class Use(msgspec.Struct, frozen=True):
    """A statement of the file, with the raw parameters it is run with."""

    path: Path
    params: Any
    prepared: Prepared
    in_setup: bool


def findings(prepared: Prepared, known_pragmas: frozenset[str], *, in_setup: bool) -> Iterator[Finding]:
    """What makes the answer of one statement depend on more than the database."""
    for function in prepared.functions:
        yield from _function(function)
    if prepared.is_temporary:
        yield (
            f"temporary objects vanish with their connection, {_CANNOT_REPEAT}",
            "use an ordinary table, made in setup",
        )
    for pragma in prepared.pragmas:
        yield from _pragma(pragma, known_pragmas, in_setup=in_setup)
    for table in prepared.layout_tables:
        yield f"{table} shows how the file is laid out, {_CANNOT_REPEAT}", "read the tables themselves"
    if prepared.vacuum == "INTO":
        yield "VACUUM INTO writes a second database, which is not simulated", "write VACUUM without INTO"


def _function(function: str) -> Iterator[Finding]:
    reason = (
        "chance"
        if function in CHANCE
        else "the clock"
        if function in CLOCK
        else "the state of its connection"
        if function in FUNCTIONS_OF_THE_CONNECTION
        else None
    )
    if reason is not None:
        yield (
            f"{function}() depends on {reason}, {_CANNOT_REPEAT}",
            "bind a seeded parameter instead, such as {int: [1, 100]} or {sequence: 1}",
        )


def _pragma(pragma: Pragma, known: frozenset[str], *, in_setup: bool) -> Iterator[Finding]:
    name = pragma.name
    if name in PRAGMAS_OF_CONTENTS:
        return
    if name not in known:
        yield f"SQLite knows no PRAGMA {name} and would ignore it", suggest(name, sorted(known))
    elif pragma.is_table:
        yield (
            f"pragma_{name} answers from its connection or file, {_CANNOT_REPEAT}",
            f"remove it; these can be read: {_listed(PRAGMAS_OF_CONTENTS)}",
        )
    elif pragma.argument is not None:
        if name not in PRAGMAS_SET and not (in_setup and name in PRAGMAS_OF_SETUP):
            yield (
                f"PRAGMA {name} changes what statements of one connection answer or do, {_CANNOT_REPEAT}",
                f"remove it; these can be set: {_listed(PRAGMAS_SET | {'foreign_keys', 'user_version'})}",
            )
    elif name not in PRAGMAS_RUN:
        yield (
            f"PRAGMA {name} answers from its connection or file, or acts on what the connection did, {_CANNOT_REPEAT}",
            f"remove it; these can be read: {_listed(PRAGMAS_OF_CONTENTS)}",
        )


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def rowids_after_vacuum(uses: list[Use]) -> Iterator[tuple[Path, Finding]]:
    """Statements that show rowids which a VACUUM of the file may change. One within setup is over before."""
    if not any(use.prepared.vacuum is not None for use in uses if not use.in_setup):
        return
    for use in uses:
        if use.in_setup:
            continue
        for table in use.prepared.rowid_tables:
            yield (
                use.path,
                (
                    f"this depends on rowids of {table}, which has no INTEGER PRIMARY KEY, and VACUUM may change them",
                    "give the table an INTEGER PRIMARY KEY, or remove VACUUM",
                ),
            )


def keys_by_chance(uses: list[Use]) -> Iterator[tuple[Path, Finding]]:
    """Statements that leave a rowid to SQLite in a table that may hold the largest: it then chooses by chance."""
    full = {
        write.table for use in uses for write in use.prepared.key_writes if _can_hold(write, use.params, INTEGER_MAX)
    }
    for use in uses:
        for write in use.prepared.key_writes:
            automatic = write.is_automatic or (write.may_be_automatic and _can_hold(write, use.params, None))
            if automatic and write.table in full:
                message = (
                    f"SQLite chooses the rowid here by chance once {write.table} holds the rowid {INTEGER_MAX},"
                    " which this file can put there"
                )
                yield use.path, (message, _KEY_HINT)
                break


def _can_hold(write: KeyWrite, params: Any, value: int | None) -> bool:
    """Whether the key of the row can be `value`: a literal or a parameter that goes there unchanged."""
    if value in write.literals:
        return True
    specs = parse_params(params) if isinstance(params, Mapping) else None
    return specs is not None and any(_draws(specs[name], value) for name in write.parameters if name in specs)


def _draws(spec: Any, value: int | None) -> bool:
    match spec:
        case Edge():
            return spec.edge == "any" or (spec.edge == "int" and value is not None)
        case Choice():
            return any(_draws(item, value) for item in spec.choice)
        case IntegerRange():
            low, high = spec.int
            # From a wider range it is never drawn.
            return value is not None and low <= value <= high and high - low < 2**32
        case Sequence():
            return bool(spec.sequence == value)
        case str():
            return value is not None and spec.strip() == str(value)
    return spec is value if value is None else spec == value and isinstance(spec, int)

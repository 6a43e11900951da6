"""What SQLite says about one SQL text: the prepared statement, its authorizer's actions, its program (EXPLAIN).

Nothing is run. Pragmas that set something act while they are prepared, so the authorizer leaves them out of the
program that is only looked at: preparing `PRAGMA synchronous=OFF` changes nothing and cannot fail. Upholds VAL-1 on
the input side together with `sql_rules`, which judges what is gathered here; this module judges nothing. The text is
never searched: comments, literals and triggers cannot mislead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw
import msgspec

PRAGMAS_KEPT = frozenset(["application_id", "user_version"])
"""Pragmas that set something only when they run, and then in the database: they stay in the program."""

_SCHEMA_ACTIONS = frozenset(
    code
    for name, code in apsw.mapping_authorizer_function.items()
    if isinstance(name, str) and name.startswith(("SQLITE_CREATE_", "SQLITE_DROP_", "SQLITE_ALTER_"))
)
_SCHEMA_TABLES = frozenset(["sqlite_master", "sqlite_schema"])
_ROWID = "ROWID"


class Pragma(msgspec.Struct, frozen=True):
    """A pragma that a statement is, or that it reads as a table such as `pragma_journal_mode`. The name is in lower
    case.
    """

    name: str
    argument: str | None
    is_table: bool


class KeyWrite(msgspec.Struct, frozen=True):
    """A row that a statement puts into `table` (lower case), and where its rowid comes from.

    `literals` and `parameters` (names) are the sources that the program shows; computed ones are not among them.
    `is_automatic` says that SQLite chooses the rowid for every row, `may_be_automatic` that it does so for NULL.
    """

    table: str
    literals: tuple[int | None, ...]
    parameters: tuple[str, ...]
    is_automatic: bool
    may_be_automatic: bool


class Prepared(msgspec.Struct, frozen=True):
    """What SQLite says about one SQL text. `names` has None for a parameter without a name.

    `rowid_tables` are the tables without INTEGER PRIMARY KEY whose rowids the statement reads, sets or reports.
    """

    first: str
    names: tuple[str | None, ...]
    is_readonly: bool
    is_empty: bool
    has_columns: bool
    is_schema_change: bool
    transaction_words: tuple[str, ...]
    attaches: bool
    functions: tuple[str, ...]
    pragmas: tuple[Pragma, ...]
    is_temporary: bool
    layout_tables: tuple[str, ...]
    rowid_tables: tuple[str, ...]
    vacuum: str | None
    key_writes: tuple[KeyWrite, ...]


class Nulls(dict[str, None]):
    """Binds NULL to every parameter, whatever it is called."""

    def __missing__(self, key: str) -> None:
        return None


class _Action(msgspec.Struct, frozen=True):
    """One thing that a statement does, as the authorizer is told."""

    code: int
    first: str | None
    second: str | None
    database: str | None
    source: str | None


class _Step(msgspec.Struct, frozen=True):
    """One instruction of a program. `operand` is its fourth operand, the only one that is text."""

    address: int
    opcode: str
    p1: int
    p2: int
    p3: int
    operand: str | None


def prepare(connection: apsw.Connection, sql: str) -> Prepared:
    """Prepares the first statement of `sql` without running it. Raises `apsw.Error` when SQLite refuses it."""
    seen, actions = _look(connection, sql)
    pragmas = tuple(_pragmas(connection, actions))
    # A pragma would set what it sets once more, and its program calls nothing.
    is_plain = not seen["is_empty"] and not any(action.code == apsw.SQLITE_PRAGMA for action in actions)
    program = list(_program(connection, seen["first"])) if is_plain else []
    vacuums = [step for step in program if step.opcode == "Vacuum"]
    return Prepared(
        **seen,
        is_schema_change=any(action.code in _SCHEMA_ACTIONS for action in actions),
        transaction_words=tuple(
            f"SAVEPOINT {action.first}" if action.code == apsw.SQLITE_SAVEPOINT else str(action.first)
            for action in actions
            if action.code in (apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT)
        ),
        attaches=any(action.code in (apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH) for action in actions),
        functions=_functions(program),
        pragmas=pragmas,
        is_temporary=any((action.database or "").lower() == "temp" for action in actions),
        layout_tables=tuple(
            dict.fromkeys(
                action.first
                for action in actions
                if action.code == apsw.SQLITE_READ
                and action.first is not None
                and action.first.lower() in ("dbstat", "sqlite_dbpage")
                and _kind_of_table(connection, action.first) is None
            )
        ),
        rowid_tables=tuple(_rowid_tables(connection, actions)),
        vacuum=None if not vacuums else "INTO" if vacuums[0].p2 else "",
        key_writes=tuple(_key_writes(program, seen["names"])),
    )


def _look(connection: apsw.Connection, sql: str) -> tuple[dict[str, Any], list[_Action]]:
    """What the prepared statement itself tells, and what it would do."""
    actions: list[_Action] = []
    seen: dict[str, Any] = {}

    def authorize(code: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
        actions.append(_Action(code, first, second, database, source))
        sets = code == apsw.SQLITE_PRAGMA and second is not None and str(first).lower() not in PRAGMAS_KEPT
        return apsw.SQLITE_IGNORE if sets else apsw.SQLITE_OK

    def stop(cursor: apsw.Cursor, statement: str, _bindings: Any) -> bool:
        seen.update(
            first=statement,
            names=tuple(cursor.bindings_names),
            is_readonly=cursor.is_readonly,
            is_empty=not cursor.has_vdbe,
            has_columns=cursor.has_vdbe and bool(cursor.get_description()),
        )
        return False

    cursor = connection.cursor()
    cursor.exec_trace = stop
    connection.authorizer = authorize
    try:
        cursor.execute(sql, Nulls(), can_cache=False)
    except apsw.ExecTraceAbort:
        pass
    finally:
        connection.authorizer = None
    return seen, actions


def _program(connection: apsw.Connection, sql: str) -> Iterator[_Step]:
    """The program of a statement, then those of its triggers, each beginning at address 0.

    EXPLAIN shows blobs as text. An instruction that is no text therefore is left out; it loads a literal.
    """
    try:
        rows = connection.cursor().execute(sql, Nulls(), explain=1, can_cache=False)
    except apsw.Error:
        return  # a statement that cannot be explained, such as EXPLAIN itself
    except UnicodeDecodeError:  # pragma: no cover - the first instruction holds no literal
        return
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except UnicodeDecodeError:
            continue
        except apsw.Error:
            return
        # A statement that begins with EXPLAIN answers with rows of its own shape.
        if len(row) >= 6 and isinstance(row[1], str):
            yield _Step(row[0], row[1], row[2], row[3], row[4], None if row[5] is None else str(row[5]))


def _functions(program: list[_Step]) -> tuple[str, ...]:
    """Scalar functions that a program calls, triggers and column defaults included."""
    names = (str(step.operand).partition("(")[0].lower() for step in program if step.opcode in ("Function", "PureFunc"))
    return tuple(dict.fromkeys(names))


def _pragmas(connection: apsw.Connection, actions: list[_Action]) -> Iterator[Pragma]:
    told: set[str] = set()
    for action in actions:
        name = (action.first or "").lower()
        if action.code == apsw.SQLITE_PRAGMA:
            yield Pragma(name, action.second, False)
        elif action.code == apsw.SQLITE_READ and name.startswith("pragma_") and name not in told:
            told.add(name)
            if _kind_of_table(connection, name) is None:
                yield Pragma(name.removeprefix("pragma_"), None, True)


def _kind_of_table(connection: apsw.Connection, table: str) -> str | None:
    """Such as "table", "view" or "virtual"; None when the schema has no such table."""
    # Not pragma_table_list: it lists the tables that SQLite itself provides as well.
    row = connection.execute(
        "SELECT CASE WHEN sql LIKE 'CREATE VIRTUAL%' THEN 'virtual' ELSE type END FROM main.sqlite_schema"
        " WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE",
        (table,),
    ).fetchone()
    return None if row is None else str(row[0])


def _rowid_tables(connection: apsw.Connection, actions: list[_Action]) -> Iterator[str]:
    """Tables whose own rowids matter. SQLite calls a rowid by the name of the INTEGER PRIMARY KEY if there is one."""
    reported: set[str] = set()
    for action in actions:
        table = action.first or ""
        if table.lower() in _SCHEMA_TABLES or table in reported:
            continue
        names_rowid = action.code in (apsw.SQLITE_READ, apsw.SQLITE_UPDATE) and action.second == _ROWID
        # The result of an INSERT tells the rowid of the row, that of a trigger's INSERT does not.
        inserts = action.code == apsw.SQLITE_INSERT and action.source is None
        if not (names_rowid or inserts) or _kind_of_table(connection, table) != "table":
            continue
        if names_rowid or _lacks_key(connection, table):
            reported.add(table)
            yield table


def _lacks_key(connection: apsw.Connection, table: str) -> bool:
    quoted = table.replace('"', '""')
    try:
        _, actions = _look(connection, f'SELECT rowid FROM main."{quoted}"')  # noqa: S608 - only prepared, and quoted
    except apsw.Error:
        return False  # a table WITHOUT ROWID
    return any(action.code == apsw.SQLITE_READ and action.second == _ROWID for action in actions)


def _key_writes(program: list[_Step], names: tuple[str | None, ...]) -> Iterator[KeyWrite]:
    """Each row that the program puts into a table. Registers belong to one program: a trigger has its own."""
    parts: list[list[_Step]] = []
    for step in program:
        if step.address == 0:
            parts.append([])
        if parts:
            parts[-1].append(step)
    for part in parts:
        for insert in part:
            if insert.opcode != "Insert" or insert.operand is None:
                continue
            given = any(step.opcode == "MustBeInt" and step.p1 == insert.p3 for step in part)
            # With AUTOINCREMENT (a third operand) SQLite reports a full table instead of choosing by chance.
            chosen = any(step.opcode == "NewRowid" and step.p2 == insert.p3 and step.p3 == 0 for step in part)
            literals, parameters = _sources(part, insert.p3) if given else (set(), set())
            yield KeyWrite(
                table=insert.operand.lower(),
                literals=tuple(sorted(literals, key=repr)),
                parameters=tuple(
                    sorted(name for index in parameters if (name := names[index - 1]) is not None),
                ),
                is_automatic=chosen and not given,
                may_be_automatic=chosen and given,
            )


def _sources(part: list[_Step], register: int) -> tuple[set[int | None], set[int]]:
    """Literals and parameter numbers that can reach a register by plain copies."""
    literals: set[int | None] = set()
    parameters: set[int] = set()
    seen: set[int] = set()
    open_registers = [register]
    while open_registers:
        target = open_registers.pop()
        if target in seen:
            continue
        seen.add(target)
        for step in part:
            match step.opcode:
                case "Variable" if step.p2 == target:
                    parameters.add(step.p1)
                case "Integer" if step.p2 == target:
                    literals.add(step.p1)
                case "Int64" if step.p2 == target:
                    literals.add(_wide_integer(step))
                case "Null" if step.p2 <= target <= max(step.p2, step.p3):
                    literals.add(None)
                case "SCopy" | "IntCopy" if step.p2 == target:
                    open_registers.append(step.p1)
                case "Copy" if step.p2 <= target <= step.p2 + step.p3:
                    open_registers.append(step.p1 + target - step.p2)
                case "Move" if step.p2 <= target < step.p2 + max(1, step.p3):
                    open_registers.append(step.p1 + target - step.p2)
                case _:
                    pass
    return literals, parameters


def _wide_integer(step: _Step) -> int:
    """The literal of Int64: text in the fourth operand, or (newer SQLite) its halves in the third and the first."""
    return int(step.operand) if step.operand is not None else step.p3 << 32 | step.p1 & 0xFFFFFFFF

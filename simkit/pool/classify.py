"""What a statement is, asked of SQLite and never read from its text.

Upholds ROLE-1: only what reads the database and nothing else is eligible for a reader. `classify` compiles the first
statement without running it, under an authorizer that records what it would do. Does not route: that is the manager's.

Compiling is not free of effects. SQLite carries out most pragmas while it compiles them, also behind EXPLAIN:
`PRAGMA query_only=OFF` that is merely classified would take the safety off a reader. So a pragma that readers are
denied is recorded and then left out of the program; it is not eligible anyway.

A classification holds for one connection and its schema: a view that is defined anew may do something else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import apsw
import msgspec

from simkit.pool.reader_authorizer import Action, Kind, denial

TAILS_REMEMBERED_MAX = 1024
CLASSIFICATIONS_REMEMBERED_MAX = 512

_SCHEMA_EFFECTS = frozenset([Kind.ATTACHMENT, Kind.SCHEMA_WRITE, Kind.TEMP_WRITE])
_EFFECTS = _SCHEMA_EFFECTS | {Kind.TRANSACTION, Kind.DATA_WRITE, Kind.UNKNOWN}


class NulInStatement(apsw.SQLError):
    """The SQL text holds a NUL character, at which SQLite would stop reading."""

    def __init__(self, sql: str) -> None:
        super().__init__(
            f"the SQL text has a NUL character at position {sql.index(chr(0))}, where SQLite would take it to end; "
            "bind the text as a parameter, where NUL is kept"
        )


class Classification(msgspec.Struct, frozen=True):
    """What SQLite says about the first statement of a text.

    Attributes:
        has_statement: False for empty text, semicolons and comments.
        readonly: SQLite's word that it does not write to a database file. Not enough for a reader: also true for
            BEGIN and ATTACH. False for a pragma that readers are denied, as that is not compiled.
        explain: 0 for the statement itself, 1 for EXPLAIN, 2 for EXPLAIN QUERY PLAN.
        tail: the text after it when that holds a further statement, or what SQLite cannot read; else None.
        actions: what it would do, each once, in the order in which SQLite told.
        reader_eligible: whether a reader may run it and gives the same answer as any other connection.
        reasons: why it is or is not eligible, in words; never empty.
        only_reads: it changes neither data nor the connection, whether a reader may run it or not.
        touches_schema: it may change what other texts mean: schema, temporary objects, attached databases.
    """

    has_statement: bool
    readonly: bool
    explain: int
    tail: str | None
    actions: tuple[Action, ...]
    reader_eligible: bool
    reasons: tuple[str, ...]
    only_reads: bool = True
    touches_schema: bool = False

    def of_kind(self, kind: Kind) -> tuple[Action, ...]:
        return tuple(action for action in self.actions if action.kind is kind)


def classify(connection: apsw.Connection, sql: str) -> Classification:
    """Compiles the first statement of `sql` without running it.

    `connection` must be the caller's own meanwhile: compiling may read the schema, and so wait for storage. Its
    authorizer does not judge here, and is installed again afterwards.

    Raises `NulInStatement`, and SQLite's own error for text that does not compile: on a reader that may just mean that
    the statement names a temporary table of the writer.
    """
    refuse_nul(sql)
    actions: dict[Action, None] = {}
    seen: dict[str, Any] = {}

    def record(code: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
        action = Action(code, first, second, database, source)
        actions[action] = None
        left_out = code == apsw.SQLITE_PRAGMA and denial(action) is not None
        return apsw.SQLITE_IGNORE if left_out else apsw.SQLITE_OK

    def stop(cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
        seen.update(
            length=len(statement),
            has_statement=cursor.has_vdbe,
            readonly=cursor.is_readonly,
            explain=cursor.is_explain,
        )
        return False

    _compile(connection, sql, record, stop)
    if seen["readonly"] and not seen["explain"] and any(action.kind is Kind.DATA_WRITE for action in actions):
        # Not its own: a virtual table prepares what it may need when it is met first. Now it has been.
        actions.clear()
        _compile(connection, sql, record, stop)
    rest = sql[seen.pop("length") :]
    return _judged(**seen, tail=rest if holds_statement(rest) else None, actions=tuple(actions))


def _judged(
    *, has_statement: bool, readonly: bool, explain: int, tail: str | None, actions: tuple[Action, ...]
) -> Classification:
    objections: dict[str, None] = {}
    if not has_statement:
        objections["there is no statement to run"] = None
    if tail is not None:
        objections["a further statement follows it"] = None
    for action in actions:
        reason = denial(action)
        if reason is not None:
            objections[reason] = None
            readonly = readonly and action.code != apsw.SQLITE_PRAGMA
    if not readonly and not objections:
        objections["SQLite says that it writes"] = None
    reasons = tuple(objections) or ("it only reads, and nothing that is of one connection",)
    kinds = {action.kind for action in actions}
    return Classification(
        has_statement,
        readonly,
        explain,
        tail,
        actions,
        not objections,
        reasons,
        only_reads=readonly and kinds.isdisjoint(_EFFECTS),
        touches_schema=not kinds.isdisjoint(_SCHEMA_EFFECTS),
    )


class ClassificationCache:
    """The newest classifications of one connection, by text.

    Classifying costs several times as much as running a short statement. A classification follows from the schema:
    call `forget` after a schema change, the rollback of one, ATTACH and DETACH. One that is out of date is safe, not
    right: the authorizer of the reader still judges the program that SQLite compiles for the new schema.
    """

    def __init__(self, entries_max: int = CLASSIFICATIONS_REMEMBERED_MAX) -> None:
        if entries_max < 1:
            raise ValueError(f"entries_max must be at least 1, not {entries_max}")
        self._entries_max = entries_max
        self._entries: dict[str, Classification] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def classify(self, connection: apsw.Connection, sql: str) -> Classification:
        """As `classify`, asking SQLite only for text that is new. Errors are not remembered."""
        entries = self._entries
        known = entries.pop(sql, None)
        entries[sql] = known = classify(connection, sql) if known is None else known
        if len(entries) > self._entries_max:
            del entries[next(iter(entries))]  # the one not asked for the longest
        return known

    def known(self, sql: str) -> Classification | None:
        """What is remembered of this text; asks nobody."""
        entries = self._entries
        known = entries.pop(sql, None)
        if known is not None:
            entries[sql] = known
        return known

    def forget(self) -> None:
        self._entries.clear()


def holds_statement(sql: str) -> bool:
    """Whether there is more in `sql` than white space, semicolons and comments. Text that SQLite cannot read counts."""
    return bool(sql) and _holds_statement(sql)


@lru_cache(maxsize=TAILS_REMEMBERED_MAX)
def _holds_statement(sql: str) -> bool:
    # Asked of an empty database of its own, which denies everything: the answer is one of syntax, and depends on
    # nothing but the text. So it may be remembered across runs, costs no storage request, and has no effect.
    def deny(*_action: object) -> int:
        return apsw.SQLITE_DENY

    compiled: list[bool] = []

    def stop(cursor: apsw.Cursor, _statement: str, _bindings: object) -> bool:
        compiled.append(cursor.has_vdbe)
        return False

    connection = apsw.Connection(":memory:")
    try:
        _compile(connection, sql, deny, stop)
    except (apsw.Error, ValueError):
        return True
    finally:
        connection.close(True)
    return compiled[0]


def _compile(connection: apsw.Connection, sql: str, authorizer: apsw.Authorizer, stop: apsw.ExecTracer) -> None:
    cursor = connection.cursor()
    cursor.exec_trace = stop
    before = connection.authorizer
    connection.authorizer = authorizer
    try:
        # The object that stands for "NULL everywhere" is not in APSW's stubs; its own query_info() uses it as well.
        # A remembered program would not ask the authorizer: hence can_cache.
        cursor.execute(sql, apsw._null_bindings, can_cache=False)  # type: ignore[attr-defined]
    except apsw.ExecTraceAbort:
        pass
    finally:
        connection.authorizer = before
        cursor.close(True)


def refuse_nul(sql: str) -> None:
    """Raises `NulInStatement`. SQLite itself would compile what stands before the NUL, and report an error of that."""
    try:
        if "\0" not in sql:
            return
    except TypeError:
        raise TypeError(f"the SQL text is of type {type(sql).__name__}; pass a str") from None
    raise NulInStatement(sql)

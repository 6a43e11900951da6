"""What a read-only connection of a pool may do: an authorizer, and the same judgement on recorded actions.

Upholds ROLE-1 (nothing reaches storage through a reader), and that any connection would give a reader's answer: what a
reader runs changes nothing and depends on nothing that only one connection knows. It is a list of what is allowed;
whatever a later SQLite adds is denied until somebody has thought about it.

SQLite's own read-only flag is not enough. It is set for BEGIN, ATTACH and `PRAGMA foreign_keys=ON`, which change the
connection instead of the file, and says nothing about `changes()`, which answers from the connection that happens to
run it.

A connection setting is read where it is written: `busy_timeout`, `cache_size`, `data_version`, `database_list` and the
like are denied to readers, because setting goes to the writer and a reader would answer with its own value.

Does not see the arguments of a table-valued pragma such as `pragma_table_info('t', 'temp')`: SQLite evaluates them
while the statement runs, and asks again then. Such a denial surfaces as an `apsw.Error` ("not authorized") from the
running statement, which has changed nothing and can be repeated on the writer.
"""

from __future__ import annotations

from enum import Enum

import apsw
import msgspec

PRAGMAS = frozenset(
    [
        "application_id",
        "collation_list",
        "compile_options",
        "encoding",
        "foreign_key_check",
        "foreign_key_list",
        "freelist_count",
        "function_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "module_list",
        "page_count",
        "page_size",
        "pragma_list",
        "quick_check",
        "schema_version",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    ]
)
"""Pragmas that tell about the database file, or about what all connections of a pool have in common."""

PRAGMAS_WITH_ARGUMENT = frozenset(
    [
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    ]
)
"""Those whose argument chooses what to tell; the argument of any other pragma sets something."""

FUNCTIONS_OF_THE_CONNECTION = frozenset(["changes", "last_insert_rowid", "total_changes"])
FUNCTIONS_WITH_EFFECTS = frozenset(["fts3_tokenizer", "load_extension", "writefile"])

_ASKED_BY_FULL_TEXT_INDEX = ("data_version", None, "main")
"""An FTS5 table asks it, on its own connection, to learn whether what it remembers of its index is still right."""

_TABLE_OF_PRAGMA = "pragma_"
_SCHEMA_TABLES = frozenset(["sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"])


class Kind(Enum):
    """What an action is, as far as routing is concerned."""

    READ = "read"
    FUNCTION = "function"
    PRAGMA = "pragma"
    TRANSACTION = "transaction control"
    ATTACHMENT = "attach or detach"
    SCHEMA_WRITE = "schema write"
    TEMP_WRITE = "temp write"
    DATA_WRITE = "data write"
    UNKNOWN = "unknown"


class Action(msgspec.Struct, frozen=True, gc=False):
    """One thing that a statement does, as SQLite told its authorizer.

    Attributes:
        code: action code of SQLite, `apsw.SQLITE_READ` and the like.
        first, second: its two arguments: table and column, pragma and argument, None and function...
        database: "main", "temp" or the name of an attached database, as written in the statement; None when SQLite
            does not say.
        source: the trigger or view that does it; None for the statement itself.
    """

    code: int
    first: str | None
    second: str | None
    database: str | None
    source: str | None

    @property
    def kind(self) -> Kind:
        if self.code in _WRITES:
            table = "" if self.first is None else self.first.lower()
            if _is_temp(self.database):
                return Kind.TEMP_WRITE
            return Kind.SCHEMA_WRITE if table in _SCHEMA_TABLES else Kind.DATA_WRITE
        kind = _KINDS.get(self.code, Kind.UNKNOWN)
        # ALTER TABLE is the one action that names the database first.
        database = self.first if self.code == apsw.SQLITE_ALTER_TABLE else self.database
        if kind is Kind.SCHEMA_WRITE and _is_temp(database):
            return Kind.TEMP_WRITE
        if kind is Kind.READ and pragma_behind(self.first) is not None:
            return Kind.PRAGMA
        return kind


_WRITES = frozenset([apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE])


def _kinds() -> dict[int, Kind]:
    kinds = {
        apsw.SQLITE_SELECT: Kind.READ,
        apsw.SQLITE_READ: Kind.READ,
        apsw.SQLITE_RECURSIVE: Kind.READ,
        apsw.SQLITE_FUNCTION: Kind.FUNCTION,
        apsw.SQLITE_PRAGMA: Kind.PRAGMA,
        apsw.SQLITE_TRANSACTION: Kind.TRANSACTION,
        apsw.SQLITE_SAVEPOINT: Kind.TRANSACTION,
        apsw.SQLITE_ATTACH: Kind.ATTACHMENT,
        apsw.SQLITE_DETACH: Kind.ATTACHMENT,
        apsw.SQLITE_REINDEX: Kind.DATA_WRITE,
        apsw.SQLITE_ANALYZE: Kind.DATA_WRITE,
    }
    for name, code in apsw.mapping_authorizer_function.items():
        if isinstance(name, str) and isinstance(code, int):
            if name.startswith(("SQLITE_CREATE_TEMP_", "SQLITE_DROP_TEMP_")):
                kinds[code] = Kind.TEMP_WRITE
            elif name.startswith(("SQLITE_CREATE_", "SQLITE_DROP_", "SQLITE_ALTER_")):
                kinds[code] = Kind.SCHEMA_WRITE
    return kinds


_KINDS = _kinds()
_NAMES: dict[int, str] = {
    code: name.removeprefix("SQLITE_").replace("_", " ")
    for name, code in apsw.mapping_authorizer_function.items()
    if isinstance(name, str) and isinstance(code, int)
}


def _is_temp(database: str | None) -> bool:
    return database is not None and database.lower() == "temp"


def pragma_behind(table: str | None) -> str | None:
    """The pragma that a table-valued pragma such as `pragma_table_info` runs; None for any other table."""
    if table is None or not table.lower().startswith(_TABLE_OF_PRAGMA):
        return None
    return table.lower().removeprefix(_TABLE_OF_PRAGMA)


def denial(action: Action) -> str | None:
    """Why a reader must not do this, in words; None when it may."""
    match action.kind:
        case Kind.READ:
            return _foreign(action.database)
        case Kind.FUNCTION:
            return _function_denial((action.second or "").lower())
        case Kind.PRAGMA:
            return _foreign(action.database) or _pragma_denial(action)
        case Kind.TRANSACTION:
            return f"it controls a transaction ({_named(action)})"
        case Kind.ATTACHMENT:
            return "it attaches or detaches a database, on one connection only"
        case Kind.TEMP_WRITE:
            return f"it changes temporary objects, which live on one connection only ({_named(action)})"
        case Kind.SCHEMA_WRITE:
            return f"it changes the schema ({_named(action)})"
        case Kind.DATA_WRITE:
            return f"it changes data ({_named(action)})"
        case Kind.UNKNOWN:
            return f"it does something that readers do not know (action code {action.code})"


def _named(action: Action) -> str:
    return " ".join(filter(None, (_NAMES.get(action.code, str(action.code)), action.first)))


def _foreign(database: str | None) -> str | None:
    if database is None or database.lower() == "main":
        return None
    return f"it looks into the database '{database}', which only one connection has"


def _function_denial(name: str) -> str | None:
    if name in FUNCTIONS_OF_THE_CONNECTION:
        return f"{name}() answers for the connection that it runs on"
    if name in FUNCTIONS_WITH_EFFECTS:
        return f"{name}() does more than read the database"
    return None


def _pragma_denial(action: Action) -> str | None:
    name = (pragma_behind(action.first) if action.code == apsw.SQLITE_READ else (action.first or "").lower()) or ""
    if name not in PRAGMAS:
        return f"PRAGMA {name} reads or sets something of one connection, or changes the file"
    if action.second is not None and action.code == apsw.SQLITE_PRAGMA and name not in PRAGMAS_WITH_ARGUMENT:
        return f"PRAGMA {name} with an argument sets it"
    return None


def reader_authorizer(
    code: int, first: str | None, second: str | None, database: str | None, source: str | None
) -> int:
    """For `apsw.Connection.authorizer` of a reader. Install it after the connection is configured."""
    allowed = denial(Action(code, first, second, database, source)) is None
    if not allowed and code == apsw.SQLITE_PRAGMA and (first, second, database) == _ASKED_BY_FULL_TEXT_INDEX:
        allowed = True
    return apsw.SQLITE_OK if allowed else apsw.SQLITE_DENY

"""SQL of a scenario, checked by SQLite itself before any run.

The setup is run in an in-memory database; then every statement is prepared against the schema it leaves. What a
statement is, where it ends, which parameters it has, what it does and which functions it calls are SQLite's
answers (`sql_prepare`), never a reading of the text. Upholds VAL-1 and ISO-2 on the input side: a native database must
be able to repeat every statement and get the same answer. What it could not repeat is refused (`sql_rules`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import apsw

from simkit.scenario.cross_check import Path
from simkit.scenario.parameters import parse_params, setup_bindings
from simkit.scenario.positions import Located, PositionedList, PositionedMapping
from simkit.scenario.problems import Problem, suggest
from simkit.scenario.sql_prepare import Nulls, Prepared, prepare
from simkit.scenario.sql_rules import Use, findings, keys_by_chance, rowids_after_vacuum

# Enough for any honest setup (seconds of SQLite work), and an end for a runaway recursive query.
SETUP_PROGRESS_STEPS_MAX = 2_000_000_000
PROGRESS_INTERVAL_STEPS = 1_000_000
# Beyond this the check of `holds` against the setup is left out: loading must stay quick.
SETUP_ROWS_CHECKED_MAX = 20_000


class SqlCheck:
    """The SQL check of one file: `run` gives the problems, `names` then has the parameter names of each good text."""

    def __init__(self, located: Located) -> None:
        self.located = located
        self.problems: list[Problem] = []
        self.names: dict[str, tuple[str, ...]] = {}
        self.connection = apsw.Connection(":memory:")
        self.steps = 0
        self.setup_complete = True
        self.in_setup = False
        self.uses: list[Use] = []
        self.pragmas = frozenset(str(name) for (name,) in self.connection.execute("PRAGMA pragma_list"))

    def run(self) -> list[Problem]:
        """Every problem of the file's SQL. A failed setup ends the check: the rest would only follow from it."""
        root = self.located.root
        if not isinstance(root, PositionedMapping):
            return []
        try:
            page_size = root.get("page_size", 4096)
            if isinstance(page_size, int):
                self.connection.execute(f"PRAGMA page_size={int(page_size)}")
            if self._setup(root.get("setup"), page_size if isinstance(page_size, int) else 4096):
                self._operations(root.get("operations"))
                self._scripts(root.get("clients"))
                self._holds(root.get("holds"))
            for path, (message, hint) in (*rowids_after_vacuum(self.uses), *keys_by_chance(self.uses)):
                self._add(path, message, hint)
        finally:
            self.connection.close()
        return self.problems

    def _add(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        self.problems.append(self.located.problem(path, message, hint, key=key))

    def _setup(self, setup: Any, page_size: int) -> bool:
        if not isinstance(setup, PositionedList):
            return True
        self.in_setup = True
        self.connection.set_progress_handler(self._progress, PROGRESS_INTERVAL_STEPS)
        for index, item in enumerate(setup):
            path: Path = ("setup", index)
            params: Any = {}
            repeat: Any = 1
            sql: Any = item
            if isinstance(item, PositionedMapping):
                sql, params, repeat = item.get("sql"), item.get("params", {}), item.get("repeat", 1)
                path = (*path, "sql")
            if not isinstance(sql, str) or not isinstance(repeat, int):
                return False
            prepared = self.statement(path, sql)
            if prepared is None:
                return False
            self._parameters(("setup", index), path, params, [prepared])
            self._use(path, params, prepared)
            if self.problems or not self._run_setup(path, sql, params, repeat, page_size):
                return False
        self.connection.set_progress_handler(None)
        self.in_setup = False
        return True

    def _run_setup(self, path: Path, sql: str, params: Mapping[str, Any], repeat: int, page_size: int) -> bool:
        specs = parse_params(params)
        if specs is None:
            return False  # the model reports which parameter is wrong
        if repeat > SETUP_ROWS_CHECKED_MAX:
            self.setup_complete = False
        for bindings in setup_bindings(specs, min(repeat, SETUP_ROWS_CHECKED_MAX), page_size, int(path[1])):
            try:
                for _ in self.connection.execute(sql, bindings):
                    pass
            except (apsw.Error, OverflowError) as error:
                self._add(path, f"the setup fails here: {error}", "correct this statement or one before it")
                return False
        if not self.connection.in_transaction:
            return True
        self._add(path, "the setup leaves a transaction open", "remove BEGIN: each setup statement commits by itself")
        return False

    def _progress(self) -> bool:
        self.steps += PROGRESS_INTERVAL_STEPS
        return self.steps > SETUP_PROGRESS_STEPS_MAX

    def _operations(self, operations: Any) -> None:
        if not isinstance(operations, PositionedMapping):
            return
        for name, operation in operations.items():
            if not isinstance(operation, PositionedMapping):
                continue
            path: Path = ("operations", name)
            statements = operation.get("transaction")
            if isinstance(statements, PositionedList):
                texts = [((*path, "transaction", index), sql) for index, sql in enumerate(statements)]
                prepared = self._sequence(texts, in_transaction=True)
            else:
                prepared = self._sequence([((*path, "sql"), operation.get("sql"))], in_transaction=False)
            if prepared is not None:
                self._parameters(
                    path,
                    (*path, "transaction" if statements is not None else "sql"),
                    operation.get("params", {}),
                    prepared,
                )
                places = (
                    [(*path, "sql")]
                    if statements is None
                    else [(*path, "transaction", i) for i in range(len(prepared))]
                )
                for place, each in zip(places, prepared, strict=True):
                    self._use(place, operation.get("params", {}), each)

    def _scripts(self, clients: Any) -> None:
        if not isinstance(clients, PositionedList):
            return
        for number, client in enumerate(clients):
            script = client.get("script") if isinstance(client, PositionedMapping) else None
            if not isinstance(script, PositionedList):
                continue
            texts: list[tuple[Path, Any]] = []
            for index, step in enumerate(script):
                if isinstance(step, PositionedMapping) and "sql" in step:
                    texts.append((("clients", number, "script", index, "sql"), step["sql"]))
            for (path, _), prepared in zip(texts, self._each(texts, in_transaction=False), strict=True):
                if prepared is not None:
                    step = self.located.value(path[:-1])
                    self._parameters(path[:-1], path, step.get("params", {}), [prepared])
                    self._use(path, step.get("params", {}), prepared)

    def _holds(self, holds: Any) -> None:
        if not isinstance(holds, PositionedList):
            return
        for index, item in enumerate(holds):
            if not isinstance(item, PositionedMapping) or not isinstance(item.get("sql"), str):
                continue
            path: Path = ("holds", index, "sql")
            prepared = self.statement(path, item["sql"])
            if prepared is None:
                continue
            if not prepared.is_readonly:
                self._add(path, "this statement writes", "holds takes a reading statement")
                continue
            self._parameters(("holds", index), path, {}, [prepared])
            self._use(path, {}, prepared)
            if not prepared.names and "equals" in item and self.setup_complete:
                self._holds_after_setup(index, item)

    def _holds_after_setup(self, index: int, item: PositionedMapping) -> None:
        expected = item["equals"]
        try:
            rows = [list(row) for row in self.connection.execute(item["sql"])]
        except apsw.Error as error:
            self._add(("holds", index, "sql"), f"SQLite: {error}")
            return
        wanted = (
            [list(row) if isinstance(row, list) else row for row in expected]
            if isinstance(expected, list)
            else [[expected]]
        )
        if rows != wanted:
            answer = rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else rows
            text = repr(answer)
            text = text if len(text) <= 120 else f"{text[:117]}..."
            self._add(
                ("holds", index, "equals"), f"this does not hold after the setup: SQLite answers {text}", "correct one"
            )

    def _sequence(self, texts: list[tuple[Path, Any]], *, in_transaction: bool) -> list[Prepared] | None:
        """The prepared statements, or None when one is wrong."""
        result = list(self._each(texts, in_transaction=in_transaction))
        good = [prepared for prepared in result if prepared is not None]
        return good if len(good) == len(texts) else None

    def _each(self, texts: list[tuple[Path, Any]], *, in_transaction: bool) -> Iterator[Prepared | None]:
        """Prepares one after the other, each seeing the schema changes of those before it; nothing of this stays."""
        self.connection.execute("SAVEPOINT sql_check")
        results: list[Prepared | None] = []
        for path, sql in texts:
            prepared = self.statement(path, sql, in_transaction=in_transaction) if isinstance(sql, str) else None
            results.append(prepared)
            if prepared is not None and prepared.is_schema_change:
                try:
                    self.connection.execute(sql, Nulls())
                except apsw.Error as error:
                    self._add(path, f"SQLite: {error}")
        self.connection.execute("ROLLBACK TO sql_check")
        self.connection.execute("RELEASE sql_check")
        yield from results

    def statement(self, path: Path, sql: str, *, in_transaction: bool = False) -> Prepared | None:
        """What SQLite says of a text that must be one statement; None after reporting what is wrong with it."""
        try:
            prepared = prepare(self.connection, sql)
        except apsw.BindingsError:
            self._add(path, "a parameter has no name", "write it as :name and give it under params")
            return None
        except apsw.Error as error:
            offset = getattr(error, "error_offset", -1)
            near = (
                f", at {sql.encode()[offset:].decode(errors='replace')[:30]!r}"
                if offset is not None and offset > 0
                else ""
            )
            hint = "statements are prepared against the schema that setup leaves"
            if "incomplete input" in str(error):
                hint = "put SQL that holds commas or braces in quotes when it stands inside [ ] or { }"
            self._add(path, f"SQLite: {error}{near}", hint)
            return None
        count = len(self.problems)
        if prepared.is_empty:
            self._add(path, "there is no SQL statement here", "write one statement")
        elif self._has_more(sql[len(prepared.first) :]):
            rest = sql[len(prepared.first) :].strip()[:30]
            self._add(path, f"more than one statement: the second begins {rest!r}", "make it a list item of its own")
        for word in prepared.transaction_words:
            if in_transaction and word.startswith("SAVEPOINT"):
                continue
            hint = (
                "the transaction adds its own BEGIN and COMMIT"
                if in_transaction
                else "use `transaction:` in an operation"
            )
            self._add(path, f"{word.split()[0]} is not written as SQL", hint)
        if prepared.attaches:
            self._add(path, "ATTACH and DETACH are not simulated", "keep to the main database")
        for message, hint in findings(prepared, self.pragmas, in_setup=self.in_setup):
            self._add(path, message, hint)
        if len(self.problems) > count:
            return None
        self.names[sql] = tuple(name for name in prepared.names if name is not None)
        return prepared

    def _has_more(self, rest: str) -> bool:
        try:
            while rest.strip():
                prepared = prepare(self.connection, rest)
                if not prepared.is_empty:
                    return True
                if not prepared.first:
                    return False
                rest = rest[len(prepared.first) :]
        except apsw.Error:
            return True
        return False

    def _use(self, path: Path, params: Any, prepared: Prepared) -> None:
        self.uses.append(Use(path, params, prepared, self.in_setup))

    def _parameters(self, owner: Path, sql_path: Path, params: Any, statements: list[Prepared]) -> None:
        """Each parameter of the SQL has a value, each value is used."""
        if not isinstance(params, dict):
            return
        used = dict.fromkeys(name for prepared in statements for name in prepared.names)
        for name in used:
            if name is None or name.isdigit():
                shown = "?" if name is None else f"?{name}"
                self._add(sql_path, f"the parameter {shown} has no name", "write it as :name and give it under params")
            elif name not in params:
                self._add(
                    sql_path, f"the parameter :{name} has no value", f"add it under params; {suggest(name, params)}"
                )
        for name in params:
            if name not in used:
                known = [f":{other}" for other in used if other is not None]
                self._add(
                    (*owner, "params", name),
                    f"the parameter {name!r} is not used in the SQL",
                    suggest(f":{name}", known),
                    key=True,
                )

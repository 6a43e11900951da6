"""SQL of a scenario, checked by SQLite itself before any run.

The setup is run in an in-memory database; then every statement of the file is prepared against the schema it leaves
(`sql_texts`), and compared with what the file says about it (`sql_operations`). Upholds VAL-1 and ISO-2 on the input
side: a native database must be able to repeat every statement and get the same answer. What holds after the setup is
looked at as well, so that a wrong expectation is found before any run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw

from simkit.scenario.cross_check import Path
from simkit.scenario.parameters import parse_params, setup_bindings
from simkit.scenario.positions import Located, PositionedList, PositionedMapping
from simkit.scenario.problems import Problem
from simkit.scenario.sql_operations import operation_findings
from simkit.scenario.sql_prepare import Prepared
from simkit.scenario.sql_rules import Use, keys_by_chance, rowids_after_vacuum
from simkit.scenario.sql_texts import SqlTexts

# Enough for any honest setup (seconds of SQLite work), and an end for a runaway recursive query.
SETUP_PROGRESS_STEPS_MAX = 2_000_000_000
PROGRESS_INTERVAL_STEPS = 1_000_000
# Beyond this the check of `holds` against the setup is left out: loading must stay quick.
SETUP_ROWS_CHECKED_MAX = 20_000


class SqlCheck:
    """The SQL check of one file: `run` gives the problems."""

    def __init__(self, located: Located) -> None:
        self.located = located
        self.problems: list[Problem] = []
        self.connection = apsw.Connection(":memory:")
        self.steps = 0
        self.setup_complete = True
        self.texts = SqlTexts(located, self.problems, self.connection)
        self.uses: list[Use] = []

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The parameter names of each good text."""
        return self.texts.names

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
                self.texts.add(path, message, hint)
        finally:
            self.connection.close()
        return self.problems

    def _setup(self, setup: Any, page_size: int) -> bool:
        if not isinstance(setup, PositionedList):
            return True
        self.texts.in_setup = True
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
            prepared = self.texts.statement(path, sql)
            if prepared is None:
                return False
            self.texts.parameters(("setup", index), path, params, [prepared])
            self._use(path, params, prepared)
            if self.problems or not self._run_setup(path, sql, params, repeat, page_size):
                return False
        self.connection.set_progress_handler(None)
        self.texts.in_setup = False
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
                self.texts.add(path, f"the setup fails here: {error}", "correct this statement or one before it")
                return False
        if not self.connection.in_transaction:
            return True
        self.texts.add(
            path, "the setup leaves a transaction open", "remove BEGIN: each setup statement commits by itself"
        )
        return False

    def _progress(self) -> bool:
        self.steps += PROGRESS_INTERVAL_STEPS
        return self.steps > SETUP_PROGRESS_STEPS_MAX

    def _operations(self, operations: Any) -> None:
        if not isinstance(operations, PositionedMapping):
            return
        for name, operation in operations.items():
            if not isinstance(operation, PositionedMapping) or not ("sql" in operation or "transaction" in operation):
                continue
            path: Path = ("operations", name)
            statements = operation.get("transaction")
            if isinstance(statements, PositionedList):
                text_path: Path = (*path, "transaction")
                texts = [((*text_path, index), sql) for index, sql in enumerate(statements)]
                prepared = self.texts.sequence(texts, in_transaction=True)
                places: list[Path] = [place for place, _ in texts]
            else:
                text_path = (*path, "sql")
                if operation.get("several") is True:
                    prepared = self.texts.several(text_path, operation.get("sql"))
                else:
                    prepared = self.texts.sequence([(text_path, operation.get("sql"))], in_transaction=False)
                places = [text_path] * len(prepared or ())
            if prepared is not None:
                params = operation.get("params", {})
                self.texts.parameters(path, text_path, params, prepared)
                for place, (message, hint) in operation_findings(path, operation, prepared):
                    self.texts.add(place, message, hint)
                for place, each in zip(places, prepared, strict=True):
                    self._use(place, params, each)

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
            for (path, _), prepared in zip(texts, self.texts.each(texts, in_transaction=False), strict=True):
                if prepared is not None:
                    step = self.located.value(path[:-1])
                    self.texts.parameters(path[:-1], path, step.get("params", {}), [prepared])
                    self._use(path, step.get("params", {}), prepared)

    def _holds(self, holds: Any) -> None:
        if not isinstance(holds, PositionedList):
            return
        for index, item in enumerate(holds):
            if not isinstance(item, PositionedMapping) or not isinstance(item.get("sql"), str):
                continue
            path: Path = ("holds", index, "sql")
            prepared = self.texts.statement(path, item["sql"])
            if prepared is None:
                continue
            if not prepared.is_readonly:
                self.texts.add(path, "this statement writes", "holds takes a reading statement")
                continue
            self.texts.parameters(("holds", index), path, {}, [prepared])
            self._use(path, {}, prepared)
            if not prepared.names and "equals" in item and self.setup_complete:
                self._holds_after_setup(index, item)

    def _holds_after_setup(self, index: int, item: PositionedMapping) -> None:
        expected = item["equals"]
        try:
            rows = [list(row) for row in self.connection.execute(item["sql"])]
        except apsw.Error as error:
            self.texts.add(("holds", index, "sql"), f"SQLite: {error}")
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
            self.texts.add(
                ("holds", index, "equals"), f"this does not hold after the setup: SQLite answers {text}", "correct one"
            )

    def _use(self, path: Path, params: Any, prepared: Prepared) -> None:
        self.uses.append(Use(path, params, prepared, self.texts.in_setup))

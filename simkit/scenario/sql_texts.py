"""What SQLite says about the texts of one scenario, each at its place: what is wrong becomes a problem of the file.

Texts are prepared against the schema that the setup left in `connection`, and nothing of them stays there. What a
statement is and where it ends are SQLite's answers (`sql_prepare`); what a native database could not repeat is refused
(`sql_rules`), which upholds VAL-1 and ISO-2 on the input side. Which texts a file has is `sql_check`'s business.
"""

from __future__ import annotations

from typing import Any

import apsw

from simkit.scenario.cross_check import Path
from simkit.scenario.positions import Located
from simkit.scenario.problems import Problem, suggest
from simkit.scenario.sql_prepare import Nulls, Prepared, prepare
from simkit.scenario.sql_rules import findings


class SqlTexts:
    """The texts of one file. `names` has the parameter names of each good one; `problems` is the list it is given."""

    def __init__(self, located: Located, problems: list[Problem], connection: apsw.Connection) -> None:
        self.problems = problems
        self.names: dict[str, tuple[str, ...]] = {}
        self.in_setup = False
        self.connection = connection
        self.located = located
        self.pragmas = frozenset(str(name) for (name,) in connection.execute("PRAGMA pragma_list"))

    def add(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        """A problem at the value at `path`, or at its key."""
        self.problems.append(self.located.problem(path, message, hint, key=key))

    def sequence(self, texts: list[tuple[Path, Any]], *, in_transaction: bool) -> list[Prepared] | None:
        """The prepared statements, or None when one is wrong."""
        result = self.each(texts, in_transaction=in_transaction)
        good = [prepared for prepared in result if prepared is not None]
        return good if len(good) == len(texts) else None

    def each(self, texts: list[tuple[Path, Any]], *, in_transaction: bool) -> list[Prepared | None]:
        """Prepares one after the other, each seeing the schema changes of those before it; nothing of this stays."""
        self.connection.execute("SAVEPOINT sql_check")
        results: list[Prepared | None] = []
        for path, sql in texts:
            prepared = self.statement(path, sql, in_transaction=in_transaction) if isinstance(sql, str) else None
            results.append(prepared)
            if prepared is not None:
                self._change_schema(path, sql, prepared)
        self.connection.execute("ROLLBACK TO sql_check")
        self.connection.execute("RELEASE sql_check")
        return results

    def _change_schema(self, path: Path, sql: str, prepared: Prepared) -> None:
        """What follows is prepared against the schema that this statement leaves."""
        if prepared.is_schema_change:
            try:
                self.connection.execute(sql, Nulls())
            except apsw.Error as error:
                self.add(path, f"SQLite: {error}")

    def statement(self, path: Path, sql: str, *, in_transaction: bool = False) -> Prepared | None:
        """What SQLite says of a text that must be one statement; None after reporting what is wrong with it."""
        prepared = self._prepared(path, sql)
        if prepared is None:
            return None
        count = len(self.problems)
        if prepared.is_empty:
            self.add(path, "there is no SQL statement here", "write one statement")
        elif self._has_more(sql[len(prepared.first) :]):
            rest = sql[len(prepared.first) :].strip()[:30]
            self.add(path, f"more than one statement: the second begins {rest!r}", "make it a list item of its own")
        self._judge(path, prepared, in_transaction=in_transaction)
        if len(self.problems) > count:
            return None
        self.names[sql] = tuple(name for name in prepared.names if name is not None)
        return prepared

    def _prepared(self, path: Path, sql: str) -> Prepared | None:
        """The first statement of the text; None after reporting what SQLite has against it."""
        try:
            return prepare(self.connection, sql)
        except apsw.BindingsError:
            self.add(path, "a parameter has no name", "write it as :name and give it under params")
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
            self.add(path, f"SQLite: {error}{near}", hint)
            return None

    def _judge(self, path: Path, prepared: Prepared, *, in_transaction: bool) -> None:
        """Reports what a scenario must not say in SQL."""
        for word in prepared.transaction_words:
            if in_transaction and word.startswith("SAVEPOINT"):
                continue
            hint = (
                "the transaction adds its own BEGIN and COMMIT"
                if in_transaction
                else "use `transaction:` in an operation"
            )
            self.add(path, f"{word.split()[0]} is not written as SQL", hint)
        if prepared.attaches:
            self.add(path, "ATTACH and DETACH are not simulated", "keep to the main database")
        for message, hint in findings(prepared, self.pragmas, in_setup=self.in_setup):
            self.add(path, message, hint)

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

    def several(self, path: Path, text: Any) -> list[Prepared] | None:
        """The statements of one text, each prepared after the schema changes of those before it; nothing stays."""
        if not isinstance(text, str):
            return None
        count = len(self.problems)
        result: list[Prepared] = []
        self.connection.execute("SAVEPOINT sql_check")
        rest = text
        while rest.strip() and len(self.problems) == count:
            prepared = self._prepared(path, rest)
            if prepared is None or not prepared.first:
                break
            rest = rest[len(prepared.first) :]
            if prepared.is_empty:
                continue
            if result and prepared.names:
                self.add(path, "a statement after the first has parameters", "write its values into the text")
            self._judge(path, prepared, in_transaction=False)
            result.append(prepared)
            self._change_schema(path, prepared.first, prepared)
        self.connection.execute("ROLLBACK TO sql_check")
        self.connection.execute("RELEASE sql_check")
        if not result and len(self.problems) == count:
            self.add(path, "there is no SQL statement here", "write at least one")
        if len(self.problems) > count:
            return None
        self.names[text] = tuple(name for name in result[0].names if name is not None)
        return result

    def parameters(self, owner: Path, sql_path: Path, params: Any, statements: list[Prepared]) -> None:
        """Each parameter of the SQL has a value, each value is used."""
        if not isinstance(params, dict):
            return
        used = dict.fromkeys(name for prepared in statements for name in prepared.names)
        for name in used:
            if name is None or name.isdigit():
                shown = "?" if name is None else f"?{name}"
                self.add(sql_path, f"the parameter {shown} has no name", "write it as :name and give it under params")
            elif name not in params:
                self.add(
                    sql_path, f"the parameter :{name} has no value", f"add it under params; {suggest(name, params)}"
                )
        for name in params:
            if name not in used:
                known = [f":{other}" for other in used if other is not None]
                self.add(
                    (*owner, "params", name),
                    f"the parameter {name!r} is not used in the SQL",
                    suggest(f":{name}", known),
                    key=True,
                )

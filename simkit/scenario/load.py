"""From YAML to a checked `Scenario`, or to every problem of the file at once.

Four passes over the same positioned text, none of which stops another: YAML (syntax, duplicate keys), the model
(keys, types, values), rules between keys, and SQL. The last two run even when the model failed, since a reader
mends a file faster from one list. Only a syntax error ends early: after it there is no structure to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from simkit.scenario.cross_check import cross_check
from simkit.scenario.model import Scenario
from simkit.scenario.model_base import describe
from simkit.scenario.positions import Located, PositionedMapping, core_scalar, read_yaml
from simkit.scenario.problems import Problem, ScenarioError, suggest
from simkit.scenario.sql_check import SqlCheck

FILE_BYTES_MAX = 4_000_000

_UNKNOWN_KEY = "unknown key"


def load_scenario(path: str | Path) -> Scenario:
    """The scenario in the file at `path`. Raises `ScenarioError` with every problem, also when it cannot be read."""
    file = Path(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        hint = "check the path" if isinstance(error, FileNotFoundError) else "give a readable YAML file"
        raise ScenarioError([Problem(str(path), 1, 1, f"cannot read this file: {error.strerror}", hint)]) from None
    if len(data) > FILE_BYTES_MAX:
        message = f"{len(data)} bytes is too large for a scenario (at most {FILE_BYTES_MAX})"
        raise ScenarioError([Problem(str(path), 1, 1, message, "put rows into setup with repeat, samples into a file")])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise ScenarioError([Problem(str(path), line, column, "this is not UTF-8", "save the file as UTF-8")]) from None
    return parse_scenario(text, str(path))


def parse_scenario(text: str, file_name: str, attachments: Mapping[str, str] | None = None) -> Scenario:
    """The scenario in `text`. `file_name` is used in messages, and relative paths start from its directory.

    With `attachments`, the files it names are taken from there (name to text) and from nowhere else.
    """
    read: dict[str, str] = dict(attachments or {})
    root, problems = read_yaml(text, file_name)
    if root is None:
        raise ScenarioError(problems or [Problem(file_name, 1, 1, "the file holds null", "a scenario is a mapping")])
    located = Located(file_name, root)
    scenario: Scenario | None = None
    try:
        scenario = Scenario.model_validate(
            root,
            context={"directory": str(Path(file_name).parent), "attachments": read, "sealed": attachments is not None},
        )
    except ValidationError as error:
        found = (_problem(located, details) for details in error.errors(include_url=False))
        problems.extend(problem for problem in found if problem is not None)
    problems.extend(cross_check(located))
    sql = SqlCheck(located)
    problems.extend(sql.run())
    if problems:
        raise ScenarioError(_sorted(problems))
    assert scenario is not None
    scenario._statement_names.update(sql.names)
    scenario._source_text = text
    scenario._file_name = file_name
    scenario._attachments.update(read)
    scenario._positions.update(root.value_positions)
    return scenario


def _sorted(problems: list[Problem]) -> list[Problem]:
    """In the order of the file, each once; "unknown key" gives way to a rule that speaks of the same key."""
    told = {(problem.line, problem.column) for problem in problems if not problem.message.startswith(_UNKNOWN_KEY)}
    kept = [
        problem
        for problem in dict.fromkeys(problems)
        if (problem.line, problem.column) not in told or not problem.message.startswith(_UNKNOWN_KEY)
    ]
    return sorted(kept, key=lambda problem: (problem.line, problem.column))


def _problem(located: Located, details: ErrorDetails) -> Problem | None:
    """One pydantic error as a problem of the file; None when it only follows from another."""
    path = tuple(details["loc"])
    kind, value = details["type"], details.get("input")
    context = details.get("ctx", {})
    match kind:
        case "extra_forbidden":
            key = str(path[-1])
            owner = located.value(path[:-1])
            allowed = owner.allowed if isinstance(owner, PositionedMapping) else None
            hint = suggest(key, allowed or ())
            if " " in key and isinstance(owner, dict) and "sql" in owner:
                hint = "put SQL that holds commas in quotes"
            return located.problem(path, f"{_UNKNOWN_KEY} {key!r}", hint, key=True)
        case "missing":
            return located.problem(path[:-1], f"the key {str(path[-1])!r} is missing", "add it")
        case "scenario":
            message, _, hint = details["msg"].partition("; ")
            return located.problem(path, message, hint)
        case "string_pattern_mismatch":
            hint = "use lower-case letters, digits and hyphens, beginning with a letter, such as money-transfers"
            return located.problem(path, f"{describe(value)} is no valid name", hint, key="[key]" in path)
        case "string_type" | "int_type" | "float_type" | "bool_type" | "tuple_type" | "dict_type" | "mapping_type":
            return located.problem(path, f"expected {_EXPECTED[kind]}, not {describe(value)}", _text_hint(kind, value))
        case "too_short" | "string_too_short":
            # Pydantic counts only the good items: a list whose items are all wrong is not empty.
            return None if value else located.problem(path, "this is empty", "give at least one")
        case "greater_than_equal" | "less_than_equal":
            bound = context.get("ge", context.get("le"))
            word = "least" if kind == "greater_than_equal" else "most"
            return located.problem(path, f"{describe(value)} is out of bounds", f"at {word} {bound}")
    return located.problem(path, f"{details['msg']}, not {describe(value)}")


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
}


def _text_hint(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, dict):
        return "put SQL that holds ': ' or braces in quotes"
    if kind == "string_type":
        return "put it in quotes"
    if kind == "bool_type" and value in ("yes", "no", "on", "off"):
        return "YAML 1.2 knows only true and false"
    if not isinstance(value, str):
        return ""
    # What would not be text without quotes had some.
    if value.startswith(("[", "{")) or not isinstance(core_scalar(value), str):
        return "remove the quotes"
    return "write a number, such as 5" if kind in ("int_type", "float_type") else ""

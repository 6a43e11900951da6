"""YAML with positions: the core schema of YAML 1.2, duplicates, syntax errors."""

import math
from typing import Any

import pytest

from simkit.scenario.positions import Located, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"),
        ("~", None),
        ("True", True),
        ("1e3", 1000.0),
        ("-.inf", -math.inf),
        ("'5'", "5"),
        ("9007199254740993", 9007199254740993),
        ('"a\\0b"', "a\0b"),
        ("!!str 5", "5"),
    ],
)
def test_scalar_follows_the_core_schema(text: str, value: Any) -> None:
    root, problems = read_yaml(f"key: {text}", "f")
    assert (root["key"], type(root["key"]), problems) == (value, type(value), [])


def test_folded_text_is_one_line() -> None:
    assert read_yaml("a: >-\n  one\n  two\n", "f")[0]["a"] == "one two"


def test_every_duplicate_key_is_reported() -> None:
    _, problems = read_yaml("a: 1\na: 2\nb: {c: 1, c: 2}\na: 3\n", "f")
    assert [(problem.line, problem.column) for problem in problems] == [(2, 1), (3, 11), (4, 1)]


def test_syntax_error_has_its_position() -> None:
    root, (problem,) = read_yaml("a: 1\nb: c: d\n", "f")
    assert (root, problem.line, problem.column) == (None, 2, 5)


def test_unprintable_character_has_its_position() -> None:
    _, (problem,) = read_yaml("a: 1\nb: \x01\n", "f")
    assert (problem.line, problem.column) == (2, 4)


def test_second_document_is_refused() -> None:
    assert "document" in read_yaml("a: 1\n---\nb: 2\n", "f")[1][0].message


@pytest.mark.parametrize(
    "text", ['a: "\\uD800"', '"\\uD800": 1', "a: !x 1", "a: !!binary aGk=", "a: &b [*b]", "? [1]\n: 2"]
)
def test_what_a_scenario_cannot_mean_is_refused(text: str) -> None:
    assert len(read_yaml(text, "f")[1]) == 1


def test_aliases_cannot_multiply_without_bound() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than" in read_yaml("\n".join(lines), "f")[1][0].message


def test_path_leads_to_value_and_key() -> None:
    located = Located("f", read_yaml("a:\n  - {b: 1}\n", "f")[0])
    assert (located.find(("a", 0, "b")), located.find(("a", 0, "b"), key=True)) == ((2, 9), (2, 6))


def test_unknown_part_of_a_path_is_skipped() -> None:
    located = Located("f", read_yaml("a: {b: 1}", "f")[0])
    assert located.find(("<tag>", "a", "<other>", "b")) == (1, 8)


@pytest.mark.parametrize("depth", [50, 5000])
def test_deep_nesting_is_refused(depth: int) -> None:
    (problem,) = read_yaml("a: " + "[" * depth + "]" * depth, "f")[1]
    assert "levels" in problem.message

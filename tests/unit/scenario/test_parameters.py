"""Parameter generators."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from simkit.scenario.model import Scenario
from simkit.scenario.parameters import Stream, Value, compile_parameter, edge_values, parse_params
from simkit.scenario.problems import Problem


def draws(spec: Any, count: int = 200, page_size: int = 4096) -> list[Value]:
    parsed = parse_params({"p": spec})
    assert parsed is not None
    source = random.Random(1)
    stream = Stream(source.random, source.getrandbits, "teller-1", 0, 1)
    draw = compile_parameter(parsed["p"], page_size)
    return [draw(stream) for _ in range(count)]


@pytest.mark.parametrize("value", [None, 5, -1.5, "text", math.inf, 2**63 - 1])
def test_literal_is_itself(value: Any) -> None:
    assert draws(value, 1) == [value]


def test_true_is_one() -> None:
    assert draws(True, 1) == [1]


def test_integers_fill_their_range() -> None:
    assert set(draws({"int": [1, 5]})) == {1, 2, 3, 4, 5}


def test_widest_integer_range_stays_within_64_bits() -> None:
    values = draws({"int": [-(2**63), 2**63 - 1]})
    assert all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in values)


def test_reals_stay_in_their_range() -> None:
    assert all(isinstance(value, float) and -1e308 <= value <= 1e308 for value in draws({"real": [-1e308, 1e308]}))


def test_choice_gives_each_value() -> None:
    assert set(draws({"choice": [1, None, "a"]})) == {1, None, "a"}


def test_text_has_the_lengths_asked_for() -> None:
    assert {len(value) for value in draws({"text": [0, 3]}) if isinstance(value, str)} == {0, 1, 2, 3}


def test_blob_has_the_lengths_asked_for() -> None:
    assert {len(value) for value in draws({"blob": [0, 3]}) if isinstance(value, bytes)} == {0, 1, 2, 3}


def test_sequence_never_repeats() -> None:
    assert draws({"sequence": 7}, 3) == [7, 8, 9]


def test_unique_text_names_prefix_client_and_number() -> None:
    assert draws({"unique": "order"}, 2) == ["order-teller-1-1", "order-teller-1-2"]


def test_client_is_the_name_of_the_client() -> None:
    assert draws({"client": True}, 1) == ["teller-1"]


@pytest.mark.parametrize("kind", ["int", "real", "text", "blob", "any"])
def test_edge_draws_only_edge_values(kind: str) -> None:
    assert {repr(value) for value in draws({"edge": kind})} <= {repr(value) for value in edge_values(kind, 4096)}


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**53, 2**53 + 1, -0.0, math.inf, 5e-324, "", b"", None])
def test_edge_values_include(value: Value) -> None:
    assert repr(value) in {repr(each) for each in edge_values("any", 4096)}


def test_edge_values_reach_the_page_size() -> None:
    assert 512 in {len(value) for value in edge_values("blob", 512) if isinstance(value, bytes)}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{itn: [1, 2]}", "is no parameter generator; did you mean 'int'?"),
        ("{int: [2, 1]}", "the range is empty: 2 is more than 1"),
        ("{int: 5}", "expected a range [low, high], not 5"),
        ("{int: [1, 9223372036854775808]}", "does not fit in 64 bits"),
        ("9223372036854775808", "does not fit in 64 bits"),
        ("{real: [0, .inf]}", "must be finite"),
        ("{text: [-1, 5]}", "a length must be 0 to"),
        ("{choice: []}", "this is empty"),
        ("{choice: [[1]]}", "is no SQL value"),
        ("{edge: integer}", "is no kind of edge value"),
        ("{int: [1, 2], text: [1, 2]}", "unknown key 'text'; allowed: int"),
        ("[1, 2]", "is no SQL value"),
    ],
)
def test_wrong_parameter_is_explained(problem: Callable[..., Problem], spec: str, message: str) -> None:
    operations = f"operations:\n  read: {{sql: 'SELECT :p', params: {{p: {spec}}}}}"
    assert message in str(problem(operations=operations))


def test_edge_value_of_every_kind_can_be_bound(loaded: Callable[..., Scenario]) -> None:
    operations = "operations:\n  read: {sql: 'SELECT :p', params: {p: {edge: any}}}"
    assert loaded(operations=operations).statement_names == {
        "SELECT :p": ("p",),
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b, c DEFAULT CURRENT_TIMESTAMP)": (),
    }

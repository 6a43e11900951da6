"""Durations as text and as nanoseconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.kernel.units import DURATION_NS_MAX, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("0ns", 0),
        ("20ms", 20_000_000),
        ("2.5 s", 2_500_000_000),
        ("1us", 1_000),
        ("1µs", 1_000),
        (" 1min ", 60 * 10**9),
    ],
)
def test_duration_is_parsed_exactly(text: str, duration_ns: int) -> None:
    assert parse_duration(text) == duration_ns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "write 5ms"),
        ("", "write for example 5ms"),
        ("1.5ns", "finer than a nanosecond"),
        ("-1s", "not a duration"),
        ("9999999999999s", "longer than simulated time"),
        ("1 hour", "units are ns, us, ms, s, min"),
    ],
)
def test_what_is_no_duration_is_refused_with_advice(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_duration(text)


@given(st.integers(0, DURATION_NS_MAX))
def test_formatted_duration_is_parsed_back(duration_ns: int) -> None:
    assert parse_duration(format_duration(duration_ns)) == duration_ns

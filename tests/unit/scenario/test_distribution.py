"""Durations, distributions, latency profiles and fault points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.depot.distribution import (
    QUANTILES_MAX,
    Distribution,
    constant,
    empirical,
    lognormal,
    lognormal_p90,
    mixture,
    uniform,
)
from simkit.depot.fault_points import Boundary, FaultPoint
from simkit.depot.latency import LATENCY_PROFILES, REQUEST_KINDS
from simkit.kernel.units import MILLISECOND, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("0ns", 0),
        ("5ms", 5_000_000),
        ("2.5 s", 2_500_000_000),
        ("800us", 800_000),
        ("7µs", 7_000),
        ("1min", 60 * 10**9),
    ],
)
def test_duration_text_becomes_nanoseconds(text: str, duration_ns: int) -> None:
    assert parse_duration(text) == duration_ns


def test_duration_without_unit_says_what_to_write() -> None:
    with pytest.raises(ValueError, match="write 5ms"):
        parse_duration("5")


@pytest.mark.parametrize("text", ["", "ms", "-5ms", "5 hours", "1e3ms", "0.5ns", "9999999999999s", "٣ms"])
def test_other_text_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.integers(0, 10**15))
def test_formatted_duration_parses_back(duration_ns: int) -> None:
    assert parse_duration(format_duration(duration_ns)) == duration_ns


def test_constant_asks_for_no_decision() -> None:
    def refuse(_: int) -> int:
        raise AssertionError("a constant must not draw")

    assert constant(7).draw(refuse) == 7


def test_draw_takes_one_decision_over_the_table() -> None:
    asked: list[int] = []

    def choose(count: int) -> int:
        asked.append(count)
        return 2

    assert (uniform(10, 14).draw(choose), asked) == (12, [5])


def test_uniform_includes_both_ends() -> None:
    wide = uniform(0, 10**9)
    assert (wide.quantiles[0], wide.quantiles[-1], len(wide.quantiles)) == (0, 10**9, QUANTILES_MAX)


def test_lognormal_has_the_median_asked_for() -> None:
    assert lognormal(MILLISECOND, 9 * MILLISECOND).quantile(0.5) == pytest.approx(MILLISECOND, rel=0.01)


def test_lognormal_has_the_99th_percentile_asked_for() -> None:
    assert lognormal(MILLISECOND, 9 * MILLISECOND).quantile(0.99) == pytest.approx(9 * MILLISECOND, rel=0.05)


def test_lognormal_by_p90_has_that_percentile() -> None:
    assert lognormal_p90(MILLISECOND, 4 * MILLISECOND).quantile(0.9) == pytest.approx(4 * MILLISECOND, rel=0.02)


def test_lognormal_table_is_the_same_everywhere() -> None:
    table = lognormal(1_000_000, 9_000_000).quantiles
    assert (table[0], table[511], table[1023]) == (44_415, 998_845, 22_515_040)


def test_mixture_keeps_the_weights() -> None:
    table = mixture([(0.75, constant(1)), (0.25, constant(9))]).quantiles
    assert (table.count(1), table.count(9)) == (768, 256)


def test_empirical_keeps_few_samples_as_they_are() -> None:
    assert empirical([3, 1, 2, 2]).quantiles == (1, 2, 2, 3)


def test_empirical_thins_many_samples_evenly() -> None:
    table = empirical(range(102_400)).quantiles
    assert (len(table), table[0], table[-1]) == (1024, 50, 102_350)


@pytest.mark.parametrize("quantiles", [(), (2, 1), (-1,), tuple(range(1025))])
def test_bad_table_is_refused(quantiles: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        Distribution(quantiles)


@pytest.mark.parametrize("name", list(LATENCY_PROFILES))
def test_profile_says_where_its_numbers_come_from(name: str) -> None:
    assert LATENCY_PROFILES[name].name == name
    assert len(LATENCY_PROFILES[name].source) > 40


@pytest.mark.parametrize("name", list(LATENCY_PROFILES))
@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_profile_has_every_request_kind(name: str, kind: str) -> None:
    assert LATENCY_PROFILES[name].of(kind).per_page_ns >= 0


def test_unknown_request_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="get_pages, commit, open"):
        LATENCY_PROFILES["instant"].of("close")


def test_only_the_point_after_the_store_committed_is_ambiguous() -> None:
    ambiguous = [point for point in FaultPoint if point.boundary is Boundary.AMBIGUOUS]
    assert ambiguous == [FaultPoint.COMMIT_AFTER_KV_COMMIT]


def test_read_points_leave_data_alone() -> None:
    assert {point.boundary for point in FaultPoint if point.value.startswith("read.")} == {Boundary.READ_ONLY}


def test_earlier_commit_points_leave_the_old_state() -> None:
    assert FaultPoint.COMMIT_BEFORE_HEAD_WRITE.boundary is Boundary.PRE_DURABLE

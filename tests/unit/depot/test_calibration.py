"""From measured round trips to a profile: the file is read strictly, and what was drawn from is found again."""

import math
from pathlib import Path
from random import Random

import pytest

from simkit.depot.calibration import CalibrationRefused, Masses, calibrate, distances, per_page_cost
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.mixture_fit import fit_two_lognormals
from simkit.depot.profile_file import parse_profile
from simkit.depot.round_trips import Measured, RoundTrips, RoundTripsInvalid, parse_round_trips
from simkit.kernel.units import MICROSECOND, MILLISECOND

SAMPLE = Path(__file__).with_name("round_trips.csv").read_text(encoding="utf-8")
HEADER = "kind,pages,request_bytes,response_bytes,milliseconds\n"


def trips_of(rows: str, header: str = HEADER) -> RoundTrips:
    return parse_round_trips(header + rows, "trips.csv", 4096)


def lognormal_ns(random: Random, p50_ms: float, sigma: float) -> int:
    return round(random.lognormvariate(math.log(p50_ms), sigma) * MILLISECOND)


def measured(durations_ns: list[int], pages: list[int] | None = None) -> RoundTrips:
    carried = None if pages is None else tuple(pages)
    return RoundTrips((Measured("get_pages", tuple(durations_ns), carried, "a test"),), {})


def test_columns_are_found_by_name_in_any_order() -> None:
    trips = trips_of("1.5,open,7\n", "\ufeffMilliseconds, Kind ,other\n")
    assert trips.measured == (Measured("open", (1_500_000,), None, "not known for every row"),)


def test_pages_come_from_their_column_first() -> None:
    assert trips_of("commit,3,8271,15,1\n").measured[0].pages == (3,)


@pytest.mark.parametrize(("row", "pages"), [("commit,,8271,15,1", 2), ("get_pages,,560,70000,1", 17)])
def test_pages_come_from_the_bytes_where_they_are_not_counted(row: str, pages: int) -> None:
    assert trips_of(row).measured[0].pages == (pages,)


def test_one_row_without_pages_leaves_its_kind_without_any() -> None:
    assert trips_of("commit,1,,,1\ncommit,,,,1\n").measured[0].pages is None


def test_rows_of_other_kinds_are_counted() -> None:
    assert trips_of("open,,,,1\nping,,,,1\nping,,,,1\n\n").left_out == {"ping": 2}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "trips.csv:1: there is no column kind"),
        ("kind,ms\n", "trips.csv:1: there is no column milliseconds"),
        ("kind,kind,milliseconds\n", "trips.csv:1: the column kind is there twice"),
        (HEADER, "trips.csv:1: no row is of a kind get_pages, commit, open: it has no rows"),
        (HEADER + "ping,,,,1\n", "it has only ping"),
        (HEADER + "open,,,,1\nopen,,,,fast\n", "trips.csv:3: milliseconds is 'fast', which is no duration"),
        (HEADER + "open,,,,-1\n", "trips.csv:2: milliseconds is '-1'"),
        (HEADER + "open,,,,nan\n", "trips.csv:2: milliseconds is 'nan'"),
        (HEADER + "open,,\n", "trips.csv:2: milliseconds is ''"),
        (HEADER + "ping,,,,x\n", "trips.csv:2: milliseconds is 'x'"),
        (HEADER + "open,1.5,,,1\n", "trips.csv:2: pages is '1.5', which is no count"),
        (HEADER + "commit,,-1,,1\n", "trips.csv:2: request_bytes is '-1', which is no count"),
        (HEADER + 'open,"1,,,1\n', "trips.csv:2: not CSV"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(RoundTripsInvalid) as caught:
        parse_round_trips(text, "trips.csv", 4096)
    assert problem in str(caught.value)


def test_an_error_of_a_file_rebuilds_from_its_args() -> None:
    error = RoundTripsInvalid("trips.csv", 3, "it is bad")
    assert str(type(error)(*error.args)) == "trips.csv:3: it is bad"


def test_the_cost_of_a_page_is_the_slope() -> None:
    pages = [1, 2, 4, 8, 16]
    assert per_page_cost([5_000 + 30 * carried for carried in pages], pages) == 30


def test_the_cost_of_a_page_is_not_moved_by_a_quarter_of_slow_requests() -> None:
    random = Random(3)
    pages = [random.choice([1, 2, 4, 8, 16, 32]) for _ in range(600)]
    quick = [2 * MILLISECOND + 50 * MICROSECOND * carried + random.randrange(100_000) for carried in pages]
    durations = [
        duration + (random.randrange(400 * MILLISECOND) if random.random() < 0.25 else 0) for duration in quick
    ]
    assert per_page_cost(durations, pages) == pytest.approx(50 * MICROSECOND, rel=0.2)


@pytest.mark.parametrize(("durations", "pages"), [([9, 5, 1], [1, 2, 3]), ([9, 5, 1], [4, 4, 4])])
def test_a_page_never_costs_less_than_nothing(durations: list[int], pages: list[int]) -> None:
    assert per_page_cost(durations, pages) == 0


def test_many_page_counts_are_put_together() -> None:
    pages = list(range(1, 1_001))
    assert per_page_cost([1_000 + 7 * carried for carried in pages], pages) == pytest.approx(7, abs=1)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([(1, 1.0)], [(1, 1.0)], (0.0, 0.0)),
        ([(1, 1.0)], [(4, 1.0)], (1.0, 3.0)),
        ([(1, 0.5), (3, 0.5)], [(1, 0.5), (5, 0.5)], (0.5, 1.0)),
    ],
)
def test_distances_are_those_of_the_definitions(left: Masses, right: Masses, expected: tuple[float, float]) -> None:
    assert distances(left, right) == expected


def test_two_parts_are_found_again() -> None:
    random = Random(5)
    durations = [
        lognormal_ns(random, 20, 0.2) if random.random() < 0.3 else lognormal_ns(random, 1, 0.2) for _ in range(2_000)
    ]
    fitted = fit_two_lognormals(sorted(durations))
    assert fitted is not None
    quick, slow = fitted
    assert quick.p50_ns == pytest.approx(MILLISECOND, rel=0.05)
    assert slow.p50_ns == pytest.approx(20 * MILLISECOND, rel=0.05)
    assert slow.weight == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("durations", [[5] * 100, [1, 2, 3]])
def test_two_parts_need_durations_that_differ(durations: list[int]) -> None:
    assert fit_two_lognormals(durations) is None


def test_a_lognormal_is_taken_for_what_is_one() -> None:
    random = Random(1)
    made = calibrate(
        measured([lognormal_ns(random, 2, 0.4) for _ in range(800)]), name="mine", file_name="a.csv", base="instant"
    )
    assert made.fits[0].chosen.shape == "lognormal"


def test_a_mixture_is_taken_for_what_has_two_parts() -> None:
    random = Random(2)
    durations = [
        lognormal_ns(random, 30, 0.2) if random.random() < 0.25 else lognormal_ns(random, 1, 0.2) for _ in range(800)
    ]
    made = calibrate(measured(durations), name="mine", file_name="a.csv", base="instant")
    assert made.fits[0].chosen.shape == "mixture"


def test_quantiles_are_taken_for_what_has_three_parts() -> None:
    random = Random(3)
    durations = [random.choice([1, 10, 100]) * MILLISECOND + random.randrange(100) * MICROSECOND for _ in range(600)]
    made = calibrate(measured(durations), name="mine", file_name="a.csv", base="instant")
    assert made.fits[0].chosen.shape == "quantiles"


def test_equal_durations_give_a_constant() -> None:
    made = calibrate(measured([MILLISECOND] * 50), name="mine", file_name="a.csv", base="instant")
    assert made.profile.get_pages.server.quantiles == (MILLISECOND,)


def test_requests_that_took_no_time_give_a_profile() -> None:
    made = calibrate(measured([0] * 20), name="mine", file_name="a.csv", base="instant")
    assert set(made.profile.get_pages.server.quantiles) == {0}


def test_a_known_round_trip_is_no_work_of_the_server() -> None:
    made = calibrate(
        measured([5 * MILLISECOND] * 50), name="mine", file_name="a.csv", base="instant", rtt_ns=2 * MILLISECOND
    )
    cost = made.profile.get_pages
    assert (cost.rtt.quantiles, cost.server.quantiles) == ((2 * MILLISECOND,), (3 * MILLISECOND,))


def test_a_round_trip_longer_than_a_request_is_refused() -> None:
    with pytest.raises(CalibrationRefused, match="a get_pages took 1ms, less than the round trip of 2ms"):
        calibrate(measured([MILLISECOND]), name="mine", file_name="a.csv", base="instant", rtt_ns=2 * MILLISECOND)


def test_kinds_that_were_not_measured_come_from_the_base() -> None:
    made = calibrate(measured([MILLISECOND]), name="mine", file_name="a.csv", base="loopback")
    assert made.profile.commit == LATENCY_PROFILES["loopback"].commit
    assert "commit, open: not measured, as in loopback" in made.profile.source


def test_the_sample_is_followed_closely() -> None:
    made = calibrate(parse_round_trips(SAMPLE, "a.csv", 4096), name="mine", file_name="a.csv", base="instant")
    for fit in made.fits:
        for row in fit.quantiles[:3]:
            assert row.fitted_ms == pytest.approx(row.measured_ms, rel=0.15), (fit.kind, row.name)


def test_the_text_is_a_profile_and_always_the_same() -> None:
    first, second = (
        calibrate(parse_round_trips(SAMPLE, "a.csv", 4096), name="mine", file_name="a.csv", base="instant")
        for _ in range(2)
    )
    assert first.text == second.text
    assert parse_profile(first.text, "mine.yaml") == first.profile


def test_an_odd_file_name_still_gives_a_profile() -> None:
    made = calibrate(measured([MILLISECOND]), name="mine", file_name="a: {\n# b\x00.csv", base="instant")
    assert "a: {?# b?.csv" in made.profile.source


def test_the_order_of_the_rows_does_not_matter() -> None:
    header, *rows = SAMPLE.splitlines(keepends=True)
    turned = parse_round_trips(header + "".join(reversed(rows)), "a.csv", 4096)
    made = calibrate(turned, name="mine", file_name="a.csv", base="instant")
    straight = calibrate(parse_round_trips(SAMPLE, "a.csv", 4096), name="mine", file_name="a.csv", base="instant")
    assert made.text == straight.text

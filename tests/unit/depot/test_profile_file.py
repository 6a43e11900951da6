"""Latency profiles as YAML: every form of a duration, and every mistake with its place."""

import pytest

from simkit.depot.distribution import (
    Distribution,
    constant,
    empirical,
    interpolated,
    lognormal,
    lognormal_p90,
    mixture,
    uniform,
)
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.profile_file import TEXT_CHARACTERS_MAX, ProfileInvalid, parse_profile
from simkit.kernel.units import MILLISECOND

HEAD = "name: mine\nsource: Made up.\n"
OVER_BASE = HEAD + "base: network-20ms\n"


def problems_of(text: str) -> str:
    with pytest.raises(ProfileInvalid) as caught:
        parse_profile(text, "mine.yaml")
    return str(caught.value)


def rtt_of(form: str) -> Distribution:
    return parse_profile(f"{OVER_BASE}get_pages:\n  rtt: {form}\n", "mine.yaml").get_pages.rtt


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("5ms", constant(5 * MILLISECOND)),
        ("[1ms, 5ms]", uniform(MILLISECOND, 5 * MILLISECOND)),
        ("{uniform: [1ms, 5ms]}", uniform(MILLISECOND, 5 * MILLISECOND)),
        ("{p50: 1ms, p99: 5ms}", lognormal(MILLISECOND, 5 * MILLISECOND)),
        ("{p90: 5ms, p50: 1ms}", lognormal_p90(MILLISECOND, 5 * MILLISECOND)),
        (
            "{mixture: [{weight: 3, value: 1ms}, {weight: 1, range: [2ms, 3ms]}]}",
            mixture([(3, constant(MILLISECOND)), (1, uniform(2 * MILLISECOND, 3 * MILLISECOND))]),
        ),
        (
            "{mixture: [{weight: 3, p50: 1ms, p90: 2ms}, {weight: 1, uniform: [2ms, 3ms]}]}",
            mixture(
                [
                    (3, lognormal_p90(MILLISECOND, 2 * MILLISECOND)),
                    (1, uniform(2 * MILLISECOND, 3 * MILLISECOND)),
                ]
            ),
        ),
        ("{samples: [3ms, 1ms]}", empirical([3 * MILLISECOND, MILLISECOND])),
        ("{quantiles: {0: 0ms, 1: 1ms}}", interpolated([(0, 0), (1, MILLISECOND)])),
    ],
)
def test_a_form_of_a_duration_gives_its_distribution(form: str, expected: Distribution) -> None:
    assert rtt_of(form) == expected


def test_what_a_profile_leaves_out_comes_from_its_base() -> None:
    made = parse_profile(OVER_BASE + "commit: {per_page: 1us}\n", "mine.yaml")
    base = LATENCY_PROFILES["network-20ms"]
    assert (made.open, made.commit.rtt, made.commit.per_page_ns) == (base.open, base.commit.rtt, 1_000)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "mine.yaml:1:1: the file is empty"),
        ("name: [", "mine.yaml:1:8: not YAML"),
        ("name: \x00", "mine.yaml:1:1: not YAML"),
        ("- 1\n", "mine.yaml:1:1: expected a mapping; its keys are name, source, base"),
        ("source: a\nbase: instant\n", "mine.yaml:1:1: the key name is missing"),
        ("name: mine\nbase: instant\n", "mine.yaml:1:1: the key source is missing"),
        ("name: My Depot\nsource: a\nbase: instant\n", "mine.yaml:1:7: 'My Depot' is no name of a profile"),
        ("name: mine\nsource: ''\nbase: instant\n", "mine.yaml:2:9: source is empty"),
        (HEAD + "base: loopbak\n", "mine.yaml:3:7: 'loopbak' is no latency profile; did you mean 'loopback'?"),
        (HEAD + "base: [a]\n", "mine.yaml:3:7: expected one value"),
        (HEAD, "mine.yaml:1:1: the cost of get_pages is missing; add it, or a base"),
        (HEAD + "commit: {rtt: 1ms}\n", "mine.yaml:3:9: the cost lacks server, per_page"),
        (OVER_BASE + "get_page: {}\n", "mine.yaml:4:1: unknown key 'get_page'; did you mean 'get_pages'?"),
        (OVER_BASE + "get_pages: 1ms\n", "mine.yaml:4:12: expected a mapping; its keys are rtt, server, per_page"),
        (OVER_BASE + "open: {rtt: 1ms, rtt: 2ms}\n", "mine.yaml:4:18: key 'rtt' is given twice"),
        (OVER_BASE + "open: {[a]: 1ms}\n", "mine.yaml:4:8: expected one value"),
        (OVER_BASE + "open: {rtt: 5}\n", "mine.yaml:4:13: '5' is not a duration; write 5ms"),
        (OVER_BASE + "open: {rtt: [5ms]}\n", "mine.yaml:4:13: this is no such list of durations; write [1ms, 5ms]"),
        (OVER_BASE + "open: {rtt: [5ms, 1ms]}\n", "mine.yaml:4:13: the range is empty"),
        (OVER_BASE + "open: {rtt: [5ms, x]}\n", "mine.yaml:4:19: 'x' is not a duration"),
        (OVER_BASE + "open: {rtt: {p50: 5ms}}\n", "mine.yaml:4:13: p50 make no distribution"),
        (OVER_BASE + "open: {rtt: {}}\n", "mine.yaml:4:13: no keys make no distribution"),
        (OVER_BASE + "open: {rtt: {p50: 5ms, p99: x}}\n", "mine.yaml:4:29: 'x' is not a duration"),
        (OVER_BASE + "open: {rtt: {p50: 5ms, p99: 1ms}}\n", "mine.yaml:4:13: p99 (1ms) is below p50 (5ms)"),
        (OVER_BASE + "open: {rtt: {samples: []}}\n", "mine.yaml:4:23: this is no such list of durations"),
        (OVER_BASE + "open: {rtt: {mixture: 5ms}}\n", "mine.yaml:4:23: a mixture is a list of parts"),
        (OVER_BASE + "open: {rtt: {mixture: [5ms]}}\n", "mine.yaml:4:24: expected a mapping; its keys are weight"),
        (OVER_BASE + "open: {rtt: {mixture: [{value: 5ms}]}}\n", "mine.yaml:4:24: value make no part of a mixture"),
        (OVER_BASE + "open: {rtt: {mixture: [{weight: 0, value: 5ms}]}}\n", "mine.yaml:4:33: a weight is above zero"),
        (OVER_BASE + "open: {rtt: {mixture: [{weight: x, value: 5ms}]}}\n", "mine.yaml:4:33: 'x' is no number"),
        (OVER_BASE + "open: {rtt: {mixture: [{weight: .nan, value: 5ms}]}}\n", "'.nan' is no number"),
        (OVER_BASE + "open: {rtt: {quantiles: [1ms]}}\n", "mine.yaml:4:25: quantiles are a mapping"),
        (OVER_BASE + "open: {rtt: {quantiles: {0: 1ms, 0.9: 2ms}}}\n", "begin with the fraction 0 and end with 1"),
        (OVER_BASE + "open: {rtt: {quantiles: {0: 2ms, 1: 1ms}}}\n", "those at 0.0 and 1.0 do not"),
        (OVER_BASE + "open: {rtt: {quantiles: {0: 2ms, one: 1ms}}}\n", "mine.yaml:4:34: 'one' is no number"),
        (OVER_BASE + "open: {per_page: [1us, 2us]}\n", "mine.yaml:4:18: expected one value"),
        ("#" * (TEXT_CHARACTERS_MAX + 1), "are too many for a profile"),
    ],
)
def test_a_mistake_is_reported_where_it_is(text: str, problem: str) -> None:
    assert problem in problems_of(text)


def test_all_mistakes_are_reported_at_once_in_order() -> None:
    text = OVER_BASE + "open: {rtt: 5}\ncommit: {serve: 1ms}\nget_pages: {per_page: x}\n"
    assert [line.split(":")[1] for line in problems_of(text).splitlines()] == ["4", "5", "6"]


def test_an_alias_stands_for_what_it_names() -> None:
    made = parse_profile(OVER_BASE + "open: {rtt: &rtt [1ms, 2ms]}\ncommit: {rtt: *rtt}\n", "mine.yaml")
    assert made.open.rtt == made.commit.rtt


def test_an_invalid_profile_error_rebuilds_from_its_args() -> None:
    with pytest.raises(ProfileInvalid) as caught:
        parse_profile("", "mine.yaml")
    assert str(type(caught.value)(*caught.value.args)) == str(caught.value)


def test_quantiles_between_given_ones_are_linear() -> None:
    table = interpolated([(0.0, 0), (0.5, 512), (1.0, 1536)]).quantiles
    assert (table[0], table[255], table[511], table[512], table[1023]) == (0, 256, 512, 513, 1535)


@pytest.mark.parametrize("points", [[], [(0.0, 1)], [(0.0, 1), (0.5, 2)], [(0.1, 1), (1.0, 2)]])
def test_quantiles_that_do_not_reach_from_0_to_1_are_refused(points: list[tuple[float, int]]) -> None:
    with pytest.raises(ValueError, match="begin with the fraction 0 and end with 1"):
        interpolated(points)


@pytest.mark.parametrize("points", [[(0.0, 2), (1.0, 1)], [(0.0, 1), (0.5, 2), (0.5, 3), (1.0, 4)]])
def test_quantiles_that_do_not_ascend_are_refused(points: list[tuple[float, int]]) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        interpolated(points)

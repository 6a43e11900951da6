"""The scenarios of the optimisation matrix, and settings that are changed by name."""

import pytest

from simkit.bench.cold.matrix import (
    SCENARIOS,
    UnknownScenario,
    applied,
    in_the_merge,
    real_effect,
    scenario_named,
    scenarios_of,
    without_effect,
)
from simkit.bench.cold.overrides import SETTINGS, BadOverride, changed, parse_override, setting_of
from simkit.bench.cold.run import configuration
from simkit.pool.settings import PoolSettings
from simkit.vfs.settings import VfsSettings, profile

EVERYTHING = configuration("merge", vfs=profile("default"), system="pool")


def test_the_full_matrix_has_fifteen_scenarios_and_the_short_one_twelve() -> None:
    assert (len(scenarios_of("full-impact")), len(scenarios_of("impact")), len(scenarios_of("none"))) == (15, 12, 1)


def test_the_first_scenario_changes_nothing_but_the_name() -> None:
    assert applied(SCENARIOS[0], EVERYTHING) == EVERYTHING


@pytest.mark.parametrize("scenario", SCENARIOS[1:], ids=lambda scenario: scenario.name)
def test_every_other_scenario_changes_a_setting_or_says_what_is_not_modelled(scenario: object) -> None:
    assert scenario in SCENARIOS
    chosen = scenario_named(getattr(scenario, "name", ""))
    different = applied(chosen, EVERYTHING)
    assert (different.vfs, different.pool) != (EVERYTHING.vfs, EVERYTHING.pool) or chosen.not_modelled


def test_read_ahead_off_predicts_as_the_real_system_does_when_told_so() -> None:
    assert applied(scenario_named("no-read-ahead"), EVERYTHING).vfs.read_ahead == "legacy"


def test_without_preload_cache_hits_do_not_train_the_predictor() -> None:
    assert applied(scenario_named("no-preload"), EVERYTHING).vfs.train_on_hits is False


def test_all_off_loads_the_first_page_alone() -> None:
    off = applied(scenario_named("all-off"), EVERYTHING)
    assert (off.vfs.preload_first_pages, off.vfs.page_cache_pages, off.pool.readers_max) == (1, 0, 0)


def test_what_is_not_modelled_is_said_and_that_nothing_is_left() -> None:
    notes = without_effect(scenario_named("no-storage-read-cache"), EVERYTHING)
    assert any("not modelled" in note for note in notes)
    assert "those of the defaults" in notes[-1]


def test_pool_settings_have_no_effect_on_a_system_without_readers() -> None:
    single = configuration("released")
    (note, last) = without_effect(scenario_named("no-read-pool"), single)
    assert "read_pool_enabled, max_readers: the system worker has no readers" in note
    assert "those of the defaults" in last


def test_a_setting_that_is_so_already_is_named() -> None:
    bounded = changed(EVERYTHING, {"read_ahead": "bounded"})
    assert without_effect(scenario_named("bounded-read-ahead"), bounded)[0].startswith("read_ahead: as without")


def test_a_scenario_that_works_in_full_has_no_notes() -> None:
    assert without_effect(scenario_named("no-vfs-cache"), EVERYTHING) == ()


@pytest.mark.parametrize(
    ("name", "ignored"),
    [
        ("vfs-cache-only", "range_reads"),
        ("target-cache-only", "cache_mode"),
        ("startup-cache-only", "cache_mode"),
        ("no-range-reads", "range_reads"),
    ],
)
def test_what_the_merged_code_ignores_is_said(name: str, ignored: str) -> None:
    (note,) = real_effect(scenario_named(name), configuration("merge"))
    assert ignored in note.split(":")[0].split(", ")
    assert "ignored by the merged code" in note


@pytest.mark.parametrize("name", ["all-off", "transport-batching-only", "read-ahead-no-cache", "no-vfs-cache"])
def test_scenarios_that_the_measured_binary_cannot_open_say_so(name: str) -> None:
    assert "fails at open" in real_effect(scenario_named(name), configuration("merge"))[0]


def test_the_merged_code_acts_on_read_ahead_hints_and_the_pool() -> None:
    kept = {name for scenario in SCENARIOS if not scenario.without_cache for name in in_the_merge(scenario).settings}
    assert kept == {"read_ahead", "train_on_hits", "read_pool_enabled", "max_readers"}


def test_nothing_is_known_to_be_ignored_by_the_released_engine() -> None:
    assert all(real_effect(scenario, configuration("released")) == () for scenario in SCENARIOS)


def test_an_unknown_scenario_is_answered_with_those_that_look_like_it() -> None:
    with pytest.raises(UnknownScenario, match="no-read-ahead"):
        scenario_named("no-readahead")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("read_ahead=bounded", "read_ahead", "bounded"),
        ("skip_cached=off", "skip_cached", False),
        ("train_on_hits = TRUE", "train_on_hits", True),
        ("page_cache_pages=50_000", "page_cache_pages", 50_000),
        ("staging_ns=30s", "staging_ns", 30_000_000_000),
        ("max_readers=0", "max_readers", 0),
        ("sqlite_cache_kib=8192", "sqlite_cache_kib", 8192),
    ],
)
def test_a_value_is_read_as_what_the_setting_is(text: str, name: str, value: object) -> None:
    assert parse_override(text) == (name, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("read_ahead", "write a name and a value"),
        ("read_ahead=", "write a name and a value"),
        ("reed_ahead=none", "did you mean read_ahead"),
        ("skip_cached=maybe", "true or false"),
        ("max_readers=many", "a whole number"),
        ("staging_ns=30", "write 30ms"),
    ],
)
def test_a_change_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadOverride, match=message):
        parse_override(text)


def test_a_value_that_the_setting_cannot_have_is_refused_with_its_own_words() -> None:
    with pytest.raises(BadOverride, match="read_ahead is 'sideways'"):
        changed(EVERYTHING, {"read_ahead": "sideways"})


def test_every_setting_of_vfs_and_pool_can_be_changed() -> None:
    assert {*VfsSettings.__dataclass_fields__, *PoolSettings.__dataclass_fields__} < {*SETTINGS}
    for name in SETTINGS:
        assert setting_of(changed(EVERYTHING, {name: setting_of(EVERYTHING, name)}), name) == setting_of(
            EVERYTHING, name
        )

"""The pictures: what is in their descriptions, and that they can be drawn."""

import builtins
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from simkit.bench.cold import plots
from simkit.bench.cold.results import Results
from simkit.bench.cold.run import Measurement

Measured = Callable[..., Measurement]
ResultsOf = Callable[..., Results]


@pytest.fixture
def several(measured: Measured, results_of: ResultsOf) -> Results:
    """Two runs of two workloads; one of the second run failed."""
    first = results_of(
        measured("rowid-range-forward", get_pages=10, simulated_ms=5.0), measured("chat-log-sum", get_pages=1)
    ).runs[0]
    second = results_of(
        measured("rowid-range-forward", get_pages=1000, commits=2, simulated_ms=50.0),
        measured("chat-log-sum", error="gone"),
        name="all-off",
    ).runs[0]
    return msgspec.structs.replace(results_of(), runs=(first, second))


def test_bars_keep_the_order_of_workloads_and_runs(several: Results) -> None:
    spec = plots.bars(several, "get_pages")
    assert spec["facet"]["sort"] == ["rowid-range-forward", "chat-log-sum"]
    assert spec["spec"]["layer"][1]["encoding"]["y"]["sort"] == ["defaults", "all-off"]


def test_a_failed_measurement_has_no_bar(several: Results) -> None:
    values = plots.bars(several, "get_pages")["data"]["values"]
    assert [(each["workload"], each["run"], each["shown"]) for each in values] == [
        ("rowid-range-forward", "defaults", "10"),
        ("rowid-range-forward", "all-off", "1,000"),
        ("chat-log-sum", "defaults", "1"),
    ]


def test_computed_curves_add_a_round_trip_for_each_request_and_say_that_they_are_computed(several: Results) -> None:
    spec = plots.computed_sensitivity(several)
    last = [each for each in spec["data"]["values"] if each["run"] == "all-off"][-1]
    assert (last["rtt_ms"], last["time_ms"]) == (50.0, 50.0 + 1002 * 50.0)
    assert spec["title"]["subtitle"][0].startswith("Computed")


def test_runs_with_the_same_curves_are_drawn_once(several: Results) -> None:
    twin = msgspec.structs.replace(
        several.runs[0], settings=msgspec.structs.replace(several.runs[0].settings, name="no-range-reads")
    )
    spec = plots.computed_sensitivity(msgspec.structs.replace(several, runs=(*several.runs, twin)))
    assert {each["run"] for each in spec["data"]["values"]} == {"defaults", "all-off"}


def test_runs_that_find_no_room_in_the_picture_are_named(measured: Measured, results_of: ResultsOf) -> None:
    runs = tuple(
        results_of(measured("chat-log-sum", get_pages=count), name=f"run-{count}").runs[0] for count in range(1, 15)
    )
    spec = plots.computed_sensitivity(msgspec.structs.replace(results_of(), runs=runs))
    assert len({each["run"] for each in spec["data"]["values"]}) == 12
    assert "Not shown: run-13, run-14." in " ".join(spec["title"]["subtitle"])


def test_simulated_curves_have_the_points_that_were_simulated(several: Results) -> None:
    runs = tuple(msgspec.structs.replace(several.runs[0], rtt_ms=rtt_ms) for rtt_ms in (0.0, 10.0))
    spec = plots.sensitivity(msgspec.structs.replace(several, sensitivity=runs))
    assert [each["rtt_ms"] for each in spec["data"]["values"]] == [0.0, 0.0, 10.0, 10.0]
    assert "a simulation of its own" in spec["title"]["subtitle"][0]


@pytest.mark.parametrize("runs", [1, 2])
def test_a_picture_is_drawn_with_its_labels(several: Results, runs: int) -> None:
    pytest.importorskip("vl_convert")
    spec = plots.bars(msgspec.structs.replace(several, runs=several.runs[:runs]), "simulated_ms")
    svg = plots.render(spec, "svg").decode()
    assert svg.startswith("<svg")
    assert "rowid-range-forward" in svg
    assert "http://" not in svg.replace("http://www.w3.org/", "")


def test_curves_are_drawn(several: Results) -> None:
    pytest.importorskip("vl_convert")
    assert plots.render(plots.computed_sensitivity(several), "png").startswith(b"\x89PNG")


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "vl_convert":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(plots.PlotsMissing, match=r"pip install 'simkit\[plots\]'"):
        plots.require()
    with pytest.raises(plots.PlotsMissing, match="the same command again"):
        plots.render({}, "svg")

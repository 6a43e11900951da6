"""Results as pictures: bars for each workload across the runs, and how much the network round trip matters to each.

The pictures are descriptions in Vega-Lite, plain data that `bars`, `sensitivity` and `computed_sensitivity` make of
results; `render` turns one into a self-contained SVG or PNG. For that alone the extra `plots` is needed (vl-convert, a
single wheel without further dependencies). Workloads keep the order of the benchmark and runs that of the matrix, each
panel has its own scale, and numbers stand at the bars, since the panels differ by three orders of magnitude.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Final, Literal

from simkit.bench.cold.results import Results, Run
from simkit.bench.cold.run import Measurement

INSTALL: Final = "pip install 'simkit[plots]'"
ADDED_RTT_MS: Final = (0.0, 2.9, 10.0, 20.0, 50.0)
"""Round trips of the sensitivity curves."""

FIGURES: Final = {
    "get_pages": "requests for pages (get_pages)",
    "fetched_pages": "pages fetched",
    "simulated_ms": "simulated time (ms)",
}

Spec = dict[str, Any]

_FONT = "Helvetica, Arial, Liberation Sans, sans-serif"
_INK, _QUIET, _BASE, _OTHER, _GRID = "#1c2733", "#5b6b7b", "#1f5a8c", "#9fc1de", "#e4e9ee"
_LINES = ("#1f5a8c", "#d1761b", "#2c8a57", "#a23b72", "#7a6a1f", "#3aa0b5")
_DASHES: Final = ([1, 0], [5, 2])
_CURVES_MAX: Final = len(_LINES) * len(_DASHES)
_PANELS_ACROSS: Final = 3
_CURVES_ACROSS: Final = 4
_PNG_SCALE: Final = 2.0
_SUBTITLE_WIDTH: Final = 110


class PlotsMissing(RuntimeError):
    """What draws is not installed; the message says how to get it."""


def render(spec: Spec, form: Literal["svg", "png"]) -> bytes:
    """The picture of a description. Raises `PlotsMissing` without the extra `plots`."""
    try:
        import vl_convert
    except ImportError:
        raise PlotsMissing(f"pictures need the extra `plots`: {INSTALL}, then the same command again") from None
    if form == "svg":
        return vl_convert.vegalite_to_svg(spec).encode()
    return vl_convert.vegalite_to_png(spec, scale=_PNG_SCALE)


def require() -> None:
    """Raises `PlotsMissing` without the extra `plots`, before any work is done in vain."""
    try:
        import vl_convert
    except ImportError:
        raise PlotsMissing(f"pictures need the extra `plots`: {INSTALL}, then the same command again") from None
    assert vl_convert is not None


def bars(results: Results, figure: str) -> Spec:
    """One figure of every workload: a panel each across the runs, or one panel when there is a single run."""
    if len(results.runs) == 1:
        return _single_bars(results, figure)
    return _panels_of_bars(results, figure)


def sensitivity(results: Results) -> Spec:
    """Simulated time over the network round trip, measured again at each round trip. Needs `results.sensitivity`."""
    points = [
        {"workload": each.workload, "run": run.settings.name, "rtt_ms": run.rtt_ms, "time_ms": each.simulated_ms}
        for run in results.sensitivity
        for each in run.measurements
        if each.error is None
    ]
    names = list(dict.fromkeys(run.settings.name for run in results.sensitivity))
    return _curves(
        points,
        results.workloads,
        names,
        "Simulated time (ms) over the network round trip (ms)",
        f"Each point is a simulation of its own. {_subject(results)}",
    )


def computed_sensitivity(results: Results) -> Spec:
    """Simulated time if every round trip took longer, computed from the counts; a curve for each run that differs."""
    distinct = _distinct(_first_latency(results))
    runs, left_out = distinct[:_CURVES_MAX], distinct[_CURVES_MAX:]
    missing = f"Not shown: {', '.join(run.settings.name for run in left_out)}. " if left_out else ""
    points = [
        {
            "workload": each.workload,
            "run": run.settings.name,
            "rtt_ms": added_ms,
            "time_ms": each.simulated_ms + round_trips(each) * added_ms,
        }
        for run in runs
        for each in run.measurements
        if each.error is None
        for added_ms in ADDED_RTT_MS
    ]
    return _curves(
        points,
        results.workloads,
        [run.settings.name for run in runs],
        "Simulated time (ms) over what is added to each network round trip (ms)",
        f"Computed: simulated time + (get_pages + commits) x added round trip; {_too_much(results)}. "
        f"Runs that measured the same as another one are left out. {missing}{_subject(results)}",
    )


def round_trips(measurement: Measurement) -> int:
    """Requests that a workload waits for, one after the other."""
    return measurement.get_pages + measurement.commits


def _too_much(results: Results) -> str:
    """Where the formula counts round trips that the simulated time has not."""
    wake = " and the counts include the wake" if results.runs[0].settings.preset == "merge" else ""
    return f"that is too much where readers overlap{wake}"


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """The runs without those that measured the same as an earlier one."""
    found: dict[tuple[tuple[str, int, float], ...], Run] = {}
    for run in runs:
        curve = tuple((each.workload, round_trips(each), each.simulated_ms) for each in run.measurements)
        found.setdefault(curve, run)
    return list(found.values())


def _first_latency(results: Results) -> list[Run]:
    first = results.runs[0].settings.latency
    return [run for run in results.runs if run.settings.latency == first]


def _subject(results: Results) -> str:
    settings = results.runs[0].settings
    latencies = ", ".join(dict.fromkeys(run.settings.latency for run in results.runs))
    return f"Preset {settings.preset}, schema {settings.schema}, sizes {settings.sizes}, latency {latencies}."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def _single_bars(results: Results, figure: str) -> Spec:
    run = results.runs[0]
    values = [
        {"workload": each.workload, "value": getattr(each, figure), "shown": _number(getattr(each, figure))}
        for each in run.measurements
        if each.error is None
    ]
    y = {"field": "workload", "type": "nominal", "sort": list(results.workloads), "title": None}
    x = {"field": "value", "type": "quantitative", "title": None, "scale": {"type": "symlog", "constant": 5}}
    return {
        **_frame(f"{FIGURES[figure]}, {results.label(run)}", f"{_subject(results)} Logarithmic scale."),
        "data": {"values": values},
        "width": 560,
        "height": {"step": 19},
        "encoding": {"y": y, "x": {**x, "axis": {"tickCount": 6, "values": _log_ticks(values)}}},
        "layer": [
            {"mark": {"type": "bar", "color": _BASE, "height": 12}},
            {
                "mark": {"type": "text", "align": "left", "dx": 4, "color": _INK, "fontSize": 10.5},
                "encoding": {"text": {"field": "shown"}},
            },
        ],
    }


def _log_ticks(values: Sequence[dict[str, Any]]) -> list[int]:
    most = max((each["value"] for each in values), default=1)
    return [0, *(tick for power in range(7) for tick in (10**power,) if tick <= most * 1.05)]


def _panels_of_bars(results: Results, figure: str) -> Spec:
    labels = [results.label(run) for run in results.runs]
    values = []
    for name in results.workloads:
        base = results.runs[0].of(name)
        for run, label in zip(results.runs, labels, strict=True):
            each = run.of(name)
            if each is not None:
                value = getattr(each, figure)
                values.append(
                    {
                        "workload": name,
                        "run": label,
                        "value": value,
                        "shown": _number(value),
                        "base": None if base is None else getattr(base, figure),
                        "first": label == labels[0],
                    }
                )
    x = {
        "field": "value",
        "type": "quantitative",
        "title": None,
        "axis": {"tickCount": 4, "labelOverlap": True},
        "scale": {"nice": True, "zero": True},
    }
    y = {"field": "run", "type": "nominal", "sort": labels, "title": None}
    colour = {"condition": {"test": "datum.first", "value": _BASE}, "value": _OTHER}
    return {
        **_frame(f"{FIGURES[figure]} of each workload across the runs", _bars_subtitle(results, labels[0])),
        "data": {"values": values},
        "facet": _facet(results.workloads),
        "columns": _PANELS_ACROSS,
        "spacing": {"row": 22, "column": 44},
        "resolve": {"scale": {"x": "independent"}, "axis": {"x": "independent"}},
        "spec": {
            "width": 235,
            "height": {"step": 15},
            "layer": [
                {
                    "mark": {"type": "rule", "strokeDash": [3, 3], "color": _BASE, "opacity": 0.7},
                    "encoding": {"x": {"aggregate": "max", "field": "base", "type": "quantitative"}},
                },
                {"mark": {"type": "bar", "height": 10}, "encoding": {"y": y, "x": x, "color": colour}},
                {
                    "mark": {"type": "text", "align": "left", "dx": 3, "fontSize": 9.5, "color": _INK},
                    "encoding": {"y": y, "x": x, "text": {"field": "shown"}},
                },
            ],
        },
    }


def _bars_subtitle(results: Results, first: str) -> str:
    return f"{_subject(results)} Each panel has its own scale; the dashed line is {first}."


def _curves(
    points: list[dict[str, Any]], workloads: Sequence[str], names: Sequence[str], title: str, subtitle: str
) -> Spec:
    x = {
        "field": "rtt_ms",
        "type": "quantitative",
        "title": None,
        "axis": {"values": [0, 10, 20, 50], "grid": True},
    }
    y = {"field": "time_ms", "type": "quantitative", "title": None, "axis": {"tickCount": 4}}
    legend = None if len(names) == 1 else {"title": None, "orient": "top", "columns": 4, "symbolType": "stroke"}

    def of_run(styles: Sequence[Any]) -> Spec:
        scale = {"domain": list(names), "range": list(styles[: len(names)])}
        return {"field": "run", "type": "nominal", "sort": list(names), "legend": legend, "scale": scale}

    colour, dash = of_run(_LINES * len(_DASHES)), of_run([dash for dash in _DASHES for _ in _LINES])
    return {
        **_frame(title, subtitle),
        "data": {"values": points},
        "facet": _facet(workloads),
        "columns": _CURVES_ACROSS,
        "bounds": "flush",
        "spacing": {"row": 56, "column": 62},
        "resolve": {"scale": {"y": "independent"}, "axis": {"x": "independent"}},
        "spec": {
            "width": 190,
            "height": 110,
            "mark": {"type": "line", "point": {"size": 22}, "strokeWidth": 1.6},
            "encoding": {"x": x, "y": y, "color": colour, "strokeDash": dash},
        },
    }


def _facet(workloads: Sequence[str]) -> Spec:
    header = {
        "title": None,
        "labelFontSize": 11.5,
        "labelFontWeight": "bold",
        "labelColor": _INK,
        "labelAnchor": "start",
    }
    return {"field": "workload", "type": "nominal", "sort": list(workloads), "title": None, "header": header}


def _frame(title: str, subtitle: str) -> Spec:
    """What all pictures have in common."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": "white",
        "padding": 18,
        "title": {
            "text": title[0].upper() + title[1:],
            "subtitle": textwrap.wrap(subtitle, _SUBTITLE_WIDTH, break_on_hyphens=False),
            "anchor": "start",
            "offset": 16,
            "fontSize": 16,
            "subtitleFontSize": 11.5,
            "subtitleColor": _QUIET,
            "color": _INK,
            "subtitlePadding": 6,
        },
        "config": {
            "font": _FONT,
            "view": {"stroke": None},
            "axis": {
                "labelColor": _QUIET,
                "titleColor": _QUIET,
                "titleFontWeight": "normal",
                "labelFontSize": 10.5,
                "titleFontSize": 10.5,
                "labelLimit": 300,
                "gridColor": _GRID,
                "domainColor": _GRID,
                "tickColor": _GRID,
            },
            "axisY": {"grid": False},
            "legend": {"labelFontSize": 11, "labelLimit": 300, "labelColor": _INK},
        },
    }

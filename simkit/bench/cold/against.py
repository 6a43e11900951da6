"""Published and measured rows beside what the simulator makes of the same workload.

Two kinds of row are known. Rows with a `run` come from the cold-read benchmark that was published for the pull request:
single figures, preset `merge`, and an older schema, which the run's name tells or the size of the database after its
set-up. Their counts are those of one connection: nothing was routed to readers, so the one worker runs them unless the
row says that readers were opened. Rows with a `version` were measured on a released engine: ranges over several runs,
preset `released`. Each says by its scenario which optimisations were off. Whatever else had to be assumed to make a
configuration of a row is written beside its figures.

A figure is exact where the row gives one number and the simulator the same, in range where it lies within a range, and
off by its distance otherwise. Time is judged apart, as a factor: it stands for a machine that nobody has here. It is
the median over several seeds, since a profile with a long tail makes one run a matter of luck.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from simkit.bench.cold.benchmark import DEFAULT_LATENCIES
from simkit.bench.cold.matrix import SCENARIOS, applied, ignored_by_the_merge, in_the_merge, scenario_named
from simkit.bench.cold.overrides import changed, parse_override
from simkit.bench.cold.results import READER_FIGURES, ResultsInvalid
from simkit.bench.cold.run import Configuration, Measurement, configuration
from simkit.bench.cold.sizes import Profile
from simkit.bench.cold.workloads import Workload, workload_named
from simkit.depot.latency import LATENCY_PROFILES, LatencyProfile

Verdict = Literal["exact", "in range", "off", "not compared"]
Measure = Callable[[Workload, Configuration], Measurement]

COMES_ALONG: Final = {
    "published": Path(__file__).with_name("published") / "cold_read.json",
    "released": Path(__file__).with_name("published") / "released_engine.json",
}
"""Rows that come with simkit, by name."""

FIGURES: Final = (
    "get_pages",
    "fetched_pages",
    "prefetch_pages",
    "cache_hits",
    "cache_misses",
    "commits",
    "page_count",
    "setup_pages",
    "rows",
    *READER_FIGURES,
)
_FIELDS: Final = {"page_count": ("page_count", "pages")}
_SCHEMAS: Final = ("april", "chat", "merge")
_SCENARIO_NAMES: Final = {"disabled": "all-off", "default": "defaults"}
TIME_SEEDS: Final = 9
"""Runs of which the simulated time is the median."""
TIME_SEEDS_OF_MANY: Final = 3
MANY_REQUESTS: Final = 500
"""A workload with so many requests needs fewer runs: slow and fast ones even out within each."""
# Hits of page 1 while the connection opens, which early runs subtracted with everything else before the workload.
_OPEN_HITS: Final = 3


class FigureAgainst(msgspec.Struct, frozen=True):
    """One figure: what was published (low and high are the same for a single number) and what was simulated."""

    figure: str
    low: int
    high: int
    simulated: int

    @property
    def off_by(self) -> int:
        """How far outside it lies, with a sign; 0 inside."""
        return min(0, self.simulated - self.low) + max(0, self.simulated - self.high)

    @property
    def verdict(self) -> Verdict:
        if self.off_by:
            return "off"
        return "exact" if self.low == self.high else "in range"


class RowAgainst(msgspec.Struct, frozen=True):
    """One row. `published_ms` and `factor` (simulated by published) are None where no time was published."""

    origin: str
    scenario: str
    workload: str
    configuration: str
    figures: tuple[FigureAgainst, ...]
    simulated_ms: float
    published_ms: float | None
    factor: float | None
    assumed: tuple[str, ...]
    error: str | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of its figures; a row that failed is off, and one without figures says nothing."""
        verdicts = {figure.verdict for figure in self.figures}
        if self.error is not None or "off" in verdicts:
            return "off"
        if not verdicts:
            return "not compared"
        return "in range" if "in range" in verdicts else "exact"


class Against(msgspec.Struct, frozen=True):
    """All rows of a file. `complete` is False when the comparison was interrupted."""

    file: str
    source: str
    rows: tuple[RowAgainst, ...]
    complete: bool = True

    def counted(self, verdict: Verdict) -> tuple[RowAgainst, ...]:
        """The rows of this verdict."""
        return tuple(row for row in self.rows if row.verdict == verdict)

    @property
    def summary(self) -> str:
        """One line: how many rows agree, which do not, and how well the time is predicted."""
        off, silent = self.counted("off"), self.counted("not compared")
        plural = "" if len(self.rows) == 1 else "s"
        names = f" ({', '.join(dict.fromkeys(row.workload for row in off))})" if off else ""
        parts = [
            f"{len(self.rows)} row{plural}: {len(self.counted('exact'))} exact, "
            f"{len(self.counted('in range'))} in range, {len(off)} off{names}"
            + (f", {len(silent)} without figures" if silent else "")
        ]
        factors = [row.factor for row in self.rows if row.factor]
        if factors:
            worst = max(max(factor, 1 / factor) for factor in factors)
            parts.append(
                f"simulated by published time {min(factors):.2f} to {max(factors):.2f}, median "
                f"{statistics.median(factors):.2f}: within a factor of {worst:.2f}"
            )
        return "; ".join(parts)


@dataclass(frozen=True)
class PublishedRow:
    """A row as it was read. `figures` have (low, high); `schemas` are those to try, the likeliest first.

    `settings` are changed besides what the scenario changes.
    """

    origin: str
    scenario: str
    workload: Workload
    preset: Literal["merge", "released"]
    sizes: Profile
    figures: Mapping[str, tuple[int, int]]
    server_ms: float | None
    schemas: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = field(default=())


def load_rows(path: Path) -> tuple[str, list[PublishedRow]]:
    """Where the rows come from, and the rows of a file. Raises `ResultsInvalid`."""
    try:
        found = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ResultsInvalid(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ResultsInvalid(f"{path} is not JSON: {error}") from None
    source = ""
    if isinstance(found, dict) and "rows" in found:
        source, found = str(found.get("source", "")), found["rows"]
    if not isinstance(found, list) or not found:
        raise ResultsInvalid(
            f"{path} has no published rows: it is a list of rows with run or version, scenario, workload and figures"
        )
    rows = []
    for place, row in enumerate(found, start=1):
        try:
            rows.append(_row(row))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise ResultsInvalid(f"{path}, row {place}: {reason}") from None
    return source, rows


def _row(row: Any) -> PublishedRow:
    if not isinstance(row, dict):
        raise TypeError("a row is a JSON object")
    if "run" not in row and "version" not in row:
        raise ValueError("it has neither run (the published benchmark) nor version (a released engine)")
    published = "run" in row
    assumed: list[str] = []
    figures = {}
    for name in FIGURES:
        given = next((row[key] for key in _FIELDS.get(name, (name,)) if row.get(key) is not None), None)
        if given is not None:
            figures[name] = _range(name, given)
    if not isinstance(row["workload"], str):
        raise TypeError(f"workload is {row['workload']!r}; it is a name")
    return PublishedRow(
        origin=str(row["run"] if published else row["version"]),
        scenario=str(row["scenario"]),
        workload=workload_named(row["workload"]),
        preset="merge" if published else "released",
        sizes=_sizes(row, assumed),
        figures=figures,
        server_ms=_published_ms(row),
        schemas=_schemas(str(row["run"]), assumed) if published else ("released",),
        settings=_settings(row.get("settings", {})),
        assumed=tuple(assumed),
    )


def _range(name: str, given: Any) -> tuple[int, int]:
    low, high = given if isinstance(given, list) and len(given) == 2 else (given, given)
    if type(low) is not int or type(high) is not int or low > high:
        raise ValueError(f"{name} is {given!r}; it is a whole number, or [lowest, highest]")
    return low, high


def _published_ms(row: Mapping[str, Any]) -> float | None:
    """The row's time, or the median of its times."""
    for name in ("server_ms", "server_ms_median"):
        given = row.get(name)
        if given is not None:
            times = given if isinstance(given, list) else [given]
            if not times or any(type(each) not in (int, float) or each < 0 for each in times):
                raise ValueError(f"{name} is {given!r}; it is a number of milliseconds, or a list of them")
            return float(statistics.median(times))
    return None


def _settings(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise TypeError(f"settings is {given!r}; it is an object with settings by name")
    settings = dict(parse_override(f"{name}={value}") for name, value in given.items())
    changed(configuration("merge"), settings)
    return settings


def _sizes(row: Mapping[str, Any], assumed: list[str]) -> Profile:
    given = row.get("profile")
    if given is None:
        if "run" in row:
            assumed.append("the row names no profile; taken as smoke")
        return Profile.SMOKE
    if given not in tuple(Profile):
        raise ValueError(f"profile is {given!r}; it is {' or '.join(Profile)}")
    return Profile(given)


def _schemas(run: str, assumed: list[str]) -> tuple[str, ...]:
    """The schemas that a published run may have had: the chat tables came in May, those of the merge later."""
    if run.startswith("chat-tool"):
        return "chat", "merge", "april"
    if not (run.startswith("impact-") or run.endswith("latest")):
        assumed.append(f"{run} is no run that is known here; taken as one of April")
    return _SCHEMAS


def configuration_of(
    row: PublishedRow, schema: str, latency: LatencyProfile | None = None
) -> tuple[Configuration, tuple[str, ...]]:
    """How the row's engine was set, and what of that is assumed."""
    assumed = list(row.assumed)
    name = _SCENARIO_NAMES.get(row.scenario, row.scenario)
    if name not in {scenario.name for scenario in SCENARIOS}:
        assumed.append(f"{row.scenario} is no scenario of the matrix; taken as the defaults")
        name = "defaults"
    readers = any(row.figures.get(figure, (0, 0))[1] for figure in READER_FIGURES)
    base = configuration(
        row.preset,
        schema=schema,
        system="pool" if readers else "worker",
        sizes=row.sizes,
        latency=latency or LATENCY_PROFILES[DEFAULT_LATENCIES[row.preset]],
    )
    if row.preset == "merge":
        ignored = ignored_by_the_merge(scenario_named(name), base)
        if ignored:
            assumed.append(f"the merged code ignores {', '.join(ignored)}; so does the simulation")
    scenario = scenario_named(name) if row.preset == "released" else in_the_merge(scenario_named(name))
    return replace(changed(applied(scenario, base), row.settings), name=name), tuple(assumed)


def row_against(row: PublishedRow, measure: Measure, latency: LatencyProfile | None = None) -> RowAgainst:
    """The row beside its simulation. Several schemas are tried when the database has another size than the row's."""
    chosen, measurement, assumed = _measured(row, measure, latency)
    hits_before = _hits_before(row, measurement)
    if hits_before:
        assumed = (*assumed, f"the run left out the {hits_before} hits of opening; so does the simulated figure")
    figures = []
    for name, (low, high) in row.figures.items():
        simulated = getattr(measurement, name) - (hits_before if name == "cache_hits" else 0)
        figures.append(FigureAgainst(name, low, high, simulated))
    simulated_ms = _median_ms(row, chosen, measurement, measure)
    factor = simulated_ms / row.server_ms if row.server_ms and measurement.error is None else None
    return RowAgainst(
        origin=row.origin,
        scenario=row.scenario,
        workload=row.workload.name,
        configuration=(
            f"{chosen.preset}, {chosen.name}, system {chosen.system}, schema {chosen.schema}, "
            f"latency {chosen.latency.name}"
        ),
        figures=tuple(figures) if measurement.error is None else (),
        simulated_ms=simulated_ms,
        published_ms=row.server_ms,
        factor=factor,
        assumed=assumed,
        error=measurement.error,
    )


def _measured(
    row: PublishedRow, measure: Measure, latency: LatencyProfile | None
) -> tuple[Configuration, Measurement, tuple[str, ...]]:
    wanted = row.figures.get("setup_pages")
    tried: list[tuple[Configuration, Measurement, tuple[str, ...]]] = []
    for schema in row.schemas:
        chosen, assumed = configuration_of(row, schema, latency)
        measurement = measure(row.workload, chosen)
        tried.append((chosen, measurement, assumed))
        if wanted is None or (measurement.error is None and wanted[0] <= measurement.setup_pages <= wanted[1]):
            if schema != row.schemas[0]:
                note = f"schema {schema}, since it gives the {wanted[0] if wanted else 0:,} pages after the set-up"
                assumed = (*assumed, note)
            return chosen, measurement, assumed
    chosen, measurement, assumed = tried[0]
    sizes = ", ".join(f"{each.schema} {found.setup_pages:,}" for each, found, _ in tried)
    return chosen, measurement, (*assumed, f"no schema gives its pages after the set-up ({sizes})")


def _median_ms(row: PublishedRow, chosen: Configuration, measurement: Measurement, measure: Measure) -> float:
    """The median of the simulated time over the seeds; of one run where nothing was published to compare it with."""
    if not row.server_ms or measurement.error is not None:
        return measurement.simulated_ms
    seeds = TIME_SEEDS if measurement.get_pages < MANY_REQUESTS else TIME_SEEDS_OF_MANY
    others = [measure(row.workload, replace(chosen, seed=seed)) for seed in range(1, seeds)]
    return statistics.median(each.simulated_ms for each in (measurement, *others) if each.error is None)


def _hits_before(row: PublishedRow, measurement: Measurement) -> int:
    """Hits that a run did not count. A page access is a hit or a miss, so the sum tells whether it did."""
    if "latest" not in row.origin or measurement.error is not None:
        return 0
    if "cache_hits" not in row.figures or "cache_misses" not in row.figures:
        return 0
    accesses = row.figures["cache_hits"][0] + row.figures["cache_misses"][0]
    missing = measurement.cache_hits + measurement.cache_misses - accesses
    return _OPEN_HITS if missing == _OPEN_HITS else 0


def against(
    file: str,
    source: str,
    rows: Sequence[PublishedRow],
    measure: Measure,
    latency: LatencyProfile | None = None,
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Against:
    """All rows beside their simulations. Rows that have the same configuration are simulated once."""
    known: list[tuple[str, Configuration, Measurement]] = []

    def once(workload: Workload, chosen: Configuration) -> Measurement:
        for name, other, measurement in known:
            if name == workload.name and other == chosen:
                return measurement
        measurement = measure(workload, chosen)
        known.append((workload.name, chosen, measurement))
        return measurement

    done: list[RowAgainst] = []
    for row in rows:
        if interrupted():
            break
        done.append(row_against(row, once, latency))
        progress(len(done), len(rows), row.workload.name)
    return Against(file, source, tuple(done), complete=len(done) == len(rows))

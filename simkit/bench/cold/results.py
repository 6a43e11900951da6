"""What a benchmark run leaves: measurements with all that is needed to judge or repeat them, as one JSON document.

`schemaVersion` says what the fields mean. A file of a newer version is refused, since its figures may mean something
else; an older one is read as long as this module knows its version. Within a version fields may be added, with a
default: whoever reads ignores those it does not know. Times of the wall are kept, but depend on the machine; everything
else is a function of the configuration and the versions in `environment`.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

import simkit
from simkit.bench.cold.run import Configuration, Measurement

SCHEMA_VERSION: Final = 1
FILE_BYTES_MAX: Final = 200_000_000

READER_FIGURES: Final = ("routed_reads", "write_fallbacks", "mode_transitions", "reader_opens", "reader_closes")
"""What the connection manager did."""

COUNTS: Final = (
    "rows",
    "setup_pages",
    "page_count",
    "get_pages",
    "fetched_pages",
    "prefetch_pages",
    "overflow_pages",
    "cache_hits",
    "cache_misses",
    "joined",
    "range_reads",
    "preloaded_pages",
    "commits",
    "committed_pages",
    *READER_FIGURES,
)
"""The figures of a measurement that are whole numbers and the same in every run of a configuration."""


class ResultsInvalid(ValueError):
    """A file is no result of the benchmark, or one that this version cannot read."""


class Environment(msgspec.Struct, frozen=True):
    """The versions that a count can depend on, and the machine that the wall time depends on."""

    simkit: str
    sqlite: str
    apsw: str
    python: str
    machine: str


class Settings(msgspec.Struct, frozen=True):
    """A configuration as plain data. `latency_source` says what the simulated times stand for."""

    name: str
    preset: str
    system: str
    schema: str
    sizes: str
    latency: str
    latency_source: str
    seed: int
    sqlite_cache_kib: int
    vfs: dict[str, Any]
    pool: dict[str, Any]


class Run(msgspec.Struct, frozen=True):
    """All workloads under one configuration. `notes` say what of it has no effect in this model."""

    settings: Settings
    measurements: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()
    rtt_ms: float | None = None

    @property
    def label(self) -> str:
        """The name of the scenario with the latency profile."""
        return f"{self.settings.name} @ {self.settings.latency}"

    @property
    def failures(self) -> tuple[Measurement, ...]:
        return tuple(measurement for measurement in self.measurements if measurement.error is not None)

    def of(self, workload: str) -> Measurement | None:
        """What this workload measured, if it came to an end without an error."""
        found = (each for each in self.measurements if each.workload == workload and each.error is None)
        return next(found, None)


class Results(msgspec.Struct, frozen=True):
    """Several runs, made together. `complete` is False when the benchmark was interrupted.

    `sensitivity` are further runs of the first configuration: they differ in the network round trip alone.
    """

    environment: Environment
    runs: tuple[Run, ...]
    complete: bool = True
    sensitivity: tuple[Run, ...] = ()
    schema_version: int = msgspec.field(default=SCHEMA_VERSION, name="schemaVersion")

    @property
    def workloads(self) -> tuple[str, ...]:
        """The names of all workloads that were measured, in their order."""
        numbered = {each.workload: each.number for run in self.runs for each in run.measurements}
        return tuple(sorted(numbered, key=lambda name: numbered[name]))

    @property
    def failures(self) -> tuple[tuple[Run, Measurement], ...]:
        return tuple((run, each) for run in (*self.runs, *self.sensitivity) for each in run.failures)

    @property
    def several_latencies(self) -> bool:
        return len({run.settings.latency for run in self.runs}) > 1

    def label(self, run: Run) -> str:
        """What tells the run from the others: its scenario, and the latency where that differs too."""
        return run.label if self.several_latencies else run.settings.name


def this_environment() -> Environment:
    """Where this process measures."""
    return Environment(
        simkit=simkit.__version__,
        sqlite=apsw.sqlite_lib_version(),
        apsw=apsw.apsw_version(),
        python=platform.python_version(),
        machine=f"{platform.python_implementation()} on {platform.system()} {platform.machine()}",
    )


def settings_of(configuration: Configuration) -> Settings:
    """A configuration as it is written down."""
    return Settings(
        name=configuration.name,
        preset=configuration.preset,
        system=configuration.system,
        schema=configuration.schema,
        sizes=str(configuration.sizes),
        latency=configuration.latency.name,
        latency_source=configuration.latency.source,
        seed=configuration.seed,
        sqlite_cache_kib=configuration.sqlite_cache_kib,
        vfs=asdict(configuration.vfs),
        pool=asdict(configuration.pool),
    )


def ordered(measurements: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Measurements in the order of the workloads, however they came."""
    return tuple(sorted(measurements, key=lambda measurement: measurement.number))


def encode(results: Results) -> bytes:
    """The document, indented, with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n"


def decode(text: bytes, file_name: str) -> Results:
    """The results in a document; `file_name` is used in messages only. Raises `ResultsInvalid`."""

    class Head(msgspec.Struct):
        version: int = msgspec.field(name="schemaVersion")

    try:
        version = msgspec.json.decode(text, type=Head).version
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ResultsInvalid(
            f"{file_name} is no result of simkit bench ({error}): give a results.json that `simkit bench -o` wrote"
        ) from None
    if version > SCHEMA_VERSION:
        raise ResultsInvalid(
            f"{file_name} has schema version {version}, and this simkit reads up to {SCHEMA_VERSION}: "
            "read it with the newer simkit that wrote it, or run the benchmark again"
        )
    if version < 1:
        raise ResultsInvalid(f"{file_name} has schema version {version}; versions count from 1")
    try:
        return msgspec.json.decode(text, type=Results)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ResultsInvalid(
            f"{file_name} says schema version {version} but does not have its form: {error}; run the benchmark again"
        ) from None


def load(path: Path) -> Results:
    """The results in a file. Raises `ResultsInvalid`, also for a file that cannot be read."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ResultsInvalid(f"{path} is larger than {FILE_BYTES_MAX:,} bytes; that is no result of simkit bench")
        return decode(path.read_bytes(), str(path))
    except IsADirectoryError:
        raise ResultsInvalid(f"{path} is a folder; give {path / 'results.json'}") from None
    except OSError as error:
        raise ResultsInvalid(f"cannot read {path}: {error.strerror}") from None


def save(results: Results, path: Path) -> None:
    """Writes the document whole or not at all: an interruption leaves the file that was there."""
    beside = path.with_name(f".{path.name}.partial")
    beside.write_bytes(encode(results))
    beside.replace(path)

"""The reference tables: what every workload counts in smoke sizes, for both states of the real system.

They are committed, so that a change of the counts shows in a review and nowhere else. Only figures that a
configuration determines are in them, without any time: times follow a latency profile, which may be improved without
any page being fetched otherwise. A test measures all workloads again and compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import apsw
import msgspec

from simkit.bench.cold.markdown import table
from simkit.bench.cold.results import COUNTS, ResultsInvalid
from simkit.bench.cold.run import Configuration, Measurement, configuration
from simkit.bench.cold.sizes import Profile

Preset = Literal["merge", "released"]

PRESETS: Final[tuple[Preset, ...]] = ("merge", "released")
FOLDER: Final = Path("reports/cold-read")
COMMAND: Final = "simkit bench --write-reference"
REFERENCE_VERSION: Final = 1


class Row(msgspec.Struct, frozen=True):
    """What one workload counts, by the names in `COUNTS`; `answer` is the digest of what it read."""

    workload: str
    answer: str
    counts: dict[str, int]


class Reference(msgspec.Struct, frozen=True):
    """One table, with what the counts depend on besides simkit."""

    made_by: str
    preset: str
    sizes: str
    schema: str
    system: str
    seed: int
    sqlite: str
    rows: tuple[Row, ...]
    schema_version: int = msgspec.field(default=REFERENCE_VERSION, name="schemaVersion")


def reference_configuration(preset: Preset) -> Configuration:
    """What the tables are measured with."""
    return configuration(preset, sizes=Profile.SMOKE)


def make_reference(chosen: Configuration, measurements: Sequence[Measurement]) -> Reference:
    """The table of measurements. Raises `ValueError` when a workload failed: there is no reference for that."""
    failed = [f"{each.workload} failed: {each.error}" for each in measurements if each.error is not None]
    if failed:
        raise ValueError("; ".join(failed))
    rows = (
        Row(each.workload, each.answer, {name: getattr(each, name) for name in COUNTS})
        for each in sorted(measurements, key=lambda each: each.number)
    )
    return Reference(
        made_by=COMMAND,
        preset=chosen.preset,
        sizes=str(chosen.sizes),
        schema=chosen.schema,
        system=chosen.system,
        seed=chosen.seed,
        sqlite=apsw.sqlite_lib_version(),
        rows=tuple(rows),
    )


def file_of(preset: str, folder: Path = FOLDER) -> Path:
    """The JSON document of a preset; the table to read is beside it."""
    return folder / f"smoke-{preset}.json"


def write_reference(reference: Reference, folder: Path) -> tuple[Path, Path]:
    """Writes the JSON document and the Markdown table; their paths."""
    path = file_of(reference.preset, folder)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(reference), indent=1) + b"\n")
    beside = path.with_suffix(".md")
    beside.write_text(reference_table(reference), encoding="utf-8")
    return path, beside


def load_reference(path: Path) -> Reference:
    """The table in a file. Raises `ResultsInvalid`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Reference)
    except OSError as error:
        raise ResultsInvalid(f"cannot read {path}: {error.strerror}; {COMMAND} makes it") from None
    except msgspec.DecodeError as error:
        raise ResultsInvalid(f"{path} is no reference table: {error}; {COMMAND} makes it anew") from None


def reference_table(reference: Reference) -> str:
    """The table as Markdown."""
    heads = ("workload", *(name.replace("_", " ") for name in COUNTS))
    rows = [(row.workload, *(f"{row.counts[name]:,}" for name in COUNTS)) for row in reference.rows]
    return (
        f"# Cold reads, preset {reference.preset}, {reference.sizes} sizes\n\n"
        f"Made by `{reference.made_by}` with SQLite {reference.sqlite}; schema {reference.schema}, system "
        f"{reference.system}, seed {reference.seed}. All figures follow from these; none depends on the machine.\n\n"
        f"{table(heads, rows, texts=1)}\n"
    )


def drifted(row: Row, measurement: Measurement) -> list[str]:
    """What the measurement has otherwise than the row, as `name committed -> measured`."""
    if measurement.error is not None:
        return [f"failed: {measurement.error}"]
    found = [
        f"{name} {row.counts.get(name)} -> {getattr(measurement, name)}"
        for name in COUNTS
        if row.counts.get(name) != getattr(measurement, name)
    ]
    if row.answer != measurement.answer:
        found.append("the rows that were read differ")
    return found

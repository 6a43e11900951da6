"""`simkit calibrate`: a latency profile from measured round trips."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from simkit.cli.app import app
from simkit.cli.exits import BadInput, exit_codes
from simkit.cli.options import JsonOption, out, print_json
from simkit.depot.calibration import Calibration, CalibrationRefused, Fit, calibrate
from simkit.depot.latency import DEFAULT_LATENCY_PROFILE, LATENCY_PROFILES
from simkit.depot.ltx import is_page_size
from simkit.depot.round_trips import RoundTrips, RoundTripsInvalid, parse_round_trips
from simkit.kernel.units import MILLISECOND, parse_duration

FILE_BYTES_MAX = 200_000_000

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@app.command(name="calibrate")
def calibrate_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Measured round trips, one request a row.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PROFILE.yaml", help="Write the profile to a file; else it is printed."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The name of the profile; else that of the file.")
    ] = None,
    rtt: Annotated[
        str,
        typer.Option("--rtt", metavar="TIME", help="A network round trip that you know; all else is server work."),
    ] = "0ms",
    base: Annotated[
        str,
        typer.Option("--base", metavar="PROFILE", help="Where kinds of request that were not measured come from."),
    ] = DEFAULT_LATENCY_PROFILE,
    page_size: Annotated[
        int,
        typer.Option("--page-size", metavar="BYTES", help="How large a page was, to count pages where a row does not."),
    ] = 4096,
    json: JsonOption = False,
) -> None:
    """Make a latency profile from measured round trips, and show how well it fits.

    The first line of FILE.csv names the columns: `kind` (get_pages, commit or open) and `milliseconds`, and where you
    have them `pages`, `request_bytes` and `response_bytes`. A row without pages is counted by its bytes: response bytes
    of get_pages, request bytes of commit, divided by the page size. Rows of other kinds are left out.

        kind,pages,request_bytes,response_bytes,milliseconds

        get_pages,16,112,65700,1.42

        commit,,8271,15,1.88

    Then `simkit calibrate trips.csv -o latency/mine.yaml`, and in a scenario beside that folder
    `latency: latency/mine.yaml`.

    For each kind it fits a cost per page that slow outliers do not move, and the rest as a lognormal by p50 and p99, a
    mixture of two, or a table of quantiles: the simplest that is close. KS is the largest difference between the
    shares of requests below any duration (0 to 1), Wasserstein the mean difference in milliseconds.
    """
    with exit_codes(json):
        trips, made = _calibrate(file, name, rtt, base, page_size)
        if output is not None:
            try:
                output.write_text(made.text, encoding="utf-8")
            except OSError as error:
                raise BadInput(f"cannot write {output}: {error.strerror}") from None
        if json:
            print_json(_as_json(trips, made, output))
            return
        _show(trips, made)
        if output is None:
            out.print(made.text, markup=False, soft_wrap=True, end="")
        else:
            out.print(f"written: {output}", markup=False, soft_wrap=True)


def _calibrate(file: Path, name: str | None, rtt: str, base: str, page_size: int) -> tuple[RoundTrips, Calibration]:
    called = name if name is not None else re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")
    if not _NAME.fullmatch(called):
        raise BadInput(f"{called!r} is no name of a profile: give --name with lower-case letters, digits and hyphens")
    if base not in LATENCY_PROFILES:
        raise BadInput(f"--base {base}: no such profile; there are {', '.join(LATENCY_PROFILES)}")
    if not is_page_size(page_size):
        raise BadInput(f"--page-size {page_size}: SQLite's page sizes are the powers of two from 512 to 65536")
    try:
        rtt_ns = parse_duration(rtt)
    except ValueError as error:
        raise BadInput(f"--rtt: {error}") from None
    text = _read(file)
    try:
        trips = parse_round_trips(text, str(file), page_size)
        return trips, calibrate(trips, name=called, file_name=file.name, base=base, rtt_ns=rtt_ns)
    except RoundTripsInvalid as error:
        raise BadInput(str(error)) from None
    except CalibrationRefused as error:
        raise BadInput(f"{file}: {error}; give a smaller --rtt") from None


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise BadInput(f"{file} is larger than {FILE_BYTES_MAX} bytes: give a part of it")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{file} is not UTF-8 text: save it as UTF-8") from None


def _show(trips: RoundTrips, made: Calibration) -> None:
    for fit in made.fits:
        out.print(_headline(fit), markup=False, soft_wrap=True)
        for note in fit.notes:
            out.print(f"  note: {note}", markup=False, soft_wrap=True)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("  ms")
        for row in fit.quantiles:
            table.add_column(row.name, justify="right")
        table.add_row("  measured", *(f"{row.measured_ms:.3f}" for row in fit.quantiles))
        table.add_row("  fitted", *(f"{row.fitted_ms:.3f}" for row in fit.quantiles))
        out.print(table)
        for candidate in fit.candidates:
            mark = "*" if candidate == fit.chosen else " "
            distance = f"KS {candidate.ks:.3f}, Wasserstein {candidate.wasserstein_ms:.3f} ms"
            out.print(f"  {mark} {candidate.shape}: {distance}", markup=False, soft_wrap=True)
        out.print(f"  taken: {fit.chosen.shape}, {fit.why}\n", markup=False, soft_wrap=True)
    if trips.left_out:
        listed = ", ".join(f"{count} {kind or '(none)'}" for kind, count in trips.left_out.items())
        out.print(f"rows of other kinds, left out: {listed}", markup=False, soft_wrap=True)


def _headline(fit: Fit) -> str:
    cost = f"{fit.per_page_ns / MILLISECOND:.4f} ms a page"
    return f"{fit.kind}: {fit.samples} samples, {cost}; pages from {fit.pages_from}"


def _as_json(trips: RoundTrips, made: Calibration, output: Path | None) -> dict[str, object]:
    return {
        "good": True,
        "name": made.profile.name,
        "source": made.profile.source,
        "written": None if output is None else str(output),
        "profile": made.text,
        "left_out": trips.left_out,
        "fits": [_fit_as_json(fit) for fit in made.fits],
    }


def _fit_as_json(fit: Fit) -> dict[str, object]:
    """A fit without the texts of its shapes: the profile has the one that matters."""
    plain: dict[str, object] = msgspec.to_builtins(fit)
    distances = [
        {"shape": shape.shape, "ks": shape.ks, "wasserstein_ms": shape.wasserstein_ms} for shape in fit.candidates
    ]
    return {**plain, "chosen": fit.chosen.shape, "candidates": distances}

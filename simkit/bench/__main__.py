"""`python -m simkit.bench`: measures what the simulator costs, and writes the figures into docs/performance.md.

Never fails on a figure: machines differ and are noisy. It shows which targets are met.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from simkit.bench import depot, manager, page_read, runs, scaling
from simkit.bench.figure import Figure, quiet_collector

PAGE = Path("docs/performance.md")
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

MEASUREMENTS: dict[str, Callable[[], list[Figure]]] = {
    "page-read": page_read.measure,
    "smallest": runs.measure_smallest,
    "large": runs.measure_large,
    "clients": scaling.measure_clients,
    "database-size": scaling.measure_database_sizes,
    "depot": depot.measure,
    "depot-size": depot.measure_growth,
    "idle-clients": scaling.measure_idle_clients,
    "manager": manager.measure,
    "manager-clients": manager.measure_growth,
    "manager-overlap": manager.measure_overlap,
}


def main() -> int:
    """Measures, prints, and writes if asked to; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simkit.bench", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[*MEASUREMENTS, []], metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--write", action="store_true", help=f"write the figures into {PAGE}")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write takes all measurements; leave the names out")
    figures: list[Figure] = []
    for name in options.only or MEASUREMENTS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        with quiet_collector():
            figures.extend(MEASUREMENTS[name]())
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(figures), indent=2).decode())
    else:
        print(table(figures))
    if options.write:
        write(figures)
    return 0


def table(figures: list[Figure]) -> str:
    """The figures as a Markdown table."""
    lines = ["| figure | measured | target | |", "|---|--:|---|---|"]
    for figure in figures:
        verdict = {True: "met", False: "missed", None: ""}[figure.met]
        lines.append(f"| {figure.name} | {figure.render()} | {figure.target} | {verdict} |")
    return "\n".join(lines)


def write(figures: list[Figure]) -> None:
    """Puts the table between the marks of the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    machine = f"CPython {platform.python_version()} on {platform.system()} {platform.machine()}"
    notes = "\n".join(f"- {name}" for name in dict.fromkeys(f"{figure.name}: {figure.note}" for figure in figures))
    PAGE.write_text(f"{before}{BEGIN}\n{machine}.\n\n{table(figures)}\n\n{notes}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

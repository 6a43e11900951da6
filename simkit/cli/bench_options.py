"""The options of `simkit bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Vfs = Literal["merge", "released", "default"]
Matrix = Literal["none", "impact", "full-impact"]
Sizes = Literal["smoke", "standard"]
System = Literal["auto", "pool", "worker", "single"]
Schema = Literal["april", "chat", "merge", "released"]

OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="NAME", help="Run this workload, or those of a pattern: 'chat-*'. May be repeated."),
]
MatrixOption = Annotated[
    Matrix, typer.Option("--matrix", help="Switch optimisations off in turn, in 12 or in 15 scenarios.")
]
ProfileOption = Annotated[
    Sizes, typer.Option("--profile", help="Sizes of the databases: up to 2 MiB of rows, or up to 256 MiB.")
]
LatencyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--latency", metavar="NAME|FILE.yaml", help="A latency profile; the benchmark runs once with each given."
    ),
]
VfsOption = Annotated[
    Vfs,
    typer.Option(
        "--vfs",
        help="The design of the pull request, the released engine as measured, or every optimisation of ours.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; --list shows them. May be repeated."),
]
SchemaOption = Annotated[
    Schema | None, typer.Option("--schema", help="Which tables there are; else those of the VFS that was chosen.")
]
SystemOption = Annotated[
    System | None,
    typer.Option(
        "--system",
        help="What runs statements: the pool, one worker, a bare connection; auto: the pool where some run at once.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="DIR", help="Write results.json and summary.md there, and the pictures."),
]
PlotsOption = Annotated[bool, typer.Option("--plots", help="Draw bars and sensitivity curves into DIR (SVG and PNG).")]
SensitivityOption = Annotated[
    bool,
    typer.Option("--sensitivity", help="Simulate again with network round trips of 0, 2.9, 10, 20 and 50 ms."),
]
SeedOption = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Draws latencies and the order of what happens at once.")
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", metavar="N", min=1, help="Processes. Default: one for each core.")
]
ListOption = Annotated[
    bool, typer.Option("--list", help="List workloads, scenarios, latency profiles and settings, and run nothing.")
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="FILE",
        help="Simulate the rows of FILE and show both; `published` and `released` come with simkit.",
    ),
]
FailOnChangeOption = Annotated[
    bool, typer.Option("--fail-on-change", help="End with code 1 when anything differs, for CI.")
]
ReferenceOption = Annotated[
    bool, typer.Option("--write-reference", help="Measure and write the tables in reports/cold-read anew.")
]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", metavar="DIR", help="Where databases that were set up are kept for next time.")
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Set every database up anew.")]

"""The measurements of the depot run, and measure what they say."""

from __future__ import annotations

import pytest

from simkit.bench import depot
from simkit.bench.depot import build, commits, measure, measure_growth
from simkit.depot.events import HotInstalled, Reclaimed
from simkit.depot.settings import CompactionSettings, DepotSettings
from simkit.kernel import Kernel, Record


def test_there_are_three_figures_of_commits_and_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "_READS", 50)
    figures = measure(pages=30, rounds=1, count=40)
    assert [figure.name for figure in figures] == [
        "depot alone: commits",
        "depot alone: page reads",
        "depot alone: commit with compaction / without",
    ]


def test_growth_is_measured_against_the_smallest_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "_COMMITS_FOLDED", 10)
    figures = measure_growth(sizes=(20, 40, 60), rounds=1, count=10)
    assert [figure.name for figure in figures] == [
        "depot alone: commit at 40 pages / 20 pages",
        "depot alone: commit at 60 pages / 20 pages",
        "depot alone: commit with compaction at 40 pages / 20 pages",
    ]


def test_commits_with_compaction_include_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[type[Record]] = []

    class Watched(Kernel):
        def close(self) -> None:
            seen.extend(type(event) for event in self.history)
            super().close()

    image = build(25, 512)
    monkeypatch.setattr(depot, "Kernel", Watched)
    commits(image, DepotSettings(compaction=CompactionSettings(enabled=True)), 200)
    assert HotInstalled in seen
    assert Reclaimed in seen

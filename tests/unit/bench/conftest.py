"""Measurements and results that were not measured."""

from collections.abc import Callable
from typing import Any

import pytest

from simkit.bench.cold.results import Results, Run, settings_of, this_environment
from simkit.bench.cold.run import Configuration, Measurement, configuration
from simkit.bench.cold.workloads import Workload, workload_named


@pytest.fixture
def measured() -> Callable[..., Measurement]:
    """Makes a measurement of a workload with some figures."""

    def make(workload: Workload | str, **figures: Any) -> Measurement:
        if isinstance(workload, str):
            workload = workload_named(workload)
        return Measurement(
            workload=workload.name,
            number=workload.number,
            category=str(workload.category),
            size_class=str(workload.size),
            target_bytes=0,
            **figures,
        )

    return make


@pytest.fixture
def results_of() -> Callable[..., Results]:
    """Makes results of one run; keyword arguments change the configuration."""

    def make(*measurements: Measurement, notes: tuple[str, ...] = (), **changes: Any) -> Results:
        chosen: Configuration = configuration("merge", **changes)
        return Results(this_environment(), (Run(settings_of(chosen), measurements, notes),))

    return make

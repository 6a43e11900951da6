"""The metrics of a connection manager as Prometheus text, written by prometheus-client.

A collector over plain integers, so that counting costs nothing here; and a module of its own, because loading
prometheus-client takes longer than most runs. The text follows from the run alone: no registry of the process, no time
of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from simkit.kernel.units import SECOND
from simkit.pool.metrics import COUNTERS, GAUGES, HISTOGRAMS, PREFIX, TRANSITIONS, TRANSITIONS_HELP, PoolMetrics


class PoolCollector(Collector):
    """Reads the metrics of one manager whenever it is asked; may be registered with any registry."""

    def __init__(self, metrics: PoolMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        at_seconds = metrics.kernel.now / SECOND
        for short, text in GAUGES.items():
            gauge = GaugeMetricFamily(PREFIX + short, text)
            gauge.add_metric([], getattr(metrics, short), timestamp=at_seconds)
            yield gauge
        for short, text in COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + short, text)
            counter.add_metric([], getattr(metrics, short), timestamp=at_seconds)
            yield counter
        for short, text in HISTOGRAMS.items():
            durations = metrics.durations(short)
            histogram = HistogramMetricFamily(PREFIX + short, text)
            histogram.add_metric([], list(durations.buckets()), durations.sum_seconds, timestamp=at_seconds)
            yield histogram
        transitions = CounterMetricFamily(PREFIX + TRANSITIONS, TRANSITIONS_HELP, labels=("from", "to"))
        for change, count in metrics.mode_transitions_total.items():
            transitions.add_metric(change, count, timestamp=at_seconds)
        yield transitions


def exposition(metrics: PoolMetrics) -> str:
    """The metrics as Prometheus text."""
    return generate_latest(PoolCollector(metrics)).decode("utf-8")

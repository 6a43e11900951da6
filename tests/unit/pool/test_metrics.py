"""Metrics of a pool: names, values, Prometheus text, and that a wrong name is never 0."""

import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from simkit.kernel import Decisions, Kernel
from simkit.pool.events import CLOSED, CLOSING, READ, WRITE
from simkit.pool.exposition import PoolCollector
from simkit.pool.metrics import BOUNDS_NS, MODE_TRANSITIONS, PoolMetrics, Sample, UnknownMetric, look_up

MS = 1_000_000
SECOND = 1_000 * MS

NAMES = {
    "sqlite_read_pool_active_readers",
    "sqlite_read_pool_idle_readers",
    "sqlite_read_pool_read_wait_duration_seconds",
    "sqlite_read_pool_write_wait_duration_seconds",
    "sqlite_read_pool_routed_read_queries_total",
    "sqlite_read_pool_write_fallback_queries_total",
    "sqlite_read_pool_manual_transaction_duration_seconds",
    "sqlite_read_pool_reader_opens_total",
    "sqlite_read_pool_reader_closes_total",
    "sqlite_read_pool_rejected_reader_mutations_total",
    "sqlite_read_pool_mode_transitions_total",
    "sqlite_read_pool_leases_dropped_total",
}


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(Decisions(1))


@pytest.fixture
def metrics(kernel: Kernel) -> PoolMetrics:
    return PoolMetrics(kernel)


def busy(metrics: PoolMetrics) -> PoolMetrics:
    """Everything counted at least once."""
    metrics.read_waited(0)
    metrics.read_waited(3 * MS)
    metrics.write_waited(MS)
    metrics.routed_read()
    metrics.write_fallback()
    metrics.transaction_ended(70 * SECOND)
    metrics.reader_opened()
    metrics.reader_closed()
    metrics.rejected_reader_mutation()
    metrics.mode_changed(CLOSED, READ)
    metrics.lease_dropped()
    metrics.active_readers = 3
    metrics.idle_readers = 1
    return metrics


def test_families_have_the_documented_names(metrics: PoolMetrics) -> None:
    declared = {line.split()[2] for line in metrics.render().splitlines() if line.startswith("# TYPE")}
    assert declared == NAMES


def test_text_can_be_read_back_and_says_what_the_samples_say(metrics: PoolMetrics) -> None:
    busy(metrics)
    read = {}
    for family in text_string_to_metric_families(metrics.render()):
        for sample in family.samples:
            assert metrics.value(sample.name, sample.labels) == sample.value
            if not sample.name.endswith("_bucket"):
                read[Sample(sample.name, tuple(sample.labels.items()), 0).written] = sample.value
    assert tuple(sorted(read.items())) == metrics.samples()


def test_text_carries_simulated_time(kernel: Kernel, metrics: PoolMetrics) -> None:
    kernel.spawn(lambda: kernel.sleep(1_500 * MS))
    kernel.run()
    assert "sqlite_read_pool_reader_opens_total 0.0 1500\n" in metrics.render()


def test_metrics_may_be_registered_like_any_others(metrics: PoolMetrics) -> None:
    registry = CollectorRegistry()
    registry.register(PoolCollector(busy(metrics)))
    assert registry.get_sample_value("sqlite_read_pool_active_readers") == 3.0


def test_what_was_not_counted_yet_is_zero(metrics: PoolMetrics) -> None:
    assert {value for _, value in metrics.samples()} == {0.0}
    for before, after in MODE_TRANSITIONS:
        assert metrics.value("sqlite_read_pool_mode_transitions_total", {"from": before, "to": after}) == 0.0


def test_every_transition_of_the_table_exists() -> None:
    work = [(CLOSED, READ), (CLOSED, WRITE), (READ, WRITE), (READ, CLOSED), (WRITE, CLOSED)]
    close = [(CLOSED, CLOSING), (READ, CLOSING), (WRITE, CLOSING), (CLOSING, CLOSED)]
    assert sorted(MODE_TRANSITIONS) == sorted(work + close)


def test_transition_outside_of_the_table_is_unknown_until_it_is_counted(metrics: PoolMetrics) -> None:
    labels = {"to": READ, "from": WRITE}
    with pytest.raises(UnknownMetric, match=r'{to="read",from="write"}; there are: .*from="closed",to="read"'):
        metrics.value("sqlite_read_pool_mode_transitions_total", labels)
    metrics.mode_changed(WRITE, READ)
    assert metrics.value("sqlite_read_pool_mode_transitions_total", labels) == 1.0


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sqlite_read_pool_reader_open_total", "sqlite_read_pool_reader_opens_total"),
        ("reader_opens_total", "sqlite_read_pool_reader_opens_total"),
        ("sqlite_read_pool_read_wait_duration_seconds", "sqlite_read_pool_read_wait_duration_seconds_"),
    ],
)
def test_unknown_name_is_an_error_that_names_the_closest(metrics: PoolMetrics, name: str, meant: str) -> None:
    with pytest.raises(UnknownMetric, match=f"there is no metric {name}; did you mean {meant}"):
        metrics.value(name)
    with pytest.raises(UnknownMetric, match="did you mean"):
        look_up(metrics.samples(), name)


def test_name_that_resembles_nothing_gets_the_list(metrics: PoolMetrics) -> None:
    with pytest.raises(UnknownMetric, match=r"no metric zzz\. There are: sqlite_read_pool_active_readers, "):
        metrics.value("zzz")


@pytest.mark.parametrize("labels", [{"from": CLOSED}, {"from": CLOSED, "to": READ, "more": "x"}, {}, None])
def test_wrong_labels_are_an_error(metrics: PoolMetrics, labels: dict[str, str] | None) -> None:
    with pytest.raises(UnknownMetric):
        metrics.value("sqlite_read_pool_mode_transitions_total", labels)


def test_samples_of_a_history_are_looked_up_by_their_written_name(metrics: PoolMetrics) -> None:
    samples = busy(metrics).samples()
    assert look_up(samples, 'sqlite_read_pool_mode_transitions_total{from="closed",to="read"}') == 1.0
    assert look_up(samples, "sqlite_read_pool_manual_transaction_duration_seconds_sum") == 70.0
    assert samples == tuple(sorted(samples))


@pytest.mark.parametrize(
    ("duration_ns", "first_bucket"),
    [
        (0, "0.0001"),
        (100_000, "0.0001"),
        (100_001, "0.00025"),
        (MS, "0.001"),
        (60 * SECOND, "60"),
        (60 * SECOND + 1, "+Inf"),
    ],
)
def test_bucket_holds_what_is_at_most_its_bound(metrics: PoolMetrics, duration_ns: int, first_bucket: str) -> None:
    metrics.write_waited(duration_ns)
    name = "sqlite_read_pool_write_wait_duration_seconds_bucket"
    bounds = [format(bound_ns / SECOND, "g") for bound_ns in BOUNDS_NS] + ["+Inf"]
    holding = [bound for bound in bounds if metrics.value(name, {"le": bound}) == 1.0]
    assert holding[0] == first_bucket
    assert holding == bounds[bounds.index(first_bucket) :]


def test_text_library_is_loaded_only_for_text() -> None:
    code = "import simkit.pool.metrics, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

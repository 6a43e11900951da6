"""How well times are predicted: the documentation has each factor, and these are they."""

from pathlib import Path

import pytest

from simkit.bench.cold.against import COMES_ALONG, RowAgainst, against, load_rows
from simkit.bench.cold.run import measure
from simkit.bench.cold.setup import SetupCache

DOCUMENT = Path(__file__).parents[3] / "docs" / "cold-read-benchmark.md"


def line(row: RowAgainst) -> str:
    """The row of the table in the documentation."""
    assert row.published_ms is not None
    assert row.factor is not None
    times = f"{row.published_ms:,.1f} | {row.simulated_ms:,.1f} | {row.factor:.2f}"
    return f"| {row.workload} | {row.origin}, {row.scenario} | {times} |"


@pytest.mark.parametrize("name", COMES_ALONG)
def test_the_documentation_states_the_factor_of_every_row(name: str) -> None:
    setups = SetupCache()
    source, rows = load_rows(COMES_ALONG[name])
    found = against(name, source, rows, lambda workload, chosen: measure(workload, chosen, setups))
    lines = [line(row) for row in found.rows]
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [each for each in lines if each not in text]
    assert not missing, f"{DOCUMENT.name} lacks these rows of its table of times:\n" + "\n".join(missing)
    factors = [row.factor for row in found.rows if row.factor]
    assert f"{min(factors):.2f} to {max(factors):.2f}" in text

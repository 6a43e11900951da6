"""A short soak: what a depot holds does not grow with the number of its commits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from simkit.bench.soak import Checkpoint, soak

_STRETCHES = 10
_WARM = 5


@pytest.fixture(scope="module")
def checkpoints() -> Sequence[Checkpoint]:
    return soak(2_000, _STRETCHES, pages_max=100)


def test_a_soak_looks_after_every_stretch(checkpoints: Sequence[Checkpoint]) -> None:
    assert [checkpoint.commits for checkpoint in checkpoints] == [200 * stretch for stretch in range(1, 11)]
    assert checkpoints[-1].head == 2_000


def test_everything_is_folded_when_compaction_rests(checkpoints: Sequence[Checkpoint]) -> None:
    assert all(checkpoint.watermark == checkpoint.head for checkpoint in checkpoints)


def test_nothing_is_found(checkpoints: Sequence[Checkpoint]) -> None:
    assert [checkpoint.findings for checkpoint in checkpoints] == [()] * _STRETCHES


def test_rows_do_not_grow_with_the_number_of_commits(checkpoints: Sequence[Checkpoint]) -> None:
    # Four restore points and a handful of intervals are kept from the fifth stretch on.
    rows_at_first = max(checkpoint.rows for checkpoint in checkpoints[:_WARM])
    assert max(checkpoint.rows for checkpoint in checkpoints[_WARM:]) <= rows_at_first * 1.5


def test_no_old_values_stay_behind(checkpoints: Sequence[Checkpoint]) -> None:
    assert {checkpoint.kept_values for checkpoint in checkpoints} == {0}

"""Databases that were set up and kept: whole ones are taken, others made anew, and nothing is left half done."""

from pathlib import Path

import pytest

from simkit.bench.cold import setup
from simkit.bench.cold.schema import SCHEMAS
from simkit.bench.cold.seeds import Seed
from simkit.bench.cold.setup import PAGE_BYTES, SetupCache

SMALL = ("merge", Seed.DOCS, 20_000)


def kept_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_a_kept_database_has_the_pages_of_one_that_is_not_kept(tmp_path: Path) -> None:
    kept, fresh = SetupCache(tmp_path).image(*SMALL), SetupCache().image(*SMALL)
    assert kept[1] == fresh[1] == kept_file(tmp_path).stat().st_size // PAGE_BYTES


def test_a_kept_database_that_is_cut_off_is_made_anew(tmp_path: Path) -> None:
    _, pages = SetupCache(tmp_path).image(*SMALL)
    path = kept_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-PAGE_BYTES])
    assert SetupCache(tmp_path).image(*SMALL)[1] == pages
    assert path.stat().st_size == pages * PAGE_BYTES


def test_a_set_up_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMAS, "broken", (*SCHEMAS["merge"], "CREATE TABLE ("))
    with pytest.raises(Exception, match="syntax error"):
        SetupCache(tmp_path).image("broken", Seed.DOCS, 20_000)
    assert list(tmp_path.iterdir()) == []


def test_large_images_do_not_stay_in_memory_together(monkeypatch: pytest.MonkeyPatch) -> None:
    setups = SetupCache()
    first, _ = setups.image(*SMALL)
    setups.image("april", Seed.DOCS, 20_000)
    assert setups.image(*SMALL)[0] is first
    monkeypatch.setattr(setup, "_PAGES_KEPT", 1)
    setups.image("chat", Seed.DOCS, 20_000)
    assert setups.image(*SMALL)[0] is not first

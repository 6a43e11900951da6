"""The latency profiles that come with simkit: their tables never move, and they are read when they are needed."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from simkit.depot.latency import LATENCY_PROFILES, REQUEST_KINDS
from simkit.depot.profile_file import parse_profile
from simkit.kernel import Decisions

PROFILES = Path(__file__).parents[3] / "simkit" / "depot" / "profiles"
TABLES = [
    ("instant", "get_pages", "d4baf04990535bbf"),
    ("instant", "commit", "d4baf04990535bbf"),
    ("instant", "open", "d4baf04990535bbf"),
    ("local-debug", "get_pages", "92b61cfd7d1b16d6"),
    ("local-debug", "commit", "5bcd16154b8c7b07"),
    ("local-debug", "open", "c23756cb2549239e"),
    ("loopback", "get_pages", "9dcbc49c0729d896"),
    ("loopback", "commit", "9b31f4ab4165b4f6"),
    ("loopback", "open", "0da403317848f998"),
    ("loopback-fitted", "get_pages", "f63773bc5c564f9b"),
    ("loopback-fitted", "commit", "a0d3b03fb660ae0a"),
    ("loopback-fitted", "open", "0da403317848f998"),
    ("network-20ms", "get_pages", "35cff435f911f879"),
    ("network-20ms", "commit", "35cff435f911f879"),
    ("network-20ms", "open", "79499319d179aed0"),
    ("object-store-tail", "get_pages", "d260819ae3fbe3cc"),
    ("object-store-tail", "commit", "8454d492101c6bb8"),
    ("object-store-tail", "open", "c599fc5b5376cd8a"),
    ("cross-region", "get_pages", "07b33c58958691dd"),
    ("cross-region", "commit", "07b33c58958691dd"),
    ("cross-region", "open", "d4b5c35a46522176"),
]


@pytest.mark.parametrize(("name", "kind", "digest"), TABLES)
def test_a_saved_run_finds_the_tables_it_was_made_with(name: str, kind: str, digest: str) -> None:
    cost = LATENCY_PROFILES[name].of(kind)
    table = repr((cost.rtt.quantiles, cost.server.quantiles, cost.per_page_ns))
    assert hashlib.sha256(table.encode()).hexdigest()[:16] == digest


def test_every_profile_has_its_tables_written_down_here() -> None:
    expected = [(name, kind) for name in LATENCY_PROFILES for kind in REQUEST_KINDS]
    assert sorted((name, kind) for name, kind, _ in TABLES) == sorted(expected)


def test_a_seed_draws_the_durations_it_always_drew() -> None:
    choose = Decisions(7).stream("latency/get_pages")
    server = LATENCY_PROFILES["local-debug"].get_pages.server
    assert [server.draw(choose) for _ in range(4)] == [6_195_020, 2_701_185, 2_195_677, 2_071_399]


def test_names_are_those_of_the_files() -> None:
    assert list(LATENCY_PROFILES) == sorted(file.stem for file in PROFILES.iterdir())


@pytest.mark.parametrize("file", sorted(PROFILES.iterdir()), ids=lambda file: file.stem)
def test_a_file_says_which_of_its_numbers_are_assumed(file: Path) -> None:
    source = parse_profile(file.read_text(encoding="utf-8"), file.name).source
    assert "assumed" in source or "No cost" in source


def test_an_unknown_name_is_no_profile() -> None:
    assert "slow" not in LATENCY_PROFILES
    with pytest.raises(KeyError):
        LATENCY_PROFILES["slow"]


def test_importing_the_depot_reads_no_yaml() -> None:
    script = "import sys; import simkit, simkit.depot.latency; print('ruamel.yaml' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"

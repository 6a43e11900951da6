"""`vfs`: profiles and settings reach the VFS, those of a list are drawn, and each setting changes what happens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import apsw
import pytest

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.kernel.units import MILLISECOND, SECOND
from simkit.scenario.generate import PlanGenerator, draw_plan
from simkit.scenario.image import prepare
from simkit.scenario.model import Scenario
from simkit.scenario.model_vfs import Vfs, file_name
from simkit.scenario.parts import parts_for
from simkit.scenario.plan import plan_from_json, plan_to_json
from simkit.scenario.problems import Problem
from simkit.scenario.schema import json_schema
from simkit.scenario.world import World
from simkit.vfs.database import Database
from simkit.vfs.events import PagesSeen
from simkit.vfs.filesystem import DepotVfs, RandomBytes, registered
from simkit.vfs.main_file import MainFile
from simkit.vfs.settings import PROFILES, SETTING_NAMES, VfsSettings, profile

Load = Callable[..., Scenario]
OnlyProblem = Callable[..., Problem]


# In the file


def test_every_setting_can_be_written_under_its_own_name() -> None:
    written = [file_name(setting) for setting in SETTING_NAMES if setting != "observe_pages"]
    assert list(Vfs.model_fields) == ["profile", *written]


def test_without_the_key_settings_are_the_defaults(loaded: Load) -> None:
    assert draw_plan(loaded(), 1).vfs == VfsSettings()


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_brings_its_settings(loaded: Load, name: str) -> None:
    assert draw_plan(loaded(vfs=f"vfs: {{profile: {name}}}"), 1).vfs == PROFILES[name]


def test_settings_replace_those_of_the_profile(loaded: Load) -> None:
    vfs = "vfs: {profile: merge, staging: 5s, read_ahead: none, preload_bytes_max: 2MiB, cache_mode: off}"
    assert draw_plan(loaded(vfs=vfs), 1).vfs == profile(
        "merge", {"staging_ns": 5 * SECOND, "read_ahead": "none", "preload_bytes_max": 2 * 1024**2, "cache_mode": "off"}
    )


def test_observe_pages_of_the_file_is_one_of_the_settings(loaded: Load) -> None:
    assert draw_plan(loaded(observe="observe_pages: true"), 1).vfs == VfsSettings(observe_pages=True)


def test_value_of_a_list_is_drawn_in_each_run(loaded: Load) -> None:
    generator = PlanGenerator(loaded(vfs="vfs: {profile: [default, released], staging: [0s, 1ms], skip_cached: false}"))
    drawn = [generator.draw(seed).vfs for seed in range(60)]
    assert set(drawn) == {
        profile(name, {"staging_ns": staging_ns, "skip_cached": False})
        for name in ("default", "released")
        for staging_ns in (0, MILLISECOND)
    }


def test_drawn_settings_move_no_client(loaded: Load) -> None:
    clients = "clients: [{name: c, operations: [1, 9], mix: {read: 1}}]"
    plain = draw_plan(loaded(clients=clients), 3)
    assert draw_plan(loaded(clients=clients, vfs="vfs: {read_ahead: [none, adaptive]}"), 3).clients == plain.clients


def test_settings_survive_json(loaded: Load) -> None:
    plan = draw_plan(loaded(vfs="vfs: {profile: [merge, released], staging: [0s, 1ms], cache_mode: target}"), 2)
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize(
    ("vfs", "message"),
    [
        ("{profile: merged}", "'merged' is no VFS profile; did you mean 'merge'?"),
        ("{read_ahead: adaptiv}", "'adaptiv' is no way of reading ahead; did you mean 'adaptive'?"),
        ("{read_ahead: [none, adaptiv]}", "did you mean 'adaptive'?"),
        ("{cache_mode: targets}", "'targets' is no cache mode; did you mean 'target'?"),
        ("{page_cache_pages: -1}", "-1 is out of bounds; at least 0"),
        ("{page_cache_pages: []}", "this is empty"),
        ("{staging: 30}", "write 30ms"),
        ("{staging: 301s}", "staging is at most 300s"),
        ("{staging_ns: 30}", "unknown key 'staging_ns'; did you mean 'staging'?"),
        ("{preload_first_pages: 0}", "0 is out of bounds; at least 1"),
        ("{preload_first_pages: 16385}", "at most 16384"),
        ("{preload_bytes_max: 65MiB}", "is out of bounds"),
        ("{preload_bytes_max: much}", "'much' is no size"),
        ("{single_flight: 1}", "expected true or false"),
        ("{single_flights: true}", "unknown key 'single_flights'; did you mean 'single_flight'?"),
        ("{observe_pages: true}", "unknown key 'observe_pages'"),
        ("merge", "expected a mapping with the keys profile, page_cache_pages"),
    ],
)
def test_wrong_setting_is_explained(problem: OnlyProblem, vfs: str, message: str) -> None:
    assert message in str(problem(vfs=f"vfs: {vfs}"))


def test_the_place_of_a_wrong_setting_is_told(problem: OnlyProblem) -> None:
    found = problem(vfs="vfs:\n  profile: default\n  read_ahaed: none")
    assert (found.column, found.message) == (3, "unknown key 'read_ahaed'")


def test_the_page_cache_has_one_place(problem: OnlyProblem) -> None:
    assert "unknown key 'page_cache_pages'" in str(problem(instances="instances: {page_cache_pages: 4}"))


def test_the_schema_takes_what_the_loader_takes(loaded: Load) -> None:
    sizes = json_schema()["$defs"]["Vfs"]["properties"]["preload_bytes_max"]
    assert loaded(vfs="vfs: {preload_bytes_max: 0}").vfs.preload_bytes_max == (0,)
    assert "'minimum': 0" in str(sizes)


def test_instances_get_the_drawn_settings(loaded: Load) -> None:
    prepared = prepare(loaded(vfs="vfs: {profile: [merge, released], page_cache_pages: [3, 4]}"))
    for seed in range(4):
        plan = prepared.plans.draw(seed)
        world = World(prepared, plan, Decisions(seed), parts_for("single"))
        world.run()
        assert {instance.database.settings for instance in world._instances} == {plan.vfs}


def test_marks_of_the_vfs_are_hit_where_it_did_so(loaded: Load) -> None:
    marks = "sometimes: [vfs read ahead, vfs preloaded]"
    for vfs, hit in (("{}", set()), ("{preload_first_pages: 2}", {"vfs preloaded"})):
        prepared = prepare(loaded(vfs=f"vfs: {vfs}", sometimes=marks))
        world = World(prepared, prepared.plans.draw(1), Decisions(1), parts_for("single"))
        world.run()
        assert {getattr(event, "mark", None) for event in world.kernel.history} - {None} == hit


# What each setting changes

PAGE_SIZE = 512
ROWS = 150


class Site:
    """A depot with a table of some 190 pages, one row to a page, and one of rows that overflow."""

    def __init__(self) -> None:
        self.kernel = Kernel(Decisions(1))
        self.depot = Depot(self.kernel, LATENCY_PROFILES["loopback"], DepotImage(None, 0, PAGE_SIZE))
        self.databases: list[Database] = []

    def session(self, settings: VfsSettings, work: Callable[[DepotVfs], None]) -> None:
        """One instance from its opening to its close. `work` gets the VFS and opens connections as it likes."""
        generation = self.depot.allocate()
        name = f"instance-{generation}"
        database = Database(DirectStorage(self.depot, name, generation), settings)
        self.databases.append(database)
        database.flush_hints_in(self.kernel.group(name))
        database.open()
        with registered(database, RandomBytes(1, name)) as vfs:
            work(vfs)
            database.close()

    def counter(self, name: str, session: int = -1) -> int:
        return int(getattr(self.databases[session].counters, name))


def connected(vfs: DepotVfs, *statements: str) -> None:
    """Runs statements on a connection of their own, which keeps hardly any pages by itself."""
    connection = vfs.connect()
    try:
        connection.execute("PRAGMA cache_size = 2").fetchall()
        for sql in statements:
            connection.execute(sql).fetchall()
    finally:
        connection.close(True)


def fill(vfs: DepotVfs) -> None:
    rows = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) "
    connected(
        vfs,
        f"PRAGMA page_size = {PAGE_SIZE}",
        "CREATE TABLE leaf(id INTEGER PRIMARY KEY, body BLOB)",
        rows + "INSERT INTO leaf SELECT i, zeroblob(400) FROM n",
        "CREATE TABLE chain(id INTEGER PRIMARY KEY, body BLOB)",
        rows + "INSERT INTO chain SELECT i, zeroblob(1500) FROM n WHERE i <= 60",
    )


SCAN = "SELECT sum(length(body) + id) FROM leaf"
HALF = f"SELECT sum(length(body)) FROM leaf WHERE id < {ROWS // 2}"
TAIL = f"SELECT sum(length(body)) FROM leaf WHERE id > {ROWS // 2}"
DOWN = "SELECT id, body FROM leaf ORDER BY id DESC"
CHAINS = "SELECT hex(body) FROM chain"


def scan(vfs: DepotVfs) -> None:
    connected(vfs, SCAN)


def scan_twice(vfs: DepotVfs) -> None:
    connected(vfs, SCAN, SCAN)


def scan_down(vfs: DepotVfs) -> None:
    connected(vfs, DOWN)


def scan_chains(vfs: DepotVfs) -> None:
    connected(vfs, CHAINS)


def tail_then_scan(vfs: DepotVfs) -> None:
    connected(vfs, TAIL, SCAN)


def half_and_later_the_rest(vfs: DepotVfs) -> None:
    connected(vfs, HALF)
    vfs.database.kernel.sleep(SECOND)
    connected(vfs, SCAN)


def single_rows(vfs: DepotVfs) -> None:
    for number in (140, 3, 77, 120, 31, 98, 140, 3, 77):
        connected(vfs, f"SELECT body FROM leaf WHERE id = {number}")


def scan_side_by_side(vfs: DepotVfs) -> None:
    kernel = vfs.database.kernel
    tasks = [kernel.spawn(lambda: connected(vfs, SCAN), name=f"reader {number}") for number in range(2)]
    for task in tasks:
        task.join()


def write(vfs: DepotVfs) -> None:
    connected(vfs, "UPDATE leaf SET body = zeroblob(401) WHERE id = 1")


@dataclass(frozen=True)
class Effect:
    """Something that a workload shows, and that is otherwise with another value of a setting.

    `less` of it with the setting at `changed` than with `base`, or else more.
    """

    changed: Any
    work: Callable[[DepotVfs], None]
    shows: Callable[[Site], int]
    less: bool = False
    base: Mapping[str, Any] = field(default_factory=dict)


def counted(name: str) -> Callable[[Site], int]:
    return lambda site: site.counter(name)


def pages_seen(site: Site) -> int:
    return sum(event.__class__ is PagesSeen for event in site.kernel.history)


def batch_offered(site: Site) -> int:
    """Whether the file tells SQLite that it can write a batch; whether SQLite was built to use it does not matter."""
    return MainFile(site.databases[-1], writable=True).xDeviceCharacteristics() & apsw.SQLITE_IOCAP_BATCH_ATOMIC


_FETCHED, _ASKED, _PRELOADED = counted("fetched_pages"), counted("get_pages"), counted("preloaded_pages")
_SMALL = {"page_cache_pages": 8, "protected_pages": 0}
_ALONE = {"hint_hot_pages": False, "hint_early_pages": False, "hint_scan_ranges": False}

EFFECTS: dict[str, Effect] = {
    "page_cache_pages": Effect(0, scan_twice, _FETCHED),
    "cache_mode": Effect("off", scan_twice, _FETCHED),
    "retain_targets": Effect(False, single_rows, counted("misses"), base={"read_ahead": "none"}),
    "protected_pages": Effect(512, scan_twice, _FETCHED, less=True, base=_SMALL),
    "stage_pages": Effect(
        False,
        half_and_later_the_rest,
        _FETCHED,
        less=True,
        base={"protected_pages": 0, "staging_ns": MILLISECOND},
    ),
    "staging_ns": Effect(MILLISECOND, half_and_later_the_rest, _FETCHED, base={"protected_pages": 0}),
    "read_ahead": Effect("none", scan, _ASKED),
    "train_on_hits": Effect(False, scan, _ASKED, base={"preload_first_pages": 12}),
    "page_classes": Effect(False, scan_chains, _ASKED, less=True, base={"overflow_expansion": False}),
    "skip_cached": Effect(False, tail_then_scan, _FETCHED),
    "backward_scan": Effect(False, scan_down, _ASKED),
    "range_reads": Effect(False, tail_then_scan, counted("range_reads"), less=True, base={"skip_cached": False}),
    "overflow_expansion": Effect(False, scan_chains, counted("overflow_pages"), less=True),
    "single_flight": Effect(False, scan_side_by_side, counted("joined"), less=True),
    "preload_first_pages": Effect(40, single_rows, counted("misses"), less=True, base={"read_ahead": "none"}),
    "preload_bytes_max": Effect(0, scan, _PRELOADED, less=True, base={"preload_first_pages": 40}),
    "preload_hints": Effect(False, scan, _PRELOADED, less=True),
    "hint_hot_pages": Effect(True, single_rows, _PRELOADED, base=_ALONE),
    "hint_early_pages": Effect(True, single_rows, _PRELOADED, base=_ALONE),
    "hint_scan_ranges": Effect(True, scan, _PRELOADED, base=_ALONE),
    "hint_flush": Effect(False, scan, _PRELOADED, less=True),
    "batch_atomic": Effect(False, write, batch_offered, less=True),
    "probe_at_open": Effect(True, scan, counted("commits")),
    "observe_pages": Effect(True, scan, pages_seen),
}
"""What each setting changes: a setting without an effect here fails."""


def shown(effect: Effect, settings: VfsSettings) -> int:
    """What the second of two instances with these settings shows; the first does the same and lives for a minute."""
    site = Site()

    def first(vfs: DepotVfs) -> None:
        effect.work(vfs)
        site.kernel.sleep(60 * SECOND)

    def body() -> None:
        site.session(VfsSettings(hint_flush=False), fill)
        site.session(settings, first)
        site.session(settings, effect.work)

    task = site.kernel.spawn(body, name="client")
    try:
        site.kernel.run()
        if task.error is not None:
            raise task.error
        return effect.shows(site)
    finally:
        site.kernel.close()


def test_each_setting_has_an_effect() -> None:
    assert list(EFFECTS) == [each.name for each in fields(VfsSettings)]


@pytest.mark.parametrize("setting", EFFECTS)
def test_a_setting_changes_what_happens(setting: str) -> None:
    effect = EFFECTS[setting]
    base = replace(VfsSettings(preload_hints="hint" in setting), **effect.base)
    assert getattr(base, setting) != effect.changed
    before, after = shown(effect, base), shown(effect, replace(base, **{setting: effect.changed}))
    assert after < before if effect.less else after > before, f"{before} became {after}"


@pytest.mark.parametrize("mode", ["legacy", "bounded"])
def test_each_way_of_reading_ahead_differs_from_the_one_before(mode: str) -> None:
    ways = ["none", "legacy", "bounded", "adaptive"]
    effect = EFFECTS["read_ahead"]
    base = VfsSettings(preload_hints=False)
    less, more = (shown(effect, replace(base, read_ahead=ways[ways.index(mode) + step])) for step in (-1, 0))  # type: ignore[arg-type] # one of them
    assert more < less

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the store of snapshots, on real files, with writers that are killed from outside."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _history
from ansible_collections.pyspy.fleet.plugins.plugin_utils._diff import diff
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats import _pprof, _pprof_reader
from ansible_collections.pyspy.fleet.plugins.plugin_utils._graphs import read
from ansible_collections.pyspy.fleet.plugins.plugin_utils._history import restored
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack, collapse, merge
from ansible_collections.pyspy.fleet.plugins.plugin_utils._report import Context, build
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Retention, Round, Snapshot, Visited, retention
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._sides import Where, sides
from ansible_collections.pyspy.fleet.plugins.plugin_utils._snapshots import found
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store import _queries, _schema
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store._store import Store, open_store
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Measure, Selection
from ansible_collections.pyspy.fleet.tests.lab.made_run import made_service
from hypothesis import given, settings
from hypothesis import strategies as st

BEGAN = 1795340282.0
DAY = 86400.0
CPU = Measure("cpu", 50, False, False)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = made_service(tmp_path_factory.mktemp("runs"))
    run.write_state(
        "round.json", b'{"began": 1795340282.0, "hosts": 10, "chosen": 5, "user": "ann", "reason": "INC-7"}'
    )
    return run


@pytest.fixture(scope="module")
def visited(service: Run) -> Visited:
    return found(service).visited


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "s.sqlite3")) as opened:
        yield opened


def to_nanoseconds(one: Snapshot) -> Snapshot:
    """Which is how exactly pprof keeps time."""
    stacks = tuple(replace_seconds(stack) for stack in one.profile.stacks)
    return replace(one, profile=replace(one.profile, stacks=stacks))


def a_round(number: int, began: float | None = None) -> Round:
    when = BEGAN + number * DAY if began is None else began
    return Round(f"r{number:05}", when, when + 20, 10, 5, "ann", "INC-7")


def test_a_round_comes_back_as_it_was(store: Store, service: Run, visited: Visited, tmp_path: Path) -> None:
    one = found(service).round
    assert (one.hosts, one.chosen, one.weight, one.user, one.reason) == (10, 5, 2.0, "ann", "INC-7")
    assert store.add(one, visited)
    assert not store.add(one, visited), "once is enough"
    assert store.rounds() == [one]
    back = store.visited([one.name])
    assert list(map(to_nanoseconds, back.snapshots)) == list(map(to_nanoseconds, visited.snapshots))
    # What is usable has a row of its own.
    assert [replace(record, selection=Selection()) for record in back.records] == [
        replace(record, captures=(), selection=Selection()) for record in visited.records
    ]
    assert [record.selection.targets for record in back.records] == [r.selection.targets for r in visited.records]

    run = restored(store, [one.name], str(tmp_path))
    targets = [read(which, which.hosts())[0] for which in (service, run)]
    whole = [merge(one.profile for one in some) for some in targets]
    assert [replace_seconds(stack) for stack in whole[0].stacks] == [
        replace_seconds(stack) for stack in whole[1].stacks
    ]
    assert {one.key for one in targets[0]} == {one.key for one in targets[1]}
    summary = build(run, Context())
    assert dict(summary.hosts) == {"profiled": 5} and summary.pictures[0].samples == sum(
        one.profile.samples for one in targets[0]
    )
    assert restored(store, [one.name], str(tmp_path)) == run


def test_rounds_of_a_range_are_one_run(store: Store, visited: Visited, tmp_path: Path) -> None:
    for number in range(3):
        store.add(a_round(number), visited)
    run = restored(store, [one.name for one in store.rounds(BEGAN + DAY)], str(tmp_path))
    assert run.name == "r00001-to-r00002"
    targets, warnings = read(run, run.hosts())
    assert not warnings and len(targets) == 10, "the same process is one target"
    assert sum(one.profile.samples for one in targets) == 2 * sum(one.profile.samples for one in visited.snapshots)
    assert {one.capture.seconds for one in targets} == {60.0}
    single = restored(store, ["r00000"], str(tmp_path))
    result = diff(*sides((single.name, run.name), Where(str(tmp_path))))
    assert result.clear == [] and result.comparison.workers == (10, 10)


def test_each_round_keeps_its_labels(store: Store, visited: Visited, tmp_path: Path) -> None:
    """So that two versions of a week can be compared, although the inventory names them."""
    for number, labels in enumerate([{"version": "2.13", "zone": "eu"}, {"version": "2.14"}]):
        records = tuple(replace(record, labels=tuple(labels.items())) for record in visited.records)
        snapshots = tuple(replace(one, version=labels["version"]) for one in visited.snapshots)
        store.add(a_round(number), Visited(records, snapshots))
    run = restored(store, ["r00000", "r00001"], str(tmp_path))
    where = Where(str(tmp_path), run.name)
    for names in (("version=2.13", "version=2.14"), ("zone=eu", "version=2.14")):
        for side in sides(names, where):
            assert len(side.targets) == 10 and {one.capture.seconds for one in side.targets} == {30.0}, side.name


def test_a_pid_of_another_service_is_another_target(store: Store, visited: Visited, tmp_path: Path) -> None:
    for number, name in enumerate(["shop", "till"]):
        one = visited.snapshots[0]
        process = replace(one.capture.process, name=name)
        taken = replace(one, service=name, capture=replace(one.capture, process=process))
        store.add(a_round(number), Visited(visited.records[:1], (taken,)))
    run = restored(store, ["r00000", "r00001"], str(tmp_path))
    assert [target.process.name for target in read(run, run.hosts())[0]] == ["shop", "till"]


@pytest.mark.parametrize("values", [(-1.0, None, None), (None, -1, None), (None, None, 0), (float("nan"), 5, 5)])
def test_limits_that_would_leave_one_round_are_refused(values: tuple[float | None, int | None, int | None]) -> None:
    with pytest.raises(FleetError, match="pyspy_snapshot_keep_.* above 0") as caught:
        retention(*values)
    assert "a large one" in caught.value.remedy
    assert retention(0.5, None, 2) == Retention(0.5, None, 2 * 1024 * 1024)


def test_a_round_of_a_clock_without_a_battery_is_not_removed_at_once(store: Store, visited: Visited) -> None:
    for number in range(4):
        store.add(a_round(number), visited)
    store.add(a_round(9, began=100.0), visited)
    store.prune(Retention(days=90, rounds=4), 120.0)
    assert [one.name for one in store.rounds()][0] == "r00009"
    store.prune(Retention(size=1), 120.0)
    assert [one.name for one in store.rounds()] == ["r00009", "r00003"]


@pytest.mark.parametrize(
    "damage",
    ["snapshot SET capture = '{'", "snapshot SET groups = '1'", "snapshot SET profile = 'x'", "host SET record = 'x'"],
)
def test_what_is_damaged_within_a_row_is_refused(store: Store, visited: Visited, damage: str) -> None:
    store.add(a_round(0), visited)
    database = sqlite3.connect(store.path)
    database.execute(f"UPDATE {damage}")
    database.commit()
    database.close()
    with pytest.raises(FleetError, match="A stored .* cannot be read") as caught:
        store.visited(["r00000"])
    assert caught.value.remedy == "take the store from a backup"


def test_more_processes_than_a_record_has_room_for(
    store: Store, visited: Visited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that are replaced every few minutes are thousands in a month; what is written has to be read again."""
    store.add(a_round(0), visited)
    monkeypatch.setattr(_history, "MAX_ROWS", 1)
    with pytest.raises(FleetError, match="too many processes of web-01") as caught:
        restored(store, ["r00000"], str(tmp_path))
    assert "name fewer rounds" in caught.value.remedy


def test_rounds_of_one_name_do_not_mix(store: Store, visited: Visited, tmp_path: Path) -> None:
    one = a_round(0)
    store.add(one, visited)
    restored(store, [one.name], str(tmp_path / "out"))
    with open_store(str(tmp_path / "other.sqlite3")) as other:
        record = replace(visited.records[0], host="db-01")
        other.add(one, Visited((record,), (replace(visited.snapshots[0], host="db-01"),)))
        assert [record.host for record in restored(other, [one.name], str(tmp_path / "out")).hosts()] == ["db-01"]


def test_time_lines_need_no_profile(store: Store, visited: Visited) -> None:
    for number in range(4):
        snapshots = tuple(replace(one, version=f"2.{number // 2}") for one in visited.snapshots)
        store.add(a_round(number), replace(visited, snapshots=snapshots))
    assert store.services() == [("web", "cpu")]
    line = store.timeline("web", "cpu", BEGAN + DAY / 2)
    assert [one.round for one in line.slices] == ["r00001", "r00002", "r00003"]
    assert [one.version for one in line.slices] == ["2.0", "2.1", "2.1"]
    assert (line.slices[0].hosts, line.slices[0].workers) == (5, 10)
    shares = dict(zip(line.functions, line.shares[0], strict=True))
    assert shares[("main", "shop/app.py")].total > 0.8 if ("main", "shop/app.py") in shares else shares
    assert sum(share.own for share in line.shares[0]) == pytest.approx(1.0)
    seen = store.seen(line.slices[0])
    assert len(seen.workers) == 10
    assert sum(worker.seconds for worker in seen.workers) == pytest.approx(line.slices[0].seconds)


def test_a_time_line_is_of_one_moment(store: Store, visited: Visited, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round that removes others, and with them their functions, while it is read."""
    store.add(a_round(0), visited)
    choose = _queries._chosen

    def and_remove(*arguments: object) -> list[int]:
        other = sqlite3.connect(store.path, timeout=0, isolation_level=None)
        with contextlib.suppress(sqlite3.OperationalError):
            other.executescript("BEGIN; DELETE FROM share; DELETE FROM function; COMMIT")
        other.close()
        return choose(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(_queries, "_chosen", and_remove)
    assert len(store.timeline("web", "cpu").functions) > 3


def test_the_functions_that_move_are_shown_too(store: Store, visited: Visited) -> None:
    def like(own: dict[str, int]) -> tuple[Snapshot, ...]:
        stacks = tuple(Stack((Frame(name, "/a.py", 1),), 0.02 * many, many) for name, many in sorted(own.items()))
        return (replace(visited.snapshots[0], profile=Profile((CPU,), stacks)),)

    steady = {f"f{number:02}": 100 - number for number in range(20)}
    for number in range(4):
        store.add(a_round(number), Visited((), like({**steady, "rises": 1 + 20 * number})))
    line = store.timeline("web", "cpu", most=6)
    assert [name for name, _file in line.functions][:3] == ["f00", "f01", "f02"]
    assert "rises" in [name for name, _file in line.functions] and len(line.functions) == 6


@pytest.mark.parametrize(
    ("keep", "now", "left"),
    [
        (Retention(), 100, [0, 1, 2, 3, 4]),
        (Retention(days=2.5), 4, [2, 3, 4]),
        (Retention(rounds=2), 4, [3, 4]),
        (Retention(rounds=0), 4, [4]),
        (Retention(days=1.5), 1000, [3, 4]),
        # A clock that says something quite different takes nothing away.
        (Retention(days=2.5), 1000, [2, 3, 4]),
        (Retention(days=2.5), -1000, [0, 1, 2, 3, 4]),
        (Retention(size=1), 4, [4]),
    ],
)
def test_what_is_kept(store: Store, visited: Visited, keep: Retention, now: int, left: list[int]) -> None:
    for number in range(5):
        store.add(a_round(number), visited)
    assert store.prune(keep, BEGAN + now * DAY) == 5 - len(left)
    assert store.rounds() == [a_round(number) for number in left]
    assert store.prune(keep, BEGAN + now * DAY) == 0
    assert len(store.visited([a_round(left[-1]).name]).snapshots) == 10


@pytest.mark.parametrize("many", [1, 2, 3])
def test_rounds_with_a_wrong_clock_do_not_make_all_others_old(store: Store, visited: Visited, many: int) -> None:
    for number in range(3):
        store.add(a_round(number), visited)
    for number in range(many):
        ahead = BEGAN + (5000 + number) * DAY
        store.add(a_round(9 + number, ahead), visited)
        assert store.prune(Retention(days=10), ahead) == 0


def test_rounds_that_go_on_after_a_long_pause_make_those_before_it_old(store: Store, visited: Visited) -> None:
    for number in (0, 1, 2, *range(500, 512)):
        store.add(a_round(number), visited)
    assert store.prune(Retention(days=10), BEGAN + 511 * DAY) == 3 + 1
    assert store.rounds()[0] == a_round(501)


def test_rounds_further_apart_than_they_are_kept_go_all_the_same(store: Store, visited: Visited) -> None:
    for number in range(6):
        store.add(a_round(number), visited)
    assert store.prune(Retention(days=0.5), BEGAN + 5 * DAY) == 5


def test_what_a_clock_that_had_jumped_back_stored_is_no_older_than_what_was_there(
    store: Store, visited: Visited
) -> None:
    stored = [a_round(0), a_round(1), a_round(2, BEGAN - 5000 * DAY), a_round(3), a_round(4)]
    for one in stored:
        store.add(one, visited)
    assert store.prune(Retention(days=10), BEGAN + 4 * DAY) == 0 and len(store.rounds()) == 5
    # It goes when the round before it goes, though nothing else says when it was.
    assert store.prune(Retention(days=2.5), BEGAN + 4 * DAY) == 3
    assert store.rounds() == [a_round(3), a_round(4)]


def test_a_day_costs_the_same_in_a_large_store(store: Store, visited: Visited) -> None:
    """Steps of SQLite's machine, in hundreds."""

    def steps() -> int:
        taken: list[int] = []
        store._database.set_progress_handler(lambda: taken.append(1), 100)
        assert len(store.slices("web", "cpu", BEGAN, BEGAN + DAY / 2)) == 1
        assert len(store.timeline("web", "cpu", BEGAN, BEGAN + DAY / 2).slices) == 1
        assert len(store.rounds(BEGAN, BEGAN + DAY / 2)) == 1
        assert len(store.visited([a_round(0).name]).snapshots) == len(visited.snapshots)
        store._database.set_progress_handler(None, 0)
        return len(taken)

    store.add(a_round(0), visited)
    alone = steps()
    for number in range(1, 40):
        store.add(a_round(number), visited)
    assert steps() <= alone + 2


def test_space_is_given_back(store: Store, visited: Visited) -> None:
    for number in range(40):
        store.add(a_round(number), visited)
    before = os.stat(store.path).st_size
    assert store.prune(Retention(rounds=1), BEGAN) == 39
    assert os.stat(store.path).st_size < before / 4
    store.add(a_round(41), visited)
    assert store.prune(Retention(size=os.stat(store.path).st_size), BEGAN) == 0


def test_one_round_at_a_time(store: Store, visited: Visited) -> None:
    running = {"7-a-host"}
    store.begin("r1", "7-a-host", BEGAN, lambda holder, _began: holder in running)
    store.begin("r1", "7-a-host", BEGAN, lambda holder, _began: holder in running)
    with pytest.raises(FleetError, match="Another round is under way") as caught:
        store.begin("r2", "8-a-host", BEGAN, lambda holder, _began: holder in running)
    assert "r1, of the process 7" in caught.value.detail
    running.clear()
    store.begin("r2", "8-a-host", BEGAN, lambda holder, _began: holder in running)
    running.add("8-a-host")
    store.add(replace(a_round(1), name="r1"), visited)
    with pytest.raises(FleetError):
        store.begin("r3", "9-a-host", BEGAN, lambda holder, _began: holder in running)
    store.add(replace(a_round(2), name="r2"), visited)
    store.begin("r3", "9-a-host", BEGAN, lambda holder, _began: holder in running)


def _begins(path: str, number: int) -> bool:
    with open_store(path) as store:
        try:
            store.begin(f"r{number}", str(number), BEGAN, lambda _holder, _began: True)
        except FleetError:
            return False
        return True


def test_of_many_that_begin_at_once_one_does(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        said = pool.starmap(_begins, [(str(tmp_path / "new" / "s.sqlite3"), number) for number in range(24)])
    assert said.count(True) == 1


#: Adds rounds, and prunes; ends itself after so many steps of SQLite's machine, as a kill from outside would.
VICTIM = """
import os, pickle, signal, sys
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store._store import open_store
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Retention
path, data, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
one, visited = pickle.load(open(data, "rb"))
with open_store(path) as store:
    left = [steps]
    def step():
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0
    store._database.set_progress_handler(step, 100)
    store.add(one, visited)
    store.prune(Retention(rounds=2), one.ended)
print("whole")
"""


def test_a_writer_that_is_killed_at_any_point(store: Store, visited: Visited, tmp_path: Path) -> None:
    import pickle

    for number in range(3):
        store.add(a_round(number), visited)
    store.close()
    data = Path(store.path).read_bytes()
    (tmp_path / "round").write_bytes(pickle.dumps((a_round(3), visited)))
    seen, steps = set(), 1
    while True:
        Path(store.path).write_bytes(data)
        Path(store.path + "-journal").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", VICTIM, store.path, str(tmp_path / "round"), str(steps)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        with open_store(store.path, create=False) as again:
            names = tuple(one.name[-1] for one in again.rounds())
            assert names in (("0", "1", "2"), ("0", "1", "2", "3"), ("2", "3")), names
            assert len(again.visited([one.name for one in again.rounds()]).snapshots) == 10 * len(names)
            assert again._database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert not again._database.execute("PRAGMA foreign_key_check").fetchall()
            again.add(a_round(4), visited)
        seen.add(names)
        if done.returncode == 0:
            break
        steps += max(1, steps // 3)
    assert len(seen) == 3, "killed before, between and after"


def test_a_file_that_is_cut_is_refused_and_left_alone(store: Store, visited: Visited) -> None:
    store.add(a_round(0), visited)
    store.close()
    data = Path(store.path).read_bytes()
    for length in (1, 15, 99, 100, 4095, 4096, len(data) // 2, len(data) - 1):
        Path(store.path).write_bytes(data[:length])
        with pytest.raises(FleetError, match="The store of snapshots is damaged") as caught:
            open_store(store.path)
        assert "nothing was changed" in caught.value.remedy
        assert Path(store.path).read_bytes() == data[:length]


def test_damage_within_is_said(store: Store, visited: Visited) -> None:
    store.add(a_round(0), visited)
    store.close()
    data = bytearray(Path(store.path).read_bytes())
    data[4096:] = bytes(byte ^ 0x5A for byte in data[4096:])
    Path(store.path).write_bytes(data)
    with pytest.raises(FleetError, match="cannot be used|cannot be read") as caught:
        with open_store(store.path) as opened:
            opened.visited([one.name for one in opened.rounds()])
    assert "backup" in caught.value.remedy


def test_what_is_not_a_store_of_ours(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite3"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE theirs (a)")
    database.close()
    (tmp_path / "text").write_text("no database at all, but long enough to be one\n" * 10)
    (tmp_path / "folder").mkdir()
    for name, words in (("other.sqlite3", "This is not a store"), ("text", "damaged"), ("folder", "cannot be used")):
        with pytest.raises(FleetError, match=words) as caught:
            open_store(str(tmp_path / name))
        assert caught.value.remedy
    with pytest.raises(FleetError, match="There is no store"):
        open_store(str(tmp_path / "absent"), create=False)
    assert not (tmp_path / "absent").exists()
    assert oct((tmp_path / "text").stat().st_mode & 0o777) and sorted(os.listdir(tmp_path)) == [
        "folder",
        "other.sqlite3",
        "text",
    ]


def test_a_newer_version_is_refused_and_an_older_one_migrated(
    store: Store, visited: Visited, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(a_round(0), visited)
    store.close()
    with monkeypatch.context() as patch:
        patch.setattr(_schema, "MIGRATIONS", (*_schema.MIGRATIONS, "ALTER TABLE round ADD COLUMN more TEXT; BROKEN"))
        patch.setattr(_schema, "VERSION", 2)
        before = Path(store.path).read_bytes()
        with pytest.raises(FleetError):
            open_store(store.path)
        assert Path(store.path).read_bytes()[100:] == before[100:], "all of a migration or nothing"
        patch.setattr(_schema, "MIGRATIONS", (*_schema.MIGRATIONS[:1], "ALTER TABLE round ADD COLUMN more TEXT"))
        with open_store(store.path) as newer:
            assert newer.rounds() == [a_round(0)]
    data = Path(store.path).read_bytes()
    with pytest.raises(FleetError, match="written by a newer version") as caught:
        open_store(store.path)
    assert "its version is 2, and up to 1" in caught.value.detail and Path(store.path).read_bytes() == data


FULL = """
import pickle, sys
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Round
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store._store import open_store
import os, subprocess
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", sys.argv[2]], check=True)
one, visited = pickle.load(open(sys.argv[1], "rb"))
path = sys.argv[2] + "/s.sqlite3"
kept = 0
try:
    for number in range(1000):
        with open_store(path) as store:
            store.add(Round(f"r{number}", number, number, 1, 1), visited)
        kept += 1
except FleetError as error:
    print(error)
with open_store(path) as store:
    assert len(store.rounds()) == kept > 1, kept
    assert len(store.visited([one.name for one in store.rounds()]).snapshots) == 10 * kept
subprocess.run(["mount", "-o", "remount,size=4m", sys.argv[2]], check=True)
with open_store(path) as store:
    assert store.add(one, visited)
print("and then it worked")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk(visited: Visited, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "round").write_bytes(pickle.dumps((a_round(3), visited)))
    (tmp_path / "small").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", FULL, str(tmp_path / "round"), str(tmp_path / "small")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    assert (
        "database or disk is full" in done.stdout
        and "make room there" in done.stdout
        and "and then it worked" in done.stdout
    )


FRAME = st.builds(Frame, st.text(max_size=5), st.text(max_size=5), st.integers(0, 2**31))
STACK = st.builds(
    Stack,
    st.lists(FRAME, min_size=1, max_size=4).map(tuple),
    st.integers(1, 10**12).map(lambda nanoseconds: nanoseconds / 1e9),
    st.integers(1, 10**6),
    st.text(max_size=5),
    st.integers(0, 99999),
)


@given(st.lists(STACK, max_size=6))
def test_any_profile_comes_back(stacks: list[Stack]) -> None:
    # Text that UTF-8 cannot say is not what speedscope's reader takes over, either.
    stacks = [stack for stack in stacks if _encodable(stack)]
    one = Profile((CPU,), collapse(stacks))
    back = _pprof_reader.profile(_pprof.write([_pprof.Part(one, ())]), CPU)
    assert [replace_seconds(stack) for stack in back.stacks] == [replace_seconds(stack) for stack in one.stacks]


@pytest.mark.parametrize(("seconds", "samples"), [(0.0, 1), (0.02, 0)])
def test_a_stored_sample_that_is_none_is_refused(seconds: float, samples: int) -> None:
    data = _pprof.write([_pprof.Part(Profile((CPU,), (Stack((Frame("a", "b", 1),), seconds, samples),)), ())])
    with pytest.raises(FleetError, match="A stored profile cannot be read: a sample counts or weighs nothing"):
        _pprof_reader.profile(data, CPU)


def _encodable(stack: Stack) -> bool:
    texts = [stack.thread, *(text for frame in stack.frames for text in frame[:2])]
    return all(text.encode("utf-8", "replace").decode() == text for text in texts) and len(stack.thread) < 1000


def replace_seconds(stack: Stack) -> Stack:
    return stack._replace(seconds=round(stack.seconds * 1e9))


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_are_a_profile_or_refused(data: bytes, place: int, value: int) -> None:
    whole = bytearray(
        zlib.decompress(_pprof.write([_pprof.Part(Profile((CPU,), (Stack((Frame("a", "b", 1),), 1.0, 2),)), ())]), 31)
    )
    whole[place % len(whole)] = value
    for body in (data, zlib.compress(data, wbits=31), zlib.compress(bytes(whole), wbits=31), bytes(whole)):
        try:
            assert isinstance(_pprof_reader.profile(body, CPU), Profile)
        except FleetError as error:
            assert error.reason == "A stored profile cannot be read"

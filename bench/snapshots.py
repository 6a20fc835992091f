# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m bench snapshots``: a store of 100,000 snapshots, beside a day's profiles as folded files in a folder.

The rounds are of every half hour; each has 20 hosts with 8 workers of 4 services. The first are added as rounds are,
the others are copies of them.
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats import _folded
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack, collapse
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Retention, Round, Snapshot, Visited
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store._store import Store, open_store
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Capture, HostRecord, Measure, Process

HOSTS, WORKERS, SERVICES, ROUNDS, REAL, EVERY = 20, 8, 4, 625, 12, 1800.0
BEGAN, DAY, KIND = 1795340282.0, 86400.0, "cpu"
_MEASURE = Measure(KIND, 50, False, False)
#: Profiles that the rounds are made of: making 100,000 different ones would take longer than storing them.
_DIFFERENT = 64


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, open_store(os.path.join(folder, "s.sqlite3")) as store:
        profiles = [_profile(random.Random(seed)) for seed in range(_DIFFERENT)]
        added = [_timed(lambda number=number: store.add(*_round(number, profiles)))[0] for number in range(REAL)]
        _copy(sqlite3.connect(store.path, isolation_level=None))
        size = os.stat(store.path).st_size
        many = ROUNDS * HOSTS * WORKERS
        print(f"\n{many} snapshots in {ROUNDS} rounds: {size / 1e6:.0f} MB, {size / many:.0f} bytes each.\n")
        print("| | ms, median (highest) |\n|---|---|")
        _row("one more round", added)
        end = BEGAN + ROUNDS * EVERY
        for what, days in (("a day's time line of a service", 1), ("a week's", 7), ("all", 1000)):
            _row(what, _several(lambda days=days: store.timeline("service0", KIND, end - days * DAY)))
        _row("which services there are", _several(store.services))
        _row("peer: a day's folded files of that service, read and added up", _peer(Path(folder), profiles))
        _row(f"half of the rounds removed ({ROUNDS // 2})", [_half(store)])
        print(f"\nThen the file has {os.stat(store.path).st_size / 1e6:.0f} MB.", flush=True)
    return 0


def _copy(database: sqlite3.Connection) -> None:
    database.execute("BEGIN")
    for number in range(REAL, ROUNDS):
        source, round_ = number % REAL + 1, number + 1
        database.execute(
            "INSERT INTO round SELECT ?, name || ?, began + ?, ended + ?, hosts, chosen, user, reason FROM round"
            " WHERE id = ?",
            (round_, f"-{number}", shift := EVERY * (number - source + 1), shift, source),
        )
        database.execute("INSERT INTO host SELECT NULL, ?, record FROM host WHERE round = ?", (round_, source))
        for (slice_,) in database.execute("SELECT id FROM slice WHERE round = ?", (source,)).fetchall():
            columns = "service, version, kind, hosts, workers, samples, seconds"
            copied = database.execute(
                f"INSERT INTO slice SELECT NULL, ?, {columns} FROM slice WHERE id = ?", (round_, slice_)
            )
            new = copied.lastrowid
            database.execute(
                "INSERT INTO share SELECT ?, function, own, total FROM share WHERE slice = ?", (new, slice_)
            )
            database.execute(
                "INSERT INTO snapshot SELECT NULL, ?, host, groups, capture, profile FROM snapshot WHERE slice = ?",
                (new, slice_),
            )
    database.execute("COMMIT")
    database.close()


def _half(store: Store) -> float:
    return _timed(lambda: store.prune(Retention(rounds=ROUNDS - ROUNDS // 2), BEGAN + ROUNDS * EVERY))[0]


def _timed(act: Callable[[], object]) -> tuple[float, object]:
    began = time.perf_counter()
    said = act()
    return 1000 * (time.perf_counter() - began), said


def _several(act: Callable[[], object], times: int = 9) -> list[float]:
    return [_timed(act)[0] for _time in range(times)]


def _row(what: str, times: list[float]) -> None:
    print(f"| {what} | {statistics.median(times):.1f} ({max(times):.1f}) |", flush=True)


def _profile(chance: random.Random) -> Profile:
    """Some 500 samples of a program with 300 functions, of which a minute sees a part."""
    stacks = []
    for _sample in range(120):
        path = [chance.randrange(6)]
        for _depth in range(chance.randrange(8, 30)):
            path.append((path[-1] * 7 + chance.randrange(3)) % 300)
        frames = tuple(Frame(f"function{place}", f"/srv/shop/module{place % 40}.py", place) for place in path)
        many = chance.randrange(1, 8)
        stacks.append(Stack(frames, many / 50, many, "MainThread"))
    return Profile((_MEASURE,), collapse(stacks))


def _round(number: int, profiles: list[Profile]) -> tuple[Round, Visited]:
    began = BEGAN + number * EVERY
    one = Round(time.strftime("%Y%m%dT%H%M%SZ-snapshot", time.gmtime(began)), began, began + 12, HOSTS, HOSTS)
    snapshots = []
    for host in range(HOSTS):
        for worker in range(WORKERS):
            process = Process(100 + worker, 7, "web", "gunicorn", "worker", "3.11", 90.0, "hot")
            capture = Capture(process, _MEASURE, "profiled", 500, 0, began, began + 10, 10.0, 99, file="a.json")
            profile = profiles[(number * 31 + host * WORKERS + worker) % len(profiles)]
            service = f"service{host % SERVICES}"
            snapshots.append(Snapshot(f"web-{host:02}", ("web",), service, "1", capture, profile))
    records = tuple(
        HostRecord(f"web-{host:02}", "collected", ("web",), "ab", began, began + 10) for host in range(HOSTS)
    )
    return one, Visited(records, tuple(snapshots))


def _peer(folder: Path, profiles: list[Profile]) -> list[float]:
    """What one would have without a store: a file for each, of which that day's are read."""
    files = []
    for number in range(int(DAY / EVERY) * HOSTS // SERVICES * WORKERS):
        files.append(folder / f"{number}.folded")
        files[-1].write_text(_folded.write(_folded.lines(profiles[number % len(profiles)])), encoding="utf-8")

    def added_up() -> dict[str, int]:
        own: dict[str, int] = {}
        for file in files:
            for line in file.read_text(encoding="utf-8").splitlines():
                stack, _blank, many = line.rpartition(" ")
                leaf = stack.rpartition(";")[2]
                own[leaf] = own.get(leaf, 0) + int(many)
        return own

    return _several(added_up, 3)

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How often a comparison is wrong: an unchanged service called changed, and a planted change not found.

Of made-up services, in independent tries, each with other hosts on both sides; and of the demonstration service on
hosts of the lab, recorded again and again, all recordings compared with each other (so that these tries are not
independent of each other).
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from itertools import combinations, product
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils import _compare
from ansible_collections.pyspy.fleet.plugins.plugin_utils._compare import CLEAR, Comparison
from ansible_collections.pyspy.fleet.plugins.plugin_utils._diff import diff
from ansible_collections.pyspy.fleet.plugins.plugin_utils._sides import Where, sides
from ansible_collections.pyspy.fleet.tests.lab.hosts import HERE, Fleet
from ansible_collections.pyspy.fleet.tests.lab.made_workers import SLOW, Service

TRIES = 100
#: Hosts of both sides, workers of each, seconds.
SETTINGS = (
    (12, 12, 4, 30),
    (10, 10, 4, 30),
    (8, 8, 4, 30),
    (8, 8, 4, 60),
    (4, 4, 8, 30),
    (4, 4, 4, 30),
    (2, 6, 4, 30),
    (1, 3, 8, 30),
    (1, 3, 4, 30),
    (1, 7, 4, 30),
)
HOSTS, WORKERS, RECORDINGS, SLOWER, WINDOW = 4, 4, 8, 4, 6
#: Some five percentage points more.
NEW = "def load_rates():\n    for day in range(4):\n        day * 31 % 7\n\n\ndef add_tax("


def main() -> int:
    print("\n| tries of | hosts × workers × seconds | tries | anything clear | the change found | its noise, ± |")
    print("|---|---|---|---|---|---|", flush=True)
    for setting in SETTINGS:
        _made_up(*setting)
    _real()
    _large()
    return 0


def _made_up(before: int, after: int, workers: int, seconds: float) -> None:
    unchanged, planted = [], []
    for seed in range(TRIES):
        made = Service(seed)
        first = made.side("a", before, workers, seconds)
        unchanged.append(_compare.compare(first, made.side("b", after, workers, seconds)))
        planted.append(_compare.compare(first, made.side("c", after, workers, seconds, 0.05)))
    hosts = f"{before}" if before == after else f"{before} and {after}"
    _row("made-up services", f"{hosts} × {workers} × {seconds:g}", unchanged, planted, SLOW)


def _large() -> None:
    """What a comparison of two large sides costs."""
    made = Service(1)
    sides_ = [
        [one._replace(own={**one.own, **_rare(number)}) for number, one in enumerate(made.side(name, 25, 8, 10))]
        for name in "ab"
    ]
    began = time.monotonic()
    found = _compare.compare(*sides_)
    functions = len({function for side in sides_ for one in side for function in one.own})
    print(
        f"\n{found.workers[0]} and {found.workers[1]} workers, {functions} functions, of which {len(found.changes)} are"
        f" judged: {time.monotonic() - began:.1f} s"
    )


def _rare(number: int) -> dict[tuple[str, str], float]:
    return {(f"rare{number * 7 + step}", "app.py"): 0.01 for step in range(20)}


def _real() -> None:
    with tempfile.TemporaryDirectory() as folder, Fleet(HOSTS) as fleet:
        usual = _recordings(fleet, Path(folder), RECORDINGS)
        app = (HERE / "service" / "app.py").read_text()
        for host in fleet.hosts:
            host.stop_gunicorn()
        slower = app.replace("def add_tax(", NEW, 1).replace("total += add_tax(", "load_rates(); total += add_tax(")
        changed = _recordings(fleet, Path(folder), SLOWER, slower)
        where = f"{HOSTS} × {WORKERS} × {WINDOW}"
        unchanged = _all(folder, combinations(usual, 2))
        _row("the demonstration service", where, unchanged, _all(folder, product(usual, changed)), "load_rates")


def _recordings(fleet: Fleet, folder: Path, many: int, app: str = "") -> list[str]:
    """The names of so many runs."""
    for host in fleet.hosts:
        host.start_gunicorn(WORKERS, WORKERS, rest=0.1, app=app)
    options = {
        "pyspy_pattern": "gunicorn",
        "pyspy_duration": WINDOW,
        "pyspy_output_dir": str(folder),
        "pyspy_max_load": 0,
    }
    found = []
    for _recording in range(many):
        done = fleet.ansible("ansible-playbook", "playbooks/profile.yml", "-e", json.dumps(options))
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        found.append((folder / "latest").resolve().name)
    return found


def _all(folder: str, pairs: Iterable[tuple[str, str]]) -> list[Comparison]:
    return [diff(*sides(pair, Where(folder))).comparison for pair in pairs]


def _row(what: str, where: str, unchanged: Sequence[Comparison], planted: Sequence[Comparison], name: str) -> None:
    wrong = sum(any(one.verdict == CLEAR for one in found.changes) for found in unchanged)
    shifts = [one.own for found in planted for one in found.changes if one.name == name]
    right = sum(shift.verdict == CLEAR and shift.change > 0 for shift in shifts)
    change = 100 * statistics.median(shift.change for shift in shifts)
    noise = 100 * statistics.median(shift.error or 0.0 for shift in shifts)
    tries = f"{len(unchanged)} and {len(planted)}"
    print(f"| {what} | {where} | {tries} | {wrong} | {right} (by {change:+.1f} points) | {noise:.1f} |", flush=True)

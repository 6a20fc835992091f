# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How often a comparison is wrong: an unchanged service called changed, and a planted change not found.

Of a made-up service, in independent tries; and of the demonstration service on hosts of the lab, recorded again and
again, all recordings compared with each other (so that these tries are not independent of each other).
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import combinations, product
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils import _compare
from ansible_collections.pyspy.fleet.plugins.plugin_utils._compare import CLEAR, Comparison
from ansible_collections.pyspy.fleet.plugins.plugin_utils._diff import diff
from ansible_collections.pyspy.fleet.plugins.plugin_utils._sides import sides
from ansible_collections.pyspy.fleet.tests.lab.hosts import HERE, Fleet
from ansible_collections.pyspy.fleet.tests.lab.made_workers import HOSTS, SAMPLES, TICK, WORKERS, service

TRIES = 100
RECORDINGS, SLOWER, WINDOW = 8, 4, 6
#: Some five percentage points more.
NEW = "def load_rates():\n    for day in range(4):\n        day * 31 % 7\n\n\ndef add_tax("


def main() -> int:
    print("\n| tries of | workers × seconds | tries | anything clear | the planted change found | its share |")
    print("|---|---|---|---|---|---|", flush=True)
    _made_up()
    _real()
    return 0


def _made_up() -> None:
    dice = random.Random(20261123)
    unchanged = [_compare.compare(service(dice), service(dice)) for _try in range(TRIES)]
    planted = [_compare.compare(service(dice), service(dice, 0.05)) for _try in range(TRIES)]
    _row("a made-up service", f"{HOSTS} hosts × {WORKERS} × {SAMPLES * TICK:g} s of CPU", unchanged, planted, "slow")


def _real() -> None:
    with tempfile.TemporaryDirectory() as folder, Fleet(HOSTS) as fleet:
        usual = _recordings(fleet, Path(folder), RECORDINGS)
        app = (HERE / "service" / "app.py").read_text()
        for host in fleet.hosts:
            host.stop_gunicorn()
        slower = app.replace("def add_tax(", NEW, 1).replace("total += add_tax(", "load_rates(); total += add_tax(")
        changed = _recordings(fleet, Path(folder), SLOWER, slower)
        where = f"{HOSTS} hosts × {WORKERS} × {WINDOW} s"
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
    return [diff(*sides(pair, folder, "latest", lambda _host, _name: None)).comparison for pair in pairs]


def _row(what: str, where: str, unchanged: Sequence[Comparison], planted: Sequence[Comparison], name: str) -> None:
    wrong = sum(any(one.verdict == CLEAR for one in found.changes) for found in unchanged)
    shifts = [one.own for found in planted for one in found.changes if one.name == name]
    right = sum(shift.verdict == CLEAR for shift in shifts)
    share = 100 * sum(shift.after for shift in shifts) / len(shifts)
    tries = f"{len(unchanged)} and {len(planted)}"
    print(f"| {what} | {where} | {tries} | {wrong} | {right} | {share:.1f} % |", flush=True)

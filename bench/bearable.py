# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m bench bearable``: a service under constant load, a round of snapshots every minute, and none.

The load is wrk's with as many connections as the service has workers. Minutes with and without rounds take turns in
blocks, so that what else happens to the machine happens to both. The host, its load and its sampler are kept on one CPU
and the controller on another, as they are two machines in a real fleet; with a single CPU the controller's work is in
the figures too. The guardrail of the load is off: at this load it would rightly skip every round.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet, Host

MINUTES, BLOCK, WORKERS = 10, 5, 2
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


class Minute(NamedTuple):
    """Requests per second, and the milliseconds within which 99 % were answered; ``snapshots`` were kept."""

    rate: float
    p99: float
    snapshots: int


def main() -> int:
    if shutil.which("wrk") is None:
        print("This bench needs wrk: apt-get install wrk", file=sys.stderr)
        return 2
    found: dict[bool, list[Minute]] = {False: [], True: []}
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # Of this thread, and of all that it starts: the host.
    with Fleet(1) as fleet, tempfile.TemporaryDirectory() as folder:
        [host] = fleet.hosts
        host.start_gunicorn(WORKERS, 0)
        host.run("renice -n 0 -p $(pgrep -f gunicorn)")
        for block in range(2 * MINUTES // BLOCK):
            for _minute in range(BLOCK):
                found[bool(block % 2)].append(_minute_of(fleet, host, Path(folder), bool(block % 2)))
    print(f"\n{WORKERS} workers, wrk with {WORKERS} connections, {MINUTES} minutes of each, in turns of {BLOCK}.\n")
    print("| | requests/s, median (lowest) | p99, median ms (highest) | snapshots |\n|---|---|---|---|")
    for taken, minutes in found.items():
        rates, slowest = [one.rate for one in minutes], [one.p99 for one in minutes]
        what = "a round every minute" if taken else "no rounds"
        print(
            f"| {what} | {statistics.median(rates):.0f} ({min(rates):.0f}) | {statistics.median(slowest):.1f}"
            f" ({max(slowest):.1f}) | {sum(one.snapshots for one in minutes)} |"
        )
    without, with_rounds = (statistics.median(one.rate for one in found[taken]) for taken in (False, True))
    print(f"\nThroughput with rounds: {100 * with_rounds / without:.1f} % of that without.", flush=True)
    return 0


def _minute_of(fleet: Fleet, host: Host, folder: Path, taken: bool) -> Minute:
    """One minute of load; a round, where there is one, begins five seconds into it."""
    kept: list[int] = []
    other = threading.Thread(target=lambda: kept.append(_round(fleet, folder)))
    load = f"wrk --latency -t 1 -c {WORKERS} -d 60s http://127.0.0.1:8000/checkout?seconds=0"
    inside = ["nsenter", f"--net=/proc/{host.pid}/ns/net", *load.split()]
    with subprocess.Popen(inside, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as wrk:
        if taken:
            time.sleep(5)
            other.start()
        said = wrk.communicate(timeout=120)[0]
    if taken:
        other.join()
    rate, slowest = re.search(r"Requests/sec: +([\d.]+)", said), re.search(r"99% +([\d.]+)(us|ms|s|m)\b", said)
    if rate is None or slowest is None:
        sys.exit(f"wrk said: {said}")
    return Minute(float(rate[1]), float(slowest[1]) * _UNITS[slowest[2]], sum(kept))


def _round(fleet: Fleet, folder: Path) -> int:
    os.sched_setaffinity(0, {max(range(os.cpu_count() or 1))})
    options = {"pyspy_pattern": "gunicorn", "pyspy_snapshot_store": str(folder / "s.sqlite3"), "pyspy_max_load": 0}
    done = fleet.ansible("ansible-playbook", "pyspy.fleet.snapshot", "-e", json.dumps(options))
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    profiled = re.search(r"Targets +(\d+) profiled", done.stdout)
    return int(profiled[1]) if profiled else 0

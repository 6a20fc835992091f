# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``dump.yml`` beside a bare ssh loop of ``py-spy dump``: 30 hosts with 8 workers each, all but one wait for a lock.

A dump is of everybody who may hang, and so of what started them too: nine processes on each host.

The loops look at each process once, one after the other on its host; ``one by one`` goes from host to host as well, as
a for loop does that is typed in a hurry, ``at once`` is on all hosts at the same time. ``dump.yml`` looks as often as
its row says, and selects, judges, groups and reports.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils import _releases
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet

from .contestants import ON_HOST, PATTERN

HOSTS, WORKERS, ROUNDS = 30, 8, 3
#: Ansible's own, and one for each host: dumps wait on their hosts, so that these are what limits them.
FORKS = (5, 30)
#: A master and its workers: all of them wait for a lock that the first took.
POOL = """
import multiprocessing, sys, time
def handle(lock):
    with lock:
        time.sleep(1000)
def main():
    lock = multiprocessing.Lock()
    workers = [multiprocessing.Process(target=handle, args=(lock,)) for _number in range(int(sys.argv[1]))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
main()
"""


def main() -> int:
    print(f"\n{HOSTS} hosts, {WORKERS + 1} processes each; ssh connections warm; median of {ROUNDS} rounds.\n")
    print("| contestant | dumps of each | s | ÷ one by one | dumped |")
    print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, Fleet(HOSTS) as fleet:
        _prepare(fleet)
        contestants: dict[str, tuple[int, Callable[[Path], int]]] = {
            "ssh loop, at once": (1, partial(_loop, fleet, True)),
            "ssh loop, one by one": (1, partial(_loop, fleet, False)),
            **{f"dump.yml, {n} dumps, forks {f}": (n, partial(_play, fleet, n, f)) for n in (1, 3) for f in FORKS},
        }
        return _compare(contestants, Path(folder))


def _prepare(fleet: Fleet) -> None:
    for host in fleet.hosts:
        (host.root / "opt" / f"{PATTERN}.py").write_text(POOL)
        host.run(f"setsid python3 /opt/{PATTERN}.py {WORKERS} </dev/null >/dev/null 2>&1 &")
    done = fleet.ansible("ansible-playbook", "playbooks/install.yml", "-f", str(max(FORKS)))
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    for host in fleet.hosts:
        subprocess.run([*_ssh(fleet), f"root@{host.address}", "true"], check=True)


def _compare(contestants: dict[str, tuple[int, Callable[[Path], int]]], folder: Path) -> int:
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    dumped: dict[str, int] = {}
    for _round in range(ROUNDS):
        for name, (_looks, contestant) in contestants.items():
            results = Path(tempfile.mkdtemp(dir=folder))
            began = time.monotonic()
            dumped[name] = contestant(results)
            seconds[name].append(time.monotonic() - began)
    base = statistics.median(seconds["ssh loop, one by one"])
    for name, (looks, _contestant) in contestants.items():
        took = statistics.median(seconds[name])
        print(f"| {name} | {looks} | {took:.1f} | {took / base:.2f} | {dumped[name]} |", flush=True)
    return 0 if set(dumped.values()) == {HOSTS * (WORKERS + 1)} else 1


def _ssh(fleet: Fleet) -> list[str]:
    control = fleet.directory / "bare-%h"
    words = fleet.ssh(fleet.hosts[0])[:-1]
    return [*words, "-o", "ControlMaster=auto", "-o", f"ControlPath={control}", "-o", "ControlPersist=300s"]


def _loop(fleet: Fleet, at_once: bool, results: Path) -> int:
    """How many dumps came."""
    binary = f"{ON_HOST}/py-spy-{_releases.NEWEST}"
    pool = f"\\$(pgrep -f '^python3 /opt/{PATTERN}.py')"
    each = f"for pid in {pool}; do {binary} dump --pid \\$pid; done"
    shell = f"""
for host in $HOSTS; do $SSH root@$host "{each}" </dev/null >{results}/$host.txt {"&" if at_once else ""}
done; wait"""
    hosts = " ".join(host.address for host in fleet.hosts)
    subprocess.run(["bash", "-c", shell], env={**os.environ, "SSH": " ".join(_ssh(fleet)), "HOSTS": hosts}, check=True)
    return sum(path.read_text().count("\nPython v") for path in results.glob("*.txt"))


def _play(fleet: Fleet, looks: int, forks: int, results: Path) -> int:
    """How many targets of the manifest have their dumps."""
    options = {"pyspy_pattern": f"{PATTERN}.py", "pyspy_dump_count": looks, "pyspy_output_dir": str(results)}
    words = ("ansible-playbook", "-f", str(forks), "playbooks/dump.yml", "-e", json.dumps(options))
    done = fleet.ansible(*words, ANSIBLE_PIPELINING="1")
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    manifest = json.loads((results / "latest" / "manifest.json").read_text())
    captures = [capture for host in manifest["hosts"].values() for capture in host["captures"]]
    return sum(capture["outcome"] == "profiled" and capture["samples"] == looks for capture in captures)

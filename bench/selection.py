# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m bench selection``: what finding the targets costs a host of 2,000 processes, beside pgrep and psutil.

The CPU time of a whole program each, its start included: of ``pgrep -f``; of a psutil that reads the like of each
process; and of the host program, which also looks twice, judges roles and says of each Python why it was not chosen.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils._bundle import bundle
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

PROCESSES, MASTERS, WORKERS = 2000, 40, 9
ROUNDS = 7
#: A master of some workers, as the managers leave them: the same command line, forked.
FAMILY = """
import os, signal
for _number in range(int(__import__("sys").argv[1])):
    if not os.fork():
        break
signal.pause()
"""
PSUTIL = """
import psutil
list(psutil.process_iter(["pid", "ppid", "name", "exe", "cmdline", "uids", "create_time", "cpu_times", "status"]))
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, crowd():
        program = Path(folder, "host.pyz")
        program.write_bytes(bundle())
        ours = ("/usr/bin/python3", "-I", "-S", str(program), "info")
        contestants = {
            "pgrep -f": ("pgrep", "-f", "nobody is called so"),
            "psutil": (sys.executable, "-I", "-c", PSUTIL),
            "selection": (*ours, "{}"),
            "selection by pattern": (*ours, '{"selectors": {"pattern": "gunicorn"}}'),
            "selection by pod": (*ours, '{"selectors": {"kube_pod": "web-*"}}'),
        }
        costs: dict[str, list[float]] = {name: [] for name in contestants}
        for _round in range(ROUNDS):
            for name, words in contestants.items():
                costs[name].append(cpu(words))
    print(
        f"\nCPU of one look at {PROCESSES} processes, {MASTERS * (WORKERS + 1)} of them Python, median of {ROUNDS}:\n"
    )
    print(f"{'':24}{'ms':>8}{'least':>8}{'most':>8}{'x psutil':>10}")
    psutil = statistics.median(costs["psutil"])
    for name, rounds in costs.items():
        middle = statistics.median(rounds)
        print(f"{name:24}{middle:8.0f}{min(rounds):8.0f}{max(rounds):8.0f}{middle / psutil:10.2f}")
    return 0


def cpu(words: tuple[str, ...]) -> float:
    """Milliseconds of CPU, its own and the kernel's for it."""
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode > 1:  # pgrep's 1 is "none"
        raise SystemExit(f"{words[0]} failed ({child.returncode})")
    return 1000 * (usage.ru_utime + usage.ru_stime)


@contextmanager
def crowd() -> Iterator[None]:
    """2,000 processes beside this machine's own; ended, by their groups, with the ``with``."""
    leaders: list[subprocess.Popen[bytes]] = []
    try:
        for _number in range(MASTERS):
            words = ("/usr/bin/python3", "-I", "-c", FAMILY, str(WORKERS))
            leaders.append(subprocess.Popen(words, start_new_session=True))
        sleepers = PROCESSES - MASTERS * (WORKERS + 1)
        shell = f"for number in $(seq {sleepers}); do sleep 1000 & done; wait"
        leaders.append(subprocess.Popen(("/bin/sh", "-c", shell), start_new_session=True))
        born = MASTERS * WORKERS + sleepers
        await_condition("the crowd", lambda: sum(children(leader.pid) for leader in leaders) == born)
        yield
    finally:
        for leader in leaders:
            os.killpg(leader.pid, signal.SIGKILL)
            leader.wait()


def children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

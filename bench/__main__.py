# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: ``profile.yml`` beside a bare ssh loop and a plain playbook, on hosts of the lab, in one run.

Then what profiling costs the targets, what finding them costs a host of 2,000 processes, and ``dump.yml`` beside a bare
ssh loop, the report in a browser, and how often a comparison is wrong. Each can be had alone: ``python -m bench run``,
``harm``, ``selection``, ``dumps``, ``report``, ``compare``.

Times mean little by themselves on a shared machine: read the ratios.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet

from . import compare, dumps, harm, report, selection
from .contestants import FORKS, WINDOW, Arena, Cost, bare, fleet, plain, warm_bare

SIZES = (1, 10, 20)
ROUNDS = 3
CONTESTANTS: dict[str, Callable[[Arena, Path], None]] = {"bare": bare, "plain": plain, "fleet": fleet}


def main(what: list[str]) -> int:
    if not set(what) <= {"run", "harm", "selection", "dumps", "report", "compare"}:
        print("usage: python -m bench [run] [harm] [selection] [dumps] [report] [compare]", file=sys.stderr)
        return 2
    failed = 0
    if "run" in what or not what:
        failed |= runs()
    if "harm" in what or not what:
        failed |= harm.main()
    if "selection" in what or not what:
        failed |= selection.main()
    if "dumps" in what or not what:
        failed |= dumps.main()
    if "report" in what or not what:
        failed |= report.main()
    if "compare" in what or not what:
        failed |= compare.main()
    return failed


def runs() -> int:
    print(
        f"One target a host, a window of {WINDOW} s, forks {FORKS}, ssh connections warm; median of {ROUNDS} rounds.\n"
    )
    print("| hosts | py-spy | contestant | s | ÷ bare | controller CPU s per host | MB on the wire | graphs |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    complete = True
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder, Fleet(size) as hosts:
            arena = Arena(hosts, Path(folder))
            warm_bare(arena)
            for present in (False, True):
                complete &= _compare(arena, size, present)
    return 0 if complete else 1


def _compare(arena: Arena, size: int, present: bool) -> bool:
    costs: dict[str, list[Cost]] = {name: [] for name in CONTESTANTS}
    for _round in range(ROUNDS):
        for name, contestant in CONTESTANTS.items():
            if not present:
                arena.take_binary_away()
            costs[name].append(arena.measure(contestant))
    base = statistics.median(cost.seconds for cost in costs["bare"])
    for name, rounds in costs.items():
        seconds = statistics.median(cost.seconds for cost in rounds)
        cpu = statistics.median(cost.cpu for cost in rounds) / size
        wire = statistics.median(cost.wire for cost in rounds) / 1e6
        graphs = min(cost.graphs for cost in rounds)
        where = "there" if present else "to be brought"
        print(
            f"| {size} | {where} | {name} | {seconds:.1f} | {seconds / base:.2f} | {cpu:.2f} | {wire:.1f} | {graphs} |",
            flush=True,
        )
    return all(cost.graphs == size for rounds in costs.values() for cost in rounds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

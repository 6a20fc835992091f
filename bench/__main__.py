# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: ``profile.yml`` beside a bare ssh loop and a plain playbook, on hosts of the lab, in one run.

Then what profiling costs the targets, what finding them costs a host of 2,000 processes, and ``dump.yml`` beside a bare
ssh loop; the report and the time line in a browser, how often a comparison and a drift are wrong, a large store of
snapshots, and a service that bears a round every minute. Each can be had alone by its name: ``python -m bench report``.

Times mean little by themselves on a shared machine: read the ratios.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet

from . import bearable, compare, drift, dumps, harm, report, selection, snapshots, timeline
from .contestants import FORKS, WINDOW, Arena, Cost, bare, fleet, plain, warm_bare

SIZES = (1, 10, 20)
ROUNDS = 3
CONTESTANTS: dict[str, Callable[[Arena, Path], None]] = {"bare": bare, "plain": plain, "fleet": fleet}


def main(what: list[str]) -> int:
    benches: dict[str, Callable[[], int]] = {
        "run": runs,
        "harm": harm.main,
        "selection": selection.main,
        "dumps": dumps.main,
        "report": report.main,
        "compare": compare.main,
        "snapshots": snapshots.main,
        "drift": drift.main,
        "timeline": timeline.main,
        "bearable": bearable.main,
    }
    if not set(what) <= set(benches):
        print(f"usage: python -m bench {' '.join(f'[{name}]' for name in benches)}", file=sys.stderr)
        return 2
    return max(bench() for name, bench in benches.items() if name in what or not what)


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

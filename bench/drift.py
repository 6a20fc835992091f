# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often drift is wrong: an unchanged service called drifted, and a planted change not found.

Of made-up services in independent tries, on hosts that stay. Each day has a mix of requests of its own, and one of ten
usual days is an odd one. In each try now is a day like others, one with a planted change, one on other hosts, and an
odd day, which is a change indeed.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence

from ansible_collections.pyspy.fleet.plugins.plugin_utils._compare import CLEAR, Comparison, Observation
from ansible_collections.pyspy.fleet.plugins.plugin_utils._usual import beside_usual
from ansible_collections.pyspy.fleet.tests.lab.made_workers import SLOW, Service

TRIES = 100
#: Hosts, workers of each, seconds.
SETTINGS = ((10, 4, 30), (10, 4, 10), (8, 4, 30), (4, 4, 30), (4, 4, 10), (1, 4, 30))
ROUNDS = (5, 7, 10, 14)
ODD = 0.1
PLANTED = 0.05


def main() -> int:
    print(
        "\n| hosts × workers × seconds | rounds | anything clear | on other hosts | 5 points found | ± | an odd day |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for setting in SETTINGS:
        made_up(*setting)
    _cost()
    return 0


def made_up(hosts: int, workers: int, seconds: float) -> None:
    found: dict[int, list[list[Comparison]]] = {rounds: [] for rounds in ROUNDS}
    for seed in range(TRIES):
        made, dice = Service(seed), random.Random(seed)
        usual = [made.round(hosts, workers, seconds, odd=dice.random() < ODD) for _day in range(max(ROUNDS))]
        now = [
            made.round(hosts, workers, seconds),
            made.round(hosts, workers, seconds, name="other"),
            made.round(hosts, workers, seconds, PLANTED),
            made.round(hosts, workers, seconds, odd=True),
        ]
        for rounds, tries in found.items():
            tries.append([beside_usual(one, usual[-rounds:]) for one in now])
    for rounds, tries in found.items():
        _row(f"{hosts} × {workers} × {seconds:g}", rounds, tries)


def _row(where: str, rounds: int, tries: Sequence[Sequence[Comparison]]) -> None:
    clear = [
        sum(one.changes[0].verdict == CLEAR for one in column if one.changes) for column in zip(*tries, strict=True)
    ]
    shifts = [change.own for one in tries for change in one[2].changes if change.name == SLOW]
    right = sum(shift.verdict == CLEAR and shift.change > 0 for shift in shifts)
    noise = 100 * statistics.median(shift.error or 0.0 for shift in shifts)
    shown = (where, rounds, clear[0], clear[1], f"{right} of {len(tries)}", f"{noise:.1f}", clear[3])
    print("| " + " | ".join(map(str, shown)) + " |", flush=True)


def _cost() -> None:
    """What a service of many workers costs in each round."""
    made = Service(1)
    rounds: list[list[Observation]] = [made.round(10, 8, 10) for _day in range(15)]
    began = time.monotonic()
    beside_usual(rounds[0], rounds[1:])
    first = time.monotonic()
    beside_usual(rounds[0], rounds[1:])
    print(
        f"\n80 workers beside 14 rounds of as many: {time.monotonic() - first:.1f} s; the first of a process"
        f" {first - began:.1f} s"
    )

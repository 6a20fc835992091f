# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often drift is wrong: an unchanged service called drifted, and a planted change not found.

Of made-up services in independent tries, on hosts that stay. Each day has a mix of requests of its own, and one of ten
usual days is an odd one. In each try now is a day like others, one with a planted change, one on other hosts, and an
odd day, which is a change indeed.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

from ansible_collections.pyspy.fleet.plugins.plugin_utils._compare import CLEAR, Comparison, Observation
from ansible_collections.pyspy.fleet.plugins.plugin_utils._usual import beside_usual
from ansible_collections.pyspy.fleet.tests.lab.made_workers import SLOW, Service

TRIES = 100
#: Hosts, workers of each, seconds, samples per second. The second has the window of a snapshot as it comes.
SETTINGS = ((10, 4, 30, 100), (10, 4, 10, 50), (10, 8, 10, 50), (4, 4, 30, 100), (1, 4, 30, 100))
ROUNDS = (7, 14)
ODD = 0.1
PLANTED = 0.05


class Try(NamedTuple):
    """Was anything clear where nothing changed, on the same hosts and on others; was the planted change found, and with
    which error; was anything clear on an odd day."""

    unchanged: bool
    strange: bool
    found: bool
    error: float
    odd: bool


def main() -> int:
    print(
        "\n| hosts × workers × s | rounds | tries | anything clear | on other hosts | 5 points found | ± | an odd day |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for setting in SETTINGS:
        made_up(*setting)
    _cost()
    return 0


def made_up(hosts: int, workers: int, seconds: float, rate: float) -> None:
    with multiprocessing.Pool() as pool:
        tries = pool.starmap(tried, [(seed, hosts, workers, seconds, rate) for seed in range(TRIES)], chunksize=1)
    for rounds in ROUNDS:
        row(f"{hosts} × {workers} × {seconds:g}, {rate:g} Hz", rounds, [one[rounds] for one in tries])


def tried(seed: int, hosts: int, workers: int, seconds: float, rate: float) -> dict[int, Try]:
    """By the number of usual rounds."""
    made, dice = Service(seed, 1 / rate), random.Random(seed)
    usual = [made.round(hosts, workers, seconds, odd=dice.random() < ODD) for _day in range(max(ROUNDS))]
    same, slower = made.round(hosts, workers, seconds), made.round(hosts, workers, seconds, PLANTED)
    other, odd = made.round(hosts, workers, seconds, name="other"), made.round(hosts, workers, seconds, odd=True)
    found = {}
    for rounds in ROUNDS:
        unchanged, unlike, strange = (_clear(beside_usual(one, usual[-rounds:])) for one in (same, odd, other))
        shift = next(one.own for one in beside_usual(slower, usual[-rounds:]).changes if one.name == SLOW)
        right = shift.verdict == CLEAR and shift.change > 0
        found[rounds] = Try(unchanged, strange, right, shift.error or 0.0, unlike)
    return found


def _clear(found: Comparison) -> bool:
    return any(one.verdict == CLEAR for one in found.changes)


def row(where: str, rounds: int, tries: Sequence[Try]) -> None:
    unchanged, strange, found, errors, odd = zip(*tries, strict=True)
    noise = f"{100 * statistics.median(errors):.1f}"
    shown = (where, rounds, len(tries), sum(unchanged), sum(strange), sum(found), noise, sum(odd))
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

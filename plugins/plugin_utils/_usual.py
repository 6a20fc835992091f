# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room "usual" of the controller wing (private to the collection): is a round unlike the usual ones, and clearly so.

Two things must both be unable to explain a change. How rounds differ among each other: the distance from the median of
the usual ones, in spreads of these around it, of which the farthest do not count, so that an odd one neither hides nor
makes anything. How far that goes by chance follows from drawing rounds from a normal distribution; the chance is shared
out among all columns (Bonferroni). And how workers differ: all those of the usual rounds are compared with those of
now, as two sides (``_compare``). Pure.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import NormalDist, median

from ._calls import Function
from ._compare import CHANCE, CLEAR, Change, Comparison, Observation, Shift, compare

#: With fewer rounds hardly any change stands out of what they may differ by.
FEWEST = 5
_DRAWS = 20_000
_NORMAL = NormalDist()

#: The workers of one round.
Workers = Sequence[Observation]


def beside_usual(now: Workers, rounds: Sequence[Workers]) -> Comparison:
    """From the median of the rounds to now. The order of rounds does not matter."""
    pooled = sorted((worker for one in rounds for worker in one), key=_order)
    # Dealing out costs what the first side has.
    workers = compare(now, pooled)
    table = _Table(now, rounds, workers.changes)
    reach = table.reach() if workers.enough and len(rounds) >= FEWEST else None
    strange = _strange(now, pooled)
    changes = [
        change._replace(
            own=table.shift(change, "own", reach, strange), total=table.shift(change, "total", reach, strange)
        )
        for change in workers.changes
    ]
    changes.sort(key=_importance)
    return replace(workers, workers=workers.workers[::-1], hosts=workers.hosts[::-1], changes=tuple(changes))


def _order(worker: Observation) -> tuple[str, float, list[tuple[Function, float]], list[tuple[Function, float]]]:
    return worker.host, worker.seconds, sorted(worker.own.items()), sorted(worker.total.items())


def _importance(change: Change) -> tuple[bool, float, str, str]:
    size = max(abs(change.own.change), abs(change.total.change))
    return change.verdict != CLEAR, -size, change.name, change.file


def _strange(now: Workers, pooled: Workers) -> bool:
    """Are most workers on hosts that no usual round had? What hosts differ by is then not in how rounds differ."""
    known = {worker.host for worker in pooled}
    return 2 * sum(worker.host not in known for worker in now) > len(now)


class _Table:
    """The shares of each column in each usual round."""

    def __init__(self, now: Workers, rounds: Sequence[Workers], changes: Sequence[Change]) -> None:
        self._rounds = len(rounds)
        self._thin = _thin(now, rounds)
        self._shares = {which: [_shares(one, which) for one in rounds] for which in ("own", "total")}
        self._columns = {
            ((change.name, change.file), which): self._column((change.name, change.file), which)
            for change in changes
            for which, shift in (("own", change.own), ("total", change.total))
            if shift.before or shift.after
        }

    def _column(self, function: Function, which: str) -> tuple[float, ...]:
        return tuple(sorted(one.get(function, 0.0) for one in self._shares[which]))

    def reach(self) -> float:
        """Equal columns, as of functions that call no other, are one. A power of two, which a fleet has few of."""
        many = len(set(self._columns.values())) or 1
        return reach(self._rounds, CHANCE / 2 ** math.ceil(math.log2(many)))

    def shift(self, change: Change, which: str, reach: float | None, strange: bool) -> Shift:
        """As ``_compare`` has it, from now to all workers, made one from the median to now."""
        workers = change.own if which == "own" else change.total
        column = self._columns.get(((change.name, change.file), which))
        if column is None:
            return workers._replace(error=None) if reach is None else workers
        middle = median(column) if column else 0.0
        if reach is None or workers.error is None:
            return Shift(middle, workers.before, None)
        between = reach * spread(column) * self._thin
        error = math.hypot(between, workers.error) if strange else max(between, workers.error)
        return Shift(middle, workers.before, error)


def _shares(workers: Workers, which: str) -> dict[Function, float]:
    parts: dict[Function, list[float]] = {}
    for worker in workers:
        for function, part in (worker.own if which == "own" else worker.total).items():
            parts.setdefault(function, []).append(part)
    seconds = math.fsum(worker.seconds for worker in workers) or 1.0
    return {function: math.fsum(some) / seconds for function, some in parts.items()}


def _thin(now: Workers, rounds: Sequence[Workers]) -> float:
    """What the usual spread is multiplied with where now there is less to see than usual; never below 1."""
    sizes = [_size(one) for one in rounds]
    usual = [median(column) for column in zip(*sizes, strict=True)]
    return math.sqrt(max([1.0, *(many / few for many, few in zip(usual, _size(now), strict=False) if few)]))


def _size(workers: Workers) -> tuple[float, float, float]:
    return len(workers), len({worker.host for worker in workers}), math.fsum(worker.seconds for worker in workers)


def left_out(rounds: int) -> int:
    """How many of the farthest rounds do not count for the spread."""
    return max(1, rounds // 7)


def spread(column: Sequence[float]) -> float:
    """The root of the mean square around the median, without the farthest."""
    middle = median(column)
    apart = sorted((value - middle) ** 2 for value in column)[: len(column) - left_out(len(column))]
    return math.sqrt(math.fsum(apart) / len(apart))


@lru_cache(maxsize=64)
def reach(rounds: int, chance: float) -> float:
    """How many spreads one more round is away from the median with this chance: Student's t of a median.

    Of drawn rounds the median and the spread are known, so that the chance of one more follows; it is averaged.
    """
    drawn = _drawn(rounds)
    low, high = 0.0, 1.0
    while _beyond(drawn, high) > chance:
        low, high = high, 2 * high
    while high - low > 0.001 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _beyond(drawn, middle) > chance else (low, middle)
    return high


def _beyond(drawn: Sequence[tuple[float, float]], spreads: float) -> float:
    return math.fsum(
        _NORMAL.cdf(middle - spreads * wide) + _NORMAL.cdf(-middle - spreads * wide) for middle, wide in drawn
    ) / len(drawn)


@lru_cache(maxsize=32)
def _drawn(rounds: int) -> list[tuple[float, float]]:
    dice = random.Random(rounds)
    found = []
    for _draw in range(_DRAWS):
        column = [dice.gauss(0.0, 1.0) for _round in range(rounds)]
        found.append((median(column), spread(column)))
    return found

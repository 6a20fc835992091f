# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "compare" of the controller wing (private to the collection): what changed between two sides, and is it clear.

A side is the workers of a run, of a group, of a version. Shares of functions are set side by side: own time, and time
with what is called. Samples of one worker hang together, and workers of one host too, so chance is judged by hosts
where there are enough of them, else by workers: they are dealt out to the two sides again and again as if nothing had
changed, and how far all functions together then differ at most is how far noise goes. So a change is *clear* only where
it is beyond what three of a hundred unchanged comparisons would show anywhere in the whole table (a permutation test of
the largest studentised difference; Westfall and Young 1993, on the control of the family of all functions). Pure.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import add
from typing import NamedTuple

from ._calls import Calls, Function
from ._spread import usages

#: How often an unchanged comparison may call anything clear.
CHANCE = 0.03
#: Ways to deal out that are tried; all of them where there are fewer.
DEALS = 1000
#: Functions with less than this share on both sides are not judged: each makes noise for all others.
SMALLEST = 0.002
#: Half a percentage point at three standard errors: below it a difference is nothing to anybody, however sure.
_FLOOR = 0.005 / 3
#: Hosts of the smaller side, and of both, from which on hosts are what is dealt out.
_HOSTS, _HOSTS_IN_ALL = 4, 10

CLEAR, NOISE, FEW = "clear", "within noise", "too few workers"


class Observation(NamedTuple):
    """What one worker did: seconds in all, and of each function by itself and with what it calls."""

    host: str
    seconds: float
    own: Mapping[Function, float]
    total: Mapping[Function, float]


class Shift(NamedTuple):
    """A share on both sides (of 1), and how far noise may have moved their difference; None where nothing tells."""

    before: float
    after: float
    error: float | None

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def verdict(self) -> str:
        if self.error is None:
            return FEW
        return CLEAR if abs(self.change) > self.error else NOISE


class Change(NamedTuple):
    """One function."""

    name: str
    file: str
    own: Shift
    total: Shift

    @property
    def shift(self) -> Shift:
        """The one that tells most: its own share, unless only the total is clear."""
        return self.total if self.own.verdict != CLEAR and self.total.verdict == CLEAR else self.own

    @property
    def verdict(self) -> str:
        verdicts = {self.own.verdict, self.total.verdict}
        return next(verdict for verdict in (CLEAR, NOISE, FEW) if verdict in verdicts)


@dataclass(frozen=True)
class Comparison:
    """``changes`` has the clear ones first, then the largest. ``unit`` is what chance was judged by: hosts or workers.

    ``counts`` is how many of them each side has, ``deals`` how many ways there are to deal them out anew.
    """

    unit: str
    counts: tuple[int, int]
    deals: int
    changes: tuple[Change, ...]

    @property
    def enough(self) -> bool:
        return _enough(*self.counts)


def observations(tree: Calls) -> list[Observation]:
    """All workers of a call tree that were seen at work."""
    return [
        Observation(
            worker.host,
            usage.seconds,
            {tree.functions[place]: seconds for place, seconds in usage.own.items()},
            {tree.functions[place]: seconds for place, seconds in usage.total.items()},
        )
        for worker, usage in zip(tree.workers, usages(tree), strict=True)
        if usage.seconds
    ]


def compare(before: Sequence[Observation], after: Sequence[Observation]) -> Comparison:
    """The same observations always give the same result."""
    unit, (left, right) = _units(before, after)
    keys = _judged(left, right)
    counts = (len(left), len(right))
    table = _Table(left, right, keys)
    limit = table.limit(_deals(*counts, seed=table.seed())) if _enough(*counts) else None
    shifts = dict(zip(keys, table.shifts(limit), strict=True))
    functions = sorted({function for function, _which in keys})
    none = Shift(0.0, 0.0, 0.0 if limit is not None else None)
    changes = [
        Change(*function, shifts.get((function, "own"), none), shifts.get((function, "total"), none))
        for function in functions
    ]
    changes.sort(key=lambda one: (one.verdict != CLEAR, -_size(one), one.name, one.file))
    return Comparison(unit, counts, math.comb(sum(counts), counts[0]), tuple(changes))


def _size(change: Change) -> float:
    return max(abs(change.own.change), abs(change.total.change))


def _units(
    before: Sequence[Observation], after: Sequence[Observation]
) -> tuple[str, tuple[list[Observation], list[Observation]]]:
    """Hosts where there are enough, else workers."""
    hosts = (_by_host(before), _by_host(after))
    fewest, every = min(map(len, hosts)), sum(map(len, hosts))
    if fewest >= _HOSTS or (every >= _HOSTS_IN_ALL and _enough(*map(len, hosts))):
        return "hosts", hosts
    return "workers", (list(before), list(after))


def _by_host(workers: Sequence[Observation]) -> list[Observation]:
    found: dict[str, tuple[float, dict[Function, float], dict[Function, float]]] = {}
    for worker in workers:
        seconds, own, total = found.get(worker.host, (0.0, {}, {}))
        for mine, others in ((own, worker.own), (total, worker.total)):
            for function, spent in others.items():
                mine[function] = mine.get(function, 0.0) + spent
        found[worker.host] = (seconds + worker.seconds, own, total)
    return [Observation(host, *row) for host, row in sorted(found.items())]


def _enough(left: int, right: int) -> bool:
    """Can chance be told at all? Sides of equal size can be swapped as a whole, which changes no difference."""
    return (2 if left == right else 1) / math.comb(left + right, left) <= CHANCE if left and right else False


#: A column of the table: a function, and whether its own or its total time.
_Key = tuple[Function, str]


def _judged(left: Sequence[Observation], right: Sequence[Observation]) -> list[_Key]:
    """What is common enough on either side."""
    found: set[_Key] = set()
    for side in (left, right):
        seconds = math.fsum(unit.seconds for unit in side)
        sums: dict[_Key, float] = {}
        for unit in side:
            for which, spent in (("own", unit.own), ("total", unit.total)):
                for function, part in spent.items():
                    sums[function, which] = sums.get((function, which), 0.0) + part
        found |= {key for key, part in sums.items() if part >= SMALLEST * seconds}
    return sorted(found)


class _Table:
    """Seconds of each unit (row) in each key (column), the first side's rows first."""

    def __init__(self, left: Sequence[Observation], right: Sequence[Observation], keys: Sequence[_Key]) -> None:
        units = [*left, *right]
        self._first = len(left)
        self._times = [unit.seconds for unit in units]
        rows = [
            [(unit.own if which == "own" else unit.total).get(function, 0.0) for function, which in keys]
            for unit in units
        ]
        whole = math.fsum(self._times)
        pooled = [math.fsum(column) / whole for column in zip(*rows, strict=True)] if rows else []
        self._rows = rows
        # What each unit has more than its part of the pooled share: differences of shares are sums of these.
        self._extra = [
            [part - share * time for part, share in zip(row, pooled, strict=True)]
            for row, time in zip(rows, self._times, strict=True)
        ]
        self._squares = [[part * part for part in row] for row in self._extra]
        self._sum = _column_sums(self._extra, len(keys))
        self._sum_of_squares = _column_sums(self._squares, len(keys))

    def seed(self) -> int:
        text = repr((self._first, self._times, self._rows))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    def limit(self, deals: Iterator[Sequence[int]]) -> float:
        """The largest studentised difference anywhere, which no more than :data:`CHANCE` of the deals exceed."""
        largest = sorted(max(self._studentised(deal), default=0.0) for deal in deals)
        return largest[-1 - math.floor(CHANCE * len(largest))]

    def shifts(self, limit: float | None) -> list[Shift]:
        first = range(self._first)
        found = []
        before, after = self._shares()
        _differences, errors = self._differences(first)
        for left, right, error in zip(before, after, errors, strict=True):
            found.append(Shift(left, right, None if limit is None else limit * error))
        return found

    def _shares(self) -> tuple[list[float], list[float]]:
        sides = []
        for rows, times in (
            (self._rows[: self._first], self._times[: self._first]),
            (self._rows[self._first :], self._times[self._first :]),
        ):
            seconds = math.fsum(times) or 1.0
            sides.append([part / seconds for part in _column_sums(rows, len(self._sum))])
        return sides[0], sides[1]

    def _studentised(self, deal: Sequence[int]) -> list[float]:
        differences, errors = self._differences(deal)
        return [abs(difference) / error for difference, error in zip(differences, errors, strict=True)]

    def _differences(self, deal: Sequence[int]) -> tuple[list[float], list[float]]:
        """Differences of shares, and their standard errors, where the units of ``deal`` are the first side."""
        some = _column_sums([self._extra[unit] for unit in deal], len(self._sum))
        squares = _column_sums([self._squares[unit] for unit in deal], len(self._sum))
        here = math.fsum(self._times[unit] for unit in deal)
        there = math.fsum(self._times) - here
        if not here or not there:
            return [0.0] * len(some), [_FLOOR] * len(some)
        few, many = len(deal), len(self._times) - len(deal)
        differences, errors = [], []
        for part, every, square, all_squares in zip(some, self._sum, squares, self._sum_of_squares, strict=True):
            differences.append((every - part) / there - part / here)
            one = _variance(square, part, few) / here**2
            other = _variance(all_squares - square, every - part, many) / there**2
            if few == 1 or many == 1:
                # One unit says nothing of how much its like differ: the other side does, for both.
                one, other = (
                    (other * (there / here) ** 2 / many, other) if few == 1 else (one, one * (here / there) ** 2 / few)
                )
            errors.append(math.sqrt(one + other + _FLOOR**2))
        return differences, errors


def _variance(squares: float, part: float, number: int) -> float:
    """Of a sum of so many independent parts, from the parts' own sum and sum of squares."""
    return max(0.0, squares - part * part / number) * number / (number - 1) if number > 1 else 0.0


def _column_sums(rows: Sequence[Sequence[float]], width: int) -> list[float]:
    sums = [0.0] * width
    for row in rows:
        sums = list(map(add, sums, row))
    return sums


def _deals(left: int, right: int, seed: int) -> Iterator[Sequence[int]]:
    """Which units are the first side: as it was, and dealt out anew."""
    units = left + right
    if math.comb(units, left) <= DEALS:
        yield from combinations(range(units), left)
        return
    yield range(left)
    dice = random.Random(seed)
    for _deal in range(DEALS - 1):
        yield dice.sample(range(units), left)

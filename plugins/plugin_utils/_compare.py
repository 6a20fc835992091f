# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "compare" of the controller wing (private to the collection): what changed between two sides, and is it clear.

A side is the workers of a run, of a group, of a version. Shares of functions are set side by side: own time, and time
with what is called. Samples of one worker hang together, so chance is judged by workers: they are dealt out to the two
sides again and again as if nothing had changed, and how far all functions together then differ at most, in standard
errors, is how far noise goes (a permutation test of the largest studentised difference, which holds for the family of
all functions: Westfall and Young 1993). Workers of one host hang together too, which dealing out does not see: how much
shows in how far hosts of one side differ, and makes the standard errors larger (the design effect of cluster samples:
Kish 1965). Pure.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import NamedTuple

from ._calls import Calls, Function
from ._resample import Deck, deals
from ._spread import usages

#: How often an unchanged comparison may call anything clear.
CHANCE = 0.03
#: Ways to deal out that are tried; all of them where there are fewer.
DEALS = 1000
#: Functions with less than this share on both sides are not judged: each makes noise for all others.
SMALLEST = 0.005
#: Half a percentage point at three standard errors: below it a difference is nothing to anybody, however sure.
_FLOOR = 0.005 / 3

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
    """``changes`` has the clear ones first, then the largest. ``workers`` and ``hosts`` are how many each side has.

    ``by_hosts`` tells whether hosts of one side could be set beside each other: where not, what differs between hosts
    cannot be told from a change.
    """

    workers: tuple[int, int]
    hosts: tuple[int, int]
    by_hosts: bool
    changes: tuple[Change, ...]

    @property
    def enough(self) -> bool:
        return _enough(*self.workers)


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
    keys = _judged(before, after)
    sides = (_Side(before, keys), _Side(after, keys))
    workers, hosts = (len(before), len(after)), (len(sides[0].hosts), len(sides[1].hosts))
    limit = _limit(*sides) if keys and _enough(*workers) else None
    errors = _errors(sides) if limit is not None else [0.0] * len(keys)
    shifts = {
        key: Shift(left, right, None if limit is None else limit * error)
        for key, left, right, error in zip(keys, sides[0].shares, sides[1].shares, errors, strict=True)
    }
    none = Shift(0.0, 0.0, 0.0 if limit is not None else None)
    changes = [
        Change(*function, shifts.get((function, "own"), none), shifts.get((function, "total"), none))
        for function in sorted({function for function, _which in keys})
    ]
    changes.sort(key=lambda one: (one.verdict != CLEAR, -_size(one), one.name, one.file))
    return Comparison(workers, hosts, max(hosts) > 1, tuple(changes))


def _size(change: Change) -> float:
    return max(abs(change.own.change), abs(change.total.change))


def _enough(left: int, right: int) -> bool:
    """Can chance be told at all? Sides of equal size can be swapped as a whole, which changes no difference."""
    return (2 if left == right else 1) / math.comb(left + right, left) <= CHANCE if left and right else False


#: A column: a function, and whether its own or its total time.
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


class _Side:
    """The workers of a side (rows), their seconds in each key (columns), and what they differ from the side's shares.

    ``squares`` are the sums of squared differences, ``between`` the part of them that is between hosts.
    """

    def __init__(self, workers: Sequence[Observation], keys: Sequence[_Key]) -> None:
        self.times = [worker.seconds for worker in workers]
        self.rows = [
            [(worker.own if which == "own" else worker.total).get(function, 0.0) for function, which in keys]
            for worker in workers
        ]
        self.hosts: dict[str, list[int]] = {}
        for number, worker in enumerate(workers):
            self.hosts.setdefault(worker.host, []).append(number)
        seconds = math.fsum(self.times) or 1.0
        self.shares, self.squares, self.between = ([0.0] * len(keys) for _each in range(3))
        for place, column in enumerate(zip(*self.rows, strict=True)):
            share = self.shares[place] = math.fsum(column) / seconds
            extra = [part - share * time for part, time in zip(column, self.times, strict=True)]
            self.squares[place] = math.fsum(map(mul, extra, extra))
            self.between[place] = math.fsum(
                math.fsum(extra[number] for number in host) ** 2 / len(host) for host in self.hosts.values()
            )
        #: What a variance of one worker's difference is multiplied with to be that of a share.
        self.weight = len(self.times) / seconds**2

    @property
    def inside(self) -> int:
        """Degrees of freedom within hosts."""
        return len(self.times) - len(self.hosts)

    @property
    def crowd(self) -> float:
        """How many workers the host of a worker has, on average."""
        return sum(len(host) ** 2 for host in self.hosts.values()) / (len(self.times) or 1)


def _limit(left: _Side, right: _Side) -> float:
    """The largest studentised difference anywhere, which no more than :data:`CHANCE` of the deals exceed."""
    text = repr((left.times, left.rows, right.times, right.rows))
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    deck = Deck([*left.times, *right.times], [*left.rows, *right.rows], _FLOOR)
    largest = sorted(deck.largest(deal) for deal in deals(len(left.times), len(right.times), DEALS, seed))
    return largest[-1 - math.floor(CHANCE * len(largest))]


def _errors(sides: tuple[_Side, _Side]) -> list[float]:
    """The standard error of each difference of shares."""
    within = [_within(sides, column) for column in range(len(sides[0].shares))]
    hosts = _hosts(sides, within)
    found = []
    for column, (common, unlike) in enumerate(zip(within, hosts, strict=True)):
        pooled, apart = 0.0, 0.0
        for side in sides:
            own = (side.squares[column] - side.between[column]) / side.inside if side.inside else common
            usual = side.weight * (common + side.crowd * unlike)
            pooled += usual
            apart += usual * own / common if common else usual
        # Few workers with much to differ in beside many with little: the pooled variance is that of the many.
        found.append(math.sqrt(max(pooled, apart) + _FLOOR**2))
    return found


def _within(sides: tuple[_Side, _Side], column: int) -> float:
    """The variance of a worker among those of its own host; among all of its side where hosts have one worker."""
    squares = math.fsum(side.squares[column] for side in sides)
    inside = sum(side.inside for side in sides)
    if not inside:
        return squares / (sum(len(side.times) for side in sides) - 2)
    return max(0.0, squares - math.fsum(side.between[column] for side in sides)) / inside


def _hosts(sides: tuple[_Side, _Side], within: Sequence[float]) -> list[float]:
    """The variance of hosts beside that of their workers, in each column.

    With a handful of hosts one column says little of it; all together say more, but miss what is odd about one. So
    the larger of both is taken.
    """
    free = sum(len(side.hosts) - 1 for side in sides)
    if not free or not any(side.inside for side in sides):
        return [0.0] * len(within)
    crowd = sum(len(side.times) - side.crowd for side in sides) / free
    every = [math.fsum(side.squares[column] for side in sides) for column in range(len(within))]
    extra = [
        (math.fsum(side.between[column] for side in sides) / free - among) / crowd
        for column, among in enumerate(within)
    ]
    shares = [one / all_of for one, all_of in zip(extra, every, strict=True) if all_of]
    usual = math.fsum(shares) / len(shares) if shares else 0.0
    # What so few hosts differ among each other is itself uncertain by about this.
    unsure = 1 + 2 / free
    return [unsure * max(0.0, one, usual * all_of) for one, all_of in zip(extra, every, strict=True)]

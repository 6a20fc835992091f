# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "resample" of the controller wing (private to the collection): how far chance alone moves shares.

Workers are dealt out to two sides again and again, and the largest studentised difference of each deal is kept. What
that costs is the sums of hundreds of columns over hundreds of workers, a thousand times: so the columns of a worker are
packed into one whole number, 64 bits each, and one addition adds them all. Pure.
"""

from __future__ import annotations

import math
import random
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

#: Fractions are kept to 2**-32; times are about 1, so that 2**31 times the usual worker still fits.
_ONE = 1 << 32


class Deck:
    """Workers (rows) with their times and what of them each column has; ``floor`` is a least standard error."""

    def __init__(self, times: Sequence[float], rows: Sequence[Sequence[float]], floor: float) -> None:
        usual = math.fsum(times) / len(times)
        self._times = [time / usual for time in times]
        self._whole = math.fsum(self._times)
        self._floor = floor * floor
        self._shares = [math.fsum(column) / usual / self._whole for column in zip(*rows, strict=True)]
        # What each worker has more than its part of the common share: its sums are what differences are made of.
        self._squares = [0.0] * len(self._shares)
        for row, time in zip(rows, self._times, strict=True):
            for column, (part, share) in enumerate(zip(row, self._shares, strict=True)):
                self._squares[column] += (part / usual - share * time) ** 2
        self._parts = [_packed(part / usual for part in row) for row in rows]

    def largest(self, deal: Sequence[int]) -> float:
        """The largest studentised difference of any column, where the workers of ``deal`` are the first side."""
        few, many = len(deal), len(self._times)
        here = math.fsum(self._times[worker] for worker in deal)
        there = self._whole - here
        # A difference is `extra` times this; its variance is that of a worker, which both sides have in common.
        distance = (1 / here + 1 / there) ** 2
        alone = (few / here**2 + (many - few) / there**2) / (many - 2) / distance
        lost, unit, floor = 1 / few + 1 / (many - few), 1 / _ONE, self._floor / distance
        largest = 0.0
        parts = self._unpacked(sum([self._parts[worker] for worker in deal]))
        for part, square, share in zip(parts, self._squares, self._shares, strict=True):
            power = (part * unit - share * here) ** 2
            ratio = power / (alone * max(0.0, square - lost * power) + floor)
            if ratio > largest:
                largest = ratio
        return math.sqrt(largest)

    def _unpacked(self, number: int) -> array[int]:
        found = array("Q")
        found.frombytes(number.to_bytes(8 * len(self._shares), sys.byteorder))
        return found


def _packed(values: Iterable[float]) -> int:
    return int.from_bytes(array("Q", [round(value * _ONE) for value in values]).tobytes(), sys.byteorder)


def deals(left: int, right: int, most: int, seed: int) -> Iterator[Sequence[int]]:
    """Who is on the first side: as it was, and dealt out anew; all ways where they are no more than ``most``."""
    workers = left + right
    if math.comb(workers, left) <= most:
        yield from combinations(range(workers), left)
        return
    yield range(left)
    dice = random.Random(seed)
    for _deal in range(most - 1):
        yield dice.sample(range(workers), left)

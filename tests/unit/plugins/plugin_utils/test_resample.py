# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of dealing workers out anew: beside the plain formula, and its speed's limits."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._resample import Deck, deals


def plainly(times: Sequence[float], rows: Sequence[Sequence[float]], deal: Sequence[int], floor: float) -> float:
    """The same as a textbook has it: differences of ratios, by the pooled variance of what workers differ from one."""
    others = [worker for worker in range(len(times)) if worker not in deal]
    largest = 0.0
    for column in range(len(rows[0])):
        share = sum(row[column] for row in rows) / sum(times)
        extra = [row[column] - share * time for row, time in zip(rows, times, strict=True)]
        gap, weight, squares = 0.0, 0.0, 0.0
        for sign, side in ((-1, others), (1, deal)):
            whole = sum(times[worker] for worker in side)
            gap += sign * sum(rows[worker][column] for worker in side) / whole
            mean = sum(extra[worker] for worker in side) / len(side)
            squares += sum((extra[worker] - mean) ** 2 for worker in side)
            weight += len(side) / whole**2
        largest = max(largest, abs(gap) / math.sqrt(squares / (len(times) - 2) * weight + floor**2))
    return largest


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("few", [1, 3, 8])
def test_the_largest_difference_of_a_deal(unit: float, few: int) -> None:
    dice = random.Random(few)
    times = [unit * dice.lognormvariate(0, 2) for _worker in range(12)]
    rows = [[time * dice.random() ** 4 for _column in range(30)] for time in times]
    deck = Deck(times, rows, 0.001)
    for _deal in range(20):
        deal = dice.sample(range(12), few)
        assert deck.largest(deal) == pytest.approx(plainly(times, rows, deal, 0.001), rel=1e-5)


def test_all_deals_where_they_are_few_and_as_many_as_asked_for_else() -> None:
    assert list(deals(2, 3, 10, seed=1)) == list(combinations(range(5), 2))
    some = list(deals(8, 8, 50, seed=1))
    assert len(some) == 50 and list(some[0]) == list(range(8))
    assert all(len(set(deal)) == 8 and set(deal) <= set(range(16)) for deal in some)
    assert [list(deal) for deal in deals(8, 8, 50, seed=1)] == [list(deal) for deal in some]
    assert [list(deal) for deal in deals(8, 8, 50, seed=2)] != [list(deal) for deal in some]


def test_what_nothing_differs_in_is_no_difference() -> None:
    assert Deck([1.0] * 4, [[0.5, 0.0]] * 4, 0.001).largest([0, 1]) == pytest.approx(0.0, abs=1e-6)

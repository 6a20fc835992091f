# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the comparison of two sides: what is clear, what is noise, and how often it is wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._compare import (
    CLEAR,
    FEW,
    NOISE,
    Change,
    Comparison,
    Observation,
    compare,
)
from ansible_collections.pyspy.fleet.tests.lab.made_workers import service, worker


def side(*workers: dict[str, int], hosts: int = 1) -> list[Observation]:
    return [worker(f"h{number % hosts}", samples) for number, samples in enumerate(workers)]


def change(found: Comparison, name: str) -> Change:
    return next(one for one in found.changes if one.name == name)


#: Workers of one service, alike but for some noise.
USUAL = [{"a": 500 + spread, "b": 500 - spread} for spread in (0, 7, -12, 3, 15, -6, 9, -10)]
SLOWER = [{"a": 400 + spread, "b": 400 - spread, "slow": 200} for spread in (2, -5, 11, -3, 8, 0, -9, 4)]


def test_what_is_new_is_clear_and_comes_first() -> None:
    found = compare(side(*USUAL), side(*SLOWER))
    assert (found.unit, found.counts, found.enough) == ("workers", (8, 8), True)
    first = found.changes[0]
    assert (first.name, first.verdict) == ("slow", CLEAR)
    assert (first.own.before, first.own.after) == (0.0, pytest.approx(0.2))
    assert first.own.error is not None and first.own.error < 0.05
    assert change(found, "main").total.verdict == NOISE
    # Seen the other way round it has gone, by the same and as surely.
    back = compare(side(*SLOWER), side(*USUAL))
    assert change(back, "slow").own.change == pytest.approx(-first.own.change)
    assert [one.verdict for one in back.changes] == [one.verdict for one in found.changes]


def test_nothing_is_clear_where_nothing_changed() -> None:
    found = compare(side(*USUAL[:4]), side(*USUAL[4:]))
    assert {one.verdict for one in found.changes} == {NOISE}
    assert compare(side(*USUAL), side(*USUAL)) == compare(side(*USUAL), side(*USUAL))


@pytest.mark.parametrize(
    ("left", "right", "enough"),
    [
        (1, 1, False),
        (1, 30, False),
        (1, 33, True),
        (2, 8, True),
        (2, 6, False),
        (3, 3, False),
        (4, 4, True),
        (8, 8, True),
    ],
)
def test_how_many_workers_it_takes(left: int, right: int, enough: bool) -> None:
    found = compare(side(*[USUAL[0]] * left), side(*[SLOWER[0]] * right))
    assert found.enough is enough
    assert change(found, "slow").verdict == (CLEAR if enough else FEW)
    assert (change(found, "slow").own.error is not None) is enough


@pytest.mark.parametrize(
    ("hosts", "unit", "counts"),
    [(1, "workers", (8, 8)), (2, "workers", (8, 8)), (4, "hosts", (4, 4)), (8, "hosts", (8, 8))],
)
def test_hosts_are_dealt_out_where_there_are_enough(hosts: int, unit: str, counts: tuple[int, int]) -> None:
    found = compare(side(*USUAL, hosts=hosts), side(*SLOWER, hosts=hosts))
    assert (found.unit, found.counts) == (unit, counts)
    assert change(found, "slow").verdict == CLEAR


def test_workers_of_one_host_that_hang_together_are_no_evidence() -> None:
    # On two of the four hosts all workers serve something else: that is how hosts are, not what changed.
    mixed = [{"a": 900, "b": 100}, {"a": 100, "b": 900}, {"a": 880, "b": 120}, {"a": 120, "b": 880}]
    other = [{"a": 890, "b": 110}, {"a": 870, "b": 130}, {"a": 110, "b": 890}, {"a": 860, "b": 140}]
    found = compare(side(*mixed * 8, hosts=4), side(*other * 8, hosts=4))
    assert {one.verdict for one in found.changes} == {NOISE}


def test_what_is_rare_on_both_sides_is_not_judged() -> None:
    found = compare(side(*[{"a": 10_000, "rare": 10}] * 8), side(*[{"a": 10_000}] * 8))
    assert [one.name for one in found.changes] == ["a", "main"]
    assert compare([], []).changes == () and not compare(side(*USUAL), []).enough


@pytest.mark.parametrize(("slow", "least", "most"), [(0.0, 0, 5), (0.05, 95, 100)])
def test_a_hundred_tries(slow: float, least: int, most: int) -> None:
    """As many as the documentation says: nothing clear where nothing changed, and five percentage points are found."""
    dice = random.Random(20261123)
    clear = 0
    for _try in range(100):
        found = compare(service(dice), service(dice, slow))
        names = [one.name for one in found.changes if one.verdict == CLEAR]
        clear += "slow" in names if slow else bool(names)
    assert least <= clear <= most


def test_sides_of_one_worker_and_of_many() -> None:
    many: Sequence[dict[str, int]] = USUAL * 5
    assert change(compare(side(*many), side({"a": 400, "b": 400, "slow": 200})), "slow").verdict == CLEAR
    assert {one.verdict for one in compare(side(*many), side({"a": 505, "b": 495})).changes} == {NOISE}

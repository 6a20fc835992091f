# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the comparison of two sides: what is clear, what is noise, and how often it is wrong."""

from __future__ import annotations

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
from ansible_collections.pyspy.fleet.tests.lab.made_workers import SLOW, Service, worker


def side(*workers: dict[str, int], hosts: int = 1) -> list[Observation]:
    return [worker(f"h{number % hosts}", samples) for number, samples in enumerate(workers)]


def change(found: Comparison, name: str) -> Change:
    return next(one for one in found.changes if one.name == name)


#: Workers of one service, alike but for some noise.
USUAL_NOISE = (0, 7, -12, 3, 15, -6, 9, -10)
USUAL = [{"a": 500 + noise, "b": 500 - noise} for noise in USUAL_NOISE]
SLOWER = [{"a": 400 + spread, "b": 400 - spread, "slow": 200} for spread in (2, -5, 11, -3, 8, 0, -9, 4)]


def test_what_is_new_is_clear_and_comes_first() -> None:
    found = compare(side(*USUAL), side(*SLOWER))
    assert (found.workers, found.hosts, found.by_hosts, found.enough) == ((8, 8), (1, 1), False, True)
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


@pytest.mark.parametrize(("hosts", "by_hosts"), [(1, False), (2, True), (4, True), (8, True)])
def test_hosts_are_set_beside_each_other_where_a_side_has_two(hosts: int, by_hosts: bool) -> None:
    found = compare(side(*USUAL, hosts=hosts), side(*SLOWER, hosts=hosts))
    assert (found.hosts, found.by_hosts) == ((hosts, hosts), by_hosts)
    assert change(found, "slow").verdict == CLEAR


def test_workers_of_one_host_that_hang_together_are_no_evidence() -> None:
    # What the workers of a host do is what its place in the list says, and on one host of four it is something else.
    mixed = [{"a": 900, "b": 100}, {"a": 890, "b": 110}, {"a": 880, "b": 120}, {"a": 120, "b": 880}]
    other = [{"a": 890, "b": 110}, {"a": 880, "b": 120}, {"a": 130, "b": 870}, {"a": 110, "b": 890}]
    found = compare(side(*mixed * 8, hosts=4), side(*other * 8, hosts=4))
    assert {one.verdict for one in found.changes} == {NOISE}
    # Were they all of one host, it would be clear.
    alone = compare(side(*mixed * 8), side(*other * 8))
    assert change(alone, "a").verdict == CLEAR


@pytest.mark.parametrize("spread", [0, 1, 40])
def test_a_canary_of_one_host_is_as_unlike_the_rest_as_these_are_among_each_other(spread: int) -> None:
    """Its own workers do not show how unlike it is; the hosts of the other side do."""
    rest = [
        {"a": 500 + host * spread + noise, "b": 500 - host * spread - noise}
        for noise in USUAL_NOISE
        for host in (-2, 0, 2)
    ]
    canary = [{"a": 560 + noise, "b": 440 - noise} for noise in USUAL_NOISE]
    found = compare(side(*rest, hosts=3), side(*canary))
    assert (found.workers, found.hosts) == ((24, 8), (3, 1))
    assert change(found, "a").verdict == (NOISE if spread == 40 else CLEAR)


def test_what_is_rare_on_both_sides_is_not_judged() -> None:
    found = compare(side(*[{"a": 10_000, "rare": 10}] * 8), side(*[{"a": 10_000}] * 8))
    assert [one.name for one in found.changes] == ["a", "main"]
    assert compare([], []).changes == () and not compare(side(*USUAL), []).enough


@pytest.mark.parametrize(
    ("hosts", "seconds", "found"), [((10, 10), 30, 9), ((1, 3), 10, 0)], ids=["as documented", "a canary"]
)
def test_ten_tries(hosts: tuple[int, int], seconds: float, found: int) -> None:
    """Nothing is clear where nothing changed, and five percentage points are found; ``bench compare`` tries more."""
    wrong = right = 0
    for seed in range(10):
        made = Service(seed)
        before, after, slower = (
            made.side(name, many, 4, seconds, more)
            for name, many, more in (("a", hosts[0], 0.0), ("b", hosts[1], 0.0), ("c", hosts[1], 0.05))
        )
        wrong += any(one.verdict == CLEAR for one in compare(before, after).changes)
        right += change(compare(before, slower), SLOW).own.verdict == CLEAR
    assert wrong <= 1 and right >= found


def test_sides_of_one_worker_and_of_many() -> None:
    many: Sequence[dict[str, int]] = USUAL * 5
    assert change(compare(side(*many), side({"a": 400, "b": 400, "slow": 200})), "slow").verdict == CLEAR
    assert {one.verdict for one in compare(side(*many), side({"a": 505, "b": 495})).changes} == {NOISE}

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the choice of rounds that say what is usual."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._baseline import baseline, zone_of
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Slice

UTC, VIENNA = zone_of("UTC"), zone_of("Europe/Vienna")


def at(text: str, version: str = "1", workers: int = 8, zone: str = "UTC") -> Slice:
    """A slice of the round of ``2026-11-23 10:00``."""
    began = datetime.fromisoformat(text).replace(tzinfo=zone_of(zone)).timestamp()
    return Slice(text, began, "shop", version, "cpu", 2, workers, 800, 16.0)


def days(*numbers: int, clock: str = "10:00") -> list[Slice]:
    """Of days of November 2026."""
    return [at(f"2026-11-{number:02} {clock}") for number in numbers]


NOW = at("2026-11-23 10:00")


def chosen(slices: Sequence[Slice], now: Slice = NOW, rounds: int = 14) -> list[str]:
    return [one.round[5:] for one in baseline(slices, now, rounds)]


@pytest.mark.parametrize(
    ("slices", "found"),
    [
        pytest.param([], [], id="none"),
        pytest.param(days(20, 21, 22, 23), ["11-20 10:00", "11-21 10:00", "11-22 10:00"], id="now is none of them"),
        pytest.param(days(21, 22, clock="10:40") + days(20, clock="10:29"), ["11-20 10:29"], id="of this hour alone"),
        pytest.param(
            [at(f"2026-11-22 10:{minute:02}") for minute in range(0, 60, 5)], ["11-22 10:00"], id="one of each day"
        ),
        pytest.param(days(22, clock="09:58") + days(22, clock="10:05"), ["11-22 09:58"], id="the nearest"),
        pytest.param(days(23, clock="09:55"), [], id="today is not usual yet"),
        pytest.param(days(24, 25) + days(22), ["11-22 10:00"], id="the clock jumped back"),
        pytest.param(days(14, 15, 16, 23), ["11-14 10:00", "11-15 10:00", "11-16 10:00"], id="a gap of a week"),
        pytest.param([at("2026-08-01 10:00"), at("2026-09-01 10:00")], ["09-01 10:00"], id="a season ago"),
        pytest.param([replace(days(22)[0], kind="wall")], [], id="another measure"),
        pytest.param([replace(days(22)[0], service="cart")], [], id="another service"),
        pytest.param([replace(days(22)[0], workers=0), replace(days(21)[0], seconds=0.0)], [], id="nothing seen"),
        pytest.param([at("2026-11-22 10:00", "0", workers=30)], ["11-22 10:00"], id="an older version counts"),
    ],
)
def test_what_is_chosen(slices: list[Slice], found: list[str]) -> None:
    assert chosen(slices) == found


def test_the_last_so_many() -> None:
    assert chosen(days(*range(1, 23)), rounds=3) == ["11-20 10:00", "11-21 10:00", "11-22 10:00"]
    assert len(chosen(days(*range(1, 23)))) == 14 and chosen(days(22), rounds=0) == []


def test_what_was_accepted_counts_from_then_on() -> None:
    since = at("2026-11-21 00:00").began
    assert [one.round for one in baseline(days(20, 21, 22), NOW, since=since)] == [
        "2026-11-21 10:00",
        "2026-11-22 10:00",
    ]


@pytest.mark.parametrize(("now", "version"), [("1", "1"), ("2", "2"), ("3", "1")])
def test_of_versions_side_by_side_it_is_ours_or_the_largest(now: str, version: str) -> None:
    both = [at("2026-11-22 10:00", "2", workers=2), at("2026-11-22 10:00", "1", workers=8)]
    assert [one.version for one in baseline(both, replace(NOW, version=now))] == [version]


def test_midnight_divides_no_time_of_day() -> None:
    now = at("2026-11-23 00:05")
    # What was a quarter of an hour ago is today, though the calendar has another day.
    assert chosen([at("2026-11-21 23:50"), at("2026-11-22 23:50")], now) == ["11-21 23:50"]
    # Of two that are as near it is the later.
    assert chosen([at("2026-11-21 23:50"), at("2026-11-22 00:20")], now) == ["11-22 00:20"]


@pytest.mark.parametrize(
    ("before", "after"),
    [("2026-10-24 09:00", "2026-10-26 09:00"), ("2026-03-28 09:00", "2026-03-30 09:00")],
    ids=["to winter", "to summer"],
)
def test_daylight_saving_is_followed_in_a_named_zone(before: str, after: str) -> None:
    then, now = at(before, zone="Europe/Vienna"), at(after, zone="Europe/Vienna")
    assert baseline([then], now, zone=VIENNA) == [then] and baseline([then], now, zone=UTC) == []


def test_the_hour_that_there_is_twice_and_the_one_that_there_is_not() -> None:
    first = at("2026-10-25 02:30", zone="Europe/Vienna")
    second = replace(first, began=first.began + 3600, round="second")
    now = at("2026-10-26 02:30", zone="Europe/Vienna")
    assert baseline([first, second], now, zone=VIENNA) == [second] == baseline([second, first], now, zone=VIENNA)
    spring = replace(at("2026-03-29 00:30"), round="spring"), at("2026-03-30 02:30", zone="Europe/Vienna")
    # 00:30 UTC is 01:30 in Vienna, and an hour later it is 03:30.
    assert baseline([spring[0], replace(spring[0], began=spring[0].began + 3600)], spring[1], zone=VIENNA) == []


def test_the_order_of_rounds_does_not_matter() -> None:
    dice = random.Random(1)
    some = [
        at(f"2026-11-{day:02} {hour:02}:{minute:02}", f"{dice.randrange(2)}", dice.randrange(4))
        for day in range(1, 28)
        for hour in (9, 10, 11)
        for minute in range(0, 60, 5)
    ]
    found = baseline(some, NOW)
    assert len(found) == 14 and found == sorted(found, key=lambda one: one.began)
    for _try in range(20):
        dice.shuffle(some)
        assert baseline(some, NOW) == found


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../../etc/passwd", "", "a\x00b", "/etc/localtime"])
def test_no_such_zone(name: str) -> None:
    with pytest.raises(FleetError, match="There is no time zone") as error:
        zone_of(name)
    assert error.value.remedy

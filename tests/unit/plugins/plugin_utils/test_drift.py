# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of drift: what is called clear, and what is said of it; ``bench/drift.py`` tells how often it is wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._compare import CLEAR, FEW, NOISE, Change, Observation
from ansible_collections.pyspy.fleet.plugins.plugin_utils._drift import (
    AS_USUAL,
    DRIFTED,
    FEW_ROUNDS,
    ONCE,
    Drift,
    before_release,
    confirmed,
    drift,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._drift_text import data, lines, ordered, result, text, verdict
from ansible_collections.pyspy.fleet.plugins.plugin_utils._render._text import columns
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Seen, Slice
from ansible_collections.pyspy.fleet.plugins.plugin_utils._usual import left_out, reach, spread
from ansible_collections.pyspy.fleet.tests.lab.hostile_texts import PAYLOADS
from ansible_collections.pyspy.fleet.tests.lab.made_workers import SLOW, Service, worker

DAY = 86400.0
#: How workers differ, and days.
WORKERS, DAYS = (0, 7, -12, 3, 15, -6, 9, -10), (0, 8, -6, 11, -9, 4, -3, 7, -12, 2, 5, -8, 10, -4)


def seen(day: int, workers: Sequence[Observation], service: str = "shop", version: str = "1") -> Seen:
    hosts = len({one.host for one in workers})
    seconds = sum(one.seconds for one in workers)
    name = f"r{day:03}"
    return Seen(
        Slice(name, 1e9 + day * DAY, service, version, "cpu", hosts, len(workers), int(seconds * 100), seconds),
        tuple(workers),
    )


def a_day(day: int, slow: int = 0, tilt: int = 0, many: int = 8, name: str = "slow") -> list[Observation]:
    """Workers on two hosts, of a day; ``slow`` of 1000 samples are in a new function, ``tilt`` moved from a to b."""
    found = []
    for number, noise in enumerate(WORKERS[:many]):
        a = 500 + noise + DAYS[day % len(DAYS)] + tilt
        found.append(worker(f"h{number % 2}", {"a": a - slow // 2, "b": 1000 - a - (slow - slow // 2), name: slow}))
    return found


USUAL = [seen(day, a_day(day)) for day in range(14)]


def of(found: Drift, name: str) -> Change:
    return next(one for one in found.changes if one.name == name)


def drifted(service: str = "shop", slow: int = 200, name: str = "slow", version: str = "1") -> Drift:
    usual = [replace(one, slice=replace(one.slice, service=service)) for one in USUAL]
    return drift(seen(14, a_day(3, slow, name=name), service, version), usual, None)


def test_a_day_as_usual() -> None:
    found = drift(seen(14, a_day(3)), USUAL, None)
    assert (found.state, found.clear, found.too_few) == (AS_USUAL, [], "")
    assert {found.verdict_of(one) for one in found.changes} == {NOISE}


def test_what_is_new_is_clear_and_beside_the_median() -> None:
    found = drifted()
    assert (found.state, found.clear[0].name) == (DRIFTED, "slow")
    shift = of(found, "slow").own
    assert (shift.before, shift.after) == (0.0, pytest.approx(0.2)) and shift.error is not None and shift.error < 0.05
    assert of(found, "a").own.before == pytest.approx(0.501, abs=0.003)
    assert (found.usual.workers, found.usual.hosts) == ((112, 8), (2, 2))


@pytest.mark.parametrize("odd", range(0, 14, 4))
def test_one_odd_round_neither_hides_nor_makes_a_drift(odd: int) -> None:
    usual = [*USUAL]
    usual[odd] = seen(odd, a_day(odd, tilt=300))
    assert drift(seen(14, a_day(3)), usual, None).state == AS_USUAL
    assert of(drift(seen(14, a_day(3, 200)), usual, None), "slow").own.verdict == CLEAR
    shifted = drift(seen(14, a_day(3, tilt=120)), usual, None)
    assert of(shifted, "a").own.verdict == CLEAR and of(shifted, "a").own.change > 0.1


def test_how_days_differ_is_noise_though_workers_are_alike() -> None:
    usual = [seen(day, a_day(day, tilt=10 * DAYS[day])) for day in range(14)]
    assert drift(seen(14, a_day(3, tilt=120)), usual, None).state == AS_USUAL
    assert drift(seen(14, a_day(3, tilt=120)), USUAL, None).state == DRIFTED


def test_one_worker_that_is_odd_is_noise() -> None:
    now = [*a_day(3)[:7], worker("h1", {"a": 100, "b": 100, "long": 800})]
    found = drift(seen(14, now), USUAL, None)
    assert of(found, "long").own.change == pytest.approx(0.1, abs=0.01) and found.state == AS_USUAL


@pytest.mark.parametrize(
    ("rounds", "workers", "state"),
    [(0, 8, FEW_ROUNDS), (4, 8, FEW_ROUNDS), (5, 8, DRIFTED), (14, 1, DRIFTED), (14, 0, FEW)],
)
def test_how_much_it_takes(rounds: int, workers: int, state: str) -> None:
    now = seen(14, a_day(3, 600, many=workers))
    found = drift(now, USUAL[:rounds], None)
    assert found.state == state
    assert all((one.own.error is None) is (state != DRIFTED) for one in found.changes)
    assert (verdict([found], 5.0) is not None) is (state == DRIFTED)


def test_few_rounds_of_single_workers_are_too_few_workers() -> None:
    found = drift(seen(14, a_day(3, 600, many=1)), [seen(day, a_day(day, many=1)) for day in range(14)], None)
    assert (found.state, found.too_few) == (FEW, FEW)


def test_less_to_see_than_usual_makes_it_wider() -> None:
    errors = [of(drift(seen(14, a_day(3, many=many)), USUAL, None), "a").own.error or 0.0 for many in (8, 4, 2)]
    assert errors == sorted(errors) and errors[2] > 1.4 * errors[0]


def test_hosts_that_nobody_knows_make_it_wider() -> None:
    strange = [one._replace(host=f"new-{one.host}") for one in a_day(3)]
    known, new = (of(drift(seen(14, now), USUAL, None), "a").own.error or 0.0 for now in (a_day(3), strange))
    assert new > known


def test_the_order_of_rounds_and_of_workers_does_not_matter() -> None:
    found = drifted()
    dice = random.Random(1)
    for _try in range(5):
        usual = [replace(one, workers=tuple(dice.sample(one.workers, len(one.workers)))) for one in USUAL]
        dice.shuffle(usual)
        assert drift(seen(14, a_day(3, 200)), usual, None) == found


@pytest.mark.parametrize("many", range(5, 17))
def test_rounds_that_are_all_alike_make_nothing_clear(many: int) -> None:
    alike = [seen(day, a_day(3)) for day in range(many)]
    assert drift(seen(20, a_day(3)), alike, None).state == AS_USUAL


@pytest.mark.parametrize("seed", range(4))
def test_one_more_round_that_is_like_now_makes_no_noise_clear(seed: int) -> None:
    made = Service(seed)
    usual = [seen(day, made.round(4, 4, 10)) for day in range(8)]
    now = made.round(4, 4, 10)
    before = drift(seen(20, now), usual, None)
    after = drift(seen(20, now), [*usual, seen(9, now)], None)
    assert before.state == after.state == AS_USUAL


def test_four_tries() -> None:
    """At the setting of the documentation, with an odd day in each; the bench tries more."""
    wrong = right = 0
    for seed in range(4):
        made = Service(seed)
        usual = [seen(day, made.round(10, 4, 30, odd=day == seed)) for day in range(14)]
        wrong += drift(seen(14, made.round(10, 4, 30)), usual, None).state == DRIFTED
        right += of(drift(seen(14, made.round(10, 4, 30, 0.05)), usual, None), SLOW).own.verdict == CLEAR
    assert wrong == 0 and right >= 3


def test_the_reach_is_what_chance_does() -> None:
    """Rounds drawn anew are as often beyond it as it says."""
    dice = random.Random(7)
    tries, beyond = 20_000, 0
    limit = reach(10, 0.05)
    for _try in range(tries):
        column = sorted(dice.gauss(3.0, 2.0) for _round in range(10))
        beyond += abs(dice.gauss(3.0, 2.0) - (column[4] + column[5]) / 2) > limit * spread(column)
    assert 0.045 < beyond / tries < 0.055
    limits = [reach(rounds, 0.001) for rounds in (5, 6, 10, 13)]
    assert limits == sorted(limits, reverse=True) and reach(10, 0.001) > limit
    assert [left_out(rounds) for rounds in (5, 13, 14, 21)] == [1, 1, 2, 3]


def test_the_previous_version_stands_in_while_rounds_are_too_few() -> None:
    now, before = seen(14, a_day(3, 200), version="2"), seen(13, a_day(2))
    few, usual = drift(now, USUAL[:3], before), drift(now, USUAL, before)
    assert (few.state, few.alarming, few.too_few) == (DRIFTED, few.release, FEW_ROUNDS)
    assert usual.alarming is usual.usual and usual.release == few.release
    shown = " ".join(" ".join(lines([usual], 80)).split())
    assert "points in slow from version 1 on: clear" in shown and "beside 14 rounds of this time of day" in shown
    assert "beside version 1 alone (too few rounds of this time of day)" in " ".join(" ".join(lines([few], 80)).split())


def test_what_a_release_changed_is_said_though_it_is_usual_by_now() -> None:
    usual = [seen(day, a_day(day, 200), version="2") for day in range(14)]
    found = drift(seen(14, a_day(3, 200), version="2"), usual, seen(-1, a_day(2)))
    shown = " ".join(lines([found], 80))
    assert found.state == AS_USUAL and "Release   1 service (shop 2): as usual, but clearly unlike" in shown
    assert verdict([found], 0.0) is None


@pytest.mark.parametrize(
    ("versions", "previous"),
    [
        ("1112", 2),
        ("11122", 2),
        ("1123", 2),
        ("1212", 2),
        ("111", None),
        ("2", None),
        ("1 22", 0),
    ],
)
def test_the_round_of_the_previous_version(versions: str, previous: int | None) -> None:
    """One version a round, the last is that of now."""
    slices = [seen(day, a_day(day), version=one).slice for day, one in enumerate(versions) if one != " "]
    for some in ([*slices], slices[::-1]):
        found = before_release(some, slices[-1])
        assert (found and found.round) == (None if previous is None else f"r{previous:03}")


def test_a_canary_is_beside_the_newest_of_the_rest() -> None:
    rest, canary = ([seen(day, a_day(day), version=one).slice for day in (5, 6)] for one in "12")
    assert before_release([*rest, *canary], canary[-1]) == rest[-1]
    future = seen(9, a_day(1), version="0").slice
    assert before_release([*rest, *canary, future, replace(rest[0], kind="wall")], canary[-1]) == rest[-1]


def test_what_was_not_there_the_round_before_is_not_confirmed() -> None:
    now, same, other, usual = drifted(), drifted(), drifted(name="other"), drift(seen(13, a_day(2)), USUAL, None)
    less = drift(seen(13, a_day(3)), [seen(day, a_day(day, 200)) for day in range(14)], None)
    assert of(less, "slow").own.verdict == CLEAR and of(less, "slow").own.change < 0
    assert [one.state for one in confirmed([now], [same])] == [DRIFTED]
    assert confirmed([now]) == [now]
    for earlier in ([usual], [], [drifted("cart")]):
        [once] = confirmed([now], earlier)
        assert (once.state, once.clear) == (ONCE, []) and verdict([once], 0.0) is None
    for before in (other, less):
        [once] = confirmed([now], [before])
        assert "slow" in [one.name for one in once.unconfirmed] and "slow" not in [one.name for one in once.clear]
    assert [one.state for one in confirmed([now], [same], [usual])] == [ONCE]


FLEET = [
    drifted("cart", 100),
    drifted("shop", 300),
    confirmed([drifted("once")], [])[0],
    drift(seen(14, a_day(3), "calm"), USUAL, None),
    drift(seen(14, a_day(3), "new"), USUAL[:3], None),
    drift(seen(14, a_day(3, many=1), "tiny"), [seen(day, a_day(day, many=1)) for day in range(9)], None),
]


@pytest.mark.parametrize("width", [60, 80])
def test_the_first_screen(width: int) -> None:
    shown = lines(FLEET, width)
    body = " ".join(" ".join(shown).split())
    assert max(map(columns, shown)) <= width
    assert "Drift of 6 services Drifted shop 1, beside 14 rounds of this time of day +30.0 ± " in body
    assert body.index("Drifted shop 1") < body.index("Drifted cart 1") < body.index("Once 1 service (once 1)")
    assert "As usual 1 service Unjudged 1 service with too few rounds, 1 service with too few workers" in body
    assert [one.service for one in ordered(FLEET[::-1])] == ["shop", "cart", "once", "calm", "tiny", "new"]


def test_nothing_drifted_is_one_line() -> None:
    shown = lines(FLEET[3:4], 80)
    assert shown == ["", "Drift of 1 service", "", "Drifted   nothing drifted", "As usual  1 service"]
    assert lines([], 80)[-1] == "Drifted   nothing drifted" and "nothing drifted" in text([])


def test_many_services_are_cut() -> None:
    shown = lines([drifted(f"s{number}") for number in range(12)], 80)
    assert "          2 more services drifted" in shown and sum(" 14 rounds " in line for line in shown) == 10


def test_for_machines() -> None:
    found = json.loads(json.dumps(data(FLEET, 5.0)))
    assert [(one["service"], one["name"]) for one in found["above"]] == [("shop", "slow"), ("cart", "slow")]
    shop, cart, once, calm, tiny, new = found["services"]
    assert (shop["verdict"], shop["judged_by"], len(shop["rounds"])) == ("drifted", "usual", 14)
    first = next(one for one in shop["functions"] if one["name"] == "slow")
    assert (first["verdict"], first["own"]["before"], first["own"]["after"]) == ("clear", 0.0, pytest.approx(0.3))
    assert next(one for one in once["functions"] if one["name"] == "slow")["verdict"] == "not confirmed"
    assert [one["verdict"] for one in (cart, calm, tiny, new)] == [
        "drifted",
        "as usual",
        "too few workers",
        "too few rounds",
    ]
    assert {one["verdict"] for one in new["functions"]} == {"too few rounds"} and new["judged_by"] == "none"
    small = result(FLEET)
    assert not set(small) & set(dir(dict)) and small["drifted_services"] == 2 and small["unjudged_services"] == 2
    assert json.dumps(small["clear_changes"]).count("slow") == 2
    assert data(FLEET[::-1], 5.0) == data(FLEET, 5.0) and result(FLEET[::-1]) == small


@pytest.mark.parametrize(("above", "fails"), [(None, False), (5.0, True), (29.0, True), (31.0, False)])
def test_the_exit_status(above: float | None, fails: bool) -> None:
    wrong = verdict(FLEET, above)
    assert (wrong is not None) is fails
    if wrong is not None:
        assert "shop 1 drifted: the share of slow grew" in wrong.reason and "+30.0 ±" in wrong.detail and wrong.remedy
        assert ("1 other service" in wrong.detail) is (above == 5.0)


def test_what_got_less_never_fails() -> None:
    usual = [seen(day, a_day(day, 200)) for day in range(14)]
    found = drift(seen(14, a_day(3)), usual, None)
    assert of(found, "slow").own.verdict == CLEAR
    assert "slow" not in [one.name for one in found.above(1.0)]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_names_stay_text(payload: str) -> None:
    service = payload[:200]
    found = drifted(service, name=payload[:2000], version=service)
    assert found.state == DRIFTED
    for width in (60, 80):
        shown = lines([found, found], width)
        assert max(map(columns, shown)) <= width and all(line.isprintable() for line in shown)
    page = text([found])
    assert all(line.isprintable() for line in page.splitlines())
    for line in page.splitlines():
        assert line.startswith("|") or not any(mark in line.replace("\\<", "") for mark in ("<script", "<img", "<b>"))
    assert all(line.replace("\\|", "").count("|") == 8 for line in page.splitlines() if line.startswith("|"))
    wrong = verdict([found], 1.0)
    assert wrong is not None and str(wrong).isprintable()
    json.dumps(data([found], 1.0))

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds of weeks on real hosts. The controller's clock is moved, the hosts' is not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store._store import open_store
from ansible_collections.pyspy.fleet.tests.lab.clock import moved
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet
from ansible_collections.pyspy.fleet.tests.lab.rounds import kept, store_of, take, targets
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, play
from ansible_collections.pyspy.fleet.tests.lab.service.releases import SLOWER

HOSTS, WORKERS, REST = 4, 2, 0.05
DAY = 86400.0
ALL_AT_ONCE = {"pyspy_snapshot_at_once": 1, "pyspy_snapshot_fail_above": 5}
#: Before today; for all but the first and the last of them one of the hosts was gone.
DAYS = (16, 15, 12, 9, 8, 2, 1)


@pytest.fixture
def service() -> Iterator[Fleet]:
    with Fleet(HOSTS) as fleet:
        for host in fleet.hosts:
            host.start_gunicorn(WORKERS, WORKERS, rest=REST)
        yield fleet


def take_on(fleet: Fleet, folder: Path, days: float, **variables: object) -> Outcome:
    """One round so many days from now, by the controller's clock."""
    return take(fleet, folder, **ALL_AT_ONCE, **moved(fleet.directory, days * DAY), **variables)


def drifts(folder: Path) -> list[dict[str, object]]:
    data: dict[str, list[dict[str, object]]] = json.loads((folder / "snapshots-drift.json").read_text("utf-8"))
    return data["services"]


def test_a_release_makes_a_service_slower_and_a_host_was_gone_for_a_week(service: Fleet, tmp_path: Path) -> None:
    gone = service.hosts[3]
    for day in DAYS:
        if day == DAYS[1]:
            service.cut(gone)
        if day == DAYS[-1]:
            service.mend(gone)
        done = take_on(service, tmp_path, -day, pyspy_snapshot_version="1", ANSIBLE_TIMEOUT=5)
        assert done.code == 0 and "Drifted nothing drifted" in done.words, done.text
    assert "1 service" in done.words and "As usual" in done.words, done.text
    present = [gone.name in {taken.host for taken in visited.snapshots} for visited in kept(tmp_path)]
    assert present == [True, *[False] * (len(DAYS) - 2), True]

    for host in service.hosts:
        host.stop_gunicorn()
        host.start_gunicorn(WORKERS, WORKERS, rest=REST, app=SLOWER)
    once = take(service, tmp_path, pyspy_snapshot_version="2", **ALL_AT_ONCE)
    assert once.code == 0 and "clear in this round, not in the one before" in once.words, once.text
    assert [(one["verdict"], one["version"]) for one in drifts(tmp_path)] == [("not confirmed", "2")]
    twice = take(service, tmp_path, pyspy_snapshot_version="2", **ALL_AT_ONCE)
    assert twice.code == 2 and "load_rates" in twice.words and "Remedy: " in twice.words, twice.text
    assert f"Drifted gunicorn 2, beside {len(DAYS)} rounds of this time of day" in twice.words
    assert "points in load_rates from version 1 on: clear" in twice.words
    assert max(map(len, twice.text.partition("Drift of")[2].partition("Page ")[0].splitlines())) <= 80
    assert all(targets(visited) == HOSTS * WORKERS for visited in kept(tmp_path)[-3:])

    # From now on the release is what is usual.
    accepted = take(service, tmp_path, pyspy_snapshot_version="2", pyspy_snapshot_usual_since="latest")
    assert accepted.code == 0 and "too few rounds" in accepted.words, accepted.text


def test_the_controller_s_clock_jumps(service: Fleet, tmp_path: Path) -> None:
    """Ahead by a year and back again, then back by one: nothing is lost, and each next round works."""
    before = time.time()
    for days in (0, 365, 0, -365, 0):
        done = take_on(service, tmp_path, days, pyspy_snapshot_keep_days=30)
        assert done.code == 0 and f"Hosts {HOSTS} of {HOSTS} profiled" in done.words, (days, done.text)
        assert "Pruned" not in done.words, (days, done.text)
    with open_store(str(store_of(tmp_path)), create=False) as store:
        rounds = store.rounds()
    assert [round((one.began - before) / DAY) for one in rounds] == [-365, 0, 0, 0, 365]
    assert all(a.name < b.name for a, b in pairwise(rounds))
    assert [targets(visited) for visited in kept(tmp_path)] == [HOSTS * WORKERS] * 5
    shown = play(
        service,
        tmp_path,
        "history",
        "-e",
        f"pyspy_history_rounds={rounds[0].name}..{rounds[-1].name}",
        pyspy_snapshot_store=store_of(tmp_path),
    )
    assert shown.code == 0, shown.text

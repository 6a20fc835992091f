# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of what a store says after a round: drift in words and files, and the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._drift_text import lines, result, verdict
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._outlook import Outlook, Terms, look_back
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame, Profile, Stack
from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Round, Snapshot, Visited
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store._store import Store, open_store
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Capture, Measure, Process

BEGAN = 1795340282.0
DAY = 86400.0
CPU = Measure("cpu", 50, False, False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "shop.sqlite3")) as opened:
        yield opened


def take(store: Store, began: float, slow: int = 0, version: str = "1") -> Round:
    """Three hosts with four workers each, which differ a little; ``slow`` more of 500 samples are in ``price``."""
    snapshots = []
    for host in range(3):
        for worker in range(4):
            other = 150 + (7 * host + 5 * worker + int(began / DAY)) % 9
            own = {"price": 50 + slow, "render": other, "query": 450 - slow - other}
            stacks = tuple(
                Stack((Frame("main", "/srv/shop/app.py", 1), Frame(name, "/srv/shop/app.py", 9)), many / 50, many)
                for name, many in own.items()
            )
            process = Process(100 + worker, 7, "web", "shop", "worker", "3.11", 90.0, "hot")
            capture = Capture(process, CPU, "profiled", 500, 0, began, began + 10, 10.0, 99, file="a.speedscope.json")
            snapshots.append(Snapshot(f"web-{host}", ("web",), "shop", version, capture, Profile((CPU,), stacks)))
    one = Round(f"r{began:.0f}", began, began + 12, 3, 3)
    store.add(one, Visited((), tuple(snapshots)))
    return one


def usual(store: Store, days: int = 8) -> None:
    for day in range(days):
        take(store, BEGAN + day * DAY)


def seen(store: Store, one: Round, **terms: object) -> Outlook:
    return look_back(store, one, Terms(**terms), 5.0)  # type: ignore[arg-type]


def test_a_service_as_usual(store: Store, tmp_path: Path) -> None:
    usual(store)
    outlook = seen(store, take(store, BEGAN + 8 * DAY))
    words = " ".join(" ".join(lines(outlook.drifts, 80)).split())
    assert "Drift of 1 service Drifted nothing drifted As usual 1 service" in words
    assert verdict(outlook.drifts, 5.0) is None
    data = json.loads((tmp_path / "shop-drift.json").read_text())
    assert [(one["service"], one["verdict"], len(one["rounds"])) for one in data["services"]] == [
        ("shop", "as usual", 8)
    ]
    page = (tmp_path / "shop.html").read_text()
    assert outlook.page == str(tmp_path / "shop.html") and "shop" in page and "9 rounds" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "shop-drift.json",
        "shop-drift.md",
        "shop.html",
        "shop.sqlite3",
    ]


def test_what_is_new_is_confirmed_by_the_round_after(store: Store, tmp_path: Path) -> None:
    usual(store)
    first = seen(store, take(store, BEGAN + 8 * DAY, slow=50, version="2"))
    assert verdict(first.drifts, 5.0) is None and result(first.drifts)["unconfirmed_services"] == 1
    again = seen(store, take(store, BEGAN + 8 * DAY + 600, slow=50, version="2"))
    words = " ".join(" ".join(lines(again.drifts, 80)).split())
    assert "Drifted shop 2, beside 8 rounds of this time of day" in words
    assert "+10.0 ± 0.3 points in price (shop/app.py): own 10.0 → 20.0 %" in words, words
    wrong = verdict(again.drifts, 5.0)
    assert wrong is not None and "shop 2 drifted: the share of price grew by more than 5 points" in wrong.reason
    assert verdict(again.drifts, 20.0) is None
    assert json.loads((tmp_path / "shop-drift.json").read_text())["above"] == [
        {"service": "shop", "version": "2", "name": "price"}
    ]
    assert "price" in (tmp_path / "shop-drift.md").read_text()


def test_at_once_where_nobody_wants_it_twice(store: Store) -> None:
    usual(store)
    outlook = seen(store, take(store, BEGAN + 8 * DAY, slow=50), confirm=0)
    assert verdict(outlook.drifts, 5.0) is not None


@pytest.mark.parametrize("version", ["1", "2"])
def test_what_was_accepted_is_usual(store: Store, version: str) -> None:
    """Where the version is known as well, which is compared with the one before it."""
    usual(store)
    for day in (8, 9):
        last = take(store, BEGAN + day * DAY, slow=50, version=version)
    assert result(seen(store, last, confirm=0).drifts)["drifted_services"] == 1
    accepted = BEGAN + 8 * DAY
    assert result(seen(store, last, confirm=0, since=accepted).drifts)["unjudged_services"] == 1
    for day in range(10, 14):
        last = take(store, BEGAN + day * DAY, slow=50, version=version)
    assert result(seen(store, last, confirm=0, since=accepted).drifts)["usual_services"] == 1


@pytest.mark.parametrize("terms", [{"rounds": 4}, {"rounds": 0}, {"rounds": -1}, {"confirm": -1}])
def test_terms_by_which_nothing_would_ever_be_clear_are_refused(terms: dict[str, int]) -> None:
    with pytest.raises(FleetError, match=r"pyspy_snapshot_\w+ is \d or more: got -?\d"):
        Terms(**terms)  # type: ignore[arg-type]


def test_a_new_store_says_that_there_are_too_few_rounds(store: Store) -> None:
    outlook = seen(store, take(store, BEGAN))
    assert result(outlook.drifts)["unjudged_services"] == 1
    assert "too few rounds" in " ".join(lines(outlook.drifts, 80))


def test_a_round_that_saw_nothing(store: Store, tmp_path: Path) -> None:
    usual(store, 2)
    nothing = Round("r9", BEGAN + 9 * DAY, BEGAN + 9 * DAY, 3, 3)
    store.add(nothing, Visited((), ()))
    outlook = seen(store, nothing)
    assert outlook.drifts == () and (tmp_path / "shop.html").exists()


def test_the_newest_rounds_can_be_opened_as_graphs(store: Store) -> None:
    usual(store)
    one = take(store, BEGAN + 8 * DAY)
    page = Path(seen(store, one).page).read_text(encoding="utf-8")
    (tree,) = re.findall(r'<script id="tree-0" type="application/json">(.*?)</script>', page, re.DOTALL)
    (picture,) = json.loads(tree)["pictures"]
    assert [worker[0] for worker in picture["workers"]] == [round_.name for round_ in store.rounds()]
    assert {row[0] for row in picture["functions"]} == {"main", "price", "render", "query"}


def test_a_link_to_each_round_that_has_a_report(store: Store, tmp_path: Path) -> None:
    one = take(store, BEGAN)
    (tmp_path / one.name).mkdir()
    (tmp_path / one.name / "index.html").write_text("a report")
    outlook = seen(store, replace(one))
    assert f"{one.name}/index.html" in Path(outlook.page).read_text()

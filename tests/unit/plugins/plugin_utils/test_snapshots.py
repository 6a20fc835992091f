# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of a round on the controller: begun, taken over, kept, in words, judged."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _snapshots
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._outlook import Terms, look_back
from ansible_collections.pyspy.fleet.plugins.plugin_utils._round import lines, services, verdict
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run, process_key
from ansible_collections.pyspy.fleet.plugins.plugin_utils._snapshots import Found, begin, found, inbox, keep
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store._store import Store, open_store
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import ErrorText, HostRecord, Process
from ansible_collections.pyspy.fleet.tests.lab.made_run import CAPTURES, add_host

HOSTS = [f"web-{number}" for number in range(10)]
STRAINED = ErrorText("This host is too strained now", "load 12 per CPU", "wait")
TIMEOUT = ErrorText("The host cannot be reached", "Connection timed out", "see that ssh to it works")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "s.sqlite3")) as opened:
        yield opened


def bring(run: Run, *hosts: str) -> None:
    """What record and collect leave in the folder of a round."""
    for host in hosts:
        add_host(run, host, ["shop"], (CAPTURES / "plain.speedscope.json").read_bytes())


def folders(store: Store) -> list[str]:
    return [name for name in os.listdir(inbox(store.path)) if name[0].isdigit()]


def test_a_round_from_its_beginning_into_the_store(store: Store) -> None:
    begun = begin(store, HOSTS, 0.3, "ann", "INC-7")
    assert len(begun.hosts) == 3 and begun.round.weight == pytest.approx(10 / 3) and begun.notes == ()
    assert begin(store, HOSTS, 0.3, "ann", "INC-7").run == begun.run, "the same ansible-playbook has begun it"
    bring(begun.run, *begun.hosts)
    what = found(begun.run)
    keep(store, begun.run, what)
    assert folders(store) == []
    (one,) = store.rounds()
    assert (one.name, one.hosts, one.chosen, one.user, one.reason) == (begun.run.name, 10, 3, "ann", "INC-7")
    assert {taken.host for taken in store.visited([one.name]).snapshots} == set(begun.hosts)


def test_a_second_that_the_clock_says_twice_is_two_rounds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for host in HOSTS[:2]:
        seconds = iter(["20261117T093800Z", "20261117T093801Z"])
        with monkeypatch.context() as clock:
            clock.setattr(time, "strftime", lambda *_, seconds=seconds: next(seconds))
            begun = begin(store, HOSTS, 1.0, "ann", "")
        bring(begun.run, host)
        keep(store, begun.run, found(begun.run))
        names.append(begun.round.name)
    assert names == ["20261117T093800Z-snapshot", "20261117T093801Z-snapshot"]
    assert [[taken.host for taken in store.visited([name]).snapshots] for name in names] == [["web-0"], ["web-1"]]


def test_a_round_that_cannot_begin_keeps_what_an_earlier_batch_brought(store: Store) -> None:
    begun = begin(store, HOSTS, 1.0, "ann", "")
    bring(begun.run, "web-1")
    store.begin("20261117T093800Z-snapshot", f"{os.getpid()}-1-elsewhere", time.time(), lambda *_: False)
    with pytest.raises(FleetError, match="Another round is under way"):
        begin(store, HOSTS, 1.0, "ann", "")
    assert len(found(begun.run).visited.snapshots) == 1


def test_stores_side_by_side_share_nothing(tmp_path: Path) -> None:
    for name in ("shop.eu", "shop.us", "shop.html"):
        with open_store(str(tmp_path / name)) as store:
            begun = begin(store, HOSTS, 1.0, "ann", "")
            bring(begun.run, f"web-{name}")
            keep(store, begun.run, found(begun.run))
            look_back(store, begun.round, Terms(), None)
            begin(store, HOSTS, 1.0, "ann", "")
    for name in ("shop.eu", "shop.us", "shop.html"):
        with open_store(str(tmp_path / name)) as store:
            (one,) = store.rounds()
            assert [taken.host for taken in store.visited([one.name]).snapshots] == [f"web-{name}"]
            assert len(folders(store)) == 1, "a round that is under way is not taken over by another store's"


def test_what_is_in_the_way_of_the_folder_of_rounds(store: Store) -> None:
    Path(inbox(store.path)).write_text("")
    with pytest.raises(FleetError, match="cannot be written") as caught:
        begin(store, HOSTS, 1.0, "ann", "")
    assert "pyspy_snapshot_store" in caught.value.remedy


def dead(store: Store, *hosts: str) -> str:
    """A round of a controller that died when these hosts had been collected."""
    begun = begin(store, HOSTS, 1.0, "ann", "")
    bring(begun.run, *hosts)
    os.rename(begun.run.path, os.path.join(inbox(store.path), "20200101T000000Z-snapshot"))
    return "20200101T000000Z-snapshot"


def test_what_a_dead_controller_had_brought_is_taken_over(store: Store) -> None:
    name = dead(store, "web-1", "web-2")
    begun = begin(store, HOSTS, 1.0, "ann", "")
    assert begun.notes == (f"{name} was not ended; what it had brought is in the store (2 snapshots)",)
    assert [one.name for one in store.rounds()] == [name] and folders(store) == [begun.run.name]


def test_stored_but_not_yet_removed(store: Store) -> None:
    name = dead(store, "web-1")
    store.add(
        found(Run(os.path.join(inbox(store.path), name))).round,
        found(Run(os.path.join(inbox(store.path), name))).visited,
    )
    begin(store, HOSTS, 1.0, "ann", "")
    assert len(store.visited([name]).snapshots) == 1 and len(store.rounds()) == 1


def test_a_folder_that_nobody_was_asked_for_goes_away(store: Store) -> None:
    empty = Path(inbox(store.path), "20200101T000000Z-snapshot")
    empty.mkdir(parents=True)
    assert begin(store, HOSTS, 1.0, "ann", "").notes == () and not empty.exists()


def test_what_cannot_be_taken_over_stays_and_is_said(store: Store) -> None:
    name = dead(store, "web-1")
    Path(inbox(store.path), name, ".state", "round.json").write_text("{")
    begun = begin(store, HOSTS, 1.0, "ann", "")
    assert len(begun.notes) == 1 and "cannot be taken over" in begun.notes[0] and name in folders(store)


def test_what_was_stored_goes_though_its_removal_was_cut_short(store: Store) -> None:
    """Killed in the middle of it: what says which round it was is gone, and other files are not."""
    name = dead(store, "web-1")
    path = Path(inbox(store.path), name)
    run = Run(str(path))
    store.add(found(run).round, found(run).visited)
    shutil.rmtree(path / ".state")
    assert begin(store, HOSTS, 1.0, "ann", "").notes == () and not path.exists()


def test_a_folder_that_cannot_be_read_stops_no_round(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that root left, who began a round by hand."""
    name = dead(store, "web-1")

    def refused(_run: Run) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_snapshots, "found", refused)
    begun = begin(store, HOSTS, 1.0, "ann", "")
    assert len(begun.notes) == 1 and "Permission denied" in begun.notes[0] and "remove it" in begun.notes[0]
    assert name in folders(store)


def test_a_refused_round_leaves_nothing(store: Store) -> None:
    # The key of a process that runs, and is not ours.
    theirs = f"1-{process_key().split('-')[1]}-another-machine"
    for hours in (5, -5):
        store.begin("r0", theirs, time.time() - hours * 3600, lambda *_holder: False)
        with pytest.raises(FleetError, match="Another round is under way.*process 1 on another-machine"):
            begin(store, HOSTS, 1.0, "ann", "")
        assert folders(store) == []


@pytest.mark.parametrize("hours", [7, -7])
def test_a_round_of_another_machine_is_not_under_way_forever(store: Store, hours: int) -> None:
    theirs = f"1-{process_key().split('-')[1]}-another-machine"
    store.begin("r0", theirs, time.time() - hours * 3600, lambda *_holder: False)
    begin(store, HOSTS, 1.0, "ann", "")
    assert len(folders(store)) == 1


@pytest.mark.parametrize(
    ("errors", "brought", "fails_on"),
    [
        ([], 1, ""),
        ([], 0, ""),
        ([STRAINED], 0, ""),
        ([TIMEOUT], 1, "any"),
        ([TIMEOUT, STRAINED], 0, "any all"),
    ],
)
def test_the_verdict(store: Store, errors: list[ErrorText], brought: int, fails_on: str) -> None:
    begun = begin(store, HOSTS, 1.0, "ann", "")
    for number, error in enumerate(errors):
        begun.run.write_host(HostRecord(f"db-{number}", "failed", error=error))
    bring(begun.run, *HOSTS[:brought])
    what = found(begun.run)
    for fail_on in ("none", "any", "all"):
        wrong = verdict(what, fail_on)
        assert (wrong is not None) == (fail_on in fails_on.split()), fail_on
    if fails_on:
        assert "1 of" in str(verdict(what, "any")) and "Connection timed out" in str(verdict(what, "any"))


def test_a_round_in_words(store: Store) -> None:
    begun = begin(store, HOSTS, 0.2, "ann", "INC-7")
    bring(begun.run, *begun.hosts)
    what = found(begun.run)
    keep(store, begun.run, what)
    words = " ".join(" ".join(lines(what, 3, 80)).split())
    assert words.startswith(f"Round {begun.run.name} (INC-7) Hosts 2 of 2 profiled Targets 2 profiled")
    assert "Services web Share 2 of 10 hosts; each stands for 5 Pruned 3 rounds" in words
    assert all(len(line) <= 60 for line in lines(what, 3, 60))
    look_back(store, what.round, Terms(), None)


def test_hostile_names(store: Store) -> None:
    begun = begin(store, HOSTS, 1.0, "ann", "\x1b[2J")
    hostile = "</script>\x1b[31m\u202e{{ 7 * 7 }}"
    add_host(begun.run, "web-1", [hostile], (CAPTURES / "plain.speedscope.json").read_bytes())
    what = found(begun.run)
    taken = replace(what.visited.snapshots[0], service=hostile, version=hostile)
    what = Found(what.round, replace(what.visited, snapshots=(taken,)), what.targets, ())
    keep(store, begun.run, what)
    assert not set("\x1b\u202e") & set("".join(lines(what, 0, 80)))
    page = Path(look_back(store, what.round, Terms(), None).page).read_text(encoding="utf-8")
    assert "\x1b" not in page and "\u202e" not in page and page.count("</script>") == page.count("<script")


def test_services_of_hosts() -> None:
    target = Process(7, 1, "web", "shop", "worker", "3.11", 1.0, "hot", unit="till.service")
    survey = {"targets": [asdict(target)], "notes": []}
    surveys = {"a": survey, "b": survey, "c": {}, "d": {"unreachable": True, "msg": "no"}}
    assert services(surveys, {"b": "named", "c": ""}) == {"a": ["till"], "b": ["named"], "c": [], "d": []}
    for nonsense in ([1], [{"pid": "x"}], ["x"] * 6000):
        assert services({**surveys, "e": {"targets": nonsense}}, {})["e"] == []

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the rooms "selection" and "named": the rules on made-up tables, without a process."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._facts import Facts
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import Stat
from ansible_collections.pyspy.fleet.plugins.module_utils._selection import MAX_SKIPPED, Selectors, choose
from ansible_collections.pyspy.fleet.plugins.module_utils._survey import Table
from ansible_collections.pyspy.fleet.plugins.module_utils._workers import Member, judge_roles
from ansible_collections.pyspy.fleet.tests.unit.plugins.module_utils.tables import (
    PY,
    SPAWN,
    TRACKER,
    pids,
    row,
    shop,
    table,
    why_not,
)


def test_nothing_typed_takes_the_busy_workers_only():
    selection = choose(
        table(*shop(), row(20, (PY, "/srv/idle.py")), row(30, (PY, "/srv/hot.py"), cpu=95.0)), Selectors()
    )
    assert pids(selection) == [30, 12]
    assert [process.reason for process in selection.targets] == [
        "single process, 95.0 % CPU",
        "gunicorn worker, 90.0 % CPU",
    ]
    idle = "idle: 0.0 % CPU, and without a selector only busy processes are taken"
    assert why_not(selection) == {10: "gunicorn master of 4 workers", 11: idle, 13: idle, 14: idle, 20: idle}


def test_nothing_typed_and_nothing_busy_takes_those_that_worked_most():
    rows = [row(20 + n, (PY, f"/srv/{n}.py"), average=float(n)) for n in range(4)]
    selection = choose(table(*rows), Selectors(max_targets=2))
    assert pids(selection) == [23, 22]
    assert "nothing chosen used any CPU" in selection.notes[0]
    assert why_not(selection)[20] == "idle: 0.0 % CPU, not among the 2 hottest"


def test_where_it_does_not_matter_who_is_hot_everybody_is_taken():
    """As for a dump: who hangs uses no CPU, and what only seems a master may be what hangs."""
    batch = (row(40, (PY, "/srv/batch.py")), row(41, (PY, "/srv/batch.py"), 40, cpu=1.0))
    selection = choose(table(*shop(), row(20, (PY, "/srv/idle.py")), *batch), Selectors(hot=False))
    assert pids(selection) == [12, 41, 11, 13, 14, 20, 40]
    assert why_not(selection) == {10: "gunicorn master of 4 workers"}
    assert selection.targets[-1].reason == "batch.py master of 1 worker, 0.0 % CPU"


def test_the_hottest_when_there_are_too_many():
    rows = [row(20 + n, (PY, "/srv/app.py"), cpu=10.0 * n) for n in range(4)]
    selection = choose(table(*rows), Selectors(pattern="app", max_targets=3))
    assert pids(selection) == [23, 22, 21]
    assert why_not(selection) == {20: "idle: 0.0 % CPU, not among the 3 hottest"}
    assert selection.notes == ("pattern 'app' matched 4 of 4 processes (4 are Python)",)


@pytest.mark.parametrize(
    ("selectors", "chosen"),
    [
        (Selectors(pattern="gunicorn"), [12, 11, 13, 14]),
        (Selectors(pattern="gunicorn", max_targets=1), [12]),
        (Selectors(pattern="worker", user="www-data"), [12, 11, 13, 14]),
        (Selectors(pattern="master"), [12, 11, 13, 14]),
        (Selectors(pattern="gunicorn", exclude="master"), [12, 11, 13, 14]),
        (Selectors(exclude="worker"), [40]),
        (Selectors(pids=(10,)), [12, 11, 13, 14]),
        (Selectors(pids=(10, 40)), [40, 12, 11, 13, 14]),
        (Selectors(pids=(13, 14, 13)), [13, 14]),
        (Selectors(pids=(13, 40), pattern="job"), [40]),
        (Selectors(user="www-data"), [12, 11, 13, 14]),
        (Selectors(pattern=r"job\.py --n 5$"), [40]),
        (Selectors(pattern="nginx"), []),
    ],
)
def test_selectors_narrow(selectors, chosen):
    rows = [
        *shop(),
        row(40, (PY, "/srv/job.py", "--n", "5"), cpu=99.0),
        row(50, ("nginx", "-g"), exe="/usr/sbin/nginx"),
    ]
    selection = choose(table(*rows), selectors, Facts(uid=33 if selectors.user else None))
    assert pids(selection) == chosen
    assert {10, 11, 12, 13, 14, 40} == {*chosen, *why_not(selection)}, "each Python process has its line"


def test_reasons_name_the_selector():
    rows = [*shop(), row(40, (PY, "/srv/job.py"))]
    assert why_not(choose(table(*rows), Selectors(pattern="job")))[11] == "does not match the pattern"
    assert why_not(choose(table(*rows), Selectors(pids=(40,))))[11] == "not among the given pids"
    assert why_not(choose(table(*rows), Selectors(exclude="job")))[40] == "matches exclude"
    assert (
        why_not(choose(table(*rows), Selectors(user="www-data"), Facts(uid=33)))[40] == "runs as root, not as www-data"
    )


def test_a_named_master_says_what_became_of_it():
    selection = choose(table(*shop()), Selectors(pids=(10,)))
    assert why_not(selection) == {10: "gunicorn master of 4 workers; its workers are meant instead"}
    assert selection.targets[0].reason == "gunicorn worker, 90.0 % CPU; its master 10 was named"


def test_spawned_workers_answer_to_the_command_line_of_their_starter():
    rows = [row(10, (PY, "/v/bin/uvicorn", "app")), row(11, TRACKER, 10), row(12, SPAWN, 10), row(13, SPAWN, 10)]
    selection = choose(table(*rows), Selectors(pattern="uvicorn"))
    assert pids(selection) == [12, 13]
    assert selection.targets[0].name == "uvicorn"
    assert why_not(selection)[11] == "multiprocessing resource tracker: never worth a profile"
    assert pids(choose(table(*rows), Selectors(exclude="uvicorn"))) == []


def test_what_only_seems_a_master_is_taken_when_it_works():
    def rows(cpu: float, title: tuple[str, ...]) -> Table:
        return table(row(10, title, cpu=cpu), row(11, title, 10, cpu=1.0))

    batch = (PY, "/srv/batch.py")
    assert pids(choose(rows(80.0, batch), Selectors())) == [10, 11]
    assert choose(rows(80.0, batch), Selectors()).targets[0].reason == (
        "batch.py master of 1 worker that works itself, 80.0 % CPU"
    )
    assert pids(choose(rows(4.0, batch), Selectors())) == [11]
    titled = table(row(10, ("gunicorn: master [shop]",), cpu=80.0), row(11, ("gunicorn: worker [shop]",), 10, cpu=1.0))
    assert pids(choose(titled, Selectors())) == [11]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (row(20, (PY, "a.py"), cpu=9.0, own="Ansible itself"), "never a target: Ansible itself"),
        (row(20, (PY, "a.py"), cpu=9.0, exe="/usr/bin/pypy3.10"), "PyPy: py-spy reads CPython only"),
        (row(20, (PY, "a.py"), cpu=9.0, exe="/x/python3.13t"), "free-threaded Python: py-spy cannot read it"),
        (row(20, (), state="Z", exe="/usr/bin/python3"), "zombie: it has ended, its parent has not noticed"),
        (row(20, TRACKER, cpu=9.0), "multiprocessing resource tracker: never worth a profile"),
        (row(20, ("uWSGI http 1",), cpu=9.0), "uWSGI http 1: never worth a profile"),
    ],
)
def test_never_a_target(one, reason):
    selection = choose(table(one), Selectors())
    assert pids(selection) == []
    assert why_not(selection) == {20: reason}


@pytest.mark.parametrize(
    ("pid", "words"),
    [
        (4711, "No process 4711 on this host"),
        (2, "Process 2 is a kernel thread"),
        (50, "Process 50 (nginx) is not Python"),
        (51, "Process 51 (python3) has ended and is a zombie"),
        (52, "Process 52 (a.py) is never a target: started this run"),
        (53, "Process 53 (a.py) cannot be profiled: PyPy: py-spy reads CPython only"),
        (54, "Process 54 (multiprocessing resource tracker) is a helper that is never worth a profile"),
    ],
)
def test_a_pid_that_cannot_be_had_fails_the_host(pid, words):
    rows = table(
        *shop(),
        row(2, (), kernel=True),
        row(50, ("/usr/sbin/nginx", "-s3cret"), exe="/usr/sbin/nginx"),
        row(51, (), exe="/usr/bin/python3", state="Z")._replace(stat=Stat(51, "python3", "Z", 1, False, 0, 0)),
        row(52, (PY, "a.py"), own="started this run"),
        row(53, (PY, "a.py"), exe="/usr/bin/pypy3"),
        row(54, TRACKER),
    )
    roles = judge_roles([Member(pid, 1, one.argv) for pid, one in rows.items() if one.interpreter], {51: "python3"})
    rows[51] = rows[51]._replace(role=roles[51])
    with pytest.raises(HostError) as caught:
        choose(rows, Selectors(pids=(11, pid)))
    assert caught.value.reason == words and caught.value.remedy


def test_all_bad_pids_are_named_at_once():
    with pytest.raises(HostError, match="No process 98 on this host; No process 99 on this host"):
        choose(table(*shop()), Selectors(pids=(98, 99)))


def test_notes_say_how_much_was_matched():
    nginx = [row(50 + n, ("nginx", "gunicron"), exe="/usr/sbin/nginx") for n in range(3)]
    mine = row(60, (PY, "-e", "pyspy_pattern=gunicron"), own="Ansible itself")
    thread = row(2, (), kernel=True)
    rows = table(*shop(), *nginx, mine, thread)
    assert choose(rows, Selectors(pattern="zope")).notes == ("pattern 'zope' matched 0 of 8 processes (5 are Python)",)
    assert choose(rows, Selectors(pattern="gunicron")).notes == (
        "pattern 'gunicron' matched 3 of 8 processes (5 are Python); none of those matched is Python",
    )
    assert choose(rows, Selectors(user="www-data"), Facts(uid=33)).notes == (
        "user 'www-data' runs 4 of the 5 Python processes",
    )
    assert choose(rows, Selectors(exclude="zope")).notes == ("exclude 'zope' matched 0 of 8 processes (5 are Python)",)
    assert choose(table(*nginx), Selectors()).notes == ("none of the 3 processes is Python",)


def test_a_guess_is_called_one():
    selection = choose(table(row(20, (PY, "a.py"), exe=None, cpu=5.0)), Selectors())
    assert selection.targets[0].reason.endswith("taken for Python by its name, for its executable may not be read")
    assert "1 of 1 Python processes are judged by their names" in selection.notes[0]


def test_the_list_of_skipped_is_bounded_and_keeps_what_came_near():
    rows = [row(100 + n, (PY, "other.py")) for n in range(MAX_SKIPPED + 20)]
    rows += [row(5000 + n, (PY, "/srv/app.py"), cpu=1.0 + n) for n in range(10)]
    rows += [row(6000, (PY, "/srv/app.py"), exe="/usr/bin/pypy3")]
    selection = choose(table(*rows), Selectors(pattern="app"))
    assert len(selection.targets) == 8 and len(selection.skipped) == MAX_SKIPPED
    assert [process.pid for process in selection.skipped[:4]] == [5001, 5000, 6000, 100]
    assert selection.notes[-1] == "23 more skipped processes are not listed"


def test_the_fields_on_the_wire():
    wire = choose(table(*shop()), Selectors()).targets[0].to_wire()
    assert list(wire) == [
        "pid",
        "start",
        "user",
        "name",
        "role",
        "python",
        "cpu",
        "reason",
        "unit",
        "container",
        "container_pid",
    ]
    assert (wire["pid"], wire["start"], wire["role"], wire["python"], wire["cpu"]) == (12, 1012, "worker", "3.11", 90.0)

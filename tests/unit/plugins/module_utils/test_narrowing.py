# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "narrowing": the rules on made-up tables, without a process."""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._cgroups import Members
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._facts import Facts
from ansible_collections.pyspy.fleet.plugins.module_utils._selection import Selectors, choose
from ansible_collections.pyspy.fleet.plugins.module_utils._sockets import Listeners
from ansible_collections.pyspy.fleet.plugins.module_utils._survey import Table
from ansible_collections.pyspy.fleet.tests.unit.plugins.module_utils.tables import (
    PY,
    TRACKER,
    pids,
    row,
    shop,
    table,
    why_not,
)


def supervised() -> Table:
    """A shell that supervises the shop and a script that started another one through a shell."""
    sh = {"exe": "/usr/bin/dash"}
    rows = [row(5, ("sh", "-c", "supervise"), **sh), row(10, ("gunicorn: master [shop]",), 5), *shop()[1:]]
    rows += [row(40, (PY, "/srv/job.py"), 5), row(41, ("sh",), 40, **sh), row(42, (PY, "/srv/tool.py"), 41)]
    return table(*rows, row(60, (PY, "/srv/other.py")))


@pytest.mark.parametrize(
    ("top", "chosen"), [(5, [12, 11, 13, 14, 40, 42]), (10, [12, 11, 13, 14]), (40, [42]), (41, [42]), (42, [])]
)
def test_children_of_means_all_below_and_not_itself(top, chosen):
    selection = choose(supervised(), Selectors(children_of=top))
    assert pids(selection) == chosen
    assert why_not(selection)[60] == f"not below process {top}"


@pytest.mark.parametrize(
    ("top", "note"),
    [
        (5, "children_of 5 (sh) matched 8 of 10 processes (8 are Python)"),
        (11, "children_of 11 (gunicorn: worker [shop]) matched 0 of 10 processes (8 are Python)"),
        (42, "children_of 42 (tool.py) matched 0 of 10 processes (8 are Python)"),
    ],
)
def test_children_of_says_how_many_there_are(top, note):
    assert choose(supervised(), Selectors(children_of=top)).notes == (note,)


def test_children_of_in_a_cycle_as_a_torn_look_may_show():
    rows = table(row(10, (PY, "a.py"), 12), row(11, (PY, "b.py"), 10), row(12, (PY, "c.py"), 11), row(13, (), 13))
    assert pids(choose(rows, Selectors(children_of=10))) == [11, 12]
    assert pids(choose(rows, Selectors(children_of=13))) == []


@pytest.mark.parametrize(
    ("top", "words"),
    [
        (4711, "No process 4711 on this host, so nothing is below it"),
        (2, "Process 2 is a kernel thread, so nothing is below it"),
        (51, "Process 51 (python3) has ended and is a zombie, so nothing is below it"),
    ],
)
def test_children_of_nobody_fails_the_host(top, words):
    rows = supervised()
    rows[2] = row(2, (), kernel=True)
    rows[51] = row(51, (), state="Z", exe="")
    with pytest.raises(HostError) as caught:
        choose(rows, Selectors(children_of=top))
    assert caught.value.reason == words and caught.value.remedy


@pytest.mark.parametrize(
    ("selectors", "chosen"),
    [
        (Selectors(process_role="master", pattern="."), [10]),
        (Selectors(process_role="any", pattern="."), [12, 10, 11, 13, 14, 40]),
        (Selectors(process_role="worker", pattern="."), [12, 11, 13, 14, 40]),
        (Selectors(process_role="master", pids=(10, 40)), [10]),
        (Selectors(process_role="any", pids=(10,)), [12, 10, 11, 13, 14]),
        (Selectors(process_role="any"), [12]),
        (Selectors(process_role="master"), [10]),
        (Selectors(process_role="any", children_of=5), [12, 10, 11, 13, 14, 40]),
    ],
)
def test_process_role(selectors, chosen):
    rows = supervised()
    rows = {pid: rows[pid] for pid in (5, 10, 11, 12, 13, 14, 40)}
    rows.update(table(row(70, TRACKER), row(71, (PY, "a.py"), own="Ansible itself")))
    assert pids(choose(rows, selectors)) == chosen


def test_process_role_says_why():
    masters = choose(supervised(), Selectors(process_role="master", pattern="shop|job"))
    assert masters.targets[0].reason == "gunicorn master of 4 workers, 0.0 % CPU"
    assert why_not(masters)[11] == "gunicorn worker, and only masters are asked for"
    assert why_not(masters)[40] == "single process, and only masters are asked for"
    assert masters.notes[1] == "process_role 'master' matched 1 of the 8 Python processes"
    any_role = choose(supervised(), Selectors(process_role="any", pids=(10,)))
    assert {process.pid: process.reason for process in any_role.targets}[10] == (
        "gunicorn master of 4 workers, 0.0 % CPU"
    )


def test_min_cpu():
    rows = table(*shop(), row(20, (PY, "/srv/a.py"), cpu=50.0), row(21, (PY, "/srv/b.py"), cpu=49.9))
    selection = choose(rows, Selectors(min_cpu=50.0))
    assert pids(selection) == [12, 20]
    assert why_not(selection)[21] == "49.9 % CPU, less than the 50 % of min_cpu"
    assert selection.notes == ("min_cpu 50 matched 2 of the 7 Python processes",)
    nobody = choose(rows, Selectors(min_cpu=95.5))
    assert pids(nobody) == []
    assert nobody.notes == ("min_cpu 95.5 matched 0 of the 7 Python processes",)


def test_min_cpu_keeps_nobody_out_where_cpu_was_not_measured():
    rows = {pid: one._replace(cpu=None) for pid, one in table(*shop()).items()}
    selection = choose(rows, Selectors(min_cpu=50.0))
    assert pids(selection) == [11, 12, 13, 14] and not selection.notes


def unit(*pids_in: int, **more: bool) -> Facts:
    return Facts(unit=Members(frozenset(pids_in), **more))


ABSENT = "No process of this host is in the unit shop.service"


def test_unit():
    selection = choose(supervised(), Selectors(unit="shop.service"), unit(5, 10, 11, 12, 13, 14))
    assert pids(selection) == [12, 11, 13, 14]
    assert why_not(selection)[40] == "not in the unit shop.service"
    assert selection.notes == ("unit 'shop.service' matched 5 of the 8 Python processes",)


def test_a_unit_of_a_user_is_called_one():
    selection = choose(supervised(), Selectors(unit="shop.service"), unit(40, of_users=True))
    assert selection.notes[0] == (
        "unit 'shop.service' matched 1 of the 8 Python processes, in a user's own systemd, "
        "for no unit of the system has that name"
    )


@pytest.mark.parametrize(
    ("facts", "reason", "detail"),
    [
        (unit(), ABSENT, ""),
        (unit(systemd=False), ABSENT, "systemd does not run on this host"),
        (
            unit(5, 41),
            "Nothing in the unit shop.service can be a target",
            "Process 5 (sh) is not Python; Process 41 (sh) is not Python",
        ),
    ],
)
def test_a_unit_that_cannot_be_had_fails_the_host(facts, reason, detail):
    with pytest.raises(HostError) as caught:
        choose(supervised(), Selectors(unit="shop.service"), facts)
    assert (caught.value.reason, caught.value.detail) == (reason, detail) and caught.value.remedy


def port(*listening: int, unknown: tuple[int, ...] = (), heard: bool = True) -> Facts:
    return Facts(port=Listeners(frozenset(listening), frozenset(unknown), heard))


def test_port():
    selection = choose(supervised(), Selectors(port=8000), port(10, 11, 12, 13, 14))
    assert pids(selection) == [12, 11, 13, 14]
    assert why_not(selection)[40] == "does not listen on port 8000"
    assert selection.targets[0].reason == "gunicorn worker, 90.0 % CPU"
    assert selection.notes == ("port 8000 matched 5 of the 8 Python processes",)


def test_workers_of_a_master_that_listens_alone():
    selection = choose(supervised(), Selectors(port=8000), port(10))
    assert pids(selection) == [12, 11, 13, 14]
    assert selection.targets[0].reason == "gunicorn worker, 90.0 % CPU; its master 10 listens on port 8000"


def test_port_of_processes_that_cannot_be_seen():
    selection = choose(supervised(), Selectors(port=8000), port(12, unknown=(40, 5)))
    assert pids(selection) == [12]
    assert why_not(selection)[40] == "its open files cannot all be read, so it may listen on port 8000 or not"
    assert selection.notes == (
        "port 8000 matched 1 of the 8 Python processes; "
        "of 1 it cannot be told, for not all their open files can be read",
    )


@pytest.mark.parametrize(
    ("facts", "reason", "detail"),
    [
        (port(heard=False), "Nobody listens on TCP port 80", ""),
        (
            port(heard=False, unknown=(5, 40)),
            "Nobody that can be seen listens on TCP port 80",
            "the open files of 2 processes cannot all be read",
        ),
        (
            port(unknown=(40,)),
            "Somebody listens on TCP port 80, and who it is cannot be told",
            "the open files of 1 process cannot all be read",
        ),
        (
            port(),
            "Somebody listens on TCP port 80, and who it is cannot be told",
            "the kernel itself does, or a process that is hidden from us",
        ),
        (port(5), "What listens on TCP port 80 cannot be a target", "Process 5 (sh) is not Python"),
    ],
)
def test_a_port_that_cannot_be_had_fails_the_host(facts, reason, detail):
    with pytest.raises(HostError) as caught:
        choose(supervised(), Selectors(port=80), facts)
    assert (caught.value.reason, caught.value.detail) == (reason, detail) and caught.value.remedy


def test_a_worker_that_is_meant_through_its_master_says_so():
    selection = choose(table(*shop()), Selectors(pattern="master"))
    assert selection.targets[0].reason == "gunicorn worker, 90.0 % CPU; its master 10 matches the pattern"
    both = choose(table(*shop()), Selectors(pattern="master", pids=(10,)))
    assert both.targets[0].reason.endswith("; its master 10 was named and matches the pattern")
    assert choose(table(*shop()), Selectors(pattern="shop")).targets[0].reason == "gunicorn worker, 90.0 % CPU"

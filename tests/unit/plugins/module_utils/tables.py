# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Made-up tables of processes, for the tests of the rooms around "selection"."""

from __future__ import annotations

from ansible_collections.pyspy.fleet.plugins.module_utils._interpreters import judge
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import Stat
from ansible_collections.pyspy.fleet.plugins.module_utils._selection import Selection
from ansible_collections.pyspy.fleet.plugins.module_utils._survey import Row, Table
from ansible_collections.pyspy.fleet.plugins.module_utils._workers import Member, judge_roles

PY = "/usr/bin/python3"
SPAWN = (PY, "-c", "from multiprocessing.spawn import spawn_main; spawn_main()", "--multiprocessing-fork")
TRACKER = (PY, "-c", "from multiprocessing.resource_tracker import main;main(4)")


def row(pid, argv, ppid=1, cpu=0.0, uid=0, exe="/usr/bin/python3.11", state="S", own="", average=0.0, kernel=False):
    interpreter = None if kernel else judge(exe, argv[0] if argv else "", argv)
    stat = Stat(pid, "python3", state, ppid, kernel, 0, 1000 + pid)
    return Row(stat, tuple(argv), own, uid, uid, interpreter, None, cpu if interpreter else None, average)


def table(*rows: Row) -> Table:
    roles = judge_roles(Member(one.stat.pid, one.stat.ppid, one.argv) for one in rows if one.interpreter)
    return {one.stat.pid: one._replace(role=roles.get(one.stat.pid)) for one in rows}


def shop(busy: float = 90.0) -> list[Row]:
    """gunicorn with four workers, of which one is busy."""
    rows = [row(10, ("gunicorn: master [shop]",))]
    rows += [row(10 + n, ("gunicorn: worker [shop]",), 10, busy if n == 2 else 0.0, uid=33) for n in (1, 2, 3, 4)]
    return rows


def pids(selection: Selection) -> list[int]:
    return [process.pid for process in selection.targets]


def why_not(selection: Selection) -> dict[int, str]:
    return {process.pid: process.reason for process in selection.skipped}

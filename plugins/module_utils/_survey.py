# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "survey" of the host wing (private to the collection): what runs on this host, as one table.

The edge below ``_selection``: it reads ``/proc`` and the clock, and chooses
nothing. Two looks, one pause between them whatever the number of processes: what CPU each
Python process uses now, and a process that was only just starting another program is seen as what it became.
"""

from __future__ import annotations

import os
import time
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

from ._interpreters import PINNED, Interpreter, against, fault, identify
from ._procfs import Gone, ProcessDir, Stat, clock_ticks, list_pids
from ._workers import Member, Role, judge_roles, own_program


class Row(NamedTuple):
    """One process. From ``uid`` on, fields are set for Python processes only.

    ``own`` says why it belongs to this run or to Ansible, "" when it does not. ``cpu`` is per cent of one core
    between the two looks, ``average`` the same over the whole life of the process.
    """

    stat: Stat
    argv: Tuple[str, ...]
    own: str = ""
    uid: int = 0
    gid: int = 0
    interpreter: Optional[Interpreter] = None
    role: Optional[Role] = None
    cpu: Optional[float] = None
    average: float = 0.0

    def command(self) -> str:
        """The command line as ``pgrep -f`` sees it. It stays on this host."""
        return " ".join(self.argv) if self.argv else self.stat.comm

    def zombie(self) -> bool:
        return self.stat.state in ("Z", "X")


Table = Dict[int, Row]


def survey(pause: float, pyspy: str = PINNED) -> Table:
    """Every process of this host that lived through both looks; ``pause`` is in seconds (0: CPU is not measured).

    ``pyspy`` is the version that is to read them.
    """
    looked: Dict[int, float] = {}
    table: Table = {}
    for pid in list_pids():
        try:
            table[pid] = _first_look(pid, looked)
        except Gone:
            continue
    if looked and pause > 0:
        time.sleep(pause)
    for pid, when in looked.items():
        again = _second_look(table[pid], when)
        if again is None:
            del table[pid]
        else:
            table[pid] = _judged(again if pause > 0 else again._replace(cpu=None), pyspy)
    _mark_own(table)
    return _with_roles(table)


def _judged(row: Row, pyspy: str) -> Row:
    verdict = row.interpreter and against(row.interpreter, pyspy)
    return row if verdict is row.interpreter else row._replace(interpreter=verdict)


def unreadable(table: Table, pids: Iterable[int]) -> Table:
    """The rows of those that seemed fit, and that py-spy cannot read after all: with the reason.

    Told by their maps of memory. Reading one takes as long as all else of a process, so this is for few.
    """
    found: Table = {}
    for pid in pids:
        row = table[pid]
        if row.interpreter is None or row.interpreter.unsupported or row.own:
            continue
        try:
            with ProcessDir(pid) as process:
                reason = fault(process.maps() or b"") if process.start == row.stat.start else ""
        except Gone:
            continue
        if reason:
            found[pid] = row._replace(interpreter=row.interpreter._replace(unsupported=reason))
    return found


def _first_look(pid: int, looked: Dict[int, float]) -> Row:
    with ProcessDir(pid) as process:
        stat, when = process.stat(), time.monotonic()
        if stat.kernel:
            return Row(stat, ())
        argv = process.argv()
        interpreter = identify(process, stat.comm, argv)
        if interpreter is None:
            return Row(stat, argv)
        uid, gid = process.owner()  # that it was not over by then, the second look tells
    looked[pid] = when
    return Row(stat, argv, uid=uid, gid=gid, interpreter=interpreter)


def _second_look(row: Row, when: float) -> Optional[Row]:
    """The same process a moment later; None when it has ended since."""
    try:
        with ProcessDir(row.stat.pid) as process:
            stat, seconds = process.stat(), time.monotonic() - when
            if stat.start != row.stat.start:
                return None
            if stat.comm != row.stat.comm:  # another program, or another title
                argv = process.argv()
                row = row._replace(argv=argv, interpreter=identify(process, stat.comm, argv))
    except Gone:
        return None
    if row.interpreter is None:
        return Row(stat, row.argv)
    hertz = clock_ticks()
    age = max(time.clock_gettime(time.CLOCK_BOOTTIME) - stat.start / hertz, seconds)
    return row._replace(
        stat=stat,
        cpu=100.0 * (stat.ticks - row.stat.ticks) / hertz / max(seconds, 1.0 / hertz),
        average=100.0 * stat.ticks / hertz / max(age, 1.0 / hertz),
    )


def _mark_own(table: Table) -> None:
    for pid in _lineage(table):
        table[pid] = table[pid]._replace(own="started this run")
    for pid, row in table.items():
        if row.interpreter is not None and not row.own:
            table[pid] = row._replace(own=own_program(row.argv))


def _lineage(table: Table) -> List[int]:
    """This process and its ancestors, as far as they can be seen."""
    line: List[int] = []
    pid = os.getpid()
    while pid in table and pid not in line:
        line.append(pid)
        pid = table[pid].stat.ppid
    return line


def _with_roles(table: Table) -> Table:
    python = [row for row in table.values() if row.interpreter is not None]
    roles = judge_roles(_members(python), {row.stat.pid: row.stat.comm for row in python})
    return {pid: row._replace(role=roles[pid]) if pid in roles else row for pid, row in table.items()}


def _members(rows: Iterable[Row]) -> List[Member]:
    return [Member(row.stat.pid, row.stat.ppid, row.argv) for row in rows]

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "selection" of the host wing (private to the collection): selectors to targets and skips, each with its reason.

:func:`choose` is pure: from a table of processes to a selection. :func:`look` brings the table.

Nothing typed means "what is hot now": busy processes only. Where nothing at all is busy, those that
used most CPU over their life are taken, and a note says so. Whoever names processes gets
them, hottest first, idle or not.
"""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from ._errors import HostError
from ._procfs import user_name
from ._selectors import Selectors
from ._survey import Row, Table, survey
from ._workers import HELPER, MASTER, SINGLE, WORKER, Role, display_name

#: CPU is measured between two looks this far apart (seconds).
PAUSE = 0.5
#: A process that only seems a master, for it has children like itself, is a target when it works this hard (%).
BUSY_MASTER = 10.0
#: More skipped processes than these are only counted.
MAX_SKIPPED = 500
_LIST = "`ansible HOST -b -m pyspy.fleet.python_process_info` lists the Python processes of a host"


class Process(NamedTuple):
    """One Python process that was considered, chosen or not; see ``_wire.Process`` for the fields on the wire."""

    pid: int
    start: int
    uid: int
    gid: int
    user: str
    name: str
    role: str
    python: Optional[str]
    cpu: Optional[float]
    reason: str

    def to_wire(self) -> Dict[str, object]:
        wire: Dict[str, object] = dict(self._asdict())
        del wire["uid"], wire["gid"]
        return wire


class Selection(NamedTuple):
    targets: Tuple[Process, ...]
    skipped: Tuple[Process, ...]
    notes: Tuple[str, ...]


def look(selectors: Selectors, pause: float = PAUSE) -> Selection:
    """Read this host's processes and choose. HostError when what was named cannot be had."""
    uid = selectors.uid()
    return choose(survey(pause), selectors, uid)


def choose(table: Table, selectors: Selectors, uid: Optional[int] = None) -> Selection:
    """Targets, hottest first, and a reason for every Python process. ``uid`` is that of the selector ``user``."""
    _require(table, selectors.pids)
    found = _Python.all_in(table)
    narrowing = _Narrowing(table, selectors, uid)
    fit: List[_Python] = []
    skipped: List[Tuple[bool, Process]] = []
    for process in found:
        stranger = narrowing.refusal(process)
        reason = stranger or _unfit(process, selectors)
        if reason:
            skipped.append((bool(stranger), process.described(reason)))
        else:
            fit.append(process)
    fit.sort(key=_Python.coldness)
    pool = _pool(fit, selectors)
    taken = pool[: selectors.max_targets]
    left = [process.described(_left_reason(process, len(pool), selectors)) for process in fit[len(taken) :]]
    # What came nearest to being chosen comes first: the list is bounded.
    skipped.sort(key=lambda pair: (pair[0], pair[1].pid))
    rows = left + [process for _stranger, process in skipped]
    notes = narrowing.notes(found) + _notes(found, taken, len(rows))
    targets = tuple(process.described(_taken_reason(process, selectors)) for process in taken)
    return Selection(targets, tuple(rows[:MAX_SKIPPED]), tuple(notes))


class _Python(NamedTuple):
    """A Python process of the table, with its role at hand."""

    row: Row
    role: Role

    @classmethod
    def all_in(cls, table: Table) -> List[_Python]:
        return [cls(row, row.role) for row in table.values() if row.interpreter is not None and row.role is not None]

    @property
    def pid(self) -> int:
        return self.row.stat.pid

    @property
    def cpu(self) -> float:
        return self.row.cpu or 0.0

    @property
    def guess(self) -> bool:
        return self.row.interpreter is not None and self.row.interpreter.guess

    def coldness(self) -> Tuple[float, float, int]:
        """Sorts the hottest first; between equals, what used more CPU over its life."""
        return (-self.cpu, -self.row.average, self.pid)

    def described(self, reason: str) -> Process:
        row, interpreter = self.row, self.row.interpreter
        return Process(
            pid=self.pid,
            start=row.stat.start,
            uid=row.uid,
            gid=row.gid,
            user=user_name(row.uid),
            name=self.role.name,
            role=self.role.role,
            python=interpreter.version if interpreter else None,
            cpu=None if row.cpu is None else round(row.cpu, 1),
            reason=reason,
        )


class _Narrowing:
    """The selectors but ``max_targets``, applied: who is meant, and how many each of them matched."""

    def __init__(self, table: Table, selectors: Selectors, uid: Optional[int]) -> None:
        self._selectors = selectors
        self._uid = uid
        self._all = [row for row in table.values() if not row.stat.kernel and not row.own]
        self._pattern = _matching(self._all, selectors.pattern)
        self._exclude = _matching(self._all, selectors.exclude)

    def refusal(self, process: _Python) -> str:
        """Why this process is not meant; "" when it is."""
        selectors, role, pid = self._selectors, process.role, process.pid
        if process.row.own:
            return "never a target: " + process.row.own
        if selectors.pids and pid not in selectors.pids and role.master not in selectors.pids:
            return "not among the given pids"
        # Who names a master means its workers.
        if selectors.pattern and not self._pattern & {pid, role.speaker, role.master}:
            return "does not match the pattern"
        if self._uid is not None and process.row.uid != self._uid:
            return "runs as %s, not as %s" % (user_name(process.row.uid), selectors.user)
        # Excluding is about the process itself: exclude=master must not take the workers too.
        if selectors.exclude and self._exclude & {pid, role.speaker}:
            return "matches exclude"
        return ""

    def notes(self, found: List[_Python]) -> List[str]:
        selectors, notes = self._selectors, []
        python = {process.pid for process in found if not process.row.own}
        of_all = "of %d processes (%d are Python)" % (len(self._all), len(python))
        if selectors.pattern:
            notes.append("pattern '%s' matched %d %s" % (selectors.pattern, len(self._pattern), of_all))
            if self._pattern and not self._pattern & python:
                notes[-1] += "; none of those matched is Python"
        if selectors.user:
            owned = [process for process in found if process.row.uid == self._uid and not process.row.own]
            notes.append("user '%s' runs %d of the %d Python processes" % (selectors.user, len(owned), len(python)))
        if selectors.exclude:
            notes.append("exclude '%s' matched %d %s" % (selectors.exclude, len(self._exclude), of_all))
        if not python:
            notes.append("none of the %d processes is Python" % len(self._all))
        return notes


def _matching(rows: List[Row], expression: str) -> Set[int]:
    search = re.compile(expression).search
    return {row.stat.pid for row in rows if search(row.command())} if expression else set()


def _unfit(process: _Python, selectors: Selectors) -> str:
    """Why a process that is meant is no target; "" when it is one."""
    role, interpreter = process.role, process.row.interpreter
    if process.row.zombie():
        return "zombie: it has ended, its parent has not noticed"
    if interpreter is not None and interpreter.unsupported:
        return interpreter.unsupported
    if role.role == HELPER:
        return "%s: never worth a profile" % role.name
    if role.role == MASTER and not _works_itself(process):
        instead = "; its workers are meant instead" if process.pid in selectors.pids else ""
        return _master_of(role) + instead
    return ""


def _works_itself(process: _Python) -> bool:
    """A parent of a pool often does the hot work; what calls itself a master does not."""
    return not process.role.certain and process.cpu >= BUSY_MASTER


def _pool(fit: List[_Python], selectors: Selectors) -> List[_Python]:
    """The first of ``fit`` (hottest first) that may be taken: without a selector the busy ones, if there are any."""
    busy = [process for process in fit if process.cpu > 0]
    return fit if selectors.names_some() or not busy else busy


def _taken_reason(process: _Python, selectors: Selectors) -> str:
    role = process.role
    what = {WORKER: "%s worker" % role.label, SINGLE: "single process"}.get(role.role)
    reason = "%s, %s" % (what or _master_of(role) + " that works itself", _usage(process))
    if role.master in selectors.pids and process.pid not in selectors.pids:
        reason += "; its master %d was named" % role.master
    if process.guess:
        reason += "; taken for Python by its name, for its executable may not be read"
    return reason


def _left_reason(process: _Python, pool: int, selectors: Selectors) -> str:
    """``pool`` is how many there were to take from."""
    usage = "idle: " + _usage(process) if process.row.cpu == 0 else _usage(process)
    if pool >= selectors.max_targets:
        return "%s, not among the %d hottest" % (usage, selectors.max_targets)
    return "%s, and without a selector only busy processes are taken" % usage


def _usage(process: _Python) -> str:
    return "CPU not measured" if process.row.cpu is None else "%.1f %% CPU" % process.cpu


def _master_of(role: Role) -> str:
    return "%s master of %d worker%s" % (role.label, role.workers, "" if role.workers == 1 else "s")


def _notes(found: List[_Python], taken: List[_Python], skipped: int) -> List[str]:
    notes = []
    if taken and all(process.row.cpu == 0 for process in taken):
        notes.append("nothing chosen used any CPU in the half second before; in order of CPU used over their life")
    guesses = [process for process in found if process.guess and not process.row.zombie()]
    if guesses:
        notes.append(
            "%d of %d Python processes are judged by their names, for their executables may not be read without root"
            % (len(guesses), len(found))
        )
    if skipped > MAX_SKIPPED:
        notes.append("%d more skipped processes are not listed" % (skipped - MAX_SKIPPED))
    return notes


def _require(table: Table, pids: Tuple[int, ...]) -> None:
    """A process named by its PID has to be there, and fit: else the host fails, and says which and why."""
    problems = [problem for problem in (_problem(table, pid) for pid in pids) if problem]
    if problems:
        raise HostError("; ".join(problems[:10]), "", "PIDs change at every restart; " + _LIST)


def _problem(table: Table, pid: int) -> str:
    row = table.get(pid)
    if row is None:
        return "No process %d on this host" % pid
    if row.stat.kernel:
        return "Process %d is a kernel thread" % pid
    who = "Process %d (%s)" % (pid, row.role.name if row.role else display_name(row.argv, row.stat.comm))
    if row.zombie():
        return who + " has ended and is a zombie"
    if row.own:
        return "%s is never a target: %s" % (who, row.own)
    if row.interpreter is None:
        return who + " is not Python"
    if row.interpreter.unsupported:
        return "%s cannot be profiled: %s" % (who, row.interpreter.unsupported)
    if row.role is not None and row.role.role == HELPER:
        return who + " is a helper that is never worth a profile"
    return ""

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "selection" of the host wing (private to the collection): selectors to targets and skips, each with its reason.

:func:`choose` is pure: from a table of processes to a selection. :func:`look` brings the table.

Nothing typed means "what is hot now": busy processes only, but for dumps. Where nothing at all is busy, those that
used most CPU over their life are taken, and a note says so. Whoever names processes gets
them, hottest first, idle or not.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple

from ._containers import Seat
from ._facts import NO_FACTS, Facts, gather, seats_of, services_of
from ._interpreters import PINNED
from ._named import require
from ._narrowing import Candidate, Narrowing
from ._procfs import user_name
from ._selectors import Selectors
from ._survey import Table, survey, unreadable
from ._workers import HELPER, MASTER, WORKER, Role

#: CPU is measured between two looks this far apart (seconds).
PAUSE = 0.5
#: A process that only seems a master, for it has children like itself, is a target when it works this hard (%).
BUSY_MASTER = 10.0
#: More skipped processes than these are only counted.
MAX_SKIPPED = 500


class Process(NamedTuple):
    """One Python process that was considered, chosen or not; see ``_wire.Process`` for the fields on the wire.

    ``seat`` is None outside of containers. ``unit`` is the service of systemd, None in none, and where it was not
    looked up: only targets have it.
    """

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
    seat: Optional[Seat] = None
    unit: Optional[str] = None

    def to_wire(self) -> Dict[str, object]:
        wire: Dict[str, object] = dict(self._asdict())
        del wire["uid"], wire["gid"], wire["seat"]
        wire["container"] = None if self.seat is None else self.seat.container.to_wire()
        wire["container_pid"] = None if self.seat is None else self.seat.pid
        return wire


class Selection(NamedTuple):
    targets: Tuple[Process, ...]
    skipped: Tuple[Process, ...]
    notes: Tuple[str, ...]
    found: int = 0

    def to_wire(self) -> Dict[str, object]:
        """``found``: how many Python processes there are; not all that were skipped are listed."""
        return {
            "targets": [target.to_wire() for target in self.targets],
            "skipped": [process.to_wire() for process in self.skipped],
            "notes": list(self.notes),
            "found": self.found,
        }


def look(selectors: Selectors, pause: float = PAUSE, pyspy: str = PINNED) -> Selection:
    """Read this host's processes and choose. HostError when what was named cannot be had.

    Without a pause CPU is not measured, unless a selector goes by it. ``pyspy`` is the version that is to be used.
    Where it does not matter who is hot nobody waits for it, unless there are more than may be taken.
    """
    if selectors.hot or not pause:
        return _look(selectors, pause, pyspy)
    selection = _look(selectors, 0.0, pyspy)
    return _look(selectors, pause, pyspy) if len(selection.targets) == selectors.max_targets else selection


def _look(selectors: Selectors, pause: float, pyspy: str) -> Selection:
    uid = selectors.uid()
    table = survey(pause or (PAUSE if selectors.min_cpu else 0.0), pyspy)
    facts = gather(table, selectors, uid)
    selection = _choose_readable(table, selectors, facts)
    rows = selection.targets + selection.skipped
    seats = seats_of(table, [row.pid for row in rows], facts)
    targets, skipped = (tuple(row._replace(seat=seats.get(row.pid)) for row in some) for some in selection[:2])
    services = services_of(target.pid for target in targets)
    targets = tuple(target._replace(unit=services.get(target.pid)) for target in targets)
    return selection._replace(targets=targets, skipped=skipped)


def choose(table: Table, selectors: Selectors, facts: Facts = NO_FACTS) -> Selection:
    """Targets, hottest first, and a reason for every Python process."""
    require(table, selectors, facts)
    found = Candidate.all_in(table)
    narrowing = Narrowing(table, selectors, facts)
    fit: List[Candidate] = []
    skipped: List[Tuple[bool, Process]] = []
    for process in found:
        stranger = narrowing.refusal(process)
        reason = stranger or _unfit(process, selectors)
        if reason:
            skipped.append((bool(stranger), _described(process, reason)))
        else:
            fit.append(process)
    fit.sort(key=Candidate.coldness)
    pool = _pool(fit, selectors)
    taken = pool[: selectors.max_targets]
    left = [_described(process, _left_reason(process, len(pool), selectors)) for process in fit[len(taken) :]]
    # What came nearest to being chosen comes first: the list is bounded.
    skipped.sort(key=lambda pair: (pair[0], pair[1].pid))
    rows = left + [process for _stranger, process in skipped]
    notes = narrowing.notes(found) + _notes(found, taken, len(rows))
    targets = tuple(_described(process, _taken_reason(process, selectors, narrowing)) for process in taken)
    return Selection(targets, tuple(rows[:MAX_SKIPPED]), tuple(notes), len(found))


def _choose_readable(table: Table, selectors: Selectors, facts: Facts) -> Selection:
    """The choice, made once more where a closer look at those chosen shows that py-spy cannot read one of them."""
    selection = choose(table, selectors, facts)
    if unreadable(table, [target.pid for target in selection.targets]):
        # Where one runs a library that is gone, others do too: all are looked at.
        table.update(unreadable(table, table))
        selection = choose(table, selectors, facts)
    return selection


def _described(process: Candidate, reason: str) -> Process:
    row, role, interpreter = process.row, process.role, process.row.interpreter
    return Process(
        pid=process.pid,
        start=row.stat.start,
        uid=row.uid,
        gid=row.gid,
        user=user_name(row.uid),
        name=role.name,
        role=role.role,
        python=interpreter.version if interpreter else None,
        cpu=None if row.cpu is None else round(row.cpu, 1),
        reason=reason,
    )


def _unfit(process: Candidate, selectors: Selectors) -> str:
    """Why a process that is meant is no target; "" when it is one."""
    role, interpreter = process.role, process.row.interpreter
    if process.row.zombie():
        return "zombie: it has ended, its parent has not noticed"
    if interpreter is not None and interpreter.unsupported:
        return interpreter.unsupported
    if role.role == HELPER:
        return "%s: never worth a profile" % role.name
    if selectors.process_role == MASTER and role.role != MASTER:
        return "%s, and only masters are asked for" % _what(role)
    if selectors.process_role == WORKER and role.role == MASTER and not _works_itself(process, selectors):
        instead = "; its workers are meant instead" if process.pid in selectors.pids else ""
        return _what(role) + instead
    if process.row.cpu is not None and process.cpu < selectors.min_cpu:
        return "%s, less than the %g %% of min_cpu" % (_usage(process), selectors.min_cpu)
    return ""


def _works_itself(process: Candidate, selectors: Selectors) -> bool:
    """A parent of a pool often does the hot work, or may hang; what calls itself a master does neither."""
    busy = process.cpu >= BUSY_MASTER if selectors.hot else True
    return busy and not process.role.certain


def _pool(fit: List[Candidate], selectors: Selectors) -> List[Candidate]:
    """The first of ``fit`` (hottest first) that may be taken: without a selector the busy ones, if there are any."""
    busy = [process for process in fit if process.cpu > 0]
    return busy if busy and selectors.hot and not selectors.names_some() else fit


def _taken_reason(process: Candidate, selectors: Selectors, narrowing: Narrowing) -> str:
    what = _what(process.role)
    if process.role.role == MASTER and selectors.process_role == WORKER and process.cpu >= BUSY_MASTER:
        what += " that works itself"
    reason = "%s, %s" % (what, _usage(process))
    through = narrowing.through_master(process)
    if through:
        reason += "; " + through
    if process.guess:
        reason += "; taken for Python by its name, for its executable may not be read"
    return reason


def _left_reason(process: Candidate, pool: int, selectors: Selectors) -> str:
    """``pool`` is how many there were to take from."""
    usage = "idle: " + _usage(process) if process.row.cpu == 0 else _usage(process)
    if pool >= selectors.max_targets:
        return "%s, not among the %d hottest" % (usage, selectors.max_targets)
    return "%s, and without a selector only busy processes are taken" % usage


def _usage(process: Candidate) -> str:
    return "CPU not measured" if process.row.cpu is None else "%.1f %% CPU" % process.cpu


def _what(role: Role) -> str:
    """What a process is in its tree, in words."""
    if role.role == MASTER:
        return "%s master of %d worker%s" % (role.label, role.workers, "" if role.workers == 1 else "s")
    return "%s worker" % role.label if role.role == WORKER else "single process"


def _notes(found: List[Candidate], taken: List[Candidate], skipped: int) -> List[str]:
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

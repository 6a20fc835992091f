# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "narrowing" of the host wing (private to the collection): which of the Python processes the selectors mean.

Pure. Whether one that is meant is fit for a target is the business of ``_selection``.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Set, Tuple

from ._facts import Facts
from ._matching import matching
from ._procfs import user_name
from ._selectors import Selectors
from ._survey import Row, Table
from ._workers import MASTER, Role, display_name


class Candidate(NamedTuple):
    """A Python process of the table, with its role at hand."""

    row: Row
    role: Role

    @classmethod
    def all_in(cls, table: Table) -> List[Candidate]:
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


class Narrowing:
    """The selectors that say who is meant, applied; and how many processes each of them matched."""

    def __init__(self, table: Table, selectors: Selectors, facts: Facts) -> None:
        self._table = table
        self._selectors = selectors
        self._facts = facts
        self._all = [row for row in table.values() if not row.stat.kernel and not row.own]
        self._pattern = matching(self._all, "pattern", selectors.pattern)
        self._exclude = matching(self._all, "exclude", selectors.exclude)
        self._below = below(table, selectors.children_of) if selectors.children_of else set()

    def refusal(self, process: Candidate) -> str:
        """Why this process is not meant; "" when it is. Who names a master means its workers."""
        selectors, role, pid = self._selectors, process.role, process.pid
        if process.row.own:
            return "never a target: " + process.row.own
        if selectors.pids and pid not in selectors.pids and role.master not in selectors.pids:
            return "not among the given pids"
        if selectors.children_of and pid not in self._below:
            return "not below process %d" % selectors.children_of
        if self._facts.unit is not None and pid not in self._facts.unit.pids:
            return "not in the unit " + selectors.unit
        port = self._facts.port
        if port is not None and not port.pids & {pid, role.master}:
            return (
                "its open files cannot all be read, so it may listen on port %d or not" % selectors.port
                if pid in port.unknown
                else "does not listen on port %d" % selectors.port
            )
        outside = self._outside(process)
        if outside:
            return outside
        if selectors.pattern and not self._pattern & {pid, role.speaker, role.master}:
            return "does not match the pattern"
        if self._facts.uid is not None and process.row.uid != self._facts.uid:
            return "runs as %s, not as %s" % (user_name(process.row.uid), selectors.user)
        # Excluding is about the process itself: exclude=master must not take the workers too.
        if selectors.exclude and self._exclude & {pid, role.speaker}:
            return "matches exclude"
        return ""

    def _outside(self, process: Candidate) -> str:
        """Why it is not in a container that is meant; "" when it is, or none was asked for."""
        insides, selectors = self._facts.insides, self._selectors
        if insides is None:
            return ""
        if process.pid not in insides.pids:
            return "not in " + selectors.where()
        if selectors.container_pids and not insides.named & {process.pid, process.role.master}:
            return "not among the given container_pids"
        return ""

    def through_master(self, process: Candidate) -> str:
        """What was said of its master and not of itself, where it is meant for that; "" for all others."""
        selectors, role, pid = self._selectors, process.role, process.pid
        said = []
        if role.master in selectors.pids and pid not in selectors.pids:
            said.append("was named")
        if role.master in self._pattern and not self._pattern & {pid, role.speaker}:
            said.append("matches the pattern")
        if self._facts.port is not None and role.master in self._facts.port.pids and pid not in self._facts.port.pids:
            said.append("listens on port %d" % selectors.port)
        if self._facts.insides is not None and role.master in self._facts.insides.named - {pid}:
            if pid not in self._facts.insides.named:
                said.append("was named by its number in the container")
        return "its master %d %s" % (role.master, " and ".join(said)) if said else ""

    def notes(self, found: List[Candidate]) -> List[str]:
        """One line for each selector that was given."""
        selectors, notes = self._selectors, []
        mine = [process for process in found if not process.row.own]
        python = {process.pid for process in mine}
        of_all = "of %d processes (%d are Python)" % (len(self._all), len(python))
        of_python = "of the %d Python processes" % len(python)

        def no_python(matched: Set[int]) -> str:
            return "; none of those matched is Python" if matched and not matched & python else ""

        if selectors.children_of:
            row = self._table[selectors.children_of]
            who = "%d (%s)" % (selectors.children_of, display_name(row.argv, row.stat.comm))
            matched = {row.stat.pid for row in self._all} & self._below
            notes.append("children_of %s matched %d %s" % (who, len(matched), of_all) + no_python(matched))
        if selectors.pattern:
            matched = self._pattern
            notes.append("pattern '%s' matched %d %s" % (selectors.pattern, len(matched), of_all) + no_python(matched))
        if selectors.user:
            owned = sum(process.row.uid == self._facts.uid for process in mine)
            notes.append("user '%s' runs %d %s" % (selectors.user, owned, of_python))
        unit = self._facts.unit
        if unit is not None:
            notes.append("unit '%s' matched %d %s" % (selectors.unit, len(unit.pids & python), of_python))
            if unit.of_users:
                notes[-1] += ", in a user's own systemd, for no unit of the system has that name"
        port = self._facts.port
        if port is not None:
            notes.append("port %d matched %d %s" % (selectors.port, len(port.pids & python), of_python))
            unknown = len(port.unknown & python)
            if unknown:
                notes[-1] += "; of %d it cannot be told, for not all their open files can be read" % unknown
        insides = self._facts.insides
        if insides is not None:
            notes.append("%s matched %d %s" % (selectors.where(), len(insides.pids & python), of_python))
            if insides.claim:
                notes[-1] += ", by the word of %s alone, for no container of root's is called so" % insides.claim
        if selectors.process_role == MASTER:
            masters = sum(process.role.role == MASTER for process in mine)
            notes.append("process_role 'master' matched %d %s" % (masters, of_python))
        if selectors.min_cpu and any(process.row.cpu is not None for process in mine):
            busy = sum(process.cpu >= selectors.min_cpu for process in mine)
            notes.append("min_cpu %g matched %d %s" % (selectors.min_cpu, busy, of_python))
        if selectors.exclude:
            notes.append("exclude '%s' matched %d %s" % (selectors.exclude, len(self._exclude), of_all))
        if not python:
            notes.append("none of the %d processes is Python" % len(self._all))
        return notes


def below(table: Table, top: int) -> Set[int]:
    """All descendants of a process, without itself. A cycle, as a torn look may show, does no harm."""
    children: Dict[int, List[int]] = {}
    for pid, row in table.items():
        children.setdefault(row.stat.ppid, []).append(pid)
    found: Set[int] = set()
    left = list(children.get(top, ()))
    while left:
        pid = left.pop()
        if pid not in found and pid != top:
            found.add(pid)
            left += children.get(pid, ())
    return found

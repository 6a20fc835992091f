# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "named" of the host wing (private to the collection): what a user named has to be there, else the host fails.

Pure. A pattern that nothing matches is an answer; a PID that is not there is a mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterable, List, Tuple

from ._errors import HostError
from ._facts import Facts
from ._selectors import Selectors
from ._survey import Row, Table
from ._workers import HELPER, display_name

if TYPE_CHECKING:
    from ._cgroups import Members
    from ._insides import Insides
    from ._sockets import Listeners

#: More of what is wrong is not told at once.
_MOST = 10
_LIST = "`ansible HOST -b -m pyspy.fleet.python_process_info` lists the Python processes of a host"
_LISTENERS = "`ss -ltnp` on the host lists who listens on which port"
_CALLED = (
    "`docker ps`, `podman ps`, `crictl ps` … on the host list them; only root is told most names, so use become (-b)"
)
_LONGER = "give more of its id, or its name"
_STALE = "PIDs change at every restart, and those inside a container go into container_pids; " + _LIST
_STALE_INSIDE = "PIDs change at every restart, inside a container too; " + _LIST


def require(table: Table, selectors: Selectors, facts: Facts) -> None:
    """HostError where something that was named is not there, or can never be a target."""
    _require_pids(table, selectors.pids)
    if selectors.children_of:
        problem = _absence(table, selectors.children_of)
        if problem:
            raise HostError(problem + ", so nothing is below it", "", _STALE)
    if facts.unit is not None:
        _require_unit(table, selectors.unit, facts.unit)
    if facts.port is not None:
        _require_port(table, selectors.port, facts.port)
    if facts.insides is not None:
        _require_insides(table, selectors, facts.insides)


def _require_pids(table: Table, pids: Tuple[int, ...]) -> None:
    """A process named by its PID has to be there, and fit: else the host fails, and says which and why."""
    problems = _problems(table, pids)
    if problems:
        raise HostError("; ".join(problems[:_MOST]), "", _STALE)


def _require_unit(table: Table, name: str, unit: Members) -> None:
    if not unit.pids:
        reason = "No process of this host is in the unit " + name
        if not unit.systemd:
            remedy = "name the processes in another way: by port, pattern or user"
            raise HostError(reason, "systemd does not run on this host", remedy)
        remedy = "`systemctl status '%s'` on the host says whether it runs, and under which name" % name
        raise HostError(reason, "", remedy)
    problems = _problems(table, sorted(unit.pids))
    if len(problems) == len(unit.pids):
        raise HostError("Nothing in the unit %s can be a target" % name, "; ".join(problems[:_MOST]), _LIST)


def _require_port(table: Table, number: int, port: Listeners) -> None:
    if not port.pids:
        several = "%d process%s" % (len(port.unknown), "" if len(port.unknown) == 1 else "es")
        unseen = "the open files of %s cannot all be read" % several if port.unknown else ""
        remedy = "use become (-b): root may read them" if unseen else _LISTENERS
        if port.heard:
            reason = "Somebody listens on TCP port %d, and who it is cannot be told" % number
            raise HostError(reason, unseen or "the kernel itself does, or a process that is hidden from us", remedy)
        nobody = "Nobody that can be seen" if unseen else "Nobody"
        raise HostError("%s listens on TCP port %d" % (nobody, number), unseen, remedy)
    problems = _problems(table, sorted(port.pids))
    if len(problems) == len(port.pids):
        raise HostError("What listens on TCP port %d cannot be a target" % number, "; ".join(problems[:_MOST]), _LIST)


def _require_insides(table: Table, selectors: Selectors, insides: Insides) -> None:
    """A container has to be there; a pod may be on another node."""
    name = selectors.container
    if insides.several:
        raise HostError("Several containers have an id that begins with " + name, _some(insides.several), _LONGER)
    if not insides.pids:
        if name and not (selectors.kube_pod or selectors.kube_namespace):
            others = "there are " + _some(insides.others) if insides.others else "there is none with a process in it"
            raise HostError("No container on this host is called %s, or has that id" % name, others, _CALLED)
        return
    if insides.absent:
        numbers = ", ".join(map(str, insides.absent[:_MOST]))
        there = sorted(insides.seats[pid].pid for pid in insides.pids if table[pid].interpreter is not None)
        detail = "its Python processes are %s" % ", ".join(map(str, there[:_MOST])) if there else "it has no Python"
        mistaken = set(insides.absent) & insides.pids
        remedy = "numbers of the host go into pids" if mistaken else _STALE_INSIDE
        raise HostError("No process %s in %s" % (numbers, selectors.where()), detail, remedy)
    problems = _problems(table, sorted(insides.named or insides.pids))
    if insides.named and problems:
        raise HostError("; ".join(problems[:_MOST]), "", _STALE_INSIDE)
    if len(problems) == len(insides.pids):
        raise HostError("Nothing in %s can be a target" % selectors.where(), "; ".join(problems[:_MOST]), _LIST)


def _some(labels: Tuple[str, ...]) -> str:
    more = " and %d more" % (len(labels) - _MOST) if len(labels) > _MOST else ""
    return ", ".join(labels[:_MOST]) + more


def _problems(table: Table, pids: Iterable[int]) -> List[str]:
    return [problem for problem in (_problem(table, pid) for pid in pids) if problem]


def _problem(table: Table, pid: int) -> str:
    """Why a process can never be a target; "" when it can."""
    absent = _absence(table, pid)
    if absent:
        return absent
    row = table[pid]
    who = _who(row)
    if row.own:
        return "%s is never a target: %s" % (who, row.own)
    if row.interpreter is None:
        return who + " is not Python"
    if row.interpreter.unsupported:
        return "%s cannot be profiled: %s" % (who, row.interpreter.unsupported)
    if row.role is not None and row.role.role == HELPER:
        return who + " is a helper that is never worth a profile"
    return ""


def _absence(table: Table, pid: int) -> str:
    """Why there is no such program on this host; "" when there is."""
    row = table.get(pid)
    if row is None:
        return "No process %d on this host" % pid
    if row.stat.kernel:
        return "Process %d is a kernel thread" % pid
    if row.zombie():
        return _who(row) + " has ended and is a zombie"
    return ""


def _who(row: Row) -> str:
    return "Process %d (%s)" % (row.stat.pid, row.role.name if row.role else display_name(row.argv, row.stat.comm))

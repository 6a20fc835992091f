# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "facts" of the host wing (private to the collection): what a selector needs and the table of processes lacks.

The second edge below ``_selection``, beside ``_survey``: each thing is read only where its selector was given, and of
those processes only that may become targets. Where none of these is what was named, the others are read too, to say
what is there instead. A PID that has changed hands since the table was made does no harm: the target that was meant is
gone, and whoever attaches compares start times. What only some selectors need is imported there: every host pays for
every import in every pass.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Dict, Iterable, NamedTuple, Optional, Set

from ._containers import Containers, Seat
from ._procfs import Gone, ProcessDir
from ._selectors import Selectors
from ._survey import Table

if TYPE_CHECKING:
    from ._cgroups import Members
    from ._insides import Insides
    from ._sockets import Listeners


class Facts(NamedTuple):
    """None where it was not asked for.

    ``uid`` is the number of the selector ``user``; ``unit`` is who is in the unit of that selector, ``port`` who
    listens on that port, ``insides`` who is in the containers of those selectors.
    """

    uid: Optional[int] = None
    unit: Optional[Members] = None
    port: Optional[Listeners] = None
    insides: Optional[Insides] = None


NO_FACTS = Facts()


def gather(table: Table, selectors: Selectors, uid: Optional[int]) -> Facts:
    """What the selectors need of this host, as it is now."""
    return Facts(
        uid,
        unit=_unit(table, selectors.unit) if selectors.unit else None,
        port=_port(table, selectors.port) if selectors.port else None,
        insides=_insides(table, selectors) if selectors.goes_by_container() else None,
    )


def seats_of(table: Table, pids: Iterable[int], facts: Facts) -> Dict[int, Seat]:
    """In which container each of these is; who is in none is not there."""
    known = facts.insides.seats if facts.insides is not None else {}
    wanted = set(pids)
    found = {pid: known[pid] for pid in wanted & set(known)}
    found.update(Containers(table).of(wanted - set(known)))
    return found


def services_of(pids: Iterable[int]) -> Dict[int, str]:
    """In which service of systemd each of these is; who is in none is not there."""
    from ._cgroups import place

    init = _cgroups([1]).get(1, {})
    found = {pid: place(paths, init).service for pid, paths in _cgroups(pids).items()}
    return {pid: service for pid, service in found.items() if service}


def _unit(table: Table, name: str) -> Members:
    from ._cgroups import members, place

    python = _python(table)
    init = _cgroups([1]).get(1, {})
    places = {pid: place(paths, init) for pid, paths in _cgroups(python).items()}
    found = members(places, name)
    if not found.pids or found.of_users:
        rest = _cgroups(_programs(table) - python)
        places.update((pid, place(paths, init)) for pid, paths in rest.items())
        found = members(places, name)
    return found._replace(systemd=os.path.isdir("/run/systemd/system"))  # what sd_booted(3) goes by


def _port(table: Table, port: int) -> Listeners:
    from ._sockets import find_listeners

    python = _python(table)
    found = find_listeners(python, port)
    return found if found.pids else found.plus(find_listeners(_programs(table) - python, port))


def _insides(table: Table, selectors: Selectors) -> Insides:
    from ._insides import insides

    containers = Containers(table)
    seats = containers.of(_python(table))
    found = insides(seats, selectors)
    if found.pids and not found.absent:
        return found
    return insides({**seats, **containers.of(_programs(table) - set(seats))}, selectors)


def _cgroups(pids: Iterable[int]) -> Dict[int, Dict[str, str]]:
    from ._cgroups import parse_cgroup

    found = {}
    for pid in pids:
        try:
            with ProcessDir(pid) as process:
                found[pid] = parse_cgroup(process.cgroup())
        except Gone:
            continue
    return found


def _python(table: Table) -> Set[int]:
    return {pid for pid, row in table.items() if row.interpreter is not None and not row.own}


def _programs(table: Table) -> Set[int]:
    return {pid for pid, row in table.items() if not row.stat.kernel}

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "insides" of the host wing (private to the collection): which processes the container selectors mean. Pure.

A name that only root can have given comes before one that is somebody's claim: who calls his container like another
one does not get into its place.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import Callable, FrozenSet, Mapping, NamedTuple, Set, Tuple

from ._containers import Container, Seat
from ._selectors import Selectors

#: A shorter piece of an id is taken for a name only.
_LEAST_PREFIX = 3


class Insides(NamedTuple):
    """Who is in the containers that are meant.

    ``pids``: everybody in them. ``named``: those of them that ``container_pids`` names, ``absent`` the numbers that
    nobody has there. ``claim``: whose word the name is, "" when it is root's. ``several``: containers that the piece
    of an id fits, where it fits more than one. ``others``: what containers there are.
    """

    seats: Mapping[int, Seat]
    pids: FrozenSet[int] = frozenset()
    named: FrozenSet[int] = frozenset()
    absent: Tuple[int, ...] = ()
    claim: str = ""
    several: Tuple[str, ...] = ()
    others: Tuple[str, ...] = ()


def insides(seats: Mapping[int, Seat], selectors: Selectors) -> Insides:
    """Who is meant by ``container``, ``container_pids``, ``kube_pod`` and ``kube_namespace``, together."""
    all_of_them = {seat.container for seat in seats.values()}
    fit = {one for one in all_of_them if _in_pod(one, selectors)}
    meant, by_prefix = _called(fit, selectors.container) if selectors.container else (fit, False)
    pids = frozenset(pid for pid, seat in seats.items() if seat.container in meant)
    named = frozenset(pid for pid in pids if seats[pid].pid in selectors.container_pids)
    found = {seats[pid].pid for pid in named}
    return Insides(
        seats,
        pids,
        named,
        tuple(pid for pid in selectors.container_pids if pid not in found),
        next((one.claim for one in meant if one.claim), ""),
        _labels(meant) if by_prefix and len(meant) > 1 else (),
        _labels(all_of_them - meant),
    )


def label(container: Container) -> str:
    """For people: what it is called, and by whom."""
    name = container.name or (container.id[:12] if len(container.id) == 64 else container.id)
    if container.pod:
        name = "%s/%s/%s" % (container.namespace, container.pod, name)
    return "%s (%s%s)" % (name, container.runtime, ", by the word of " + container.claim if container.claim else "")


def _labels(containers: Set[Container]) -> Tuple[str, ...]:
    return tuple(sorted(label(one) for one in containers))


def _in_pod(container: Container, selectors: Selectors) -> bool:
    pairs = ((selectors.kube_pod, container.pod), (selectors.kube_namespace, container.namespace))
    return all(_like(wanted)(name) for wanted, name in pairs if wanted)


def _called(containers: Set[Container], wanted: str) -> Tuple[Set[Container], bool]:
    """Those of the name, else of the id, else whose id begins so (and that this was the way)."""
    like = _like(wanted)
    for claimed in (False, True):
        some = [one for one in containers if bool(one.claim) is claimed]
        found = {one for one in some if like(one.name)} or {one for one in some if one.id == wanted}
        if found:
            return found, False
        prefix = {one for one in some if len(wanted) >= _LEAST_PREFIX and one.id.startswith(wanted)}
        if prefix:
            return prefix, True
    return set(), False


def _like(wanted: str) -> Callable[[str], bool]:
    matches = re.compile(translate(wanted)).match
    return lambda name: bool(name) and matches(name) is not None

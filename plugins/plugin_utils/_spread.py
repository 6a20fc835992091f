# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "spread" of the controller wing (private to the collection): shares of functions, and how hosts differ in them.

Shares are samples, and so have an error. Samples of one worker hang together (a worker serves some requests and not
others), so that their number alone promises too much: with :data:`ENOUGH` workers the error comes from how much they
differ (the standard error of a ratio over clusters), and is never less than that of as many independent samples. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from ._calls import Calls

#: Workers from which on their differences say something about the error.
ENOUGH = 5
#: An error is given as this many standard errors: 19 of 20 true values are within.
ERRORS = 2.0
#: A host is unlike the others in a function where its share differs from their median by more than this (a share), and
#: by more than so many times what the others differ among each other and its own standard error together.
ODD_BY, ODD_TIMES = 0.03, 4.0
#: Hosts that it takes to say what is usual.
USUAL = 4
#: 1.4826 × the median of absolute deviations is the standard deviation of a normal distribution.
_MAD = 1.4826


@dataclass
class Usage:
    """Seconds of one worker, or of several: in all, and of each function by itself and with what it calls."""

    seconds: float = 0.0
    samples: int = 0
    own: dict[int, float] = field(default_factory=dict)
    total: dict[int, float] = field(default_factory=dict)

    def add(self, other: Usage) -> None:
        self.seconds += other.seconds
        self.samples += other.samples
        for mine, others in ((self.own, other.own), (self.total, other.total)):
            for function, seconds in others.items():
                mine[function] = mine.get(function, 0.0) + seconds

    def share(self, function: int) -> float:
        return self.own.get(function, 0.0) / self.seconds if self.seconds else 0.0


class OnHost(NamedTuple):
    """A function's own share of one host's time."""

    host: str
    share: float


class Row(NamedTuple):
    """One function of the fleet. Shares are of 1; ``own_error`` and ``total_error`` are ± around them.

    ``lowest`` and ``highest`` are the hosts with the least and the largest own share, ``median`` is over hosts.
    """

    name: str
    file: str
    line: int
    own: float
    own_error: float
    total: float
    total_error: float
    lowest: OnHost
    median: float
    highest: OnHost


class Difference(NamedTuple):
    """A function in which a host differs: its own share here, and the median of the other hosts."""

    name: str
    file: str
    line: int
    here: float
    others: float
    odd: bool


class Apart(NamedTuple):
    """One host beside the rest. ``unlike`` (0 to 1) is the share of its time that others spend elsewhere."""

    host: str
    workers: int
    samples: int
    unlike: float
    differences: tuple[Difference, ...]

    @property
    def odd(self) -> bool:
        return any(difference.odd for difference in self.differences)


def usages(tree: Calls) -> list[Usage]:
    """What each worker did, in the order of ``tree.workers``."""
    outermost = _outermost(tree)
    found = [Usage() for _worker in tree.workers]
    spent: list[dict[int, float]] = [{} for _worker in tree.workers]
    for series in tree.series:
        nodes = spent[series.worker]
        found[series.worker].samples += series.samples
        for node, samples in series.own.items():
            nodes[node] = nodes.get(node, 0.0) + samples * series.tick
    for usage, nodes in zip(found, spent, strict=True):
        usage.seconds = math.fsum(nodes.values())
        _tell(tree, outermost, nodes, usage)
    return found


def _tell(tree: Calls, outermost: Sequence[bool], nodes: dict[int, float], usage: Usage) -> None:
    """Own seconds of nodes to seconds of functions."""
    for node, seconds in nodes.items():
        place = tree.places[node]
        usage.own[place] = usage.own.get(place, 0.0) + seconds
    touched = set(nodes)
    for node in list(nodes):
        while (node := tree.parents[node]) >= 0 and node not in touched:
            touched.add(node)
    # Nodes come after their callers: backwards each is whole before it is added to its caller.
    for node in sorted(touched, reverse=True):
        seconds, parent = nodes.get(node, 0.0), tree.parents[node]
        if parent >= 0:
            nodes[parent] = nodes.get(parent, 0.0) + seconds
        if outermost[node]:
            place = tree.places[node]
            usage.total[place] = usage.total.get(place, 0.0) + seconds


def _outermost(tree: Calls) -> list[bool]:
    """Is no caller of a node the same function? Recursion counts once."""
    found = [False]
    path: list[int] = [0]
    active: dict[int, int] = {}
    for node in range(1, len(tree.parents)):
        while path[-1] != tree.parents[node]:
            active[tree.places[path.pop()]] -= 1
        place = tree.places[node]
        found.append(not active.get(place))
        active[place] = active.get(place, 0) + 1
        path.append(node)
    return found


def by_host(tree: Calls, each: Sequence[Usage]) -> dict[str, Usage]:
    hosts: dict[str, Usage] = {}
    for worker, usage in zip(tree.workers, each, strict=True):
        hosts.setdefault(worker.host, Usage()).add(usage)
    return {host: usage for host, usage in sorted(hosts.items()) if usage.seconds}


def whole(each: Iterable[Usage]) -> Usage:
    fleet = Usage()
    for usage in each:
        fleet.add(usage)
    return fleet


def error(parts: Sequence[tuple[float, float]], samples: int) -> float:
    """± of a ratio: ``parts`` are (seconds of the function, seconds in all) of each worker."""
    parts = [part for part in parts if part[1]]
    seconds = math.fsum(all_of for _some, all_of in parts)
    if not seconds or not samples:
        return 0.0
    ratio = math.fsum(some for some, _all in parts) / seconds
    counted = math.sqrt(ratio * (1 - min(ratio, 1.0)) / samples)
    if len(parts) < ENOUGH:
        return ERRORS * counted
    squares = math.fsum((some - ratio * all_of) ** 2 for some, all_of in parts)
    return ERRORS * max(counted, math.sqrt(squares * len(parts) / (len(parts) - 1)) / seconds)


def rows(tree: Calls, each: Sequence[Usage]) -> list[Row]:
    """All functions, hottest (own) first."""
    fleet, hosts, lines = whole(each), by_host(tree, each), _lines(tree)
    found = []
    for place, total in fleet.total.items():
        own = fleet.own.get(place, 0.0)
        on = [OnHost(host, usage.share(place)) for host, usage in hosts.items()]
        found.append(
            Row(
                *tree.functions[place],
                lines[place],
                own / fleet.seconds,
                error([(usage.own.get(place, 0.0), usage.seconds) for usage in each], fleet.samples),
                total / fleet.seconds,
                error([(usage.total.get(place, 0.0), usage.seconds) for usage in each], fleet.samples),
                min(on, key=lambda one: one.share),
                median(one.share for one in on),
                max(on, key=lambda one: one.share),
            )
        )
    return sorted(found, key=lambda row: (-row.own, -row.total, row.name, row.file))


def _lines(tree: Calls) -> dict[int, int]:
    """The line of each function in the hottest of its nodes."""
    own: dict[int, int] = {}
    for series in tree.series:
        for node, samples in series.own.items():
            own[node] = own.get(node, 0) + samples
    best: dict[int, tuple[int, int]] = {}
    for node, place in enumerate(tree.places):
        best[place] = max(best.get(place, (-1, 0)), (own.get(node, 0), tree.lines[node]))
    return {place: line for place, (_samples, line) in best.items()}


def apart(tree: Calls, each: Sequence[Usage], most: int = 3) -> list[Apart]:
    """Each host beside the others, the most unlike first, with its ``most`` largest differences, the odd ones first."""
    hosts, lines = by_host(tree, each), _lines(tree)
    if len(hosts) < 2:
        return []
    members: dict[str, list[Usage]] = {}
    for worker, usage in zip(tree.workers, each, strict=True):
        members.setdefault(worker.host, []).append(usage)
    fleet = whole(each)
    found = [
        Apart(
            host,
            sum(1 for usage in members[host] if usage.seconds),
            usage.samples,
            _unlike(usage, fleet),
            tuple(_differences(tree, lines, host, hosts, members[host])[:most]),
        )
        for host, usage in hosts.items()
    ]
    return sorted(found, key=lambda one: (not one.odd, -one.unlike, one.host))


def _unlike(usage: Usage, fleet: Usage) -> float:
    """Half of what the shares differ from those of all other hosts together."""
    rest = fleet.seconds - usage.seconds
    gaps = (
        abs(usage.share(place) - (seconds - usage.own.get(place, 0.0)) / rest) for place, seconds in fleet.own.items()
    )
    return min(1.0, math.fsum(gaps) / 2)


def _differences(
    tree: Calls, lines: Mapping[int, int], host: str, hosts: Mapping[str, Usage], members: Sequence[Usage]
) -> list[Difference]:
    usage = hosts[host]
    others = [one for name, one in hosts.items() if name != host]
    found = []
    for place in {place for one in hosts.values() for place in one.own}:
        shares = [one.share(place) for one in others]
        here, usual = usage.share(place), median(shares)
        gap = abs(here - usual)
        if gap < ODD_BY / 3:
            continue
        among = _MAD * median(abs(share - usual) for share in shares)
        mine = error([(one.own.get(place, 0.0), one.seconds) for one in members], usage.samples) / ERRORS
        odd = len(hosts) >= USUAL and gap > max(ODD_BY, ODD_TIMES * math.hypot(among, mine))
        found.append(Difference(*tree.functions[place], lines[place], here, usual, odd))
    return sorted(found, key=lambda one: (not one.odd, -abs(one.here - one.others), one.name, one.file))

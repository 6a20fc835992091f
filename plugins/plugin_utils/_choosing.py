# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "choosing" of the controller wing (private to the collection): which hosts a round visits, and in which waves.

The choice goes by a hash of the host's name: it has nothing to do with what the host is or does, is the same in every
round, and hardly changes when hosts come and go. Pure.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence


def chosen(hosts: Iterable[str], share: float) -> tuple[str, ...]:
    """The share (0 to 1) of the hosts with the lowest hashes, rounded up."""
    ranked = sorted(hosts, key=_rank)
    # 0.3 of 10 is 3, although 0.3 * 10 is a little more in binary.
    return tuple(ranked[: math.ceil(round(share * len(ranked), 6))])


def waves(services: Mapping[str, Sequence[str]], at_once: float) -> list[tuple[str, ...]]:
    """Hosts one wave after the other, so that none has more than that share of the hosts of any service.

    ``services`` are those of each host; one host of a service may always be visited. A host without any goes with
    the first wave.
    """
    limits = {name: max(1, math.floor(round(at_once * many, 6))) for name, many in _count(services).items()}
    found: list[list[str]] = []
    taken: list[Counter[str]] = []
    for host in sorted(services, key=_rank):
        mine = set(services[host])
        number = next(
            (n for n, some in enumerate(taken) if all(some[name] < limits[name] for name in mine)), len(found)
        )
        if number == len(found):
            found.append([])
            taken.append(Counter())
        found[number].append(host)
        taken[number].update(mine)
    return [tuple(wave) for wave in found]


def _count(services: Mapping[str, Sequence[str]]) -> Counter[str]:
    return Counter(name for some in services.values() for name in set(some))


def _rank(host: str) -> tuple[bytes, str]:
    return hashlib.sha256(host.encode("utf-8", "surrogateescape")).digest(), host

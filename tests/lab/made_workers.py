# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "made_workers" of the lab (private to the collection): what workers of a made-up service were seen doing."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.pyspy.fleet.plugins.plugin_utils._compare import Observation

TICK = 0.01
#: What a worker of a made-up service can be asked for.
KINDS = 24
#: How often the next request is of the same kind as the last, and a worker gets a long one (2 to 10 s) in its window.
AGAIN, LONG = 0.5, 0.08
#: How alike the mixes of requests are that hosts get, and of these that workers get: parameters of Dirichlet
#: distributions, in which a kind that is a tenth of the whole has from 6 to 14 % on two of three hosts, from 2 to 18 %
#: in two of three workers.
HOSTS_ALIKE, WORKERS_ALIKE = 60.0, 12.0
#: Of days and of odd days: a kind that is a tenth of the whole has from 8.5 to 11.5 % on two of three days, from 4 to
#: 16 % on odd ones.
DAYS_ALIKE, ODD_ALIKE = 400.0, 25.0
SLOW = "add_tax"


def worker(
    host: str, samples: Mapping[str, int], callers: Mapping[str, int] | None = None, tick: float = TICK
) -> Observation:
    """A worker that was seen in these functions, all of them called by ``main``, and some of them by ``callers``."""
    own = {(name, "app.py"): count * tick for name, count in samples.items()}
    above = {(name, "app.py"): count * tick for name, count in (callers or {}).items()}
    seconds = sum(samples.values()) * tick
    return Observation(host, seconds, own, {**own, **above, ("main", "app.py"): seconds})


class Kind(NamedTuple):
    """Requests of one kind: seconds of an average one, and which functions it spends which share of it in."""

    seconds: float
    leaves: tuple[str, ...]
    weights: tuple[float, ...]


class Service:
    """Requests of some kinds, which call functions of their own and common ones, :data:`SLOW` among them.

    Hosts get a mix of their own, workers one that is like their host's; requests of one kind come in rows, and now and
    then a long one. So hardly any worker is like another, though nothing has changed. Between samples are ``tick``
    seconds.
    """

    def __init__(self, seed: int, tick: float = TICK) -> None:
        dice = random.Random(seed)
        self._tick = tick
        self._dice = dice
        self._hosts: dict[tuple[str, int], list[float]] = {}
        common = [f"common{number}" for number in range(150)]
        self._kinds = [self._kind(number, dice.sample(common, 9)) for number in range(KINDS)]
        self._mix = _parts([(1 + kind) ** -0.9 for kind in range(KINDS)])

    def _kind(self, number: int, called: Sequence[str]) -> Kind:
        leaves = [*called, *(f"view{number}.{part}" for part in range(4))]
        weights = [self._dice.gammavariate(0.7, 1.0) + 0.02 for _leaf in leaves]
        if number % 3:
            leaves.append(SLOW)
            weights.append(sum(weights) / 9)
        return Kind(self._dice.lognormvariate(math.log(0.08), 0.7), tuple(leaves), tuple(_parts(weights)))

    def share(self) -> float:
        """Of :data:`SLOW`, on average."""
        times = [part * kind.seconds for part, kind in zip(self._mix, self._kinds, strict=True)]
        slow = sum(
            time * kind.weights[-1] for time, kind in zip(times, self._kinds, strict=True) if SLOW in kind.leaves
        )
        return slow / sum(times)

    def side(self, name: str, hosts: int, workers: int, seconds: float, slower: float = 0.0) -> list[Observation]:
        """A window over other hosts of the same service. With ``slower`` the share of :data:`SLOW` is so much more."""
        mixes = (self._like(self._mix, HOSTS_ALIKE) for _host in range(hosts))
        return self._side(name, mixes, workers, seconds, slower)

    def round(
        self, hosts: int, workers: int, seconds: float, slower: float = 0.0, odd: bool = False, name: str = "h"
    ) -> list[Observation]:
        """A window on another day, which has a mix of its own; hosts of the same name stay as unlike as they are."""
        day = self._like(self._mix, ODD_ALIKE if odd else DAYS_ALIKE)
        for host in range(hosts):
            if (name, host) not in self._hosts:
                self._hosts[name, host] = self._like(self._mix, HOSTS_ALIKE)
        mixes = [
            _parts(
                [one * usual / part for one, usual, part in zip(day, self._hosts[name, host], self._mix, strict=True)]
            )
            for host in range(hosts)
        ]
        return self._side(name, mixes, workers, seconds, slower)

    def _side(
        self, name: str, mixes: Iterable[Sequence[float]], workers: int, seconds: float, slower: float
    ) -> list[Observation]:
        share = self.share()
        factor = (share + slower) * (1 - share) / (share * (1 - share - slower))
        found = []
        for host, mix in enumerate(mixes):
            for _worker in range(workers):
                seen = self._window(self._like(mix, WORKERS_ALIKE), seconds, factor)
                found.append(worker(f"{name}{host}", *seen, self._tick))
        return [one for one in found if one.seconds]

    def _like(self, mix: Sequence[float], alike: float) -> list[float]:
        return _parts([self._dice.gammavariate(alike * part, 1.0) + 1e-9 for part in mix])

    def _window(self, mix: Sequence[float], seconds: float, factor: float) -> tuple[Counter[str], Counter[str]]:
        """What is sampled of one worker, busy for 30 to 100 % of the time: functions, and the views that call them."""
        dice = self._dice
        idle = 1 / dice.uniform(0.3, 1.0) - 1
        long_one = dice.uniform(0, seconds) if dice.random() < LONG else seconds
        seen: Counter[str] = Counter()
        views: Counter[str] = Counter()
        clock = busy = 0.0
        number = -1
        while clock < seconds:
            if clock >= long_one:
                number, spent, long_one = dice.randrange(KINDS - 6, KINDS), dice.uniform(2, 10), seconds
            else:
                if number < 0 or dice.random() > AGAIN:
                    [number] = dice.choices(range(KINDS), mix)
                spent = dice.expovariate(1 / self._kinds[number].seconds)
            kind = self._kinds[number]
            for leaf, weight in zip(kind.leaves, kind.weights, strict=True):
                part = spent * weight * dice.gammavariate(1.5, 1 / 1.5) * (factor if leaf == SLOW else 1.0)
                ticks = math.floor((busy + part) / self._tick) - math.floor(busy / self._tick)
                busy += part
                clock += part
                if ticks:
                    seen[leaf] += ticks
                    views[f"view{number}"] += ticks
            clock += spent * idle * dice.expovariate(1.0)
        return seen, views


def _parts(weights: Sequence[float]) -> list[float]:
    whole = sum(weights)
    return [weight / whole for weight in weights]

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "made_workers" of the lab (private to the collection): what workers of a made-up service were seen doing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from ansible_collections.pyspy.fleet.plugins.plugin_utils._compare import Observation

TICK = 0.01
HOSTS, WORKERS, SAMPLES = 4, 4, 500


def worker(host: str, samples: Mapping[str, int]) -> Observation:
    """A worker that was seen in these functions, all of them called by ``main``."""
    own = {(name, "app.py"): count * TICK for name, count in samples.items()}
    seconds = sum(samples.values()) * TICK
    return Observation(host, seconds, own, {**own, ("main", "app.py"): seconds})


def service(dice: random.Random, slow: float = 0.0) -> list[Observation]:
    """Requests of some kinds, each of many samples; hosts have a mix of their own, and so has each worker each time.

    ``slow`` is the share of samples that are in a function which is new.
    """
    kinds = [[f"f{kind * 5 + number % 9}" for number in range(12)] for kind in range(20)]
    mixed = random.Random(1)
    found = []
    for host in range(HOSTS):
        here = [mixed.lognormvariate(0, 0.3) / (1 + kind) for kind in range(20)]
        for _worker in range(WORKERS):
            mine = [weight * dice.lognormvariate(0, 0.3) for weight in here]
            seen: Counter[str] = Counter()
            while seen.total() < SAMPLES:
                names = kinds[dice.choices(range(20), mine)[0]]
                burst = [
                    name if dice.random() >= slow else "slow" for name in dice.choices(names, k=dice.randint(5, 50))
                ]
                seen.update(burst)
            found.append(worker(f"h{host}", seen))
    return found

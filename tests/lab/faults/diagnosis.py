# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "faults" of the lab (private to the collection): dumps of a service by the host program, once it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumps import Dump
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks import Group, groups
from ansible_collections.pyspy.fleet.tests.lab.host_program import Host
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: How many threads have a frame in this function, or in this function on this line (``name:line``).
Standing = Mapping[str, int]


def diagnose(host: Host, pids: list[int], standing: Standing, looks: int = 3) -> list[Group]:
    """Wait until so many threads stand there, and all others where they will stay; look several times, a second apart."""

    def there() -> bool:
        seen = [text for body in _look(host, pids, count=1) for text in _frames(body)]
        return all(seen.count(text) >= number for text, number in standing.items())

    await_condition(f"{dict(standing)}", there)
    bodies = _look(host, pids, count=looks, interval=1.0)
    rows = zip(pids, bodies, strict=True)
    return groups(Dump.from_wire({"host": "web-07", "pid": pid, "name": "shop", **body}) for pid, body in rows)


def _look(host: Host, pids: list[int], **options: object) -> list[dict[str, Any]]:
    answer, bodies = host.dump(pids, **options)
    heads = answer["captures"]
    assert all(head["outcome"] == "profiled" for head in heads), heads
    found = {head["process"]["pid"]: body for head, body in zip(heads, bodies, strict=True)}
    return [found[pid] for pid in pids]


def _frames(body: dict[str, Any]) -> list[str]:
    frames = [frame for thread in body["looks"][-1]["threads"] for frame in thread["frames"]]
    return [text for frame in frames for text in (frame["name"], f"{frame['name']}:{frame['line']}")]

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "rounds" of the lab (private to the collection): snapshots of a fleet, into a store beside its runs."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.pyspy.fleet.plugins.plugin_utils._rounds import Visited
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store._store import open_store

from .hosts import Fleet
from .runs import Outcome, play

#: The lab's hosts share one machine, whose load is no host's own.
USUAL = {"pyspy_pattern": "gunicorn", "pyspy_snapshot_duration": 3, "pyspy_max_load": 0}


def take(fleet: Fleet, folder: Path, *words: str, **variables: object) -> Outcome:
    """One round into the store of this folder."""
    return play(fleet, folder, "snapshot", *words, **{"pyspy_snapshot_store": store_of(folder), **USUAL, **variables})


def store_of(folder: Path) -> Path:
    return folder / "snapshots.sqlite3"


def kept(folder: Path) -> list[Visited]:
    """What the store has of each round, the oldest first."""
    with open_store(str(store_of(folder)), create=False) as store:
        return [store.visited([one.name]) for one in store.rounds()]


def targets(visited: Visited) -> int:
    """Also those that had nothing to do, or got no CPU: this machine may be busy."""
    return len(visited.snapshots) + sum(len(record.captures) for record in visited.records)

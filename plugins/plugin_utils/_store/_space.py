# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "store" of the controller wing (private to the collection): what is kept, and space given back.

Age is told by the rounds: a round is too old when another one is so many days younger. A clock that jumps ahead by a
year, for one round, takes nothing away; that comes with the second such round. What was stored under a clock that had
jumped back is as old as the round before it.
"""

from __future__ import annotations

import sqlite3

from .._rounds import Retention
from ._schema import transaction

_DAY = 86400.0


def prune(database: sqlite3.Connection, keep: Retention, now: float) -> int:
    gone = 0
    with transaction(database):
        times = _times(database, now)
        gone += _remove(database, (_aged(times, keep, now) | _counted(times, keep)) - _last(database))
    while keep.size is not None and _size(database) > keep.size:
        with transaction(database):
            last = _last(database)
            rest = [number for _time, number in _times(database, now)[:-1] if number not in last]
            # Each time the oldest tenth: sizes are known only when they are gone.
            oldest = set(rest[: max(1, len(rest) // 10)])
            gone += _remove(database, oldest)
        if not oldest:
            break
    if gone:
        database.execute("DELETE FROM function WHERE id NOT IN (SELECT function FROM share)")
        # Each step of this statement gives one page back, and has no row: execute() would take one step.
        database.executescript("PRAGMA incremental_vacuum")
    return gone


def _last(database: sqlite3.Connection) -> set[int]:
    """What was stored last stays, whatever its clock said: to such a one all others may be of the future."""
    return {number for (number,) in database.execute("SELECT max(id) FROM round")}


def _times(database: sqlite3.Connection, now: float) -> list[tuple[float, int]]:
    """When rounds were taken, the oldest first: by their own clock, but not before those that were stored earlier."""
    found, latest = [], 0.0
    for began, number in database.execute("SELECT began, id FROM round ORDER BY id"):
        found.append((max(began, latest), number))
        if began <= now:
            latest = max(latest, began)
    return sorted(found)


def _aged(times: list[tuple[float, int]], keep: Retention, now: float) -> set[int]:
    if keep.days is None or len(times) < 2:
        return set()
    # The second newest: one round with a wrong clock must not make all others old.
    latest = min(now, times[-2][0]) if times[-1][0] - times[-2][0] > keep.days * _DAY else min(now, times[-1][0])
    return {number for began, number in times[:-1] if began < latest - keep.days * _DAY}


def _counted(times: list[tuple[float, int]], keep: Retention) -> set[int]:
    return set() if keep.rounds is None else {number for _began, number in times[: -max(1, keep.rounds)]}


def _remove(database: sqlite3.Connection, rounds: set[int]) -> int:
    database.executemany("DELETE FROM round WHERE id = ?", ((number,) for number in rounds))
    return len(rounds)


def _size(database: sqlite3.Connection) -> int:
    """Bytes in use."""
    page, pages, free = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return int(page * (pages - free))

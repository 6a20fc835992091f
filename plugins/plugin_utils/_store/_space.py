# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "store" of the controller wing (private to the collection): what is kept, and space given back.

Age is told by the rounds: a round is too old when another one is so many days younger. A clock that jumps ahead by a
year takes nothing away, unless rounds go on behind the jump for as long as rounds are kept. What was stored under a
clock that had jumped back is as old as the round before it.
"""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from statistics import median

from .._rounds import Retention
from ._schema import transaction

_DAY = 86400.0
#: A clock has jumped between two rounds that are so many times further apart than usual, where so many gaps say what is
#: usual: a schedule that was off for a week is none.
_JUMP, _KNOWN = 10, 3


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
    bound = keep.days * _DAY
    latest = min(now, _believed([began for began, _number in times], bound))
    return {number for began, number in times[:-1] if began < latest - bound}


def _believed(moments: list[float], bound: float) -> float:
    """The newest of these (in order) that makes others old: rounds with a wrong clock must not.

    After a gap of more than ``bound`` seconds, and of many times the usual, the rounds behind it count once they have
    gone on for as long.
    """
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    gap = max(bound, _JUMP * median(gaps)) if len(gaps) >= _KNOWN else bound
    newest = len(moments) - 1
    while True:
        first = newest
        while first and moments[first] - moments[first - 1] <= gap:
            first -= 1
        if not first or moments[newest] - moments[first] >= bound:
            return moments[newest]
        newest = first - 1


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

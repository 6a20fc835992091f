# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "store" of the controller wing (private to the collection): questions that need no profile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from .._calls import Function
from .._rounds import Round, Share, Slice, Timeline

_EVER = (float("-inf"), float("inf"))
_SLICE = (
    "SELECT slice.id, round.name, round.began, service, version, kind, slice.hosts, workers, samples, seconds"
    " FROM round CROSS JOIN slice ON slice.round = round.id"
    " WHERE round.began BETWEEN ? AND ? AND service = ? AND kind = ? ORDER BY round.began, round.name, version"
)
#: Of the hottest functions as many are those that moved most: what rises and falls is what a time line is for.
_MOVED = 3


def _span(since: float | None, until: float | None) -> tuple[float, float]:
    return _EVER[0] if since is None else since, _EVER[1] if until is None else until


def rounds(database: sqlite3.Connection, since: float | None, until: float | None) -> list[Round]:
    question = (
        "SELECT name, began, ended, hosts, chosen, user, reason FROM round"
        " WHERE began BETWEEN ? AND ? ORDER BY began, name"
    )
    return [Round(*row) for row in database.execute(question, _span(since, until))]


def services(database: sqlite3.Connection) -> list[tuple[str, str]]:
    question = "SELECT DISTINCT service, kind FROM slice ORDER BY service, kind"
    return [(str(service), str(kind)) for service, kind in database.execute(question)]


def _slices(
    database: sqlite3.Connection, service: str, kind: str, since: float | None, until: float | None
) -> dict[int, Slice]:
    rows = database.execute(_SLICE, (*_span(since, until), service, kind))
    return {row[0]: Slice(*row[1:]) for row in rows}


def slices(
    database: sqlite3.Connection, service: str, kind: str, since: float | None, until: float | None
) -> list[Slice]:
    return list(_slices(database, service, kind, since, until).values())


def timeline(
    database: sqlite3.Connection, service: str, kind: str, since: float | None, until: float | None, most: int
) -> Timeline:
    with _at_one_moment(database):
        return _timeline(database, service, kind, _slices(database, service, kind, since, until), most)


@contextmanager
def _at_one_moment(database: sqlite3.Connection) -> Iterator[None]:
    """What is asked within belongs together, though a round adds and removes meanwhile: its writer waits."""
    database.execute("BEGIN")
    try:
        yield
    finally:
        database.execute("ROLLBACK")


def _timeline(database: sqlite3.Connection, service: str, kind: str, found: dict[int, Slice], most: int) -> Timeline:
    rows = {number: place for place, number in enumerate(found)}
    shares: dict[int, dict[int, Share]] = {}
    sums: dict[int, float] = {}
    for number, one in found.items():
        for function, own, total in database.execute(
            "SELECT function, own, total FROM share WHERE slice = ?", (number,)
        ):
            share = shares.setdefault(function, {})[rows[number]] = Share(own / one.seconds, total / one.seconds)
            sums[function] = sums.get(function, 0.0) + share.own
    chosen = _chosen(shares, sums, len(found), most)
    none = Share(0.0, 0.0)
    table = tuple(tuple(shares[function].get(place, none) for function in chosen) for place in range(len(found)))
    names = tuple(_function(database, function) for function in chosen)
    return Timeline(service, kind, tuple(found.values()), names, table)


def _chosen(shares: dict[int, dict[int, Share]], sums: dict[int, float], many: int, most: int) -> list[int]:
    """The hottest, and those that moved most; hottest first."""

    def moved(function: int) -> float:
        own = [share.own for share in shares[function].values()]
        return max(own) - (min(own) if len(own) == many else 0.0)

    hottest = sorted(sums, key=lambda function: -sums[function])
    movers = sorted(hottest, key=lambda function: -moved(function))[: most // _MOVED]
    kept = [function for function in hottest if function not in movers][: most - len(movers)]
    return sorted([*kept, *movers], key=lambda function: -sums[function])


def _function(database: sqlite3.Connection, number: int) -> Function:
    name, file = database.execute("SELECT name, file FROM function WHERE id = ?", (number,)).fetchone()
    return str(name), str(file)

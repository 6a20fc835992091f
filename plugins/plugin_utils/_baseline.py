# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room "baseline" of the controller wing (private to the collection): which earlier rounds say what is usual now.

What a service does follows the hours of the day, so rounds are set beside those of the same time of other days. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ._errors import FleetError
from ._rounds import Slice

#: Rounds that say what is usual: two weeks, with both of their weekends.
ROUNDS = 14
#: How much of a day is one time of day: half of it before, half of it after.
WINDOW_HOURS = 1.0
#: What was usual a season ago is so no more; a service with a round each week still has a dozen.
OLDEST = 90
_DAY = 86400.0


class _Kept(NamedTuple):
    """How well a slice stands for its day: the best is the largest."""

    near: float
    same_version: bool
    workers: int
    began: float
    version: str
    round: str


def zone_of(name: str) -> tzinfo:
    """Of a name such as ``Europe/Vienna``; the clock of people is what traffic follows."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise FleetError(
            f"There is no time zone {name!r}",
            str(error),
            "name one as in Europe/Vienna (the package tzdata has them), or UTC",
        ) from None


def baseline(
    slices: Sequence[Slice],
    now: Slice,
    rounds: int = ROUNDS,
    window_hours: float = WINDOW_HOURS,
    zone: tzinfo = UTC,
    since: float | None = None,
) -> list[Slice]:
    """The last rounds of this time of day before that of ``now``, oldest first, one of each day.

    Of a day's rounds it is the nearest by the clock on the wall; of versions that ran side by side the one that runs
    now, or the one with most workers. Rounds before ``since`` do not count: what has changed until then is accepted.
    """
    days: dict[int, tuple[_Kept, Slice]] = {}
    for one in slices:
        if (one.service, one.kind) != (now.service, now.kind) or not (one.workers and one.seconds > 0):
            continue
        if since is not None and one.began < since:
            continue
        day, off = _apart(one.began, now.began, zone)
        if not -OLDEST <= day < 0 or off > window_hours * 1800:
            continue
        kept = _Kept(-off, one.version == now.version, one.workers, one.began, one.version, one.round)
        if day not in days or kept > days[day][0]:
            days[day] = kept, one
    return [days[day][1] for day in sorted(days)[-rounds:]] if rounds > 0 else []


def _apart(then: float, now: float, zone: tzinfo) -> tuple[int, float]:
    """How many days on the wall's clock lie between, and how many seconds are left of it."""
    apart = _wall(then, zone) - _wall(now, zone)
    day = round(apart / _DAY)
    return day, abs(apart - day * _DAY)


def _wall(seconds: float, zone: tzinfo) -> float:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    return seconds + (moment.astimezone(zone).utcoffset() or timedelta()).total_seconds()

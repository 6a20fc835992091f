# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "named rounds" of the controller wing (private to the collection): rounds of snapshots, as people name them.

A round's name, ``latest``, a day (``2026-11-17``), an hour (``2026-11-17T09``), a minute (``2026-11-17T09:30``), or the
first and last of several of these (``2026-11-10..2026-11-17``). Times are UTC, as in names of rounds. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ._errors import FleetError
from ._rounds import Round

LATEST = "latest"
#: What every name of a round begins with, a day, an hour, a minute: its format, and how long it is.
_TIMES = (
    ("%Y%m%dT%H%M%SZ", timedelta()),
    ("%Y-%m-%d", timedelta(days=1)),
    ("%Y-%m-%dT%H", timedelta(hours=1)),
    ("%Y-%m-%dT%H:%M", timedelta(minutes=1)),
)


def named(rounds: Sequence[Round], text: str) -> list[Round]:
    """The rounds of that name, oldest first; FleetError where there are none."""
    first, dots, last = text.partition("..")
    began, ended = span(rounds, first)[0], span(rounds, last if dots else first)[1]
    found = [one for one in rounds if began <= one.began <= ended]
    if not found:
        raise _unknown(rounds, text)
    return found


def span(rounds: Sequence[Round], text: str) -> tuple[float, float]:
    """The time of the rounds of one name, from and to, both included. A round that is pruned still has its time."""
    for one in rounds[-1:] if text == LATEST else [one for one in rounds if one.name == text]:
        return one.began, one.began
    moment = re.match(r"\d{8}T\d{6}Z(?=-)", text)
    for form, length in _TIMES:
        try:
            began = datetime.strptime(moment.group() if moment else text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return began.timestamp(), began.timestamp() + length.total_seconds() - 1e-6
    raise _unknown(rounds, text)


def _unknown(rounds: Sequence[Round], text: str) -> FleetError:
    known = f"the store has {rounds[0].name} to {rounds[-1].name}" if rounds else "the store is empty"
    return FleetError(
        f"There is no round of snapshots '{text}'",
        known,
        "name a round, a day (2026-11-17), an hour (2026-11-17T09), latest, or two of these with .. between them",
    )

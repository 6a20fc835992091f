# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "cautions" of the controller wing (private to the collection): what to know before a picture is believed. Pure.

Each target has its figures and remarks in its own row; here they are told for all targets together, with the worst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ._render._text import plural
from ._wire import Capture, HostRecord

#: Shares above which it is told: of samples that could not be read (a few in a thousand are usual, for a target changes
#: while it is read), and of the time that a target was stopped (plans aim at 5 %).
_ERRORS, _STOPPED = 0.01, 5.0
#: Most kinds of remarks.
_MOST = 6

#: A capture, and who it is of.
_Named = tuple[str, Capture]


def cautions(records: Iterable[HostRecord]) -> list[str]:
    """A line for each thing: how many targets, and the worst or the first of them."""
    captures: list[_Named] = [
        (f"{record.host} {capture.process.who}", capture)
        for record in records
        for capture in record.captures
        if not capture.is_dump and capture.outcome != "failed"
    ]
    targets = len({(who, capture.process.start) for who, capture in captures})
    return [*_unread(captures, targets), *_stopped(captures, targets), *_remarks(captures, targets)]


def _unread(captures: Sequence[_Named], targets: int) -> list[str]:
    found = [(capture.errors / max(capture.errors + capture.samples, 1), who, capture) for who, capture in captures]
    bad = [row for row in found if row[0] > _ERRORS]
    if not bad:
        return []
    _share, who, worst = max(bad, key=lambda row: row[0])
    of_all = f"{worst.errors} of {worst.errors + worst.samples}"
    return [f"{_of(len({row[1] for row in bad}), targets)}: samples that could not be read; at worst {of_all}, {who}"]


def _stopped(captures: Sequence[_Named], targets: int) -> list[str]:
    bad = [(capture.harm.stopped, who) for who, capture in captures if capture.harm and capture.harm.stopped > _STOPPED]
    if not bad:
        return []
    share, who = max(bad)
    return [
        f"{_of(len({row[1] for row in bad}), targets)}: slowed, stopped for sampling; at worst {share:.0f} %, {who}"
    ]


def _remarks(captures: Sequence[_Named], targets: int) -> list[str]:
    """Remarks that differ only in figures are one, told with the figures of the first."""
    alike: dict[str, tuple[str, set[str]]] = {}
    for who, capture in captures:
        for note in capture.notes:
            alike.setdefault(re.sub(r"\d+(\.\d+)?", "#", note), (note, set()))[1].add(who)
    rows = sorted(alike.values(), key=lambda row: -len(row[1]))
    lines = [f"{_of(len(whom), targets)}: {note}" for note, whom in rows[:_MOST]]
    more = len(rows) - _MOST
    return [*lines, f"{plural(more, 'other remark')}: in the rows of the targets below"] if more > 0 else lines


def _of(some: int, targets: int) -> str:
    return f"{some} of {plural(targets, 'target')}"

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "formats" of the controller wing (private to the collection): folded stacks.

One line per stack, ``outermost;…;innermost count``, as flamegraph.pl, inferno
and others read it. What would break the format inside a name is written as in
URLs: ``;`` as ``%3B``, line ends as ``%0A`` and ``%0D``, ``%`` as ``%25``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from .._errors import FleetError
from .._fields import printable
from .._profile import Frame, Profile

_ESCAPES = {"%": "%25", ";": "%3B", "\n": "%0A", "\r": "%0D"}
_UNESCAPES = {code: char for char, code in _ESCAPES.items()}
_TO_ESCAPE = re.compile("[%;\n\r]")
_TO_UNESCAPE = re.compile("%25|%3B|%0A|%0D")

_MICROSECONDS = 1e6

Line = tuple[tuple[str, ...], int]


def lines(profile: Profile) -> list[Line]:
    """Names and counts of a profile. Counts are samples where all were taken at one rate, and else microseconds.

    Samples of different rates do not weigh the same, and counts are whole numbers: so small a unit, and what rounding
    leaves of a line goes to the next, so that all together are as long as the samples.
    """
    one_rate = len({measure.rate for measure in profile.measures}) == 1
    sums: dict[tuple[str, ...], float] = defaultdict(int)
    for stack in profile.stacks:
        names = tuple(label(frame) for frame in stack.frames)
        sums[names] += stack.samples if one_rate else stack.seconds * _MICROSECONDS
    rows: list[Line] = []
    exact: float = 0
    counted = 0
    for names, amount in sorted(sums.items()):
        exact += amount
        count = round(exact) - counted
        counted += count
        if count:
            rows.append((names, count))
    return rows


def label(frame: Frame) -> str:
    place = f"{frame.file}:{frame.line}" if frame.line else frame.file
    return f"{frame.name} ({place})" if place else frame.name


def write(rows: Iterable[Line]) -> str:
    return "".join(f"{';'.join(map(_escape, names))} {count}\n" for names, count in rows)


def _escape(name: str) -> str:
    return _TO_ESCAPE.sub(lambda match: _ESCAPES[match[0]], name)


def read(text: str) -> list[Line]:
    """The lines of a folded file, ours or another tool's; anything else raises :class:`FleetError`."""
    rows: list[Line] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        stack, _space, count = line.rstrip("\r").rpartition(" ")
        if not re.fullmatch("[0-9]{1,18}", count):
            raise FleetError(
                f"Line {number} of a folded file does not end in a count",
                printable(line[-80:]),
                "give a file of lines like 'outer;inner 12'",
            )
        rows.append((tuple(map(_unescape, stack.split(";"))), int(count)))
    return rows


def _unescape(name: str) -> str:
    return _TO_UNESCAPE.sub(lambda match: _UNESCAPES[match[0]], name)

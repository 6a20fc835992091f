# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "formats" of the controller wing (private to the collection): folded stacks.

One line per stack, ``outermost;…;innermost count``, as flamegraph.pl, inferno
and others read it. What would break the format inside a name is written as in
URLs: ``;`` as ``%3B``, line ends as ``%0A`` and ``%0D``, ``%`` as ``%25``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from .._errors import FleetError
from .._fields import printable
from .._profile import Frame, Profile

_ESCAPES = {"%": "%25", ";": "%3B", "\n": "%0A", "\r": "%0D"}
_UNESCAPES = {code: char for char, code in _ESCAPES.items()}
_TO_ESCAPE = re.compile("[%;\n\r]")
_TO_UNESCAPE = re.compile("%25|%3B|%0A|%0D")

Line = tuple[tuple[str, ...], int]


#: Finer than this (counts in a second) no common measure of rates is looked for.
_FINEST = 10**9


def lines(profile: Profile) -> list[Line]:
    """Names and counts of a profile. A count is a sample; where rates differ, a part of one."""
    counts: Counter[tuple[str, ...]] = Counter()
    second = per_second(profile)
    for stack in profile.stacks:
        count = round(stack.seconds * second)
        if count:
            counts[tuple(label(frame) for frame in stack.frames)] += count
    return sorted(counts.items())


def per_second(profile: Profile) -> int:
    """So many counts are a second: the least that is a whole number of samples' lengths at each of the rates."""
    rates = (round(measure.rate) or 1 for measure in profile.measures)  # py-spy's are whole numbers
    return min(math.lcm(*rates), _FINEST)


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

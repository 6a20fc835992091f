# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): a service's time line as a picture, for paper.

One row for each function with a scale of its own: a step is seen in small functions as well. It is for readers
without scripts, so it is small: where there are many rounds, a point is the median of several.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from .._rounds import Timeline
from ._text import clock, cut, day, plural
from ._timeline_data import short

#: Points of a line, rows of a picture, and names of versions in it.
SLOTS, _MOST_ROWS, _MOST_VERSIONS = 90, 8, 12
_WIDTH, _ROW, _LEFT, _LINE = 960, 64, 10, 40
#: Beyond this many usual distances between rounds there was none: the line has a gap.
GAP = 1.6
#: Versions take turns; told apart by dashes as well.
_STYLES = ('stroke="#0b57a4"', 'stroke="#b34700" stroke-dasharray="5 2"')


class Point(NamedTuple):
    time: float
    value: float


def thinned(timeline: Timeline) -> str:
    """What is said of the picture where it does not have all; "" where it has."""
    said = []
    if len(timeline.slices) > SLOTS:
        width = (timeline.slices[-1].began - timeline.slices[0].began) / SLOTS
        said.append(f"a point of the picture is the median of the rounds in {width / 60:.0f} minutes")
    if len(timeline.functions) > _MOST_ROWS:
        said.append(f"{plural(len(timeline.functions) - _MOST_ROWS, 'function')} in the table alone")
    return "; ".join(said)


def picture(timeline: Timeline) -> Markup:
    if not timeline.slices:
        return Markup("")
    rows = timeline.functions[:_MOST_ROWS]
    height = 30 + _ROW * len(rows)
    first, last = timeline.slices[0].began, timeline.slices[-1].began
    parts = [
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}" '
            'font-family="DejaVu Sans, sans-serif" font-size="12" fill="#1b1b1b">'
        ).format(_WIDTH, height, f"Own shares of {plural(len(rows), 'function')} over time; the table has figures"),
        *_marks(timeline, height),
    ]
    for number, (name, file) in enumerate(rows):
        parts.append(_row(timeline, number, cut(f"{short(name)} ({short(file)})", 100)))
    for x, anchor, time in ((_LEFT, "start", first), (_WIDTH - _LEFT, "end", last)):
        parts.append(_text(x, height - 4, f"{day(time)} {clock(time)} UTC", anchor))
    return Markup("").join([*parts, Markup("</svg>")])


def _x(timeline: Timeline, time: float) -> float:
    first, last = timeline.slices[0].began, timeline.slices[-1].began
    return _LEFT + (_WIDTH - 2 * _LEFT) * ((time - first) / (last - first) if last > first else 0.5)


def _text(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(round(x, 1), round(y, 1), anchor, text)


def _marks(timeline: Timeline, height: int) -> list[Markup]:
    """Where a version was first seen; the names of the newest."""
    seen: dict[str, float] = {}
    for part in timeline.slices:
        seen.setdefault(part.version, part.began)
    marks = []
    for number, (version, time) in enumerate(list(seen.items())[-_MOST_VERSIONS:] if len(seen) > 1 else []):
        x = round(_x(timeline, time), 1)
        line = Markup('<path d="M{} 0V{}" stroke="#5a5a5a" stroke-dasharray="2 3"/>')
        right = x > _WIDTH * 0.8
        label = cut(short(version) or "no version", 24)
        marks += [
            line.format(x, height - 18),
            _text(x + (-3 if right else 3), 10 + 12 * (number % 2), label, "end" if right else "start"),
        ]
    return marks


def _row(timeline: Timeline, number: int, name: str) -> Markup:
    base = 20 + _ROW * number + _ROW - 8
    values = [row[number].own for row in timeline.shares]
    top = scale(max(values, default=0.0))
    parts = [_text(_LEFT, base - _LINE - 4, name), _text(_WIDTH - _LEFT, base - _LINE - 4, _top(top), "end")]
    parts.append(Markup('<path d="M{} {}H{}" stroke="#d5d5d5"/>').format(_LEFT, base, _WIDTH - _LEFT))
    for turn, path in _paths(timeline, values, top, base):
        style = Markup(_STYLES[turn])
        parts.append(
            Markup('<path d="{}" {} fill="none" stroke-width="1.6" stroke-linecap="round"/>').format(path, style)
        )
    return Markup("").join(parts)


def _top(top: float) -> str:
    return f"0 to {100 * top:g} %"


def scale(most: float) -> float:
    """The top of a scale: a round number, and at least a percent, so that noise stays small."""
    most = max(most, 0.01)
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 6, 8, 10) if step * power >= most * (1 - 1e-9))


def _paths(timeline: Timeline, values: Sequence[float], top: float, base: float) -> Iterable[tuple[int, str]]:
    """A path for each version; which of the two looks it has."""
    times = [part.began for part in timeline.slices]
    versions = list(dict.fromkeys(part.version for part in timeline.slices))
    gap = GAP * _usual(times)
    slot = (times[-1] - times[0]) / SLOTS if len(times) > SLOTS else 0.0
    points: dict[str, list[Point]] = {version: [] for version in versions}
    for part, value in zip(timeline.slices, values, strict=True):
        points[part.version].append(Point(part.began, value))
    for number, version in enumerate(versions):
        thin = _thin(points[version], times[0], slot) if slot else points[version]
        yield number % 2, _path(timeline, thin, max(gap, GAP * slot), lambda value: base - _LINE * value / top)


def _usual(times: Sequence[float]) -> float:
    steps = [after - before for before, after in zip(times, times[1:], strict=False) if after > before]
    return statistics.median(steps) if steps else 0.0


def _thin(points: Sequence[Point], first: float, slot: float) -> list[Point]:
    slots: dict[int, list[float]] = {}
    for point in points:
        slots.setdefault(min(int((point.time - first) / slot), SLOTS - 1), []).append(point.value)
    return [Point(first + (number + 0.5) * slot, statistics.median(found)) for number, found in sorted(slots.items())]


def _path(timeline: Timeline, points: Sequence[Point], gap: float, y: Callable[[float], float]) -> str:
    """A line through points, with gaps; a point alone is a dot."""
    steps = []
    before = -math.inf
    for point in points:
        place = f"{_x(timeline, point.time):.0f} {y(point.value):.1f}"
        steps.append(f"L{place}" if 0 <= point.time - before <= gap else f"M{place}h.1")
        before = point.time
    return "".join(steps)

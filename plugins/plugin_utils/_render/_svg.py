# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): a flame graph as SVG.

Readable without scripts: root at the top, a title on every frame, the figures
in the heading. With its script a file of its own can be zoomed and searched.
The same profile and heading always give the same bytes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .._profile import Profile
from ._colours import package_of, palette, shaded
from ._flame import DEEPEST, NARROWEST, Box, Layout, Node, layout, tree
from ._templates import template
from ._text import columns, cut, share, wrap

WIDTH = 1200
_MARGIN = 10
_ROW = 18
_LINE = 18
#: Advance of one character at 12 px, as wide as the widest of the usual monospaced fonts.
_CHARACTER = 7.25
_LEGEND = 6


@dataclass(frozen=True)
class Heading:
    """``title`` is what and where; ``lines`` say the measure, the samples, the window and remarks."""

    title: str
    lines: tuple[str, ...] = ()


class Look(NamedTuple):
    """How a frame is drawn: ``title`` is shown when it is pointed at, its first line is the frame's own label.

    ``told`` of its last lines are figures and remarks; ``name`` is the function's, where the label is another.
    """

    fill: str
    title: list[str]
    told: int = 2
    name: str = ""


#: What a picture's colours mean: a colour, and its words.
Legend = list[tuple[str, str]]


@dataclass(frozen=True)
class _Rectangle:
    x: str
    y: int
    width: str
    fill: str
    label: str
    title: list[str]
    told: int
    name: str


@dataclass(frozen=True)
class _Swatch:
    x: str
    fill: str
    label: str


def render(profile: Profile, heading: Heading) -> str:
    root = tree(profile)
    weights = _packages(profile)
    tints = palette(weights)
    return drawn(layout(root), heading, _legend(weights, tints, root.total), lambda box: _look(box, root.total, tints))


def drawn(plan: Layout, heading: Heading, legend: Legend, look: Callable[[Box], Look]) -> str:
    """A picture of the rectangles, whatever their colours and titles say."""
    room = WIDTH - 2 * _MARGIN
    lines = [line for text in heading.lines for line in wrap(text, int(room / _CHARACTER))]
    top = _MARGIN + 24 + _LINE * (len(lines) + bool(legend)) + 8
    foot = _footnotes(plan)
    return template("flame.svg.j2").render(
        width=WIDTH,
        height=top + plan.levels * _ROW + _LINE * len(foot) + 2 * _MARGIN,
        margin=_MARGIN,
        line_height=_LINE,
        row=_ROW,
        title=cut(heading.title, int(room / 9.2)),
        full_title=heading.title,
        lines=lines,
        legend=_swatches(legend),
        hidden=plan.hidden,
        rectangles=[_rectangle(box, top, look(box)) for box in plan.boxes],
        foot=foot,
        foot_y=top + plan.levels * _ROW + _LINE,
    )


def with_script(svg: str) -> str:
    """What :func:`render` gave, as a file of its own that can be zoomed and searched; flame.js says how."""
    return f"{svg.removesuffix('</svg>')}<script><![CDATA[\n{_script()}]]></script>\n</svg>\n"


@functools.cache
def _script() -> str:
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "flame.js"), encoding="utf-8") as file:
        lines = [line.strip() for line in file if not line.lstrip().startswith("//")]
    return "".join(f"{line}\n" for line in lines if line).replace("]]>", "]]]]><![CDATA[>")


def _rectangle(box: Box, top: int, look: Look) -> _Rectangle:
    scale = WIDTH - 2 * _MARGIN
    width = box.width * scale
    label = cut(look.title[0], int((width - 5) / _CHARACTER))
    title = list(filter(None, look.title))
    x, y = f"{_MARGIN + box.x * scale:.2f}", top + box.depth * _ROW
    return _Rectangle(x, y, f"{width:.2f}", look.fill, label, title, look.told, look.name)


def _look(box: Box, seconds: float, tints: Mapping[str, str]) -> Look:
    node = box.node
    title = [node.name, where(node), f"total {amount(node.total, seconds)}", f"own   {amount(node.own, seconds)}"]
    return Look(shaded(tints[package_of(node.file)], box.shade), title)


def where(node: Node) -> str:
    place = f"{node.file}:{node.line}" if node.line else node.file
    return f"{place} (hottest line)" if len(node.lines) > 1 else place


def amount(part: float, whole: float) -> str:
    """``12.3 % (0.45 s)``."""
    return f"{share(part, whole)} ({part:.2f} s)"


def _packages(profile: Profile) -> dict[str, float]:
    """All packages with their own time, heaviest first."""
    own: dict[str, float] = {"": 0.0}
    for stack in profile.stacks:
        for frame in stack.frames:
            own.setdefault(package_of(frame.file), 0.0)
        own[package_of(stack.frames[-1].file)] += stack.seconds
    return dict(sorted(own.items(), key=lambda item: (-item[1], item[0])))


def _legend(weights: Mapping[str, float], tints: Mapping[str, str], seconds: float) -> Legend:
    """The packages with most own time."""
    heaviest = [package for package in weights if weights[package]][:_LEGEND]
    return [(tints[one], f"{cut(one or 'unknown', 24)} {share(weights[one], seconds)}") for one in heaviest]


def _swatches(legend: Legend) -> list[_Swatch]:
    """Side by side as far as the width allows."""
    swatches: list[_Swatch] = []
    x = float(_MARGIN)
    for fill, label in legend:
        width = 18 + (columns(label) + 2) * _CHARACTER
        if x + width > WIDTH - _MARGIN:
            break
        swatches.append(_Swatch(f"{x:.2f}", fill, label))
        x += width
    return swatches


def _footnotes(plan: Layout) -> list[str]:
    if not plan.levels:
        return ["Nothing was sampled."]
    if not plan.hidden:
        return []
    what = "1 frame is" if plan.hidden == 1 else f"{plan.hidden} frames are"
    deeper = f" or deeper than {DEEPEST} levels" if plan.levels >= DEEPEST else ""
    return [f"{what} not drawn: narrower than {100 * NARROWEST:g} % of the width{deeper}."]

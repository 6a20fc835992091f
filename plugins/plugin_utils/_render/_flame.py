# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): a profile as a tree, the tree as rectangles.

Pure: no drawing here. Frames are merged by function and file, so that the lines
of one function do not split it; the hottest line is kept for the frame's title.
Neither function recurses: stacks can be thousands of frames deep.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from .._profile import Profile, hottest_line

#: Frames narrower than this share of the width are left out.
NARROWEST = 0.001
#: More levels than this make a picture that nobody scrolls through.
DEEPEST = 400


@dataclass
class Node:
    """One function in one place of the tree; seconds on it (own) and on it or below (total)."""

    name: str
    file: str
    own: float = 0.0
    total: float = 0.0
    lines: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    children: dict[tuple[str, str], Node] = field(default_factory=dict)

    @property
    def line(self) -> int:
        return hottest_line(self.lines)


@dataclass(frozen=True)
class Box:
    """A rectangle: ``x`` and ``width`` are shares of the whole width, ``depth`` counts from 0 at the root.

    ``shade`` (0 to 2) differs from that of the frame above and of the frame to the left.
    """

    node: Node
    depth: int
    x: float
    width: float
    shade: int


@dataclass(frozen=True)
class Layout:
    """``hidden`` counts the frames too narrow or too deep to draw."""

    boxes: tuple[Box, ...]
    levels: int
    hidden: int


def tree(profile: Profile) -> Node:
    root = Node("all", "")
    for stack in profile.stacks:
        node = root
        node.total += stack.seconds
        for frame in stack.frames:
            key = (frame.name, frame.file)
            child = node.children.get(key)
            if child is None:
                child = node.children[key] = Node(*key)
            node = child
            node.total += stack.seconds
            node.lines[frame.line] += stack.seconds
        node.own += stack.seconds
    return root


def layout(root: Node, narrowest: float = NARROWEST, deepest: int = DEEPEST) -> Layout:
    """Rectangles from the root downwards, children side by side in the order of their names."""
    if not root.total:
        return Layout((), 0, 0)
    boxes: list[Box] = []
    hidden = 0
    waiting = [Box(root, 0, 0.0, 1.0, 0)]
    while waiting:
        box = waiting.pop()
        boxes.append(box)
        x = box.x
        shade = 0
        for key in sorted(box.node.children):
            child = box.node.children[key]
            width = child.total / root.total
            if width < narrowest or box.depth + 1 >= deepest:
                hidden += _size(child)
            else:
                waiting.append(Box(child, box.depth + 1, x, width, (box.shade + 1 + shade) % 3))
                shade = 1 - shade
            x += width
    boxes.sort(key=lambda box: (box.depth, box.x, box.node.name, box.node.file))
    return Layout(tuple(boxes), max(box.depth for box in boxes) + 1, hidden)


def _size(node: Node) -> int:
    count = 0
    waiting = [node]
    while waiting:
        count += 1
        waiting.extend(waiting.pop().children.values())
    return count

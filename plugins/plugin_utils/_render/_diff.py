# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): two profiles in one flame graph, and the page.

Widths are of one of the two, colours and signs say how its shares differ from the other's. What is in the other alone
has no width here: so there are two pictures, one with the widths of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from .._calls import Function
from .._compare import Change
from .._profile import Profile
from ._flame import Box, Node, layout, tree
from ._page import _hash, _style
from ._svg import Heading, Look, drawn, where
from ._templates import template

#: Grey, and what it turns into: orange for more and blue for less are told apart by colour-blind readers, too, and all
#: shades are light enough for black text.
_SAME, _MORE, _LESS = (0xEE, 0xEE, 0xEE), (0xF5, 0x93, 0x1F), (0x6C, 0xB2, 0xEB)
#: The least difference that is shown by a sign, and the least that has the full colour: shares of the whole.
_SHOWN, _FULL = 0.0005, 0.02
#: Rows of the page's table; the JSON has all.
_MOST_ROWS = 100


class Names(NamedTuple):
    """What the two sides are called."""

    before: str
    after: str


def render_diff(
    before: Profile,
    after: Profile,
    names: Names,
    heading: Heading,
    verdicts: Mapping[Function, str],
    of_before: bool = False,
) -> str:
    """Widths are those of ``after``, or ``of_before``; ``verdicts`` has a line about each function."""
    first, second = tree(before), tree(after)
    shown, other = (first, second) if of_before else (second, first)
    partners = _partners(shown, other)
    # Both pictures have one scale.
    full = max(_FULL, _most(first, second), _most(second, first))

    def shares(node: Node) -> tuple[Node | None, float, float]:
        partner = partners[id(node)]
        here, there = _total(node, shown), _total(partner, other)
        return (partner, here, there) if of_before else (partner, there, here)

    def look(box: Box) -> Look:
        partner, left, right = shares(box.node)
        only = (names.before if of_before else names.after) if partner is None else ""
        own = _own(box.node, shown), _own(partner, other)
        label = _signed(box.node.name, right - left)
        told = [
            f"total {_arrow(left, right)}",
            f"own   {_arrow(*(own if of_before else own[::-1]))}",
            f"in {only} alone" if only else "",
            verdicts.get((box.node.name, box.node.file), ""),
        ]
        told = list(filter(None, told))
        name = box.node.name if label != box.node.name else ""
        return Look(_colour(right - left, full), [label, where(box.node), *told], len(told), name)

    legend = [
        (_colour(-full, full), f"less: -{100 * full:.1f} points"),
        (_colour(0.0, full), "the same share"),
        (_colour(full, full), f"more: +{100 * full:.1f} points"),
    ]
    return drawn(layout(shown), heading, legend, look)


def _partners(shown: Node, other: Node) -> dict[int, Node | None]:
    """For each node of the first tree, by its identity, the one in the same place of the second."""
    return {id(node): partner for node, partner in _pairs(shown, other)}


def _pairs(shown: Node, other: Node) -> Iterator[tuple[Node, Node | None]]:
    waiting: list[tuple[Node, Node | None]] = [(shown, other)]
    while waiting:
        node, partner = waiting.pop()
        yield node, partner
        below: Mapping[Function, Node] = partner.children if partner is not None else {}
        waiting += [(child, below.get(key)) for key, child in node.children.items()]


def _most(shown: Node, other: Node) -> float:
    return max(abs(_total(node, shown) - _total(partner, other)) for node, partner in _pairs(shown, other))


def _total(node: Node | None, root: Node) -> float:
    return node.total / root.total if node is not None and root.total else 0.0


def _own(node: Node | None, root: Node) -> float:
    return node.own / root.total if node is not None and root.total else 0.0


def _signed(name: str, change: float) -> str:
    return f"{100 * change:+.1f} {name}" if abs(change) >= _SHOWN else name


def _arrow(left: float, right: float) -> str:
    return f"{100 * left:.1f} → {100 * right:.1f} % ({100 * (right - left):+.1f} points)"


def _colour(change: float, full: float) -> str:
    """Half of the way to the full colour at a quarter of the largest change: small ones are to be seen as well."""
    part = min(1.0, abs(change) / full) ** 0.5 if abs(change) >= _SHOWN else 0.0
    end = _MORE if change > 0 else _LESS
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(_SAME, end, strict=True))


def page(
    heading: str,
    facts: Sequence[tuple[str, str]],
    changes: Sequence[Change],
    graphs: tuple[str, str],
    files: Sequence[str],
) -> str:
    """All in one file, without scripts. ``facts`` are labels and texts, ``graphs`` what :func:`render_diff` gave."""
    return template("diff.html.j2").render(
        heading=heading,
        facts=facts,
        changes=changes[:_MOST_ROWS],
        more=max(0, len(changes) - _MOST_ROWS),
        graphs=[Markup(graph) for graph in graphs],
        files=files,
        style=Markup(_style()),
        style_hash=_hash(_style()),
    )

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): what the interactive graph draws, and its script.

The data is one JSON document in the page, in columns and with differences instead of numbers where that is shorter;
``view/data.js`` reads it. The script is the files of ``view/`` one after the other.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from .._calls import Calls
from .._fields import printable
from .._waiting import is_idle_place
from ._colours import is_native, package_of, palette
from ._threads import told_apart

_FILES = ("data.js", "sums.js", "flame.js", "table.js", "page.js")
#: What would end the element that the document is in, or begin another: written as JSON's own escapes.
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


@functools.cache
def script() -> str:
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "view")
    texts = []
    for name in _FILES:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            texts.append(file.read())
    return "\n".join(['"use strict";', *texts])


def document(pictures: Sequence[tuple[str, str, Calls]], groups: Mapping[str, Sequence[str]]) -> Markup:
    """``pictures`` are kind, measure and calls; ``groups`` gives the inventory's groups of each host."""
    content = {"pictures": [_picture(*picture) for picture in pictures], "groups": _groups(groups)}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.translate(_ESCAPES))


def _groups(groups: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    hosts: dict[str, list[str]] = {}
    for host, names in groups.items():
        for name in names:
            hosts.setdefault(printable(name), []).append(printable(host))
    return hosts


def _picture(kind: str, measure: str, tree: Calls) -> dict[str, object]:
    packages = _packages(tree)
    numbers = {package: number for number, package in enumerate(packages)}
    series = told_apart(tree.series)
    threads: dict[str, int] = {}
    for one in series:
        threads.setdefault(printable(one.thread), len(threads))
    return {
        "kind": kind,
        "measure": measure,
        "functions": [
            [printable(name), printable(file), numbers[package_of(file)], int(is_native(file))]
            for name, file in tree.functions
        ],
        "packages": [[printable(package), tint] for package, tint in palette(packages).items()],
        "depths": _depths(tree),
        "places": list(tree.places),
        "lines": list(tree.lines),
        "idle": _idle(tree) if kind == "wall" else [],
        "workers": [[printable(text) for text in worker] for worker in tree.workers],
        "threads": list(threads),
        "series": [[one.worker, threads[printable(one.thread)], one.tick, *_differences(one.own)] for one in series],
    }


def _packages(tree: Calls) -> list[str]:
    """All packages, those with most own samples first: they choose their tints first."""
    own: dict[str, int] = {package_of(file): 0 for _name, file in tree.functions}
    for series in tree.series:
        for node, samples in series.own.items():
            own[package_of(tree.functions[tree.places[node]][1])] += samples
    return sorted(own, key=lambda package: (-own[package], package))


def _depths(tree: Calls) -> list[int]:
    depths = [0]
    for parent in tree.parents[1:]:
        depths.append(depths[parent] + 1)
    return depths


def _differences(own: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """Nodes as steps from one to the next, and the samples in them."""
    nodes = sorted(own)
    return [node - before for before, node in zip([0, *nodes], nodes, strict=False)], [own[node] for node in nodes]


def _idle(tree: Calls) -> list[int]:
    """The nodes in which idle threads wait."""
    return [
        node for node in sorted({node for one in tree.series for node in one.own}) if is_idle_place(_stack(tree, node))
    ]


def _stack(tree: Calls, node: int) -> list[tuple[str, str]]:
    """Innermost first."""
    stack = []
    while node > 0:
        stack.append(tree.functions[tree.places[node]])
        node = tree.parents[node]
    return stack

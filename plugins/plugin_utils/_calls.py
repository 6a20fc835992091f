# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "calls" of the controller wing (private to the collection): one call tree of many targets, each with its share.

A merged profile forgets whose samples they are. Here each thread of each target keeps its own, as figures of the
nodes of one tree, so that any choice of them can be added up, or set beside another. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ._profile import Frame, Profile, hottest_line

#: Below the root: what is deeper counts for the frame at this depth.
DEEPEST = 400

#: A function: its name and file.
Function = tuple[str, str]


class Worker(NamedTuple):
    """One target; ``container`` is what people call its container, ``unit`` its service of systemd, "" in none."""

    host: str
    name: str
    container: str = ""
    unit: str = ""


@dataclass
class Series:
    """The samples of one thread of one worker: ``own`` is node → samples in it, each of which is ``tick`` seconds."""

    worker: int
    thread: str
    tick: float = 0.0
    own: dict[int, int] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        return sum(self.own.values())


@dataclass(frozen=True)
class Calls:
    """Nodes are numbered from the root (0) downwards, each before what it calls, siblings by name.

    ``parents``, ``places`` and ``lines`` have an entry for each node: the node that calls it (-1 for the root), its
    function as an index into ``functions`` (-1), and its hottest line (0 where it is not known).
    """

    workers: tuple[Worker, ...]
    functions: tuple[Function, ...]
    parents: tuple[int, ...]
    places: tuple[int, ...]
    lines: tuple[int, ...]
    series: tuple[Series, ...]


def calls(targets: Iterable[tuple[Worker, Profile]]) -> Calls:
    """All samples of the targets. Captures of one worker (segments of its window) add up."""
    tree = _Growing()
    workers: dict[Worker, int] = {}
    series: dict[tuple[int, str, float], Series] = {}
    for worker, profile in targets:
        several = len({stack.process for stack in profile.stacks}) > 1
        for stack in profile.stacks:
            who = worker._replace(name=f"{worker.name}, process {stack.process}") if several else worker
            number = workers.setdefault(who, len(workers))
            # py-spy's samples are all of the same length: seconds and samples of a stack say which.
            tick = round(stack.seconds / stack.samples, 9)
            one = series.setdefault((number, stack.thread, tick), Series(number, stack.thread, tick))
            node = tree.add(stack.frames[:DEEPEST], stack.seconds)
            one.own[node] = one.own.get(node, 0) + stack.samples
        tree.rest()
    return tree.ordered(tuple(workers), list(series.values()))


class _Growing:
    """The tree while it grows: nodes in the order in which they are found."""

    def __init__(self) -> None:
        self._functions: dict[Function, int] = {}
        self._children: dict[tuple[int, int], int] = {}
        self._parents, self._places = [-1], [-1]
        self._lines: list[dict[int, float]] = [{}]
        # The stack added last, as (node, frame, seconds since it was entered): neighbours share most of theirs.
        self._path: list[tuple[int, Frame]] = []
        self._spent: list[float] = []

    def add(self, frames: tuple[Frame, ...], seconds: float) -> int:
        """The node of a stack."""
        shared = 0
        for (_node, before), frame in zip(self._path, frames, strict=False):
            if before != frame:
                break
            shared += 1
        self._leave(shared)
        node = self._path[-1][0] if self._path else 0
        for frame in frames[shared:]:
            node = self._child(node, frame)
            self._path.append((node, frame))
            self._spent.append(0.0)
        if self._spent:
            self._spent[-1] += seconds
        return node

    def rest(self) -> None:
        """No stack follows that begins like the last."""
        self._leave(0)

    def _leave(self, depth: int) -> None:
        """Back up to so many frames; the time of each counts for its line, and for its caller."""
        while len(self._path) > depth:
            node, frame = self._path.pop()
            seconds = self._spent.pop()
            self._lines[node][frame.line] = self._lines[node].get(frame.line, 0.0) + seconds
            if self._spent:
                self._spent[-1] += seconds

    def _child(self, node: int, frame: Frame) -> int:
        place = self._functions.setdefault((frame.name, frame.file), len(self._functions))
        child = self._children.get((node, place))
        if child is None:
            child = self._children[node, place] = len(self._parents)
            self._parents.append(node)
            self._places.append(place)
            self._lines.append({})
        return child

    def ordered(self, workers: tuple[Worker, ...], series: list[Series]) -> Calls:
        """The tree as it is given out; the numbers of its nodes in ``series`` follow."""
        functions = sorted(self._functions)
        rank = {function: number for number, function in enumerate(functions)}
        ranks = [rank[function] for function in self._functions]
        below: dict[int, list[int]] = defaultdict(list)
        for (node, _place), child in self._children.items():
            below[node].append(child)
        order: list[int] = []
        waiting = [0]
        while waiting:
            node = waiting.pop()
            order.append(node)
            waiting += sorted(below[node], key=lambda child: -ranks[self._places[child]])
        number = {node: index for index, node in enumerate(order)}
        for one in series:
            one.own = {number[node]: samples for node, samples in one.own.items()}
        return Calls(
            workers=workers,
            functions=tuple(functions),
            parents=tuple(-1 if node == 0 else number[self._parents[node]] for node in order),
            places=tuple(-1 if node == 0 else ranks[self._places[node]] for node in order),
            lines=tuple(hottest_line(self._lines[node]) for node in order),
            series=tuple(series),
        )

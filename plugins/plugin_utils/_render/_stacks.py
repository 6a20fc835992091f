# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): the section "Stacks" of ``index.html``.

Bounded for long fleets; what is left out is counted, and lies in the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .._stacks import Branch, Group
from .._stacks_report import Stacks
from .._stacks_text import branch_text, differs, frame_text, preorder
from .._waiting import IDLE, STATES
from ._text import names

_MOST_GROUPS, _MOST_MEMBERS, _MOST_FRAMES, _MOST_BRANCHES, _MOST_GIL = 100, 50, 60, 300, 20
#: Members listed on the whole page.
_MOST_LISTED = 2000

#: A sentence in pieces; every other one is code.
Pieces = list[str]


@dataclass(frozen=True)
class _Row:
    threads: int
    processes: int
    hosts: int
    on: str
    states: str
    gil: int
    place: str
    frames: list[tuple[bool, str]]
    more_frames: int
    members: list[str]
    more_members: int


@dataclass(frozen=True)
class _Branch:
    """``closes`` is how many branches end with this one, itself among them when nothing is below it."""

    threads: int
    processes: int
    hosts: int
    on: str
    text: str
    frames: list[str]
    states: str
    quiet: bool
    leaf: bool
    closes: int


@dataclass(frozen=True)
class Section:
    sentences: list[Pieces]
    gil: list[Pieces]
    more_gil: int
    looks: str
    rarest: bool
    rows: list[_Row]
    more_rows: int
    branches: list[_Branch]
    more_branches: int


def section(stacks: Stacks) -> Section:
    words = stacks.screen
    room = _MOST_LISTED
    rows = []
    for group in stacks.groups[:_MOST_GROUPS]:
        rows.append(_row(group, min(room, _MOST_MEMBERS)))
        room -= len(rows[-1].members)
    branches, more_branches = _branches(stacks.tree)
    return Section(
        sentences=[text.split("`") for text in words.sentences],
        gil=[text.split("`") for text in words.gil[:_MOST_GIL]],
        more_gil=max(0, len(words.gil) - _MOST_GIL),
        looks=words.looks,
        rarest=stacks.order == "rarest",
        rows=rows,
        more_rows=max(0, len(stacks.groups) - _MOST_GROUPS),
        branches=branches,
        more_branches=more_branches,
    )


def _branches(tree: Branch) -> tuple[list[_Branch], int]:
    """The branches in the order of their lines, and how many are left out."""
    lines = list(preorder(tree))
    states = _states([(depth, branch.group) for depth, branch, _above in lines])
    kept = lines[:_MOST_BRANCHES]
    depths = [depth for depth, _branch, _above in kept] + [0]
    return [
        _Branch(
            threads=branch.threads,
            processes=len(branch.processes),
            hosts=len(branch.hosts),
            on=differs(branch, above) if above else "",
            text=branch_text(branch),
            frames=[f"{code.name} ({code.file})" for code in branch.stack[:_MOST_FRAMES]]
            if len(branch.stack) > 2
            else [],
            states=", ".join(f"{found[state]} {state}" for state in STATES if found[state]),
            quiet=set(found) == {IDLE},
            leaf=below <= depth,
            closes=max(0, depth - below) + (below <= depth),
        )
        for (depth, branch, above), found, below in zip(kept, states, depths[1:], strict=False)
    ], len(lines) - len(kept)


def _states(lines: Sequence[tuple[int, Group | None]]) -> list[Counter[str]]:
    """How many threads of a branch are stuck, moving, …: those of its own group and of all branches below it."""
    found: list[Counter[str]] = [Counter() for _line in lines]
    above: list[int] = []
    for number, (depth, group) in enumerate(lines):
        del above[depth:]
        above.append(number)
        if group is not None:
            for branch in above:
                found[branch].update(group.states)
    return found


def _row(group: Group, most: int) -> _Row:
    culprit = group.culprit
    marked = {culprit, group.asker} if set(group.states) != {IDLE} else set()
    frames = [(index in marked, frame_text(group, index)) for index in range(len(group.stack))]
    # The culprit is seen, however deep it is.
    kept = frames[: max(_MOST_FRAMES, *((index or 0) + 1 for index in (culprit, group.asker)))]
    place = "no Python frame" if culprit is None else frame_text(group, culprit)
    if group.asker is not None:
        place += f" for {frame_text(group, group.asker)}"
    return _Row(
        threads=group.threads,
        processes=group.processes,
        hosts=len(group.hosts),
        on=names(group.hosts, 3),
        states=", ".join(f"{number} {state}" for state, number in group.states.items()),
        gil=len(group.gil),
        place=place,
        frames=kept,
        more_frames=len(frames) - len(kept),
        members=[
            f"{one.host} pid {one.pid} {one.process}, thread {one.os_id or ''} {one.thread}: {one.state}"
            + (", held the GIL" if one.gil else "")
            for one in group.members[:most]
        ],
        more_members=max(0, group.threads - most),
    )

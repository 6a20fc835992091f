# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): the section "Stacks" of ``index.html``.

Bounded for long fleets; what is left out is counted, and lies in the files.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._stacks import Group
from .._stacks_report import Stacks
from .._stacks_text import branch_text, differs, frame_text, preorder
from .._waiting import IDLE
from ._text import names

_MOST_GROUPS, _MOST_MEMBERS, _MOST_FRAMES, _MOST_BRANCHES, _MOST_GIL = 100, 50, 60, 300, 20
#: Members listed on the whole page.
_MOST_LISTED = 2000
#: The style sheet knows as many depths.
_DEEPEST = 12

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
    depth: int
    threads: int
    processes: int
    hosts: int
    on: str
    text: str


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
    branches = [
        _Branch(
            min(depth, _DEEPEST),
            branch.threads,
            len(branch.processes),
            len(branch.hosts),
            differs(branch, above) if above else "",
            branch_text(branch),
        )
        for depth, branch, above in preorder(stacks.tree)
    ]
    return Section(
        sentences=[text.split("`") for text in words.sentences],
        gil=[text.split("`") for text in words.gil[:_MOST_GIL]],
        more_gil=max(0, len(words.gil) - _MOST_GIL),
        looks=words.looks,
        rarest=stacks.order == "rarest",
        rows=rows,
        more_rows=max(0, len(stacks.groups) - _MOST_GROUPS),
        branches=branches[:_MOST_BRANCHES],
        more_branches=max(0, len(branches) - _MOST_BRANCHES),
    )


def _row(group: Group, most: int) -> _Row:
    culprit = group.culprit
    marked = culprit if set(group.states) != {IDLE} else None
    frames = [(index == marked, frame_text(group, index)) for index in range(len(group.stack))]
    # The culprit is seen, however deep it is.
    kept = frames[: max(_MOST_FRAMES, (marked or 0) + 1)]
    return _Row(
        threads=group.threads,
        processes=group.processes,
        hosts=len(group.hosts),
        on=names(group.hosts, 3),
        states=", ".join(f"{number} {state}" for state, number in group.states.items()),
        gil=len(group.gil),
        place=frame_text(group, culprit) if culprit is not None else "no Python frame",
        frames=kept,
        more_frames=len(frames) - len(kept),
        members=[
            f"{one.host} pid {one.pid} {one.process}, thread {one.os_id or ''} {one.thread}: {one.state}"
            + (", held the GIL" if one.gil else "")
            for one in group.members[:most]
        ],
        more_members=max(0, group.threads - most),
    )

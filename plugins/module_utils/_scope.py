# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "scope" of the host wing (private to the collection): the rules of the lease on ``kernel.yama.ptrace_scope``.

Who holds the lease stands in one file. What follows from it is decided here, by functions that read and write nothing.
Imports nothing of ours: its text is part of what a dead-man runs (see ``_deadman.py``).
"""

from __future__ import annotations

import json
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

#: Nobody may trace anybody; the kernel lets no one leave it before a reboot. Never written.
SEALED = 3


class Holder(NamedTuple):
    """One who needs the value at ``scope`` or lower until ``deadline`` (CLOCK_MONOTONIC).

    ``arming`` names the dead-man of this holder. ``pid`` and ``start`` are the process whose end also ends the
    hold (0: there is none); ``guard_pid`` and ``guard_start`` the dead-man where it is a process of its own.
    """

    name: str
    scope: int
    deadline: float
    arming: str
    pid: int
    start: int
    guard_pid: int
    guard_start: int
    by: str
    reason: str


class State(NamedTuple):
    """A lease in force: ``original`` is to be put back, ``left`` is what we set. ``epoch`` is its own name."""

    epoch: str
    original: int
    left: int
    holders: Tuple[Holder, ...]


class Mine(NamedTuple):
    """What a dead-man carries in its arguments, so that it needs no file."""

    epoch: str
    original: int
    scope: int
    arming: str


class Bounds(NamedTuple):
    """When a holder ends: at ``deadline`` (CLOCK_MONOTONIC), or with the process ``pid`` (0: there is none)."""

    deadline: float
    pid: int
    start: int


class Decision(NamedTuple):
    """What is to be done: the new state (None: no lease is left) and the value to write (None: none).

    ``foreign`` tells that the value is neither ours nor the original: somebody else set it.
    """

    state: Optional[State]
    write: Optional[int]
    foreign: bool


Alive = Callable[[int, int], bool]


def take(state: Optional[State], current: int, holder: Holder, epoch: str, now: float, alive: Alive) -> Decision:
    """``holder`` comes, or comes again. What somebody else set in the meantime is what is put back in the end."""
    state = state or State(epoch, current, current, ())
    foreign = current not in (state.left, state.original)
    if foreign:
        state = state._replace(original=current)
    others = tuple(one for one in _staying(state, now, alive) if one.name != holder.name)
    goal = _goal(state.original, others + (holder,))
    if goal == current and not others and state.original == current:
        return Decision(None, None, foreign)  # low enough by itself: there is nothing to put back
    new = state._replace(left=goal, holders=others + (holder,))
    return Decision(new, goal if goal != current else None, foreign)


def leave(state: State, current: int, identity: str, now: float, alive: Alive) -> Decision:
    """The holder of this name, or with this dead-man, goes; so do those whose time is over."""
    holders = tuple(one for one in _staying(state, now, alive) if identity not in (one.name, one.arming))
    state = state._replace(holders=holders)
    foreign = current not in (state.left, state.original)
    goal = _goal(state.original, holders)
    write = goal if current == state.left != goal else None
    if not holders:
        return Decision(None, write, foreign)
    return Decision(state if write is None else state._replace(left=goal), write, foreign)


def fall(state: Optional[State], current: int, mine: Mine, now: float, alive: Alive) -> Decision:
    """A dead-man's holder is over, or the file is lost.

    Without the file the value that this holder asked for is taken for ours: while it holds, the value is that or
    lower, and whoever asked for lower has a dead-man too. And whoever came after the loss took our value
    for the host's own, so the true one is handed on.
    """
    if state is None:
        ours = current == mine.scope < mine.original
        return Decision(None, mine.original if ours else None, not ours and current != mine.original)
    if state.epoch != mine.epoch and state.original == mine.scope < mine.original:
        state = state._replace(original=mine.original)
    return leave(state, current, mine.arming, now, alive)


def _staying(state: State, now: float, alive: Alive) -> Tuple[Holder, ...]:
    return tuple(one for one in state.holders if one.deadline > now and (not one.pid or alive(one.pid, one.start)))


def _goal(original: int, holders: Tuple[Holder, ...]) -> int:
    return min([original] + [one.scope for one in holders])


def encode(state: State, boot: str) -> bytes:
    holders = [dict(one._asdict()) for one in state.holders]
    return json.dumps(dict(state._asdict(), holders=holders, boot=boot)).encode()


def decode(data: bytes, boot: str) -> Optional[State]:
    """None for what is damaged or from before a reboot: then the lease is lost."""
    try:
        found = json.loads(data)
        if found["boot"] != boot:
            return None
        holders = tuple(_holder(row) for row in found["holders"])
        state = State(str(found["epoch"]), _value(found["original"]), _value(found["left"]), holders)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return state


def _holder(row: Dict[str, object]) -> Holder:
    numbers: List[int] = []
    for key in ("scope", "pid", "start", "guard_pid", "guard_start"):
        number = row[key]
        if not isinstance(number, int):
            raise ValueError(key)
        numbers.append(number)
    deadline = row["deadline"]
    if not isinstance(deadline, (int, float)):
        raise ValueError("deadline")
    scope, pid, start, guard_pid, guard_start = numbers
    words = [str(row[key]) for key in ("name", "arming", "by", "reason")]
    return Holder(words[0], scope, float(deadline), words[1], pid, start, guard_pid, guard_start, words[2], words[3])


def _value(found: object) -> int:
    if not isinstance(found, int) or not 0 <= found < SEALED:
        raise ValueError(found)
    return found

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "profile" of the controller wing (private to the collection): weighted stacks of one measure.

A profile is of one target, of a host, or of the fleet: the same type, made by
:func:`merge`. Formats are read into it and written from it in ``_formats/``,
pictures are made of it in ``_render/``; nothing here knows files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ._errors import FleetError
from ._wire import Measure

#: What a kind of measure means, in a reader's words.
KINDS = {
    "cpu": "CPU time (not idle)",
    "wall": "wall time (idle too)",
    "gil": "time holding the GIL",
}


class Frame(NamedTuple):
    """One line of one function. ``line`` is 0 and ``file`` "" where they are not known."""

    name: str
    file: str
    line: int


class Stack(NamedTuple):
    """One stack, outermost frame first, with what was seen of it.

    ``thread`` is the thread's name; ``process`` is the PID where subprocesses
    were sampled too, else 0. Both stay apart from the frames, so that the same
    code in two threads adds up; :func:`rooted` puts them into the picture.
    """

    frames: tuple[Frame, ...]
    seconds: float
    samples: int
    thread: str = ""
    process: int = 0


class Function(NamedTuple):
    """One row of the table of functions. ``line`` is the function's hottest line."""

    name: str
    file: str
    line: int
    own: float
    total: float


@dataclass(frozen=True)
class Profile:
    """Weighted stacks of one kind of measure.

    ``measures`` are the distinct measures that went in: one for a target, more
    where merged hosts were sampled at different rates. All are of one kind.
    """

    measures: tuple[Measure, ...]
    stacks: tuple[Stack, ...]

    @property
    def kind(self) -> str:
        return self.measures[0].kind

    @property
    def rate(self) -> float:
        """The highest of the rates."""
        return max(measure.rate for measure in self.measures)

    @property
    def seconds(self) -> float:
        return sum(stack.seconds for stack in self.stacks)

    @property
    def samples(self) -> int:
        return sum(stack.samples for stack in self.stacks)


def collapse(stacks: Iterable[Stack]) -> tuple[Stack, ...]:
    """Equal stacks of the same thread and process added up; in the order of their frames."""
    sums: dict[tuple[tuple[Frame, ...], str, int], list[float]] = defaultdict(lambda: [0.0, 0])
    for stack in stacks:
        entry = sums[stack.frames, stack.thread, stack.process]
        entry[0] += stack.seconds
        entry[1] += stack.samples
    return tuple(
        Stack(frames, seconds, int(samples), thread, process)
        for (frames, thread, process), (seconds, samples) in sorted(sums.items())
    )


def merge(profiles: Iterable[Profile]) -> Profile:
    """One profile of several. PIDs of different hosts mean nothing together and are dropped."""
    parts = list(profiles)
    if not parts:
        raise FleetError("There is no profile to merge", remedy="look at the reasons given for each host")
    kinds = sorted({part.kind for part in parts})
    if len(kinds) > 1:
        raise FleetError(
            "Profiles of different measures cannot be added up",
            ", ".join(f"{kind}: {KINDS[kind]}" for kind in kinds),
            "merge each kind by itself, or profile again with the same measure for all targets (gil, idle)",
        )
    if len(parts) == 1:
        return parts[0]
    measures = {measure for part in parts for measure in part.measures}
    stacks = (stack._replace(process=0) for part in parts for stack in part.stacks)
    return Profile(tuple(sorted(measures, key=_measure_order)), collapse(stacks))


def _measure_order(measure: Measure) -> tuple[float, bool, bool]:
    return measure.rate, measure.blocking, measure.native


def rooted(profile: Profile) -> Profile:
    """``profile`` with the process as the outermost frame, where more than one was sampled."""
    if len({stack.process for stack in profile.stacks}) < 2:
        return profile
    stacks = tuple(
        stack._replace(frames=(Frame(f"process {stack.process}", "", 0), *stack.frames)) for stack in profile.stacks
    )
    return Profile(profile.measures, stacks)


def functions(profile: Profile) -> list[Function]:
    """All functions, merged by name and file, hottest (own time) first.

    Recursion counts once: a function's total is the time of the stacks it is
    on, not of its frames.
    """
    own: dict[tuple[str, str], float] = defaultdict(float)
    total: dict[tuple[str, str], float] = defaultdict(float)
    lines: dict[tuple[str, str], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for stack in profile.stacks:
        if not stack.frames:
            continue
        for key in {(frame.name, frame.file) for frame in stack.frames}:
            total[key] += stack.seconds
        leaf = stack.frames[-1]
        own[leaf.name, leaf.file] += stack.seconds
        for frame in stack.frames:
            # A line that the function itself spent time on outweighs one that only called.
            lines[frame.name, frame.file][frame.line] += stack.seconds * (1.0 if frame is leaf else 1e-6)
    rows = [Function(*key, hottest_line(lines[key]), own[key], seconds) for key, seconds in total.items()]
    return sorted(rows, key=lambda row: (-row.own, -row.total, row.name, row.file))


def hottest_line(lines: dict[int, float]) -> int:
    return min(lines, key=lambda line: (-lines[line], line), default=0)


def hottest(profile: Profile, count: int) -> list[Function]:
    """The ``count`` functions with most own time."""
    return [row for row in functions(profile)[:count] if row.own > 0]


def describe(measures: Iterable[Measure]) -> str:
    """What the weights mean, in one line: ``CPU time (…), 100 Hz, nonblocking``."""
    rows = list(measures)
    if not rows:
        return ""
    rates = sorted({row.rate for row in rows})
    text = [KINDS[rows[0].kind], f"{rates[0]:g} Hz" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g} Hz"]
    text.append(_mixed({row.blocking for row in rows}, "blocking", "nonblocking"))
    if any(row.native for row in rows):
        text.append(_mixed({row.native for row in rows}, "with C frames", "without"))
    return ", ".join(text)


def _mixed(values: set[bool], yes: str, no: str) -> str:
    return f"{yes} and {no}" if len(values) > 1 else (yes if True in values else no)

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "dump_text" of the controller wing (private to the collection): all dumps of one target as text. Pure.

In py-spy's own order: process, thread, innermost frame first. Each thread with its last stack, and below it those of
the dumps before where they were others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ._dumps import Dump, Frame, Thread
from ._fields import printable
from ._render._text import interval, plural
from ._waiting import STATES, states
from ._wire import Capture


def text(dump: Dump, capture: Capture) -> str:
    """A whole file; the only place where locals are, but for the dump's own."""
    seen: dict[int, list[tuple[float, Thread]]] = {}
    for look in dump.looks:
        for one in look.threads:
            seen.setdefault(one.id, []).append((look.at, one))
    rows = sorted(states(dump), key=lambda row: (STATES.index(row[1]), row[0].os_id or 0, row[0].name, row[0].id))
    lines = [*_heading(dump, capture)]
    for thread, state, gil in rows:
        lines += ["", *_thread(seen[thread.id], thread, state, gil > 0, dump.looks[-1].at)]
    return "\n".join(printable(line) for line in [*lines, ""])


def _heading(dump: Dump, capture: Capture) -> Iterator[str]:
    process = capture.process
    yield f"Process {process.pid}: {process.name}"
    inside = f", {process.container_pid} in {process.container.text()}" if process.container else ""
    python = f", Python {process.python}" if process.python else ""
    yield f"{process.role} of {process.user} on {dump.host}{inside}{python}"
    if capture.command_line is not None:
        yield "Command line (redacted): " + " ".join(capture.command_line)
    when = interval(capture.began, capture.ended)
    yield looks_text([dump]) + (f", {when}" if when else "")
    for note in (*notes(dump), *capture.notes):
        yield f"Note: {note}"


def looks_text(dumps: Sequence[Dump]) -> str:
    """``3 dumps, 1.0 s apart``."""
    counts = sorted({len(dump.looks) for dump in dumps})
    if not counts:
        return ""
    number = plural(counts[-1], "dump") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} dumps"
    gaps = sorted(round(dump.seconds / (len(dump.looks) - 1), 1) for dump in dumps if len(dump.looks) > 1)
    if not gaps:
        return number
    return f"{number}, {gaps[0]:.1f}{f' to {gaps[-1]:.1f}' if gaps[-1] > gaps[0] else ''} s apart"


def notes(dump: Dump) -> list[str]:
    """What a reader has to know of this target's stacks."""
    found = []
    if dump.others:
        found.append(f"{plural(dump.others, 'thread')} without a Python stack (of C code) beside these")
    if not any(thread.frames for look in dump.looks for thread in look.threads):
        found.append("no Python stack at all: right for a worker of uWSGI between two requests")
    return found


def _thread(
    history: Sequence[tuple[float, Thread]], thread: Thread, state: str, gil: bool, end: float
) -> Iterator[str]:
    """``history``: when it was seen, and how; ``end`` is when there was the last look."""
    facts = [state, *(["held the GIL"] if gil else []), *_cpu([one for _at, one in history])]
    number = f"{thread.os_id}" if thread.os_id is not None else f"0x{thread.id:x}"
    yield f'Thread {number}: "{thread.name}" ({", ".join(facts)})' + (
        "" if history[-1][0] == end else ", ended before the last dump"
    )
    yield from _frames(thread.frames)
    shown = _stack(thread)
    for at, one in reversed(history[:-1]):
        if _stack(one) != shown:
            yield f"  {history[-1][0] - at:.1f} s before:"
            yield from _frames(one.frames)
            shown = _stack(one)


def _cpu(history: Sequence[Thread]) -> list[str]:
    first, last = history[0].cpu, history[-1].cpu
    if first is None or last is None:
        return []
    return [f"CPU {last:.2f} s" + (f", {max(0.0, last - first):.2f} s of it meanwhile" if len(history) > 1 else "")]


def _stack(thread: Thread) -> tuple[tuple[str, str, int], ...]:
    return tuple((frame.name, frame.file, frame.line) for frame in thread.frames)


def _frames(frames: Sequence[Frame]) -> Iterator[str]:
    if not frames:
        yield "    (no Python frame)"
    for frame in frames:
        yield f"    {frame.name} ({frame.short or frame.file}{f':{frame.line}' if frame.line else ''})"
        for local in frame.locals:
            yield f"        {local.name}: {local.text}"

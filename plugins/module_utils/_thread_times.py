# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "thread_times" of the host wing (private to the collection): the CPU time of each thread that py-spy names."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Sequence

from ._procfs import Gone, ProcessDir, clock_ticks, parse_stat, parse_status

#: More threads than these are not looked at: each is two files.
_MOST = 2000
_MAIN = "MainThread"


class Named(NamedTuple):
    """A thread as py-spy names it: its id as Python has it (None before 3.11), and its name."""

    identity: Optional[int]
    name: str


class Times(NamedTuple):
    """Seconds of CPU: of the whole process, and of each thread in the order of the question (None: not known).

    ``threads`` is how many the process has.
    """

    process: float
    each: List[Optional[float]]
    threads: int


def times(process: ProcessDir, named: Sequence[Named], inner: bool) -> Times:
    """``inner``: the ids are those inside of the process' own PID namespace. Gone when the process has ended."""
    threads = process.thread_ids()
    total = process.ticks / clock_ticks()
    known = _by_identity(process, threads[:_MOST], inner)
    which = attribute(named, known, process.pid, len(threads))
    found = [None if thread is None else _seconds(process, thread) for thread in which]
    return Times(total, found, len(threads))


def attribute(named: Sequence[Named], known: Dict[int, int], pid: int, threads: int) -> List[Optional[int]]:
    """The system's thread for each of ``named``; None where it cannot be told. ``known``: from id to thread. Pure.

    Who goes by an id that the process does not have was the forking thread of its parent, which is the main thread now
    (uWSGI forks behind Python's back); without ids it is told by its name, or by being the only one.
    """
    found = [known.get(one.identity) if one.identity is not None else None for one in named]
    lost = [index for index, thread in enumerate(found) if thread is None]
    if pid in found or pid not in known.values():
        return found
    if len(lost) == 1 and (threads == 1 or named[lost[0]].identity is not None):
        found[lost[0]] = pid
        return found
    main = [index for index in lost if named[index].identity is None and named[index].name == _MAIN]
    if len(main) == 1:
        found[main[0]] = pid
    return found


def _by_identity(process: ProcessDir, threads: Sequence[int], inner: bool) -> Dict[int, int]:
    if not inner:
        return {thread: thread for thread in threads}
    found = {}
    for thread in threads:
        try:
            found[(parse_status(process.thread_status(thread)).nspids or (thread,))[-1]] = thread
        except (Gone, ValueError):
            continue
    return found


def _seconds(process: ProcessDir, thread: int) -> Optional[float]:
    """By the scheduler's own count in nanoseconds (Documentation/scheduler/sched-stats.rst), else in clock ticks."""
    try:
        words = process.thread_file(thread, "schedstat").split()
        if len(words) == 3 and words[0].isdigit() and int(words[0]):
            return int(words[0]) / 1e9
    except Gone:
        pass  # a kernel without these counts, or the thread has ended
    try:
        return parse_stat(process.thread_file(thread, "stat")).ticks / clock_ticks()
    except (Gone, ValueError):
        return None

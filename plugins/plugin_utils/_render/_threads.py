# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "render" of the controller wing (private to the collection): which threads of a worker the page tells apart.

A server that starts a thread for each request has thousands in a window, and the page would be little but their names.
Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from .._calls import Series

#: Names of threads of one worker that can be chosen by themselves: with fewer nothing is joined.
MOST = 32
OTHERS = "other threads"
_DIGITS = re.compile("[0-9]+")


def told_apart(series: Sequence[Series]) -> list[Series]:
    """The series with no more than :data:`MOST` names of threads in each worker; all samples are still there.

    Of a worker with more, names that differ in their numbers alone are one (``Thread-N``), and if these are too many as
    well, all but the heaviest are :data:`OTHERS`. By worker, so that one host cannot spoil the others' names.
    """
    workers: dict[int, list[Series]] = defaultdict(list)
    for one in series:
        workers[one.worker].append(one)
    return [one for threads in workers.values() for one in _few(_few(threads, _numbered), _heaviest)]


def _few(threads: list[Series], names: Callable[[list[Series]], dict[str, str]]) -> list[Series]:
    return _joined(threads, names(threads)) if len({one.thread for one in threads}) > MOST else threads


def _numbered(threads: list[Series]) -> dict[str, str]:
    return {one.thread: _DIGITS.sub("N", one.thread) for one in threads}


def _heaviest(threads: list[Series]) -> dict[str, str]:
    seconds: dict[str, float] = defaultdict(float)
    for one in threads:
        seconds[one.thread] += one.samples * one.tick
    order = sorted(seconds, key=lambda name: (-seconds[name], name))
    return {name: name if place < MOST - 1 else OTHERS for place, name in enumerate(order)}


def _joined(threads: Iterable[Series], names: dict[str, str]) -> list[Series]:
    """One worker's threads under these names; samples of different length stay apart."""
    found: dict[tuple[str, float], Series] = {}
    for one in threads:
        name = names[one.thread]
        whole = found.setdefault((name, one.tick), Series(one.worker, name, one.tick))
        for node, samples in one.own.items():
            whole.own[node] = whole.own.get(node, 0) + samples
    return list(found.values())

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "watch" of the host wing (private to the collection): what a target suffers while it is sampled.

:class:`Watch` reads, :func:`judge` decides.
"""

from __future__ import annotations

import time
from typing import Dict, List, NamedTuple, Optional

from ._plan import GIL_BIAS, Plan
from ._procfs import Gone, ProcessDir, clock_ticks

#: A judgement goes by what was seen in this time (seconds): at fifty looks a second, a target that is stopped for
#: 5 % of it is seen stopped at more than 15 % of the looks once in ten thousand judgements.
SPAN = 2.0
#: py-spy reads symbols when it starts, which says nothing about sampling (seconds).
_STARTING = 0.5
#: Shares of the time above which it hurts; the plan aims at 5 % stopped, and at a fifth of a core for py-spy.
_STOPPED_LIMIT, _CPU_LIMIT = 0.15, 0.5
#: Nobody wishes for a target that stands still: py-spy hangs, or the target is far from what its plan was made for.
_STANDSTILL = 0.9
#: Below this rate a window holds too few samples of all threads (Hz).
_TOO_SLOW = 10
#: No new segment for less than this (seconds), and no more of them for one target.
_WORTH_IT = 3.0
MAX_SEGMENTS = 3
#: CPU times are read this often (seconds), stops with every look.
_READ_EVERY = 0.4
_BEHIND = "behind in sampling"


class Seen(NamedTuple):
    """What was counted so far, at ``at`` (CLOCK_MONOTONIC): looks, those at which the target was stopped for a tracer.

    ``recorder`` and ``target`` are clock ticks of CPU time, ``late`` how often py-spy said that it was behind.
    """

    at: float
    looks: int = 0
    stopped: int = 0
    recorder: int = 0
    target: int = 0
    late: int = 0


class Readings(NamedTuple):
    """What happened between two times: shares of the time from 0, CPU in cores; ``seconds`` between them."""

    seconds: float
    stopped: float
    recorder: float
    target: float
    late: int


class Decision(NamedTuple):
    """It hurts, as ``words`` say: end the recorder now or not; ``plan`` is how to go on, if that is worth it."""

    words: str
    end: bool
    plan: Optional[Plan] = None
    hung: bool = False


def between(first: Seen, last: Seen) -> Readings:
    seconds = max(last.at - first.at, 1e-6)
    ticks = clock_ticks() * seconds
    return Readings(
        seconds=last.at - first.at,
        stopped=(last.stopped - first.stopped) / max(last.looks - first.looks, 1),
        recorder=(last.recorder - first.recorder) / ticks,
        target=(last.target - first.target) / ticks,
        late=last.late - first.late,
    )


def judge(plan: Plan, readings: Readings, segment: int, left: float) -> Optional[Decision]:
    """What to do about a recorder; None when it does not hurt. ``left`` are the seconds until the window ends.

    Blocking is never our choice, so that it is a wish: it is sampled less often, and goes on with a warning where
    that is not enough; but for a standstill.
    """
    words = _pain(plan, readings)
    if not words:
        return None
    if plan.blocking and readings.stopped > _STANDSTILL:
        return Decision("ended early: %s" % words, True, hung=True)
    gentler = _gentler(plan, readings) if segment < MAX_SEGMENTS and left > _WORTH_IT else None
    if gentler is not None:
        return Decision("ended early and gone on with more gently: %s" % words, True, gentler)
    if plan.blocking:
        return Decision("this hurts the target, but it was asked for: %s" % words, False)
    return Decision("ended early: %s" % words, True)


def _pain(plan: Plan, readings: Readings) -> str:
    """What hurts. A late py-spy does not: where the host is full it gets less CPU than its targets, as it should."""
    found: List[str] = []
    if plan.blocking and readings.stopped > _STOPPED_LIMIT:
        found.append("the target was stopped %.0f %% of the time" % (100 * readings.stopped))
    if readings.recorder > _CPU_LIMIT:
        found.append("py-spy used %.0f %% of a core" % (100 * readings.recorder))
    return " and ".join(found)


def _gentler(plan: Plan, readings: Readings) -> Optional[Plan]:
    """The same with a rate that would have been bearable, half at most; None where the rate is the lowest already."""
    worst = max(readings.stopped / _STOPPED_LIMIT if plan.blocking else 0.0, readings.recorder / _CPU_LIMIT)
    rate = max(1, int(plan.rate * min(0.5, 0.5 / max(worst, 1.0))))
    if rate == plan.rate:
        return None
    if rate < _TOO_SLOW and plan.kind == "cpu" and not plan.blocking:
        words = "after a look at what it cost, only the thread that holds the GIL is read"
        return plan._replace(kind="gil", reasons=(words, GIL_BIAS))
    return plan._replace(rate=rate, reasons=("%d Hz after %d: that cost too much" % (rate, plan.rate),))


class Watch:
    """One recorder and its target, looked at again and again; ``cpu`` is the target's before, per cent of a core."""

    def __init__(self, process: ProcessDir, recorder: int, plan: Plan, cpu: object) -> None:
        self._process = process
        self._recorder = recorder
        self._plan = plan
        self._before = float(cpu) if isinstance(cpu, (int, float)) else None
        self._looks = self._stopped = self._late = 0
        self._last = Seen(0.0)
        self._first = self._last = self._judged = self._read()

    def look(self) -> None:
        """See whether the target is stopped for a tracer at this moment."""
        try:
            self._stopped += self._process.state == "t"
            self._looks += 1
        except Gone:
            pass
        if time.monotonic() - self._last.at >= _READ_EVERY:
            self.read()

    def due(self) -> bool:
        """Is it time for a judgement?"""
        now = time.monotonic()
        if self._judged is self._first and now - self._first.at >= _STARTING:
            self._judged = self._read()
        return self._judged is not self._first and now - self._judged.at >= SPAN

    def judge(self, stdout: str, segment: int, left: float) -> Optional[Decision]:
        """A judgement on the time since the last one."""
        self._late = stdout.count(_BEHIND)
        before, self._judged = self._judged, self._read()
        return judge(self._plan, between(before, self._judged), segment, left)

    def read(self) -> None:
        """Keep what has been used so far: called while the recorder has not been waited for."""
        self._last = self._read()

    def to_wire(self, stdout: str) -> Dict[str, object]:
        """The measurements over the whole segment: shares in per cent, CPU in per cent of a core."""
        found = between(self._first, self._last)
        size = self._plan.size
        return {
            "threads": size.threads if size else None,
            "frames": size.frames if size else None,
            "stopped": 100 * found.stopped,
            "recorder_cpu": 100 * found.recorder,
            "late": stdout.count(_BEHIND),
            "cpu_before": self._before,
            "cpu_during": 100 * found.target if found.seconds > 0 else None,
        }

    def _read(self) -> Seen:
        recorder, target = self._last.recorder, self._last.target
        try:
            with ProcessDir(self._recorder) as process:
                recorder = process.ticks
            target = self._process.ticks
        except Gone:
            pass  # what was read before stays
        return Seen(time.monotonic(), self._looks, self._stopped, recorder, target, self._late)

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "sampling" of the host wing (private to the collection): the recorders of one window, watched and ended."""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, List, Optional

from ._dumper import Tools
from ._namespaces import Guard
from ._recorder import Recorder
from ._recording import GRACE

#: How often the keeper looks at its targets while it waits (seconds).
_LOOK = 0.5
_FIRST_LOOKS = 0.1
#: The same where py-spy stops one of them: what it suffers is a share of these looks.
_CLOSE_LOOK = 0.02
#: The same where one of them has entered a container: who else enters it must not be there for long.
_GUARDING_LOOK = 0.2
#: A recorder under which its target stands still is killed this long after SIGINT (seconds).
_HUNG_GRACE = 1.0


class Sampling:
    """The recorders of a window; more come to them where one goes on as a gentler second segment."""

    def __init__(self, recorders: List[Recorder], tools: Tools, deadline: float, kill_at: float) -> None:
        self.recorders = recorders
        self._tools = tools
        self._deadline = deadline
        self._kill_at = kill_at
        self._guard = Guard()

    def run(self, announce: Callable[[], None]) -> None:
        """Let the recorders run until the deadline (CLOCK_MONOTONIC), then end them; all have ended on return.

        ``announce`` is called when there is a new one. SIGINT is the only signal after which py-spy writes its result.
        SIGTERM to us ends the window early.
        """
        looks = 0
        while self._running() and time.monotonic() < self._deadline:
            pause = self._pause(looks)
            looks += 1
            if _wait(min(pause, max(0.0, self._deadline - time.monotonic()))) in (signal.SIGTERM, signal.SIGINT):
                break
            self._reap()
            if self._look():
                announce()
        self._end()

    def _pause(self, looks: int) -> float:
        if any(recorder.running() and recorder.plan.blocking for recorder in self.recorders):
            # Not in step with py-spy, which would be seen always or never.
            return _CLOSE_LOOK * (0.5 + time.monotonic_ns() // 1000 % 1000 / 1000)
        if any(recorder.running() and recorder.door for recorder in self.recorders):
            return _GUARDING_LOOK if looks else 0.0
        return _FIRST_LOOKS if looks < 10 else _LOOK

    def _look(self) -> bool:
        """True when a recorder was started."""
        known = len(self.recorders)
        now = time.monotonic()
        self._watch_over()
        for recorder in list(self.recorders):
            recorder.confirm()
            if not recorder.running():
                self._after(recorder)
            elif recorder.kill_at:
                if now > recorder.kill_at:
                    recorder.signal(signal.SIGKILL)
            elif recorder.hurts(self._deadline - now):
                recorder.kill_at = now + (_HUNG_GRACE if recorder.hung else GRACE)
                recorder.signal(signal.SIGINT)
        return len(self.recorders) > known

    def _watch_over(self) -> None:
        """End those that are in a container which somebody has entered who could take them over."""
        doors = {recorder.door.place: recorder for recorder in self.recorders if recorder.running() and recorder.door}
        found = self._guard.look(doors)
        for recorder in self.recorders:
            if recorder.door and recorder.door.place in found:
                recorder.intruded(found[recorder.door.place])

    def _after(self, recorder: Recorder) -> None:
        """A recorder has ended before the window: put its target back at once, or go on with the next segment."""
        if recorder.killed:
            recorder.left()
        left = int(self._deadline - time.monotonic())
        following = recorder.successor()
        if following is None or left < 1:
            return
        following.start(self._tools.binary, left, self._tools.terms, self._tools.kernel)
        if following.failure is None:
            self.recorders.append(following)
        else:
            recorder.remarks.append("it could not be gone on with: %s" % following.failure.reason)
            following.capture()

    def _end(self) -> None:
        for number in (signal.SIGINT, signal.SIGKILL):
            limit = time.monotonic() + GRACE
            if number == signal.SIGINT:
                limit = min(limit, self._kill_at)
            for recorder in self.recorders:
                recorder.confirm()
                recorder.last_look()
                recorder.signal(number)
            while any(recorder.running() for recorder in self.recorders) and time.monotonic() < limit:
                _wait(0.05)
                self._reap()
                self._watch_over()

    def _running(self) -> bool:
        return any(recorder.running() or recorder.next_plan is not None for recorder in self.recorders)

    def _reap(self) -> None:
        for recorder in self.recorders:
            if recorder.running():
                pid, status = os.waitpid(recorder.pid, os.WNOHANG)
                if pid:
                    recorder.ended(status)


def _wait(seconds: float) -> Optional[int]:
    caught = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}, seconds)
    return None if caught is None else caught.si_signo

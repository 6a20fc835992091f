# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "patience" of the controller wing (private to the collection): no longer than this, whatever a host does."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ._errors import FleetError


class _TooLateError(BaseException):
    """No Exception: connection plugins try again after those."""


class Patience:
    """So many seconds from now on, for all that is done within; 0 is without end."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    @contextmanager
    def kept(self) -> Iterator[None]:
        """FleetError where the time is over, also in the middle of a system call that waits."""
        if self._seconds <= 0:
            yield
            return
        handler = signal.signal(signal.SIGALRM, _too_late)
        began = time.monotonic()
        # Again and again: what is cleaned up on the way out may wait for the same host.
        outer, repeat = signal.setitimer(signal.ITIMER_REAL, max(0.01, self._end - began), 1)
        try:
            yield
        except _TooLateError as error:
            raise FleetError(
                f"The host did not answer within {self._seconds} s",
                "no more time was allowed",
                "look at it by other means, or allow more time",
            ) from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            if outer:  # the task's own timeout
                signal.setitimer(signal.ITIMER_REAL, max(0.01, outer - (time.monotonic() - began)), repeat)


def _too_late(number: int, frame: FrameType | None) -> None:
    raise _TooLateError

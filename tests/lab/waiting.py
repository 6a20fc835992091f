# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "waiting" of the lab (private to the collection): waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable


def await_condition(what: str, condition: Callable[[], bool], seconds: float = 60) -> None:
    """Return as soon as ``condition`` holds; after ``seconds`` without it raise, naming ``what``.

    A condition that cannot be looked at yet (OSError: no such file, no such process) does not hold yet.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.005)

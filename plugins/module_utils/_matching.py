# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "matching" of the host wing (private to the collection): regular expressions on command lines, within bounds.

Command lines are whatever the host's users make of them, and an expression can take a time that grows with the square
of a line's length, or worse. So a selector gives up after a while, and nobody's host is kept busy by a look at it.
"""

from __future__ import annotations

import re
import signal
import threading
from contextlib import contextmanager
from typing import Iterable, Iterator, Set

from ._errors import HostError
from ._survey import Row

#: So long may the expression of one selector take over all command lines (seconds of CPU, so that a host under load has
#: the same). A usual one takes milliseconds.
PATIENCE = 3.0


def matching(rows: Iterable[Row], selector: str, expression: str) -> Set[int]:
    """PIDs of those whose command line an expression is found in; none for an empty one."""
    if not expression:
        return set()
    search = re.compile(expression).search
    with _patience(selector):
        return {row.stat.pid for row in rows if search(row.command())}


@contextmanager
def _patience(selector: str) -> Iterator[None]:
    """A signal interrupts a search, too. Only the main thread can have it; the host program has no other."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(_number: int, _frame: object) -> None:
        raise HostError(
            "The selector %s took more than %g s of CPU over the command lines of this host" % (selector, PATIENCE),
            "",
            "write it without a repeat in a repeat, as in (a+)+, and with fewer .*",
        )

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "dumper" of the host wing (private to the collection): one ``py-spy dump`` as a child of ours."""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from ._credentials import Terms
from ._launch import Files, Role, launch, pieces
from ._privileges import Kernel

#: Most bytes of a dump: a frame is some 200.
_DUMP_LIMIT = 16 * 1024 * 1024
#: Most bytes of py-spy's own words that are read.
_WORDS_LIMIT = 20_000
#: How often it is seen whether one of them has ended (seconds), should its signal go to somebody else.
_LOOK = 0.02


class Tools(NamedTuple):
    """What a py-spy is started with: its open binary, and who we are."""

    binary: int
    terms: Terms
    kernel: Kernel


class Dumper:
    """It writes to memory files and is signalled only while it has not been waited for: its PID is nobody else's."""

    def __init__(self) -> None:
        self.pid = 0
        self.status: Optional[int] = None
        #: We killed it, for it took too long.
        self.late = False
        self._files: Optional[Files] = None

    def start(self, tools: Tools, arguments: List[str], role: Role) -> None:
        """At our own priority: it is short, and somebody waits for it. OSError, HostError where it cannot be done."""
        self._files = Files.create()
        self.pid = launch(tools.binary, arguments, self._files, role, _DUMP_LIMIT, 0)

    def running(self) -> bool:
        if self.pid and self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.pid != 0 and self.status is None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.status, self.late = signal.SIGKILL, True

    def end(self) -> None:
        if self.running():
            self.kill()

    @property
    def died(self) -> bool:
        """Was it ended by a signal, ours or another? Then it may have left its target stopped."""
        return self.status is not None and os.WIFSIGNALED(self.status)

    def output(self) -> Optional[bytes]:
        """What it gave; None unless it ended well."""
        if self.status != 0 or self._files is None:
            return None
        return b"".join(pieces(self._files.stdout, _DUMP_LIMIT))

    def words(self) -> Tuple[str, str]:
        """What it said on stdout and on stderr; of a dump only the beginning."""
        if self._files is None:
            return "", ""
        both = [b"".join(pieces(file, _WORDS_LIMIT)) for file in (self._files.stdout, self._files.stderr)]
        return both[0].decode("utf-8", "replace"), both[1].decode("utf-8", "replace")

    def close(self) -> None:
        if self._files is not None:
            self._files.close()
            self._files = None


def await_all(dumpers: Sequence[Dumper], limit: float, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Until they have ended, or until ``limit`` (CLOCK_MONOTONIC), when those that have not are killed.

    SIGCHLD has to be blocked. A signal that somebody has to hear is left pending: only that of a child's end is taken.
    """
    while [dumper for dumper in dumpers if dumper.running()] and time.monotonic() < limit:
        signal.sigtimedwait({signal.SIGCHLD}, _LOOK)
        meanwhile()
    for dumper in dumpers:
        dumper.end()

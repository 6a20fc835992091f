# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "resumer" of the host wing (private to the collection): a net below dumps for which targets are stopped.

A py-spy that is killed while it holds its target leaves it stopped. Where it is we who kill it, we see to that. Where
we are killed ourselves, and py-spy with us, this process does.
"""

from __future__ import annotations

import os
import signal
import time
from typing import List, Sequence

from ._procfs import Gone, ProcessDir

#: How long after our end it looks for targets that were left stopped (seconds): py-spy ends with us, but may have to
#: be waited for while the target sleeps uninterruptibly.
_PATIENCE = 5.0
_LOOK = 0.05


def is_stopped(process: ProcessDir) -> bool:
    """Stopped by a signal, with nobody tracing it; Gone when it has ended."""
    return process.state in ("T", "t") and process.tracer_pid == 0


class Resumer:
    """Started with the targets that run now, each held by its directory."""

    def __init__(self, targets: Sequence[ProcessDir]) -> None:
        reading, self._writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._writing)
                _outlive(reading, targets)
            finally:
                os._exit(0)
        os.close(reading)

    def dismiss(self) -> None:
        """All is put back: it has nothing to do."""
        try:
            os.write(self._writing, b"!")
        except OSError:
            pass  # somebody has killed it
        os.close(self._writing)
        os.waitpid(self._pid, 0)


def _outlive(reading: int, targets: Sequence[ProcessDir]) -> None:
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        with open("/proc/self/oom_score_adj", "w") as handle:
            handle.write("0")  # of all of us it is the last to go
    except OSError:
        pass
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):  # the connection must not wait for us
        os.dup2(null, descriptor)
    if os.read(reading, 1):
        return
    resume_all(targets, _PATIENCE)


def resume_all(targets: Sequence[ProcessDir], seconds: float) -> bool:
    """Let them go on where they were left stopped, or come to be within ``seconds``; True when one was.

    The signal that py-spy sent them may still be on its way when py-spy is gone.
    """
    found = False
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        for process in targets:
            found = resume(process) or found
        time.sleep(_LOOK)
    return found


def resume(process: ProcessDir) -> bool:
    """Let it go on where it was left stopped; True when it was."""
    try:
        if is_stopped(process):
            process.send_signal(signal.SIGCONT)
            return True
    except Gone:
        pass
    return False


def running(processes: Sequence[ProcessDir]) -> List[ProcessDir]:
    """Those that are not stopped now: who is was so before we came, and stays so."""
    found = []
    for process in processes:
        try:
            if process.state not in ("T", "t"):
                found.append(process)
        except Gone:
            continue
    return found

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "daemon" of the host wing (private to the collection): a keeper without systemd, and the watchdog above it.

The watchdog ends the keeper on time and deletes captures that nobody collected.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Dict, List

from ._errors import HostError
from ._procfs import ProcessDir
from ._recording import KEEPER, LEEWAY, RESULT, Request
from ._state import Folder

#: How often it is looked whether captures that wait to be deleted are still there (seconds).
_LOOK = 30.0


def launch(folder: Folder, request: Request) -> None:
    """Start both and return at once. Both are free of the connection: a double fork, no descriptor of it left open."""
    first = os.fork()
    if first:
        _pid, status = os.waitpid(first, 0)
        if status:
            raise HostError("The keeper could not be started", "fork failed", "see limits on processes and memory")
        return
    try:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            _close_everything()
            _watch(folder, request)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _close_everything() -> None:
    """No descriptor of the connection may stay open, or ssh would wait for us. The program's zip stays importable."""
    archive = sys.path[0] if sys.path else ""
    keep_open = int(archive.rpartition("/")[2]) if archive.startswith("/proc/self/fd/") else -1
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
        if descriptor not in (null, keep_open):
            try:
                os.close(descriptor)
            except OSError:
                pass  # the descriptor of the listing itself
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def _watch(folder: Folder, request: Request) -> None:
    """The watchdog: end a keeper that is late, say so when it died, delete what nobody collected."""
    me = os.getpid()
    with ProcessDir(me) as process:
        others = {"watchdog": [me, process.start]}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT})
    try:
        keeper = os.fork()
        if keeper == 0:
            _keep_below(me, folder, request, others)
        request = _await_keeper(keeper, request)
        if not os.path.exists(folder.file(RESULT)) and folder.exists():
            folder.write_json(KEEPER, others)
    except OSError:
        pass  # no more processes or space to be had: the recording is broken, and still goes at its deadline
    _delete_at_deadline(folder, request)


def _keep_below(watchdog: int, folder: Folder, request: Request, others: Dict[str, List[int]]) -> None:
    """The child: be the keeper, and take the watchdog's place when it was killed. Never returns."""
    try:
        from ._keeper import keep

        keep(folder, others)
        if os.getppid() != watchdog:
            _delete_at_deadline(folder, request)
    finally:
        os._exit(0)


def _await_keeper(keeper: int, request: Request) -> Request:
    """Wait for the keeper's end, and bring it about when it is late. Told to go meanwhile, nothing is kept after it."""
    limit = request.restore_at() - LEEWAY
    while os.waitpid(keeper, os.WNOHANG)[0] == 0:
        if time.monotonic() >= limit:
            os.kill(keeper, signal.SIGKILL)  # not waited for yet, so the PID is still the keeper's
        caught = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, max(0.05, limit - time.monotonic()))
        if caught is not None and caught.si_signo == signal.SIGTERM:
            os.kill(keeper, signal.SIGTERM)
            request = request._replace(keep_until_at=0.0)
    return request


def _delete_at_deadline(folder: Folder, request: Request) -> None:
    """Delete the captures then, or as soon as we are told to go; somebody else may have done so already."""
    deadline = request.keep_until_at - LEEWAY
    while folder.exists() and time.monotonic() < deadline:
        left = min(_LOOK, max(0.0, deadline - time.monotonic()))
        if signal.sigtimedwait({signal.SIGTERM}, left) is not None:
            break
    folder.remove()

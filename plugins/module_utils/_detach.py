# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "detach" of the host wing (private to the collection): leaving a keeper behind that outlives the connection.

As root where systemd runs: a transient service. Elsewhere: a daemon with a watchdog above it, which ends it on
time and deletes captures that nobody collected.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Dict, List

from . import _logind, _units
from ._errors import HostError
from ._keeper import keep
from ._procfs import ProcessDir
from ._recording import KEEPER, RESULT, Owner, Request, owners
from ._state import Folder

#: How often it is looked whether captures that wait to be deleted are still there (seconds).
_LOOK = 30.0


def way() -> str:
    """How a keeper outlives the connection: ``systemd`` or ``daemon``; HostError where none does."""
    if _units.has_system():
        return "systemd"
    if not _logind.kills_at_logout():
        return "daemon"
    if _logind.lingers() and _units.has_own():
        return "systemd"
    raise HostError(
        "The login manager of this host ends all of a user's processes at logout, and with them the recording",
        "KillUserProcesses=yes in logind.conf",
        "run with become (-b), or let the user linger (loginctl enable-linger)",
    )


def launch(folder: Folder, request: Request, program: str) -> str:
    """Start the keeper of ``folder`` and return at once with the way taken. ``program`` is the host program's zip."""
    chosen = way()
    if chosen == "systemd":
        _units.launch(folder, request, program, sys.executable)
    else:
        _launch_daemon(folder, request)
    return chosen


def _launch_daemon(folder: Folder, request: Request) -> None:
    """Double fork: the watchdog stays, its child is the keeper; both are free of the connection's descriptors."""
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
        keep(folder, others)
        if os.getppid() != watchdog:
            _delete_at_deadline(folder, request)
    finally:
        os._exit(0)


def _await_keeper(keeper: int, request: Request) -> Request:
    """Wait for the keeper's end, and bring it about when it is late. Told to go meanwhile, nothing is kept after it."""
    limit = request.restore_at() - 1
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
    while folder.exists() and time.monotonic() < request.keep_until_at:
        left = min(_LOOK, max(0.0, request.keep_until_at - time.monotonic()))
        if signal.sigtimedwait({signal.SIGTERM}, left) is not None:
            break
    folder.remove()


def dismiss(folder: Folder, found: Dict[str, Owner]) -> None:
    """End what waits to delete ``folder``: it is about to be deleted now."""
    watchdog = found.get("watchdog")
    if watchdog is not None:
        _kill(watchdog, signal.SIGTERM)
    _units.stop(folder)


def expire(folder: Folder) -> None:
    """What the timer runs at the keep deadline."""
    for owner in owners(folder).values():
        _kill(owner, signal.SIGKILL)
    folder.remove()


def _kill(owner: Owner, number: int) -> None:
    try:
        os.kill(owner.pid, number)
    except ProcessLookupError:
        pass

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "detach" of the host wing (private to the collection): leaving a keeper behind that outlives the connection.

As root where systemd runs: a transient service. Elsewhere: a daemon with a watchdog above it.
Each of the two is imported only where it is needed: every pass comes through here.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Dict

from ._errors import HostError
from ._recording import PROGRAM, Owner, Request, owners
from ._state import Folder


def way() -> str:
    """How a keeper outlives the connection: ``systemd`` or ``daemon``; HostError where none does."""
    if not os.path.isdir("/run/systemd/system"):
        return "daemon"
    from . import _logind, _systemd

    if os.geteuid() == 0 and _systemd.available():
        return "systemd"
    if not _logind.kills_at_logout():
        return "daemon"
    if _logind.lingers() and _systemd.available():
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
        from . import _units

        _units.launch(folder, request, program, sys.executable)
    else:
        from . import _daemon

        _daemon.launch(folder, request)
    return chosen


def dismiss(folder: Folder, found: Dict[str, Owner]) -> None:
    """End what waits to delete ``folder``: it is about to be deleted now."""
    watchdog = found.get("watchdog")
    if watchdog is not None:
        _kill(watchdog, signal.SIGTERM)
    if os.path.exists(folder.file(PROGRAM)):
        from . import _units

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

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "units" of the host wing (private to the collection): a keeper as a transient service of systemd.

PID 1 (or the systemd of a user who lingers) ends the service on time whatever happens to it, and a timer
deletes captures that nobody collected. Names of units are hex digits only, so nothing of a user's reaches a unit.
"""

from __future__ import annotations

import time
from typing import List

from . import _systemd
from ._errors import HostError
from ._recording import LEEWAY, PROGRAM, Request
from ._state import Folder

#: systemd's property for "whatever is still there after SIGTERM is killed after this long" (seconds).
_STOP_SECONDS = 2
#: What a timer may be late, on a host that is busy (seconds).
_LATE = 1
#: A net under the sampling plan, which takes about a fifth of a core for each target (per cent of one core).
_CPU_PER_TARGET = 50
#: The keeper packs captures piece by piece; a recorder needs 7 to 24 MB (measured), and as much as it may write,
#: for its output is in memory (MiB).
_MEMORY, _MEMORY_PER_TARGET = 256, 192
#: py-spy has a few threads, each of them a task for systemd.
_TASKS_PER_TARGET = 16


def launch(folder: Folder, request: Request, program: str, python: str) -> None:
    """Start ``program`` (the host program's zip) as the keeper of ``folder``, under a deadline, and arm the timer."""
    with open(program, "rb") as handle:
        folder.write(PROGRAM, handle.read())
    command = [python, "-I", "-S", folder.file(PROGRAM)]
    try:
        timer = _systemd.at(request.keep_until_at - LEEWAY - _LATE)
        _systemd.start(_name(folder) + "-keep", timer, {}, command + ["expire", folder.identity])
        _start_service(folder, request, command + ["keep", folder.identity])
    except HostError:
        stop(folder)
        raise


def stop(folder: Folder) -> None:
    """End both units of ``folder``, as far as there are any."""
    _systemd.stop(_name(folder) + "-keep.timer", _name(folder) + ".service")


def _name(folder: Folder) -> str:
    return "pyspy-fleet-" + folder.identity


def _start_service(folder: Folder, request: Request, command: List[str]) -> None:
    bound = max(1, int(request.restore_at() - time.monotonic() - LEEWAY) - _STOP_SECONDS)
    properties = {
        "RuntimeMaxSec": str(bound),
        "TimeoutStopSec": str(_STOP_SECONDS),
        "KillMode": "mixed",
        "Nice": "5",
        "CPUWeight": "10",
        "CPUQuota": "%d%%" % (_CPU_PER_TARGET * max(2, len(request.targets))),
        "MemoryMax": "%dM" % (_MEMORY + _MEMORY_PER_TARGET * len(request.targets)),
        "TasksMax": str(_TASKS_PER_TARGET * (1 + len(request.targets))),
    }
    _systemd.start(_name(folder), ["--no-block"], properties, command)

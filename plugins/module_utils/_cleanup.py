# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "cleanup" of the host wing (private to the collection): ending recordings and removing what they left.

Safe at any time: a recording that is in its window, or whose captures still
wait for their controller, is left alone unless told otherwise.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Dict, List, Optional

from ._detach import dismiss
from ._lease import sweep
from ._procfs import Gone, ProcessDir
from ._recording import Request, owners, phase
from ._state import Folder, finish_removals, folders, locked

#: How long a keeper that was told to end may take to end its recorders (seconds).
_PATIENCE = 8.0


def cleanup(force: bool, dry_run: bool) -> Dict[str, object]:
    """End and remove recordings of this user; gives ``found`` (one line each) and ``changed``."""
    found: List[str] = []
    changed = False
    for folder in folders():
        with locked():
            line, end = _judge(folder, force)
        if not folder.exists():
            continue  # it was collected while we looked, and seemed broken
        if end and not dry_run:
            line += "; " + _end(folder)
        elif end:
            line += "; would be removed"
        changed = changed or end
        found.append(line)
    leases = sweep(force, dry_run)
    changed = changed or any(not line.endswith("left alone") for line in leases)
    if not dry_run:
        halves = finish_removals()
        if halves:
            found.append("%d half-removed recordings finished off" % halves)
            changed = True
    return {"changed": changed, "found": found + leases}


def _judge(folder: Folder, force: bool) -> tuple[str, bool]:
    request = Request.read(folder)
    state = phase(folder, request)
    run = " of run %s" % request.run if request and request.run else ""
    if state == "broken":
        return "recording %s%s: its keeper is gone and it has no result" % (folder.identity, run), True
    if request is None or time.monotonic() > request.keep_until_at:
        return "recording %s%s: past its keep deadline" % (folder.identity, run), True
    if state == "done":
        text = "finished, waiting to be collected for another %d s" % (request.keep_until_at - time.monotonic())
    else:
        text = "in its window for another %d s" % max(0, request.ends_at - time.monotonic())
    return "recording %s%s: %s%s" % (folder.identity, run, text, "" if force else "; left alone"), force


def _end(folder: Folder) -> str:
    """End the processes of one recording, the gentle way first; put its targets back; delete it."""
    request = Request.read(folder)
    _stop(folder)
    resumed = [line for line in (_resume(target) for target in _ours(request)) if line]
    dismiss(folder, owners(folder))
    folder.remove()
    return "; ".join(["ended and removed"] + resumed)


def _ours(request: Optional[Request]) -> List[Dict[str, object]]:
    """Targets that ran when we came: if they are stopped now, it is our doing."""
    return [] if request is None else [one for one in request.targets if one["pid"] not in request.stopped]


def _stop(folder: Folder) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        alive = {role: owner for role, owner in owners(folder).items() if role != "watchdog"}
        for role, owner in alive.items():
            if number == signal.SIGKILL or role == "keeper":
                try:
                    os.kill(owner.pid, number)
                except ProcessLookupError:
                    pass
        limit = time.monotonic() + _PATIENCE
        while any(owner.alive() for owner in alive.values()) and time.monotonic() < limit:
            time.sleep(0.05)


def _resume(target: Dict[str, object]) -> str:
    """SIGCONT for a target that we left stopped: it is stopped, nobody traces it, and its recorder is gone."""
    pid = int(str(target["pid"]))
    try:
        with ProcessDir(pid) as process:
            if process.start == target["start"] and process.state in ("T", "t") and process.tracer_pid == 0:
                process.send_signal(signal.SIGCONT)
                return "PID %d was stopped; resumed" % pid
    except Gone:
        pass
    return ""

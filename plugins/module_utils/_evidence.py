# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "evidence" of the host wing (private to the collection): what shows that a recording put everything back.

Each figure was read back from the kernel after the fact; none of it is what we meant to do.
"""

from __future__ import annotations

import os
import time
from typing import Dict, Iterable, List, NamedTuple, Optional

from ._procfs import Gone, ProcessDir, list_pids
from ._recording import Owner, Request
from ._state import Folder, base_path

#: How long processes of ours that were told to go may take (seconds).
_PATIENCE = 2.0


class Scope(NamedTuple):
    """``ptrace_scope`` around one recording: None is a kernel without Yama, or a value that nobody saw.

    ``original`` is what has to be there when nobody holds it lowered; it differs from ``before`` where another run
    held it already. Times are seconds since the epoch, None where this recording did not touch the value.
    """

    before: Optional[int]
    original: Optional[int]
    during: Optional[int]
    after: Optional[int]
    lowered_at: Optional[float] = None
    restored_at: Optional[float] = None


class Trace(NamedTuple):
    """One target before and after the window: state as in ``/proc/<pid>/stat``, and the PID of its tracer (0: none).

    A state of "" after is a target that has ended; "" before is one that was never looked at.
    """

    pid: int
    state_before: str
    tracer_before: int
    state_after: str
    tracer_after: int
    note: str = ""


def to_wire(scope: Scope, traces: Iterable[Trace], notes: Iterable[str]) -> Dict[str, object]:
    """All of it as it crosses the wire."""
    rows = [dict(trace._asdict()) for trace in traces]
    return {"scope": dict(scope._asdict()), "targets": rows, "notes": list(notes)}


def joined(traces: Iterable[Trace]) -> List[Trace]:
    """One for each target, from before its first segment to after its last."""
    found: Dict[int, Trace] = {}
    for trace in traces:
        first = found.get(trace.pid, trace)
        notes = "; ".join(dict.fromkeys(filter(None, (first.note, trace.note))))
        found[trace.pid] = trace._replace(
            state_before=first.state_before, tracer_before=first.tracer_before, note=notes
        )
    return list(found.values())


def looked(target: Dict[str, object]) -> Trace:
    """A target of a recording whose keeper is gone, as it is now."""
    pid = int(str(target["pid"]))
    try:
        with ProcessDir(pid) as process:
            if process.start == target["start"] and process.state not in ("Z", "X"):
                return Trace(pid, "", 0, process.state, process.tracer_pid)
    except Gone:
        pass
    return Trace(pid, "", 0, "", 0, "ended")


def of_broken(request: Optional[Request], scope_now: Optional[int]) -> Dict[str, object]:
    """Where no keeper can tell: what start saw, and what is there now."""
    if request is None:
        return to_wire(Scope(None, None, None, scope_now), [], [])
    scope = Scope(request.scope, request.scope, None, scope_now)
    return to_wire(scope, [looked(target) for target in request.targets], [])


def still_running() -> List[str]:
    """Children of ours that have not ended: of a dump there is nothing else to be left."""
    found = []
    for pid in list_pids():
        try:
            with ProcessDir(pid) as process:
                if process.ppid == os.getpid():
                    found.append("%s (PID %d)" % (process.stat().comm, pid))
        except Gone:
            continue
    return found


def left_behind(folder: Folder, owners: Dict[str, Owner]) -> List[str]:
    """What is still there of a recording that was removed: processes, and files in the state directory."""
    limit = time.monotonic() + _PATIENCE
    while any(owner.alive() for owner in owners.values()) and time.monotonic() < limit:
        time.sleep(0.02)
    found = ["%s (PID %d)" % (role, owner.pid) for role, owner in sorted(owners.items()) if owner.alive()]
    try:
        names = os.listdir(base_path())
    except OSError:
        names = []
    return found + ["%s/%s" % (base_path(), name) for name in sorted(names) if name.startswith(folder.identity)]

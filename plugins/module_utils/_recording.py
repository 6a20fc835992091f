# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "recording" of the host wing (private to the collection): one window on one host, as it lies in its folder.

Files, each written whole or not at all: ``request.json`` (what start
decided), ``keeper.json`` (who owns it), ``result`` (one line of JSON, then the compressed captures one after the
other), ``failure.json`` (the bug of ours that the keeper died of), ``program.pyz`` (where a systemd unit has to find
the host program) and ``reserve`` (space for saying that there is none).
Times named ``*_at`` are seconds of CLOCK_MONOTONIC: a set clock changes nothing.
"""

from __future__ import annotations

import os
import time
from typing import Dict, List, NamedTuple, Optional

from ._errors import HostError
from ._procfs import Gone, ProcessDir, boot_id
from ._state import Folder, folders

REQUEST = "request.json"
KEEPER = "keeper.json"
RESULT = "result"
FAILURE = "failure.json"
PROGRAM = "program.pyz"
RESERVE = "reserve"

_RESERVE_BYTES = 16 * 1024
#: py-spy needs to have written its output this long after SIGINT, else it is killed (seconds).
GRACE = 5.0
#: The restore deadline: this long after the window nothing of ours runs (seconds).
RESTORE_MARGIN = 10.0
#: A deadline is when something is over, so what brings that about begins this much earlier (seconds): where a Python
#: takes a second to start and PID 1 has other work as well.
LEEWAY = 2.0
#: What ending a keeper may take after its unit's time is up, and what the keeper needs to write its result (seconds).
_STOPPING = 3.0
#: A recorder that is told to end gets this long in any case (seconds); writing its result takes it milliseconds.
_LEAST_GRACE = 1.5


class Request(NamedTuple):
    """What start decided: all that the keeper needs.

    ``targets`` are ``Process.to_wire()`` objects, ``stopped`` the PIDs among them that were stopped before us;
    ``refused`` are the failed captures of targets that are not attached to.
    ``binary`` is where py-spy is, with its version and sha256.
    ``relax`` tells that ptrace_scope is lowered for the window, so that no recorder need hold a capability; ``scope``
    is its value when start looked (None: no Yama).
    ``by`` is who asked for the recording, for the host's journal.
    ``ends_at`` is the planned end of the window, ``keep_until_at`` when uncollected captures are deleted.
    """

    options: Dict[str, object]
    targets: List[Dict[str, object]]
    refused: List[Dict[str, object]]
    stopped: List[int]
    binary: Dict[str, object]
    relax: bool
    scope: Optional[int]
    by: str
    run: str
    reason: str
    boot: str
    ends_at: float
    keep_until_at: float

    @classmethod
    def read(cls, folder: Folder) -> Optional[Request]:
        """What lies in the folder; None when it is damaged or from before a reboot."""
        data = folder.read_json(REQUEST)
        if data is None or set(data) != set(cls._fields) or data["boot"] != boot_id():
            return None
        return cls(**data)  # type: ignore[arg-type]  # we wrote it ourselves, into a directory that only we can write

    def write(self, folder: Folder) -> None:
        folder.write_json(REQUEST, self._asdict())
        folder.write(RESERVE, b"\0" * _RESERVE_BYTES)

    def restore_at(self) -> float:
        return self.ends_at + RESTORE_MARGIN

    def kill_at(self) -> float:
        """When no recorder runs any more: before the keeper itself is ended, so that the other captures are kept."""
        return self.restore_at() - LEEWAY - _STOPPING

    def close_at(self) -> float:
        """When the window closes at the latest, however late the keeper could begin."""
        return self.kill_at() - _LEAST_GRACE


class Owner(NamedTuple):
    """A process that belongs to a recording, held by PID and start time."""

    pid: int
    start: int

    def alive(self) -> bool:
        try:
            with ProcessDir(self.pid) as process:
                return process.start == self.start and process.state not in ("Z", "X")
        except Gone:
            return False


def owners(folder: Folder) -> Dict[str, Owner]:
    """The processes of a recording by role (``keeper``, ``watchdog``, ``recorder <pid>``) that are still alive."""
    data = folder.read_json(KEEPER) or {}
    found = {}
    for role, pair in data.items():
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, int) for part in pair):
            owner = Owner(pair[0], pair[1])
            if owner.alive():
                found[role] = owner
    return found


def phase(folder: Folder, request: Optional[Request]) -> str:
    """``recording`` (in its window), ``done`` (captures wait), or ``broken`` (no keeper and no result)."""
    if os.path.exists(folder.file(RESULT)):
        return "done"
    if request is None:
        return "broken"
    # Looked at before its text is: the keeper may announce itself at any moment.
    unannounced = not os.path.exists(folder.file(KEEPER))
    if (unannounced and _just_started(request)) or "keeper" in owners(folder):
        return "recording"
    # The keeper may have ended between the two looks, after it wrote the result.
    return "done" if os.path.exists(folder.file(RESULT)) else "broken"


def _just_started(request: Request) -> bool:
    return time.monotonic() < request.restore_at()


def wait_for_result(folder: Folder, patience: float) -> str:
    """Wait until the recording is no longer in its window, ``patience`` seconds at most; gives the phase."""
    limit = time.monotonic() + patience
    request = Request.read(folder)
    while True:
        now_in = phase(folder, request)
        if now_in != "done" and not folder.exists():
            raise gone(folder.identity)  # somebody else collected or removed it meanwhile
        if now_in != "recording" or time.monotonic() >= limit:
            return now_in
        time.sleep(0.05)


def require(identity: str) -> Folder:
    """The folder of a recording that must be there."""
    folder = Folder(identity)
    if not folder.exists():
        raise gone(identity)
    return folder


def gone(identity: str) -> HostError:
    return HostError(
        "This host has no recording %s" % identity,
        "it was collected, cleaned up, kept longer than its keep deadline, or lost in a reboot",
        "record again",
    )


def sampled_now() -> Dict[Owner, str]:
    """Targets of recordings of this user that are in their window, with the recording's id."""
    found = {}
    for folder in folders():
        request = Request.read(folder)
        if request is not None and phase(folder, request) == "recording":
            for target in request.targets:
                found[Owner(int(str(target["pid"])), int(str(target["start"])))] = folder.identity
    return found

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "units" of the host wing (private to the collection): a keeper as a transient service of systemd.

PID 1 (or the systemd of a user who lingers) ends the service on time whatever happens to it, and a timer
deletes captures that nobody collected. Names of units are hex digits only, so nothing of a user's reaches a unit.
"""

from __future__ import annotations

import os
import signal
import time
from typing import List, Optional, Tuple

from ._errors import HostError
from ._recording import PROGRAM, Request
from ._state import Folder

_PLACES = ("/usr/bin/", "/bin/")
#: systemd's property for "whatever is still there after SIGTERM is killed after this long" (seconds).
_STOP_SECONDS = 2
#: A deadline is when something is over, so what brings that about begins earlier (seconds): where a Python takes
#: a second to start and PID 1 has other work as well.
_LEEWAY = 2


def available() -> bool:
    """Whether we may ask a systemd for a service: as root PID 1, else that of our own user."""
    manager = "/run/systemd" if os.geteuid() == 0 else _runtime() + "/systemd"
    return os.path.exists(manager + "/private") and _find("systemd-run") is not None


def launch(folder: Folder, request: Request, program: str, python: str) -> None:
    """Start ``program`` (the host program's zip) as the keeper of ``folder``, under a deadline, and arm the timer."""
    with open(program, "rb") as handle:
        folder.write(PROGRAM, handle.read())
    command = [python, "-I", "-S", folder.file(PROGRAM)]
    try:
        _arm_timer(folder, request, command + ["expire", folder.identity])
        _start_service(folder, request, command + ["keep", folder.identity])
    except HostError:
        stop(folder)
        raise


def stop(folder: Folder) -> None:
    """End both units of ``folder``, as far as there are any."""
    _run("systemctl", ["stop", _name(folder) + "-keep.timer", _name(folder) + ".service"])


def _name(folder: Folder) -> str:
    return "pyspy-fleet-" + folder.identity


def _arm_timer(folder: Folder, request: Request, command: List[str]) -> None:
    """A time since systemd's own start: --on-active begins anew at every daemon-reload, and what
    --on-boot counts from differs between machines and containers (systemd.timer(5))."""
    since = int(_ask("systemctl", ["show", "--property=UserspaceTimestampMonotonic", "--value"]) or 0) / 1e6
    at = max(1.0, request.keep_until_at - since - _LEEWAY - 1)
    options = ["--on-startup=%dms" % int(at * 1000), "--timer-property=AccuracySec=100ms"]
    _ask("systemd-run", _common(_name(folder) + "-keep") + options + command)


def _start_service(folder: Folder, request: Request, command: List[str]) -> None:
    bound = max(1, int(request.restore_at() - time.monotonic()) - _STOP_SECONDS - _LEEWAY)
    properties = {
        "RuntimeMaxSec": str(bound),
        "TimeoutStopSec": str(_STOP_SECONDS),
        "KillMode": "mixed",
        "Nice": "5",
    }
    options = ["--no-block"] + ["--property=%s=%s" % pair for pair in properties.items()]
    _ask("systemd-run", _common(_name(folder)) + options + command)


def _common(name: str) -> List[str]:
    return ["--quiet", "--collect", "--property=StandardOutput=null", "--unit=" + name]


def _ask(tool: str, arguments: List[str]) -> str:
    """What the tool printed; HostError with its own words when it failed."""
    status, text = _run(tool, arguments)
    if status:
        raise HostError("systemd did not start a transient unit", text, "look at `systemctl status` on the host")
    return text


def _run(tool: str, arguments: List[str]) -> Tuple[int, str]:
    """Run one of systemd's tools; they give up by themselves when systemd does not answer (25 s)."""
    path = _find(tool)
    if path is None:
        return 127, tool + " is not there"
    whose = [] if os.geteuid() == 0 else ["--user"]
    output = os.memfd_create("pyspy-fleet-words")
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    streams = ((null, 0), (output, 1), (output, 2))
    try:
        # Not a module's run_command: this runs without Ansible.
        # pylint: disable-next=ansible-bad-function
        pid = os.posix_spawn(
            path,
            [tool] + whose + arguments,
            {"LC_ALL": "C", "XDG_RUNTIME_DIR": _runtime()},
            file_actions=[(os.POSIX_SPAWN_DUP2, source, number) for source, number in streams],
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE),
        )
        _pid, status = os.waitpid(pid, 0)
        return status, os.pread(output, 2000, 0).decode("utf-8", "replace").strip()
    finally:
        os.close(null)
        os.close(output)


def _find(tool: str) -> Optional[str]:
    return next((place + tool for place in _PLACES if os.access(place + tool, os.X_OK)), None)


def _runtime() -> str:
    return "/run/user/%d" % os.geteuid()

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "systemd" of the host wing (private to the collection): asking PID 1, or our own user's systemd, for units."""

from __future__ import annotations

import json
import os
import signal
from typing import Dict, List, Optional, Tuple

from ._errors import HostError

_PLACES = ("/usr/bin/", "/bin/")


def available() -> bool:
    """Whether we may ask a systemd for a unit: as root PID 1, else that of our own user."""
    manager = "/run/systemd" if os.geteuid() == 0 else _runtime() + "/systemd"
    return os.path.exists(manager + "/private") and _find("systemd-run") is not None


def start(name: str, options: List[str], properties: Dict[str, str], command: List[str]) -> None:
    """A transient unit that leaves nothing when it ends. HostError in systemd's own words when it does not start."""
    words = ["--quiet", "--collect", "--unit=" + name] + options
    words += ["--property=%s=%s" % pair for pair in dict(properties, StandardOutput="null").items()]
    _ask("systemd-run", words + command)


def stop(*units: str) -> None:
    """End units, as far as there are any."""
    _run("systemctl", ["stop"] + list(units))


def at(moment: float) -> List[str]:
    """The options of a timer that is due at a moment of CLOCK_MONOTONIC, to a second at most after it.

    Counted from systemd's own start: --on-active begins anew at every daemon-reload, and what --on-boot counts from
    differs between machines and containers (systemd.timer(5)).
    """
    since = int(_ask("systemctl", ["show", "--property=UserspaceTimestampMonotonic", "--value"]) or 0) / 1e6
    due = max(1, int((moment - since) * 1000) + 1)
    return ["--on-startup=%dms" % due, "--timer-property=AccuracySec=100ms"]


def quoted(words: List[str]) -> str:
    """A command for a property such as ExecStopPost: its quotes and escapes are those of C (systemd.syntax(7))."""
    return " ".join(json.dumps(word) for word in words)


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

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "arm" of the host wing (private to the collection): arming the dead-man of a lease, and disarming it.

Where systemd runs there are two nets, both held by PID 1: a transient service that watches, restored by its
``ExecStopPost`` however it ends, and a timer at an absolute time. Elsewhere the watch is a daemon on its own.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import List, Tuple

from . import _deadman, _scope, _syslog, _systemd, _yama
from ._errors import HostError
from ._procfs import Gone, ProcessDir
from ._scope import Bounds, Mine
from ._yama import Site, alive

#: The timer is the second net: it comes after the watch (seconds).
_TIMER_AFTER = 1.0
#: How long the dead-man may take to be there (seconds), on a host that is busy.
_PATIENCE = 15.0
#: What ``ps`` shows of it first. The name is that of the host program's package.
_TITLE = "# pyspy_fleet_host: puts kernel.yama.ptrace_scope back\n"
#: Without one, systemd takes the whole command line for a unit's description, and stumbles over its line ends.
_DESCRIPTION = "--description=pyspy.fleet: puts kernel.yama.ptrace_scope back"


def arm(site: Site, mine: Mine, bounds: Bounds) -> Tuple[int, int]:
    """Leave a dead-man behind that is ready on return. Gives its PID and start time, or zeros where systemd has it."""
    watch = _command("watch", site, mine) + [repr(bounds.deadline), str(bounds.pid), str(bounds.start)]
    if not _by_systemd():
        return _start_daemon(watch)
    restore = _command("restore", site, mine)
    unit = _unit(mine.arming)
    timer = _systemd.at(bounds.deadline + _TIMER_AFTER)
    _systemd.start(unit + "-timer", [_DESCRIPTION] + timer, {}, restore)
    properties = {
        "Type": "notify",
        "TimeoutStartSec": str(int(_PATIENCE)),
        "RuntimeMaxSec": str(int(max(0.0, bounds.deadline - time.monotonic())) + 1),
        "TimeoutStopSec": "10",
        "KillMode": "mixed",
        "ExecStopPost": _systemd.quoted(restore),
    }
    try:
        _systemd.start(unit, [_DESCRIPTION], properties, watch)
    except HostError:
        disarm(mine.arming, 0, 0)
        raise
    return 0, 0


def _by_systemd() -> bool:
    return os.geteuid() == 0 and _systemd.available()


def disarm(arming: str, guard_pid: int, guard_start: int) -> None:
    """End the dead-man. Call it without the lock: it looks once more before it goes."""
    if guard_pid:
        try:
            with ProcessDir(guard_pid) as process:
                if process.start == guard_start:
                    process.send_signal(signal.SIGTERM)
            _wait_for_end(guard_pid, guard_start)
        except Gone:
            pass
    elif _by_systemd():
        _systemd.stop(_unit(arming) + "-timer.timer", _unit(arming) + ".service")


def _unit(arming: str) -> str:
    return "pyspy-fleet-%s-lease" % arming


def _command(what: str, site: Site, mine: Mine) -> List[str]:
    words = [site.sysctl, site.directory, mine.epoch, str(mine.original), str(mine.scope), mine.arming]
    return [sys.executable, "-I", "-S", "-c", text(), what] + words


def text() -> str:
    """The dead-man's whole program: its rooms one after the other, without their imports of each other."""
    lines = [_TITLE, "from __future__ import annotations\n"]
    for module in (_syslog, _scope, _yama, _deadman):
        source: str = module.__loader__.get_source(module.__name__)  # type: ignore[union-attr]  # a file's or a zip's
        lines += [line for line in source.splitlines(True) if not line.startswith(("from __future__", "from ._"))]
    return "".join(lines)


def _start_daemon(command: List[str]) -> Tuple[int, int]:
    """Double fork; it is nobody's child, in a session of its own, and holds nothing of the connection."""
    reading, writing = os.pipe()
    first = os.fork()
    if first == 0:
        _become(command, writing)
    os.close(writing)
    os.waitpid(first, 0)
    try:
        words = _first_line(reading).split()
    finally:
        os.close(reading)
    try:
        pid = int(words[1])
        with ProcessDir(pid) as process:
            return pid, process.start
    except (IndexError, ValueError, Gone):
        said = b" ".join(words).decode("utf-8", "replace")
        raise HostError(
            "The watch that would put ptrace_scope back does not start", said, "see that %s runs there" % command[0]
        ) from None


def _become(command: List[str], writing: int) -> None:
    """In the child. Never returns."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(writing, 1)
        os.dup2(null, 0)
        os.dup2(null, 2)
        for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
            if descriptor > 2:
                try:
                    os.close(descriptor)
                except OSError:
                    pass  # the descriptor of the listing itself
        os.execve(command[0], command, {"LC_ALL": "C"})
    except BaseException as error:  # a forked child must end here, whatever happens
        os.write(1, str(error).encode())
    finally:
        os._exit(127)


def _first_line(descriptor: int) -> bytes:
    import select

    line, limit = b"", time.monotonic() + _PATIENCE
    while not line.endswith(b"\n"):
        ready, _writable, _errors = select.select([descriptor], [], [], max(0.0, limit - time.monotonic()))
        part = os.read(descriptor, 4096) if ready else b""
        if not part:
            break
        line += part
    return line


def _wait_for_end(pid: int, start: int) -> None:
    limit = time.monotonic() + 2
    while alive(pid, start) and time.monotonic() < limit:
        time.sleep(0.01)

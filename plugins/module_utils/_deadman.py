# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "deadman" of the host wing (private to the collection): puts ptrace_scope back when who lowered it does not.

Run as text, ``python3 -c <this and the rooms it imports> watch|restore ...``, made by ``_arm.py``. It needs no file of
ours and carries the original value in its arguments: the state directory may be gone when it is needed.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import List, Tuple

from ._scope import Bounds, Mine, fall
from ._yama import Site, alive, log_change

#: How often a watching dead-man looks (seconds).
_LOOK = 0.25
#: How long it waits for another one who works on the lease (seconds).
_PATIENCE = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def fire(site: Site, mine: Mine, why: str) -> None:
    """The holder of this dead-man is over. Safe to repeat: what is back already is left as it is."""
    with site.locked(_PATIENCE):
        current = site.read()
        if current is None:
            return
        state = site.state()
        decision = fall(state, current, mine, time.monotonic(), alive)
        if decision.write is not None:
            held = [one for one in state.holders if one.arming == mine.arming] if state else []
            by, reason = (held[0].by, held[0].reason) if held else ("", "")
            log_change(current, site.write(decision.write), why, by, reason)
        if decision.state != state or state is None:
            site.remember(decision.state)


def look(site: Site, mine: Mine, bounds: Bounds) -> Tuple[Mine, str]:
    """Why the holder is over ("" while it is not), and what is to be put back as of now."""
    state = site.state()
    if state is None or all(one.arming != mine.arming for one in state.holders):
        return mine, "the lease's state was lost"
    mine = mine._replace(original=state.original)
    if bounds.pid and not alive(bounds.pid, bounds.start):
        return mine, "the process that held the lease has ended"
    return mine, "the lease was over" if time.monotonic() >= bounds.deadline else ""


def watch(site: Site, mine: Mine, bounds: Bounds) -> None:
    """Wait for the end of the holder: its deadline, the end of its process, or the loss of the file."""
    signal.pthread_sigmask(signal.SIG_SETMASK, _SIGNALS)
    _say_armed()
    why = ""
    while not why:
        pause = max(0.0, min(_LOOK, bounds.deadline - time.monotonic()))
        if signal.sigtimedwait(_SIGNALS, pause) is not None:
            why = "the watch over the lease was ended"
        else:
            mine, why = look(site, mine, bounds)
    fire(site, mine, why)


def _say_armed() -> None:
    """Tell who armed us, by systemd's way (sd_notify(3)) or on stdout; then let go of the descriptors."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.connect("\0" + address[1:] if address.startswith("@") else address)
            connection.sendall(b"READY=1")
    os.write(1, b"armed %d\n" % os.getpid())
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def main(words: List[str]) -> None:
    sysctl, directory, epoch, original, scope, arming = words[1:7]
    site, mine = Site(sysctl, directory), Mine(epoch, int(original), int(scope), arming)
    if words[0] == "watch":
        deadline, pid, start = words[7:]
        watch(site, mine, Bounds(float(deadline), int(pid), int(start)))
    else:
        fire(site, mine, "its holder did not put it back")


if __name__ == "__main__":
    main(sys.argv[1:])

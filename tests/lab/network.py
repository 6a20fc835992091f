# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "network" of the lab (private to the collection): a bridge in a network namespace of its own.

Nothing of this machine's own network is touched: the bridge, the hosts' cables
and the ssh clients that talk to them all live in namespaces that end with the
process that made them.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .waiting import await_condition

#: Ends the process that follows, when the thread that started it ends, however that came about.
TETHER = ("setpriv", "--pdeathsig", "KILL")


class Hub:
    """The controller's end of the lab's network: one bridge with an address, a port per host."""

    def __init__(self) -> None:
        self._process = subprocess.Popen((*TETHER, "unshare", "--net", "sleep", "infinity"), stdin=subprocess.DEVNULL)
        mine = os.stat("/proc/self/ns/net").st_ino
        await_condition("the hub's network namespace", lambda: self._inode() != mine)
        self._ip(("link set lo up", "link add br0 type bridge", "addr add 10.77.0.1/16 dev br0", "link set br0 up"))

    @property
    def namespace(self) -> str:
        return f"/proc/{self._process.pid}/ns/net"

    def _inode(self) -> int:
        return os.stat(self.namespace).st_ino

    def plug(self, pid: int, number: int) -> str:
        """Lay a cable to the network namespace of process ``pid``; gives the address at its far end."""
        self._ip(
            (f"link add port{number} type veth peer name eth0 netns {pid}", f"link set port{number} master br0 up")
        )
        address = f"10.77.1.{number}"
        ip(f"/proc/{pid}/ns/net", ("link set lo up", f"addr add {address}/16 dev eth0", "link set eth0 up"))
        return address

    def cut(self, number: int) -> None:
        self._ip((f"link set port{number} down",))

    def mend(self, number: int) -> None:
        self._ip((f"link set port{number} up",))

    def _ip(self, lines: Iterable[str]) -> None:
        ip(self.namespace, lines)

    def close(self) -> None:
        """End the ssh masters and whatever else was started in the namespace, then the namespace itself."""
        for pid in pids_in(self._inode()):
            end(pid)
        self._process.wait()


def ip(namespace: str, lines: Iterable[str]) -> None:
    command = ("nsenter", f"--net={namespace}", "ip", "-batch", "-")
    subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True)


def pids_in(inode: int) -> list[int]:
    """The processes in the network namespace with this inode number."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns" / "net").stat().st_ino == inode:
                found.append(int(entry.name))
        except OSError:
            continue  # It ended meanwhile, or is a zombie.
    return found


def end(pid: int) -> None:
    """Kill ``pid`` and wait until it is gone; nothing happens when it already is."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select((handle,), (), (), 30)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)

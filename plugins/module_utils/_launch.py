# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "launch" of the host wing (private to the collection): turning a child of ours into py-spy.

Its output goes to memory files: nothing is written to disk, so nothing can be left there by one that is killed.
"""

from __future__ import annotations

import os
import resource
import signal
from typing import Iterator, List, NamedTuple, Optional

from ._attach import Identity
from ._privileges import Kernel, become, end_with_parent

#: Added to the target's priority: on a full host the targets go first.
NICENESS = 10


class Role(NamedTuple):
    """What the child needs to know of who it is and is to be; ``capabilities`` are its effective ones at first."""

    kernel: Kernel
    identity: Optional[Identity]
    capabilities: int
    keeper: int


class Files(NamedTuple):
    """The memory files of one py-spy: what it is told to write, and what it says."""

    capture: int
    stdout: int
    stderr: int

    @classmethod
    def create(cls) -> Files:
        return cls(*(os.memfd_create("pyspy-fleet-" + name) for name in cls._fields))

    def close(self) -> None:
        for descriptor in self:
            os.close(descriptor)


def launch(binary: int, arguments: List[str], files: Files, role: Role, most: int, niceness: int = NICENESS) -> int:
    """Start py-spy from the open file ``binary``; gives its PID. It can write ``most`` bytes into one file."""
    pid = os.fork()
    if pid == 0:
        _become_pyspy(binary, arguments, files, role, most, niceness)
    return pid


def pieces(descriptor: int, most: int) -> Iterator[bytes]:
    """What is in a memory file, up to ``most`` bytes."""
    offset = 0
    while offset < most:
        piece = os.pread(descriptor, min(1 << 20, most - offset), offset)
        if not piece:
            return
        yield piece
        offset += len(piece)


def _become_pyspy(binary: int, arguments: List[str], files: Files, role: Role, most: int, niceness: int) -> None:
    """In the child: turn into py-spy, or write why not where its stderr goes. Never returns."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(niceness)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(files.stdout, 1)
        os.dup2(files.stderr, 2)
        os.set_inheritable(files.capture, True)
        become(role.kernel, role.identity, role.capabilities)
        # Without its keeper a recorder would sample on until its own end.
        if not end_with_parent(role.kernel, role.keeper, signal.SIGKILL):
            os._exit(127)
        os.execve("/proc/self/fd/%d" % binary, ["py-spy"] + arguments, {"LC_ALL": "C"})
    except BaseException as error:  # a forked child must end here, whatever happens
        os.write(files.stderr, ("starting py-spy failed: %s" % error).encode())
    finally:
        os._exit(127)

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "yama" of the host wing (private to the collection): ``kernel.yama.ptrace_scope`` itself, and the lease's file.

Reading, writing, reading back, and the log's entries. Its text is part of what a dead-man runs (see ``_deadman.py``).
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import Iterator, NamedTuple, Optional

from ._scope import State, decode, encode
from ._syslog import entry

SYSCTL = "/proc/sys/kernel/yama/ptrace_scope"
#: The lease's file in the state directory.
_FILE = "lease.json"
_LARGEST = 1 << 20


class Site(NamedTuple):
    """Where the value is, and the directory of the lease's file. A test lays a directory of its own."""

    sysctl: str
    directory: str

    def read(self) -> Optional[int]:
        """The value now; None where the kernel has no Yama."""
        try:
            with open(self.sysctl) as handle:
                return int(handle.read())
        except FileNotFoundError:
            return None

    def write(self, value: int) -> int:
        """Set it; gives what it then is. OSError where the kernel refuses."""
        descriptor = os.open(self.sysctl, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"%d\n" % value)
        finally:
            os.close(descriptor)
        found = self.read()
        return -1 if found is None else found

    def state(self) -> Optional[State]:
        """The lease in force; None when there is none, or when it was lost."""
        try:
            descriptor = os.open(self.directory + "/" + _FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return decode(os.read(descriptor, _LARGEST), _boot())
        finally:
            os.close(descriptor)

    def remember(self, state: Optional[State]) -> None:
        """Write the lease's file whole, or not at all; None removes it, and an empty state directory with it."""
        path = self.directory + "/" + _FILE
        if state is not None:
            descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(encode(state, _boot()))
            os.rename(path + ".new", path)
            return
        for leftover in (path, path + ".new"):
            try:
                os.unlink(leftover)
            except FileNotFoundError:
                pass
        try:
            os.rmdir(self.directory)
        except OSError:
            pass  # recordings are in it, or it is gone

    @contextmanager
    def locked(self, patience: float) -> Iterator[None]:
        """As ``_state.locked``, but for who has to act all the same: a stopped process may hold that lock for ever."""
        try:
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            yield  # no directory, so nobody works in it
            return
        try:
            limit = time.monotonic() + patience
            while not _try_lock(descriptor) and time.monotonic() < limit:
                time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as handle:
        return handle.read().strip()


def alive(pid: int, start: int) -> bool:
    """Whether the process with this PID and start time still runs."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as handle:
            fields = handle.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return len(fields) > 19 and fields[0] not in (b"Z", b"X") and int(fields[19]) == start


def log_change(before: int, after: int, why: str, by: str, reason: str) -> bool:
    """The host's own record of a lowering or restoring; False where nothing takes it."""
    what = "set from %d to %d" % (before, after) if before != after else "kept at %d" % after
    words = ["kernel.yama.ptrace_scope %s: %s" % (what, why)]
    words += ["by %s" % by] * bool(by) + ["reason: %s" % reason] * bool(reason)
    return entry("; ".join(words), {"before": str(before), "after": str(after), "by": by, "reason": reason})

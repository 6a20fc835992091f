# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "place" of the lab (private to the collection): folders of one process, swept after it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from functools import partial
from pathlib import Path

from .waiting import await_condition

#: Short, because the paths of ssh's control sockets are limited to some hundred characters.
PLACE = Path("/run")
#: Where on a real host programs keep what outlives a boot.
STATE = Path("/var/lib")
PREFIX = "pyspy-lab-"
OWNER = "owner"
CGROUPS = Path("/sys/fs/cgroup")
#: The folders that this process holds.
_locks: dict[Path, int] = {}


def claim(place: Path = PLACE) -> Path:
    """A new folder of this process; what earlier owners left is removed on the way."""
    _remove_leftovers(place)
    directory = place / (PREFIX + secrets.token_hex(4))
    directory.mkdir(mode=0o700)
    mark = directory / "new"
    # Locked for as long as this process lives; a PID would not do for those in another PID namespace.
    _locks[directory] = os.open(mark, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    fcntl.flock(_locks[directory], fcntl.LOCK_EX)
    mark.rename(directory / OWNER)
    return directory


def release(directory: Path) -> None:
    """Remove the folder and the cgroups of its name."""
    shutil.rmtree(directory)
    os.close(_locks.pop(directory))
    for cgroup in (*CGROUPS.glob(directory.name), *CGROUPS.glob(f"*/{directory.name}")):
        # From the leaves up; a group is busy until the last process in it has been reaped.
        for folder in sorted((cgroup, *cgroup.glob("**/*/")), reverse=True):
            await_condition(f"the end of {folder}", partial(_gone, folder))


def _remove_leftovers(place: Path) -> None:
    """Folders whose owner was killed. Hosts end with their owner; ssh's masters end themselves."""
    for directory in place.glob(PREFIX + "*"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            lock = os.open(directory / OWNER, os.O_WRONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise
            _locks[directory] = lock
            release(directory)


def _gone(folder: Path) -> bool:
    folder.rmdir()
    return True

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "place" of the lab (private to the collection): folders of one process, swept after it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from functools import partial
from pathlib import Path

from .waiting import await_condition

#: Short, because the paths of ssh's control sockets are limited to some hundred characters.
PLACE = Path("/run")
PREFIX = "pyspy-lab-"
CGROUPS = Path("/sys/fs/cgroup")


def claim() -> Path:
    """A new folder of this process; what earlier owners left is removed on the way."""
    _remove_leftovers()
    directory = PLACE / (PREFIX + secrets.token_hex(4))
    directory.mkdir(mode=0o700)
    (directory / "owner").write_text(_identity(os.getpid()))
    return directory


def release(directory: Path) -> None:
    """Remove the folder and the cgroups of its name."""
    shutil.rmtree(directory)
    for cgroup in (*CGROUPS.glob(directory.name), *CGROUPS.glob(f"*/{directory.name}")):
        # From the leaves up; a group is busy until the last process in it has been reaped.
        for folder in sorted((cgroup, *cgroup.glob("**/*/")), reverse=True):
            await_condition(f"the end of {folder}", partial(_gone, folder))


def _identity(pid: int) -> str:
    """PID and start time: names one process for as long as the machine is up."""
    return f"{pid} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"


def _remove_leftovers() -> None:
    """Folders whose owner was killed. Hosts end with their owner; ssh's masters end themselves."""
    for directory in PLACE.glob(PREFIX + "*"):
        with contextlib.suppress(FileNotFoundError):
            owner = (directory / "owner").read_text()
            try:
                alive = _identity(int(owner.split()[0])) == owner
            except FileNotFoundError:
                alive = False
            if not alive:
                release(directory)


def _gone(folder: Path) -> bool:
    folder.rmdir()
    return True

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "look program" of the lab (private to the collection): what is asked of the kernel where containers run.

``inside INIT PID…`` prints which PIDs these processes have in the PID namespace of ``INIT``, as a process in it
finds them: it is handed a pidfd of each, and reads in *its* /proc whose they are (proc(5), fdinfo). ``parents``
prints every process's parent. Both as JSON: PID here → PID.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path


def inside(init: int, *members: int) -> dict[int, int]:
    held = {}
    for pid in members:
        with contextlib.suppress(ProcessLookupError):  # It ended meanwhile.
            held[pid] = os.pidfd_open(pid)
    files = {pid: f"/proc/self/fdinfo/{fd}" for pid, fd in held.items()}
    enter = ("nsenter", "--target", str(init), "--pid", "--mount", "--", "grep", "--with-filename", "^Pid:")
    done = subprocess.run(
        (*enter, *files.values()), pass_fds=held.values(), stdout=subprocess.PIPE, text=True, check=True
    )
    found = dict(line.split(":Pid:") for line in done.stdout.splitlines())
    pids = {pid: int(found[file]) for pid, file in files.items()}
    return {pid: other for pid, other in pids.items() if other > 0}  # -1: it ended.


def parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
    return found


if __name__ == "__main__":
    print(json.dumps(inside(*map(int, sys.argv[2:])) if sys.argv[1] == "inside" else parents()))

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "keeper program" of the lab (private to the collection): starts commands, and ends all that came of them.

``keeper.py`` writes an order per line and reads an answer per line. What daemonizes below this process becomes
its child, as it would become init's. When there is no more to read, for whatever reason, everything below is
killed, and the cgroups that this leaves empty are removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import TypedDict

#: prctl(2): orphans below this process become its children.
PR_SET_CHILD_SUBREAPER = 36
CGROUPS = Path("/sys/fs/cgroup")


class Order(TypedDict):
    """A command; where its output goes; whether the answer is its exit status in the end or its PID at once."""

    words: list[str]
    environment: dict[str, str]
    out: str
    err: str
    wait: bool


class Keeper:
    """The only one that waits for processes here: it cannot know beforehand which ones will become its children."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._bell, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        self._awaited = 0

    def serve(self) -> None:
        pending = b""
        while True:
            ready = select.select((0, self._bell), (), ())[0]
            if self._bell in ready:
                os.read(self._bell, 4096)
                self.reap()
            if 0 in ready:
                data = os.read(0, 65536)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self._begin(json.loads(line))

    def _begin(self, order: Order) -> None:
        try:
            pid = _spawn(order)
        except OSError as error:
            Path(order["err"]).write_text(str(error))
            return _answer(127)
        if order["wait"]:
            self._awaited = pid
        else:
            _answer(pid)

    def reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._awaited:
                    _answer(os.waitstatus_to_exitcode(ended[1]))


def _spawn(order: Order) -> int:
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    kinds = ((0, os.devnull, os.O_RDONLY), (1, order["out"], append), (2, order["err"], append))
    files = [(os.POSIX_SPAWN_OPEN, fd, path, flags, 0o600) for fd, path, flags in kinds]
    return os.posix_spawnp(order["words"][0], order["words"], order["environment"], file_actions=files)


def _answer(number: int) -> None:
    print(number, flush=True)


def end_all(keeper: Keeper) -> None:
    groups: set[Path] = set()
    while below := _descendants():
        # All of them first: some end with their parent.
        for pid in below:
            with contextlib.suppress(OSError):
                groups |= _cgroups(pid)
        for pid in below:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        keeper.reap()
        time.sleep(0.005)
    for group in sorted(groups - _cgroups(os.getpid()), reverse=True):
        with contextlib.suppress(OSError):  # From the leaf up, until somebody else is in it.
            for folder in (group, *group.parents):
                folder.rmdir()


def _descendants() -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
    below, found = {os.getpid()}, set[int]()
    while below := {pid for pid, parent in parents.items() if parent in below}:
        found |= below
    return found


def _cgroups(pid: int) -> set[Path]:
    """The folders of the cgroups that a process is in."""
    found = set()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        unified = CGROUPS / "unified" if (CGROUPS / "unified").is_dir() else CGROUPS
        hierarchy = CGROUPS / controllers.removeprefix("name=") if controllers else unified
        found.add(hierarchy / path.lstrip("/"))
    return found


if __name__ == "__main__":
    one = Keeper()
    one.serve()
    end_all(one)

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "sandbox" of the lab (private to the collection): namespaces as a container has them, without a runtime.

Its files are the machine's. By default nobody in it holds CAP_SYS_PTRACE or can gain it, as in a container of Docker.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

_UNSHARE = ("unshare", "--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--mount-proc", "--fork")
_WITHOUT = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
_INIT = ("/bin/sh", "-c", "echo ready; trap : TERM; while :; do sleep 1000 & wait; done")


class Sandbox:
    """``init`` is the PID here of its first process."""

    def __init__(self, init: int) -> None:
        self.init = init
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, *command: str, capable: bool = False) -> subprocess.Popen[str]:
        """A process in it, which has to say something first; ``capable`` ones have what root here has."""
        process = subprocess.Popen(
            [*self.enter(capable), *command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        self._processes.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n", command
        return process

    def enter(self, capable: bool = False) -> tuple[str, ...]:
        """What to put before a command that is to run in it."""
        into = ("nsenter", "-t", str(self.init), "--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--")
        return (*into, *(() if capable else _WITHOUT))

    def pid_of(self, process: subprocess.Popen[str]) -> int:
        """The PID here of what :meth:`start` started: nsenter forks to get into a PID namespace."""
        return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()[0])

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]


@contextmanager
def sandbox(*, capable: bool = False, users: bool = False) -> Iterator[Sandbox]:
    """With ``users`` it has a user namespace of its own."""
    extra = ("--user", "--map-root-user") if users else ()
    command = [*_UNSHARE, *extra, "--kill-child", *(() if capable else _WITHOUT), *_INIT]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        init = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()[0])
        inside = Sandbox(init)
        try:
            yield inside
        finally:
            inside.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
        await_condition("the sandbox to be gone", lambda: not os.path.exists(f"/proc/{init}"))

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "sandbox" of the lab (private to the collection): namespaces as a container has them, without a runtime.

By default it is confined as a container of Docker's: nobody in it holds, or can gain, more capabilities than there.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

KINDS = ("pid", "mount", "net", "uts", "ipc", "cgroup")
#: What Docker leaves to a container by default (its documentation, "Runtime privilege and Linux capabilities").
_LEFT = (
    "chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,+net_bind_service"
    ",+sys_chroot,+kill,+audit_write"
)
CONFINED = ("setpriv", f"--bounding-set=-all,+{_LEFT}", "--inh-caps=-all", "--ambient-caps=-all", "--")
#: A root directory of its own, as runtimes make it: pivot_root(2), with the old one gone.
_PIVOT = """
mount --rbind "$1" "$1"
cd "$1"
mount -t proc proc proc
pivot_root . tmp
cd /
umount -l /tmp
shift
exec "$@"
"""
_INIT = ("/bin/sh", "-c", "echo ready; trap : TERM; while :; do sleep 1000 & wait; done")


class Sandbox:
    """``init`` is the PID here of its first process; ``folder`` a directory that it and we have in common."""

    def __init__(self, init: int, folder: Path, users: bool) -> None:
        self.init = init
        self.folder = folder
        self._users = users
        self._running = ExitStack()

    def enter(self, capable: bool = False) -> tuple[str, ...]:
        """What to put before a command that is to run in it; ``capable`` keeps all that root has here."""
        kinds = [f"--{kind}" for kind in (*KINDS, *(["user"] if self._users else []))]
        return ("nsenter", "-t", str(self.init), *kinds, "--root", "--wd", "--", *(() if capable else CONFINED))

    def start(self, *command: str, capable: bool = False) -> int:
        """Run it in there until the sandbox ends; once it has said that it is ready, its PID here is given."""
        process = self._running.enter_context(_saying_ready([*self.enter(capable), *command]))
        return _child(process.pid)

    def run(self, *command: str, capable: bool = False) -> None:
        subprocess.run([*self.enter(capable), *command], check=True, capture_output=True)

    def close(self) -> None:
        self._running.close()


@contextmanager
def sandbox(*, capable: bool = False, users: bool = False, root: bool = False) -> Iterator[Sandbox]:
    """With ``users`` it has a user namespace of its own; with ``root`` a small tree of its own as root directory."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyspy-sandbox-")))
        folder.chmod(0o755)
        kinds = [f"--{kind}" for kind in (*KINDS, "fork", "kill-child", "mount-proc")]
        kinds += ["--user", "--map-root-user"] if users else []
        first = [*(() if capable else CONFINED), *_INIT]
        if root:
            first = ["/bin/sh", "-ec", _PIVOT, "sh", str(stack.enter_context(_tree(folder))), *first]
        process = stack.enter_context(_saying_ready(["unshare", *kinds, "--", *first]))
        inside = Sandbox(_child(process.pid), folder, users)
        stack.callback(lambda: await_condition("it to be gone", lambda: not os.path.exists(f"/proc/{inside.init}")))
        stack.callback(process.kill)
        stack.callback(inside.close)
        yield inside


@contextmanager
def _tree(folder: Path) -> Iterator[Path]:
    """A root directory with the machine's programs, and ``folder`` at the same place as here."""
    root = folder / "root"
    for name in ("usr", "etc", "proc", "dev", "tmp", "run", "srv", str(folder)[1:]):
        root.joinpath(name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        root.joinpath(name).symlink_to(f"usr/{name}")
    binds = ["/usr", "/etc", "/dev", str(folder)]
    try:
        for place in binds:
            subprocess.run(["mount", "--bind", place, f"{root}{place}"], check=True)
        yield root
    finally:
        for place in reversed(binds):
            subprocess.run(["umount", "--lazy", f"{root}{place}"], check=True)


@contextmanager
def _saying_ready(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n", command
        yield process
    finally:
        for pid in _children(process.pid):  # nsenter passes no signal on
            subprocess.run(["kill", "-9", str(pid)], check=False)
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def _child(pid: int) -> int:
    """Who unshares or enters a PID namespace forks to be in it."""
    [child] = _children(pid)
    return child


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]
    except OSError:
        return []

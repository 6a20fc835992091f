# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "on machine" of the lab (private to the collection): the same containers on a virtual machine.

There systemd runs and the runtimes have their own places and settings, as Debian ships them; cgroups are of version 2.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from ..tree import LabError
from ..vm import Machine
from ..waiting import await_condition
from .container import Container, Runtime, Truth
from .containerd import Containerd
from .docker import Docker
from .lxc import Lxc
from .podman import Podman
from .skeleton import PROGRAMS, SHARED

#: Who runs containers there without being root.
USER = "deploy"


class Ssh:
    """Hands on a machine."""

    def __init__(self, machine: Machine, user: str) -> None:
        self._machine = machine
        self._user = user

    def run(self, *words: str) -> str:
        done = self._machine.run(shlex.join(words), user=self._user, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(words)} failed ({done.returncode}):\n{done.stderr}{done.stdout}")
        return done.stdout

    def begin(self, *words: str, log: Path) -> int:
        command = f"setsid {shlex.join(words)} </dev/null >>{log} 2>&1 & echo $!"
        return int(self._machine.run(command, user=self._user).stdout)

    def write(self, path: Path, data: bytes) -> None:
        self._machine.run(f"cat > {path}", user=self._user, stdin=data)


class OnMachine(Runtime):
    """Nothing has to be ended: a machine forgets all that was done on it."""

    programs = PROGRAMS[:1]

    def __init__(self, machine: Machine, user: str = "root") -> None:
        super().__init__()
        self._machine = machine
        self._user = user

    def __enter__(self) -> Self:
        self.hands = Ssh(self._machine, self._user)
        self.root_hands = Ssh(self._machine, "root")
        self.directory = Path(self.hands.run("mktemp", "--directory").strip())
        self.shared = Path(SHARED)
        self.root_hands.run("mkdir", "-p", "-m", "1777", SHARED)
        self.set_up()
        return self

    def __exit__(self, *_error: object) -> None:
        pass


class DockerOnMachine(OnMachine, Docker):
    def set_up(self) -> None:
        self.hands.run("systemctl", "start", "docker")
        self.load()


class PodmanOnMachine(OnMachine, Podman):
    """Of root, or of a user whose systemd stays when he has left."""

    def set_up(self) -> None:
        if self._user != "root":
            self.root_hands.run("loginctl", "enable-linger", self._user)
        self.load()

    def client(self, *words: str) -> str:
        return self.hands.run("podman", *words)


class ContainerdOnMachine(OnMachine, Containerd):
    def set_up(self) -> None:
        self.hands.run("systemctl", "start", "containerd")
        self.load()


class LxcOnMachine(OnMachine, Lxc):
    def set_up(self) -> None:
        self.folder = Path("/var/lib/lxc")


class NspawnOnMachine(OnMachine):
    """By hand; machined knows them all the same."""

    name = "nspawn"

    def set_up(self) -> None:
        """Nothing is missing."""

    def start(self, name: str, argv: Sequence[str], *, options: Sequence[str] = ()) -> NspawnContainer:
        root = Path("/var/lib/machines", name)
        self.lay(root)
        alone = ("--private-network", "--link-journal=no", "--console=pipe", "--resolv-conf=off", "--timezone=off")
        mounts = (*(f"--bind-ro={path}" for path in self.programs), f"--bind={self.shared}:{SHARED}")
        words = ("systemd-nspawn", "--quiet", *alone, *mounts, *options, "-M", name, f"--directory={root}")
        return NspawnContainer(self, name, (*words, "--", *argv))


class NspawnContainer(Container):
    def __init__(self, nspawn: NspawnOnMachine, name: str, words: Sequence[str]) -> None:
        super().__init__(nspawn, name)
        self._words = words
        self._log = nspawn.directory / f"{name}.log"
        self._begin()

    def _begin(self) -> None:
        self._runtime.hands.begin(*self._words, log=self._log)
        await_condition(f"{self.name} (see {self._log} on the machine)", self._runs)

    def _runs(self) -> bool:
        """Whether its first process runs what it was made for."""
        with contextlib.suppress(LabError):
            return "nspawn" not in self._runtime.hands.run("readlink", f"/proc/{self._first()}/exe")
        return False

    def _first(self) -> int:
        return int(self._runtime.hands.run("machinectl", "show", self.name, "--property=Leader", "--value"))

    def truth(self) -> Truth:
        return Truth("nspawn", self.name, self.name, "", self._runtime.seen_inside(self._first(), self.members()))

    def members(self) -> list[int]:
        return self._runtime.sharing_pids_with(self._first())

    def end(self) -> None:
        self._runtime.hands.run("machinectl", "terminate", self.name)
        await_condition(
            f"the end of {self.name}", lambda: self.name not in self._runtime.hands.run("machinectl", "list")
        )

    def restart(self) -> None:
        self.end()
        self._begin()

    def execute(self, argv: Sequence[str]) -> None:
        enter = ("nsenter", "--all", "--target", str(self._first()))
        self._runtime.hands.begin(*enter, "--", *argv, log=self._log)


RUNTIMES: dict[str, Callable[[Machine], Runtime]] = {
    "containerd": ContainerdOnMachine,
    "docker": DockerOnMachine,
    "lxc": LxcOnMachine,
    "nspawn": NspawnOnMachine,
    "podman": PodmanOnMachine,
    "rootless_podman": partial(PodmanOnMachine, user=USER),
}

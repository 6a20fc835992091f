# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "podman" of the lab (private to the collection): containers of Podman, of root or of an ordinary user."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .container import Container, Runtime, Truth
from .skeleton import IMAGE, SHARED, archive

#: runc, for Debian's crun wants a writable cgroup of version 2 here; Podman's own limits, for raising them takes
#: a capability that root has not everywhere.
SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
#: Who runs containers without being root. No such user is made on this machine: see ``_lay_user``.
USER, UID, SUBORDINATE = "labrat", 31100, "3110000-3175535"
PLACES = ("root", "runroot", "tmpdir")
FOLDERS = ("home", "runtime", "storage", "run", "tmp")


class Podman(Runtime):
    """Its storage is not in the default place: only the command lines of its conmons say where."""

    name = "podman"
    cgroups = ("libpod_parent",)

    def __init__(self, rootless: bool = False) -> None:
        self.rootless = rootless
        if rootless:  # An ordinary user cannot pass through another's home, where the tests' interpreter may be.
            self.programs = self.programs[:1]

    def environment(self) -> dict[str, str]:
        found = {"HOME": f"{self.directory}/home", "CONTAINERS_CONF": f"{self.directory}/containers.conf"}
        if self.rootless:
            found["XDG_RUNTIME_DIR"] = f"{self.directory}/runtime"
        return found

    def set_up(self) -> None:
        (self.directory / "containers.conf").write_text(SETTINGS)
        for name in FOLDERS:
            (self.directory / name).mkdir(mode=0o700)
        if self.rootless:
            self._lay_user()
        self.load()

    def load(self) -> None:
        self.hands.write(self.directory / "image.tar", archive())
        self.client("load", "--input", f"{self.directory}/image.tar")

    def _lay_user(self) -> None:
        """A user with subordinate ids, whom only the keeper's mount namespace knows."""
        self.hands.run("useradd", f"--uid={UID}", f"--home-dir={self.directory}/home", USER)
        self.hands.run("touch", "/etc/subuid", "/etc/subgid")
        self.hands.run("usermod", f"--add-subuids={SUBORDINATE}", f"--add-subgids={SUBORDINATE}", USER)
        for name in FOLDERS:
            os.chown(self.directory / name, UID, UID)

    def client(self, *words: str) -> str:
        """What the client prints."""
        become = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups") if self.rootless else ()
        places = [f"--{option}={self.directory}/{name}" for option, name in zip(PLACES, FOLDERS[2:], strict=True)]
        return self.hands.run(*become, "podman", *places, *words)

    def start(self, name: str, argv: Sequence[str], *, options: Sequence[str] = ()) -> PodmanContainer:
        mounts = [f"--volume={path}:{path}:ro" for path in self.programs]
        mounts.append(f"--volume={self.shared}:{SHARED}")
        self.client("run", "--detach", f"--name={name}", "--network=none", *mounts, *options, IMAGE, *argv)
        return PodmanContainer(self, name)


class PodmanContainer(Container):
    def __init__(self, podman: Podman, name: str) -> None:
        super().__init__(podman, name)
        self._podman = podman

    def truth(self) -> Truth:
        form = "{{.State.Pid}} {{.Id}} {{.Name}} {{.ImageName}}"
        init, number, name, image = self._podman.client("inspect", "--format", form, self.name).split()
        return Truth("podman", number, name, image, self._podman.seen_inside(int(init), self.members()))

    def members(self) -> list[int]:
        rows = self._podman.client("top", self.name, "hpid").splitlines()[1:]
        if "?" not in rows:
            return [int(row) for row in rows]
        # Of one that has no PID namespace of its own Podman knows the first process only; no further ones then.
        first = int(self._podman.client("inspect", "--format", "{{.State.Pid}}", self.name))
        return [first, *self._podman.descendants(first)]

    def end(self) -> None:
        self._podman.client("rm", "--force", "--ignore", "--time=0", self.name)

    def restart(self) -> None:
        self._podman.client("restart", "--time=0", self.name)

    def execute(self, argv: Sequence[str]) -> None:
        self._podman.client("exec", "--detach", self.name, *argv)

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "docker" of the lab (private to the collection): a dockerd of the tests' own, and containers of it."""

from __future__ import annotations

from collections.abc import Sequence

from .container import Container, Runtime, Truth
from .skeleton import IMAGE, SHARED, archive

#: Debian's: a newer client elsewhere in PATH may refuse to talk to this daemon.
CLIENT = "/usr/bin/docker"


class Docker(Runtime):
    """Its data root is not the default one, as on many real hosts: only the command line of dockerd says so."""

    name = "docker"
    cgroups = ("docker",)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DOCKER_HOST": f"unix://{self.directory}/docker.sock"}

    def set_up(self) -> None:
        settings = self.directory / "daemon.json"
        settings.write_text("{}")
        place = ("--data-root", f"{self.directory}/data", "--exec-root", f"{self.directory}/exec")
        files = ("--pidfile", f"{self.directory}/docker.pid", "--config-file", str(settings))
        listen = ("--host", f"unix://{self.directory}/docker.sock", "--bridge=none", "--iptables=false")
        self.start_daemon(("dockerd", *place, *files, *listen), (CLIENT, "version"))
        self.load()

    def load(self) -> None:
        self.hands.write(self.directory / "image.tar", archive())
        self.client("load", "--input", f"{self.directory}/image.tar")

    def client(self, *words: str) -> str:
        """What the client prints."""
        return self.hands.run(CLIENT, *words)

    def start(self, name: str, argv: Sequence[str], *, options: Sequence[str] = ()) -> DockerContainer:
        mounts = [f"--volume={path}:{path}:ro" for path in self.programs]
        mounts.append(f"--volume={self.shared}:{SHARED}")
        self.client("run", "--detach", f"--name={name}", "--network=none", *mounts, *options, IMAGE, *argv)
        return DockerContainer(self, name)


class DockerContainer(Container):
    def __init__(self, docker: Docker, name: str) -> None:
        super().__init__(docker, name)
        self._docker = docker

    def truth(self) -> Truth:
        form = "{{.State.Pid}} {{.Id}} {{.Name}} {{.Config.Image}}"
        init, number, name, image = self._docker.client("inspect", "--format", form, self.name).split()
        pids = self._docker.seen_inside(int(init), self.members())
        return Truth("docker", number, name.removeprefix("/"), image, pids)

    def members(self) -> list[int]:
        rows = self._docker.client("top", self.name, "-eo", "pid").splitlines()
        return [int(row) for row in rows[1:]]

    def end(self) -> None:
        self._docker.client("rm", "--force", self.name)

    def restart(self) -> None:
        self._docker.client("restart", "--time=0", self.name)

    def execute(self, argv: Sequence[str]) -> None:
        self._docker.client("exec", "--detach", self.name, *argv)

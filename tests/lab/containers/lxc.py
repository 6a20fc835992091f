# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "lxc" of the lab (private to the collection): containers of LXC."""

from __future__ import annotations

from collections.abc import Sequence

from .container import Container, Runtime, Truth
from .skeleton import SHARED

SETTINGS = """
lxc.uts.name = {name}
lxc.rootfs.path = dir:{folder}/{name}/rootfs
lxc.mount.auto = proc:mixed sys:ro
lxc.net.0.type = empty
lxc.console.path = none
lxc.tty.max = 0
lxc.apparmor.profile = unconfined
"""


class Lxc(Runtime):
    name = "lxc"
    cgroups = ("lxc.pivot",)

    def set_up(self) -> None:
        self.folder = self.directory / "lxc"

    def start(self, name: str, argv: Sequence[str], *, options: Sequence[str] = ()) -> LxcContainer:
        """Options are those of lxc-start, as ``("-s", "lxc.cap.drop = net_raw")``."""
        self.lay(self.folder / name / "rootfs")
        mounts = [f"lxc.mount.entry = {path} {path[1:]} none rbind,ro 0 0" for path in self.programs]
        mounts.append(f"lxc.mount.entry = {self.shared} {SHARED[1:]} none bind 0 0")
        text = SETTINGS.format(name=name, folder=self.folder) + "\n".join(mounts) + "\n"
        self.hands.write(self.folder / name / "config", text.encode())
        container = LxcContainer(self, name, (*options, "--", *argv))
        container.begin()
        return container

    def client(self, tool: str, name: str, *words: str) -> str:
        """What one of the client's programs prints."""
        return self.hands.run(*self.words(tool, name), *words)

    def words(self, tool: str, name: str) -> tuple[str, ...]:
        return (tool, f"--lxcpath={self.folder}", f"--name={name}")


class LxcContainer(Container):
    """Its monitor has left whoever started it, and calls itself after the container."""

    def __init__(self, lxc: Lxc, name: str, words: Sequence[str]) -> None:
        super().__init__(lxc, name)
        self._lxc = lxc
        self._words = words

    def begin(self) -> None:
        log = f"{self._lxc.directory}/lxc.log"
        self._lxc.client("lxc-start", self.name, "--daemon", f"--logfile={log}", *self._words)

    def truth(self) -> Truth:
        return Truth("lxc", self.name, self.name, "", self._lxc.seen_inside(self._first(), self.members()))

    def _first(self) -> int:
        return int(self._lxc.client("lxc-info", self.name, "--pid", "--no-humanize"))

    def members(self) -> list[int]:
        return self._lxc.sharing_pids_with(self._first())

    def end(self) -> None:
        self._stop()
        self._lxc.hands.run("rm", "-r", str(self._lxc.folder / self.name))

    def _stop(self) -> None:
        self._lxc.client("lxc-stop", self.name, "--kill")

    def restart(self) -> None:
        self._stop()
        self.begin()

    def execute(self, argv: Sequence[str]) -> None:
        attach = self._lxc.words("lxc-attach", self.name)
        self._lxc.hands.begin(*attach, "--", *argv, log=self._lxc.directory / "attach.log")

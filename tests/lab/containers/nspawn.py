# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "nspawn" of the lab (private to the collection): containers of systemd-nspawn, started by hand."""

from __future__ import annotations

from collections.abc import Sequence

from .container import Runtime, Truth
from .foreground import ForegroundContainer
from .skeleton import SHARED


class Nspawn(Runtime):
    name = "nspawn"
    cgroups = ("payload", "supervisor")

    def set_up(self) -> None:
        """There is nothing that all of its containers share."""

    def start(self, name: str, argv: Sequence[str], *, options: Sequence[str] = ()) -> ForegroundContainer:
        root = self.directory / name
        self.lay(root)
        alone = ("--keep-unit", "--register=no", "--private-network", "--link-journal=no", "--console=pipe")
        untouched = ("--resolv-conf=off", "--timezone=off")
        mounts = (*(f"--bind-ro={path}" for path in self.programs), f"--bind={self.shared}:{SHARED}")
        words = ("systemd-nspawn", "--quiet", *alone, *untouched, *mounts, *options)
        return ForegroundContainer(
            self, Truth("nspawn", name, name, "", {}), (*words, "-M", name, f"--directory={root}", "--", *argv)
        )

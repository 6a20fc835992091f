# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "bare" of the lab (private to the collection): PID namespaces that no runtime knows of."""

from __future__ import annotations

from collections.abc import Sequence

from .container import Runtime, Truth
from .foreground import ForegroundContainer


class Bare(Runtime):
    """By unshare, on this machine's own files; a name is for the tests alone."""

    name = ""
    words: tuple[str, ...] = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

    @property
    def inside(self) -> str:
        return str(self.shared)

    def set_up(self) -> None:
        """There is nothing that all of its containers share."""

    def start(self, name: str, argv: Sequence[str], *, options: Sequence[str] = ()) -> ForegroundContainer:
        return ForegroundContainer(self, Truth("", "", name, "", {}), (*self.words, *options, "--", *argv))


class Bubblewrap(Bare):
    """Its own first process stays above the others in the namespace."""

    words = ("bwrap", "--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/", "--proc", "/proc")

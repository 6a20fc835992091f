# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "foreground" of the lab (private to the collection): containers whose starter stays their parent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..network import end
from ..tree import LabError
from ..waiting import await_condition
from .container import Container, Runtime, Truth


class ForegroundContainer(Container):
    """There is no client to ask: its first process is the child of what was started."""

    def __init__(self, runtime: Runtime, truth: Truth, words: Sequence[str]) -> None:
        super().__init__(runtime, truth.name)
        self._truth = truth
        self._words = words
        self._begin()

    def _begin(self) -> None:
        self._log = self._runtime.directory / f"{self.name}.log"
        self._starter = self._runtime.hands.begin(*self._words, log=self._log)
        await_condition(f"{self._words[0]} (see {self._log})", self._find_first)

    def _find_first(self) -> bool:
        """Below the starter, in another PID namespace; ready when somebody there runs another program."""
        if not Path(f"/proc/{self._starter}").exists():
            raise LabError(f"{self._words[0]} did not start:\n{self._log.read_text()}")
        outside, program = (os.readlink(f"/proc/{self._starter}/{name}") for name in ("ns/pid", "exe"))
        inside = [
            pid for pid in self._runtime.descendants(self._starter) if os.readlink(f"/proc/{pid}/ns/pid") != outside
        ]
        self._first = inside[0] if inside else 0
        return any(os.readlink(f"/proc/{pid}/exe") != program for pid in inside)

    def truth(self) -> Truth:
        return self._truth._replace(pids=self._runtime.seen_inside(self._first, self.members()))

    def members(self) -> list[int]:
        return self._runtime.sharing_pids_with(self._first)

    def end(self) -> None:
        for pid in (self._first, self._starter):
            end(pid)

    def restart(self) -> None:
        self.end()
        self._begin()

    def execute(self, argv: Sequence[str]) -> None:
        enter = ("nsenter", "--all", "--target", str(self._first))
        self._runtime.hands.begin(*enter, "--", *argv, log=self._log)

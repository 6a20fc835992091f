# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "terminal" of the lab (private to the collection): a command in a shell on a terminal, as a person has it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

#: As an interactive shell: it outlives the Ctrl-C that ends its command, and the terminal lives with it.
SHELL = 'trap : INT; "$@"; echo "exit code $?"; read -r line'


class Terminal:
    """``with Terminal(command, …) as terminal:`` runs it; whatever is left of it in the end is killed."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        # setsid makes the terminal the session's own: Ctrl-C reaches the command and all its workers.
        words = ["setsid", "--ctty", "sh", "-c", SHELL, "sh", *command]
        self.process = subprocess.Popen(words, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.process.wait()
        os.close(self._ours)

    def read_until(self, words: str, seconds: float = 120) -> str:
        """Read on until the terminal has shown ``words``, to the end of that line; gives the rest of the line."""
        deadline = time.monotonic() + seconds
        while True:
            rest, whole, _later = self.text.partition(words)[2].partition("\n")
            if whole:
                return rest
            assert time.monotonic() < deadline and self._read(1), f"the terminal never showed {words!r}:\n{self.text}"

    def read_to_end(self) -> int:
        """Read until the command has ended; gives its exit code."""
        return int(self.read_until("exit code "))

    def _read(self, seconds: float) -> bool:
        """Read what there is; False once nobody has the terminal open any more."""
        if not select.select([self._ours], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # the kernel's way of saying that the other side is closed
            return False
        self.text += piece.decode(errors="replace").replace("\r\n", "\n")
        return bool(piece)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def kill(self) -> None:
        """SIGKILL for the whole session: nobody is left who could say anything."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                session = int(Path("/proc", name, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[3])
                if session == self.process.pid:
                    os.kill(int(name), signal.SIGKILL)
            except (OSError, IndexError):
                pass

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "keeper" of the lab (private to the collection): commands whose daemons end with their owner.

They run in a mount namespace of their own, so that no mount of theirs can stay either, and nothing that they
write in places which they will not be talked out of.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ..tree import LabError

PROGRAM = Path(__file__).with_name("keeper_program.py")
#: $1 is the one folder that they share with this machine; the rest of the words are executed.
SCENE = """
mount -t tmpfs -o mode=755 lab /run
mount -t tmpfs -o mode=1777 lab /dev/shm
mkdir /run/lock /run/etc /run/etc.work /run/lib /run/lib.work /run/place
mount --bind "$1" /run/place
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc.work lab /etc
mount -t overlay -o lowerdir=/var/lib,upperdir=/run/lib,workdir=/run/lib.work lab /var/lib
mount --bind /run/place "$1"
shift
exec "$@"
"""
#: No command here takes this long, unless it hangs.
LIMIT = 60


class Keeper:
    """Starts commands in ``directory``'s name; everything below ends with :meth:`close`, or with this process."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment}
        scene = ("unshare", "--mount", "sh", "-euc", SCENE, "scene", str(directory))
        # In a session of its own: Ctrl-C at a terminal is not meant for it, but for its owner.
        self._process = subprocess.Popen(
            (*scene, sys.executable, "-I", str(PROGRAM), str(directory)),  # the last word for people who look on
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *words: str) -> str:
        """What a command prints; LabError with its own words when it fails."""
        out, err = (self._directory / name for name in ("out", "err"))
        for file in (out, err):
            file.unlink(missing_ok=True)
        status = self._order(words, out, err, wait=True)
        if status:
            said = (err.read_text(errors="replace") + out.read_text(errors="replace"))[-2000:]
            raise LabError(f"{' '.join(words)} failed ({status}):\n{said}")
        return out.read_text()

    def begin(self, *words: str, log: Path) -> int:
        """Start a command that stays; gives its PID."""
        return self._order(words, log, log, wait=False)

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)

    def _order(self, words: tuple[str, ...], out: Path, err: Path, wait: bool) -> int:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        order = {"words": words, "environment": self._environment, "out": str(out), "err": str(err), "wait": wait}
        with contextlib.suppress(BrokenPipeError):  # The answer will be missed.
            os.write(stdin.fileno(), json.dumps(order).encode() + b"\n")
        if not select.select((stdout,), (), (), LIMIT)[0]:
            raise LabError(f"{' '.join(words)} did not end within {LIMIT} s")
        answer = stdout.readline()
        if not answer:
            raise LabError(f"{' '.join(words)} was not started: the keeper has ended (its last words are above)")
        return int(answer)

    def close(self) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()
            self._process.wait(LIMIT)

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "executable" of the host wing (private to the collection): asking a py-spy that is already here what it is."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Tuple

from ._errors import HostError

#: Below this version a py-spy that is killed in mid-sample leaves its target stopped.
FLOOR = (0, 4, 0)
#: How long ``--version`` may take; it takes milliseconds where nothing is wrong.
SECONDS = 15.0
_MAX_OUTPUT = 4096
_REMEDY = "name another py-spy, or none: the pinned one is brought then"


def version_of(fd: int, path: str) -> str:
    """The version that the program open as ``fd`` says it has; HostError unless it is a py-spy of 0.4.0 or newer."""
    # A script would have to be opened again by its interpreter, which nobody has checked.
    if os.pread(fd, 4, 0) != b"\x7fELF":
        raise HostError("The named py-spy is not a program", path + " is not an ELF file", _REMEDY)
    answer = _ask(fd, path)
    version = parse(answer)
    if not version:
        raise HostError(
            "The named program is not py-spy", "%s --version: %s" % (path, answer.partition("\n")[0][:200]), _REMEDY
        )
    if version < FLOOR:
        raise HostError(
            "The named py-spy is too old",
            "%s: killed in mid-sample, versions below 0.4.0 leave their target stopped" % answer.strip(),
            _REMEDY,
        )
    return ".".join(map(str, version))


def parse(answer: str) -> Tuple[int, ...]:
    """``py-spy 0.4.3`` → (0, 4, 3); () for anything else."""
    words = answer.split()
    if len(words) != 2 or words[0] != "py-spy":
        return ()
    numbers = words[1].split(".")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() and len(number) < 6 for number in numbers):
        return ()
    return tuple(map(int, numbers))


def _ask(fd: int, path: str) -> str:
    """What ``--version`` prints: by descriptor, without an environment, for a bounded time."""
    reader, writer = os.pipe()
    try:
        with open(os.devnull, "rb") as nothing:
            actions = [
                (os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate((nothing.fileno(), writer, writer))
            ]
            # Not a module's run_command: this runs without Ansible, by descriptor and with nothing inherited.
            # pylint: disable-next=ansible-bad-function
            child = os.posix_spawn("/proc/self/fd/%d" % fd, ["py-spy", "--version"], {}, file_actions=actions)
    except OSError as error:
        os.close(reader)
        raise HostError("The named py-spy cannot be executed", "%s: %s" % (path, error.strerror), _REMEDY) from None
    finally:
        os.close(writer)
    try:
        return _read(reader, path)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)  # whatever it still does; not waited for yet, so the number is still its own
        os.waitpid(child, 0)


def _read(reader: int, path: str) -> str:
    deadline = time.monotonic() + SECONDS
    output = b""
    watch = select.poll()
    watch.register(reader, select.POLLIN)
    while len(output) < _MAX_OUTPUT:
        left = deadline - time.monotonic()
        if left <= 0 or not watch.poll(left * 1000):
            raise HostError(
                "The named py-spy does not answer", "%s --version: no end after %g s" % (path, SECONDS), _REMEDY
            )
        piece = os.read(reader, _MAX_OUTPUT)
        if not piece:
            break
        output += piece
    return output.decode("ascii", "replace")

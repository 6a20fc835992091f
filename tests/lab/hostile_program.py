# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "hostile_program" of the lab (private to the collection): what a hostile container tries on who enters it.

Runs in the container: ``python3 hostile_program.py FILE``. It waits for processes that were not there before, and for
each that it did not start tries everything again and again until the process has ended: to open what its entry in
``/proc`` leads to, to read its memory, to trace it, to take a descriptor of it, to join its namespaces. FILE gets a
line of JSON for each process: its command line, how often it was tried, and what succeeded.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable

_PTRACE_SEIZE, _PTRACE_INTERRUPT, _PTRACE_DETACH = 0x4206, 0x4207, 17
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438
libc = ctypes.CDLL(None, use_errno=True)


def _link(name: str) -> Callable[[int], None]:
    def attempt(pid: int) -> None:
        os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))

    return attempt


def _content(name: str) -> Callable[[int], None]:
    """Of a process that is ending these can be opened by everybody, and are empty."""

    def attempt(pid: int) -> None:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            _succeeds(len(file.read(64)) - 1)

    return attempt


def _memory_file(pid: int) -> None:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file, open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        file.seek(int(maps.readline().partition("-")[0], 16))
        _succeeds(len(file.read(8)) - 1)


def _descriptors(pid: int) -> None:
    """Only root's eyes see which numbers there are; what they are is the secret."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        os.readlink(f"/proc/{pid}/fd/{number}")
        return
    raise OSError("none")


def _descriptor(pid: int) -> None:
    for number in range(12):
        try:
            os.close(os.open(f"/proc/{pid}/fd/{number}", os.O_RDWR))
            return
        except FileNotFoundError:
            pass
    raise OSError("none")


def _trace(pid: int) -> None:
    _succeeds(libc.ptrace(_PTRACE_SEIZE, pid, None, None))
    libc.ptrace(_PTRACE_INTERRUPT, pid, None, None)
    os.waitpid(pid, 0)
    libc.ptrace(_PTRACE_DETACH, pid, None, None)


def _memory(pid: int) -> None:
    here, there = ctypes.create_string_buffer(8), ctypes.c_void_p(0x400000)
    pair = ctypes.c_void_p * 2
    ours, theirs = pair(ctypes.addressof(here), 8), pair(there.value, 8)
    answer = libc.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    if answer < 0 and ctypes.get_errno() != 14:  # EFAULT: it may be read, there is nothing at this address
        raise OSError("refused")


def _steal(pid: int) -> None:
    held = libc.syscall(_PIDFD_OPEN, pid, 0)
    _succeeds(held)
    taken = libc.syscall(_PIDFD_GETFD, held, 1, 0)
    os.close(held)
    _succeeds(taken)
    os.close(taken)


def _succeeds(answer: int) -> None:
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")


ATTEMPTS: dict[str, Callable[[int], None]] = {
    **{name: _link(name) for name in ("exe", "root", "cwd", "root/etc/passwd", "ns/mnt")},
    **{name: _content(name) for name in ("environ", "maps")},
    "mem": _memory_file,
    "read a descriptor": _descriptors,
    "open a descriptor": _descriptor,
    "trace": _trace,
    "read memory": _memory,
    "take a descriptor": _steal,
}


def main() -> None:
    known = set(_pids())
    with open(sys.argv[1], "w", encoding="utf-8") as results:
        print("ready", flush=True)
        while True:
            for pid in [one for one in _pids() if one not in known]:
                known.add(pid)
                print(json.dumps(_attack(pid)), file=results, flush=True)


def _attack(pid: int) -> dict[str, object]:
    succeeded: set[str] = set()
    lines: set[str] = set()
    tries = 0
    while os.path.exists(f"/proc/{pid}/stat"):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    break
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                lines.add(file.read().replace("\0", " ").strip())
        except OSError:
            break
        for name, attempt in ATTEMPTS.items():
            try:
                attempt(pid)
                succeeded.add(name)
            except (OSError, ValueError):
                pass
        tries += 1
    return {"pid": pid, "lines": sorted(lines), "tries": tries, "succeeded": sorted(succeeded)}


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


if __name__ == "__main__":
    main()

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "procfs" of the host wing (private to the collection): reading ``/proc``; nothing is interpreted here.

A process is held by an open ``/proc/<pid>`` directory: once the process has
ended, every read through it fails, even when its PID was given to another.
So a keeper makes sure of its target like this::

    with ProcessDir(target.pid) as process:
        if process.start != target.start:
            raise Gone(target.pid)
"""

from __future__ import annotations

import os
import pwd
import signal
from typing import Dict, List, NamedTuple, Optional, Tuple

#: More of one file is never read: a neighbour may have a command line or a map without end (bytes).
MAX_FILE = 1 << 20
#: The same for a command line, which is kept for every process of the host, and searched.
MAX_COMMAND = 16 << 10
#: Flag of kernel threads in ``stat`` (PF_KTHREAD of the kernel's sched.h).
_KERNEL_THREAD = 0x00200000
#: Most threads of a process that are looked at.
MAX_THREADS = 4096


class Gone(Exception):
    """The process has ended, or is hidden from us (``/proc`` mounted with hidepid). Both are normal."""

    def __init__(self, pid: int) -> None:
        super().__init__("process %d is gone" % pid)
        self.pid = pid


class Stat(NamedTuple):
    """``/proc/<pid>/stat``: ``ticks`` is utime + stime, ``start`` clock ticks since boot (field 22)."""

    pid: int
    comm: str
    state: str
    ppid: int
    kernel: bool
    ticks: int
    start: int


class Status(NamedTuple):
    """``/proc/<pid>/status``: ids are real, effective, saved, file system; ``nspids`` from the outermost inwards.

    ``permitted``, ``effective``, ``bounding`` are sets of capabilities as bits; ``seccomp`` is 2 under a filter.
    """

    uids: Tuple[int, ...]
    gids: Tuple[int, ...]
    groups: Tuple[int, ...]
    tracer: int
    nspids: Tuple[int, ...]
    permitted: int = 0
    effective: int = 0
    bounding: int = 0
    seccomp: int = 0
    no_new_privs: bool = False


def parse_stat(data: bytes) -> Stat:
    """Raise ValueError for anything but a whole line. ``comm`` may hold spaces, brackets, line ends, any byte."""
    head, closing, rest = data.rpartition(b")")
    pid, opening, comm = head.partition(b" (")
    fields = rest.split()
    if not opening or not closing or len(fields) < 20:
        raise ValueError("not a stat line: %r" % data[:80])
    return Stat(
        pid=int(pid),
        comm=comm.decode("utf-8", "replace"),
        state=fields[0].decode("ascii", "replace"),
        ppid=int(fields[1]),
        kernel=bool(int(fields[6]) & _KERNEL_THREAD),
        ticks=int(fields[11]) + int(fields[12]),
        start=int(fields[19]),
    )


def parse_status(data: bytes) -> Status:
    """Raise ValueError when a line that every kernel gives is missing. The kernel escapes line ends in names."""
    lines = {}
    for line in data.split(b"\n"):
        key, colon, value = line.partition(b":")
        if colon:
            lines[key] = value

    def numbers(key: bytes) -> Tuple[int, ...]:
        return tuple(int(word) for word in lines.get(key, b"").split())

    uids, gids = numbers(b"Uid"), numbers(b"Gid")
    if len(uids) != 4 or len(gids) != 4:
        raise ValueError("not a status file: %r" % data[:80])
    return Status(
        uids,
        gids,
        numbers(b"Groups"),
        (numbers(b"TracerPid") or (0,))[0],
        numbers(b"NSpid"),
        permitted=int(lines.get(b"CapPrm") or b"0", 16),
        effective=int(lines.get(b"CapEff") or b"0", 16),
        bounding=int(lines.get(b"CapBnd") or b"0", 16),
        seccomp=(numbers(b"Seccomp") or (0,))[0],
        no_new_privs=numbers(b"NoNewPrivs") == (1,),
    )


def parse_argv(data: bytes) -> Tuple[str, ...]:
    """The arguments; the NULs that pad a process title are no empty arguments."""
    text = data.rstrip(b"\0")
    return tuple(text.decode("utf-8", "replace").split("\0")) if text else ()


def parse_maps(data: bytes) -> Tuple[str, ...]:
    """The mapped files, each once, in order; without the mark of a deleted file."""
    found: Dict[str, None] = {}
    for line in data.split(b"\n"):
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5].startswith(b"/"):
            found[without_deleted(fields[5].decode("utf-8", "replace"))] = None
    return tuple(found)


def without_deleted(path: str) -> str:
    """The kernel marks a file that was removed or replaced, as by an upgrade."""
    mark = " (deleted)"
    return path[: -len(mark)] if path.endswith(mark) else path


class ProcessDir:
    """One process, held by its open directory. Every read raises :class:`Gone` once it has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._fd = os.open("/proc/%d" % pid, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError, PermissionError) as error:
            raise Gone(pid) from error

    def __enter__(self) -> ProcessDir:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self, name: str, limit: int = MAX_FILE) -> bytes:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)
            try:
                return _read_all(fd, limit, name)
            finally:
                os.close(fd)
        except (FileNotFoundError, ProcessLookupError, PermissionError) as error:
            raise Gone(self.pid) from error

    def stat(self) -> Stat:
        try:
            return parse_stat(self._read("stat"))
        except ValueError as error:
            raise Gone(self.pid) from error

    def status(self) -> Status:
        try:
            return parse_status(self._read("status"))
        except ValueError as error:
            raise Gone(self.pid) from error

    def argv(self) -> Tuple[str, ...]:
        """Empty for kernel threads and zombies."""
        return parse_argv(self._read("cmdline", MAX_COMMAND))

    def exe(self) -> Optional[str]:
        """The executable's path as the kernel names it; None when we may not know, or there is none."""
        return self._link("exe")

    def cwd(self) -> Optional[str]:
        """Its working directory as the kernel names it; None when we may not know, or there is none."""
        return self._link("cwd")

    def _link(self, name: str) -> Optional[str]:
        """What one of its links says, without following it."""
        try:
            return os.readlink(name, dir_fd=self._fd)
        except OSError:
            return None

    def namespace(self, kind: str) -> Optional[str]:
        """Its namespace of a kind ("net", "pid", …), like ``net:[4026531840]``; None when we may not know.

        Who is about to end has left its namespaces, and closed its files, before it is a zombie (``do_exit`` in the
        kernel's kernel/exit.c), and can stay so for long: the init of a PID namespace waits for all others in it.
        """
        try:
            return os.readlink("ns/" + kind, dir_fd=self._fd)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise Gone(self.pid) from error
        except OSError:
            return None

    def cgroup(self) -> bytes:
        """The cgroups it is in, a line for each hierarchy."""
        return self._read("cgroup")

    def maps(self) -> Optional[bytes]:
        """The map of its memory, for :func:`parse_maps`; None when we may not know."""
        try:
            return self._read("maps")
        except Gone:
            return None

    def owner(self) -> Tuple[int, int]:
        """Its effective user and group, in one call; root's once it has ended, so look again afterwards.

        Unlike its files, its directory always shows these (``task_dump_owner`` in the kernel's fs/proc/base.c).
        """
        found = os.fstat(self._fd)
        return found.st_uid, found.st_gid

    def file_owner(self) -> Tuple[int, int]:
        """User and group of its files in ``/proc``: its effective ones, or root's while it is not dumpable."""
        try:
            found = os.stat("status", dir_fd=self._fd)
        except OSError as error:
            raise Gone(self.pid) from error
        return found.st_uid, found.st_gid

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open one of its files or links; OSError as it comes, for a refusal may be what is asked for."""
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=self._fd)

    def thread_ids(self) -> List[int]:
        """The ids of its threads, as this ``/proc`` numbers them."""
        try:
            fd = self.open("task")
            try:
                return [int(name) for name in os.listdir(fd)]
            finally:
                os.close(fd)
        except OSError as error:
            raise Gone(self.pid) from error

    def thread_status(self, thread: int) -> bytes:
        """The file ``status`` of one of its threads: each has credentials of its own."""
        return self.thread_file(thread, "status")

    def thread_file(self, thread: int, name: str) -> bytes:
        return self._read("task/%d/%s" % (thread, name))

    def thread_states(self) -> Tuple[str, ...]:
        """The state of each of its threads; those that end meanwhile are left out."""
        states = []
        for thread in self.thread_ids()[:MAX_THREADS]:
            try:
                states.append(parse_stat(self.thread_file(thread, "stat")).state)
            except (Gone, ValueError):
                continue
        return tuple(states)

    @property
    def start(self) -> int:
        return self.stat().start

    @property
    def state(self) -> str:
        return self.stat().state

    @property
    def ppid(self) -> int:
        return self.stat().ppid

    @property
    def ticks(self) -> int:
        return self.stat().ticks

    @property
    def tracer_pid(self) -> int:
        return self.status().tracer

    def send_signal(self, number: int) -> None:
        """Signal this process and no other: the kernel takes the directory for the process where it can."""
        try:
            if hasattr(signal, "pidfd_send_signal"):  # Python 3.9, Linux 5.1
                try:
                    signal.pidfd_send_signal(self._fd, number)
                    return
                except ProcessLookupError:
                    raise
                except PermissionError:
                    pass  # some container runtimes forbid the call itself; kill says whether it was the process
                except OSError:
                    pass  # an older kernel
            self.stat()
            os.kill(self.pid, number)
        except ProcessLookupError as error:
            raise Gone(self.pid) from error


def _read_all(fd: int, limit: int, name: str) -> bytes:
    """The kernel gives ``maps`` in pieces; of its other files a piece that is shorter than what was asked is the last.

    Not asking once more for each of some thousand files is a tenth of a selection's time.
    """
    parts: List[bytes] = []
    size = 0
    while size < limit:
        asked = min(65536, limit - size)
        part = os.read(fd, asked)
        parts.append(part)
        size += len(part)
        if not part or (len(part) < asked and name != "maps"):
            break
    return b"".join(parts)


def list_pids() -> List[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def boot_id() -> str:
    """What tells this boot from all others."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def clock_ticks() -> int:
    """Clock ticks per second: the unit of ``Stat.ticks`` and ``Stat.start``."""
    return os.sysconf("SC_CLK_TCK")


_user_names: Dict[int, str] = {}


def user_name(uid: int) -> str:
    """The name, or the number where nobody has it. Asked once: a directory service may be slow."""
    if uid not in _user_names:
        try:
            _user_names[uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            _user_names[uid] = str(uid)
    return _user_names[uid]


def user_id(user: str) -> Optional[int]:
    """The number of a user given by name or by number; None when there is no such name."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return int(user) if user.isascii() and user.isdigit() else None

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "namespaces" of the host wing (private to the collection): a target's namespaces, who lives there, going in.

Whether to go in is decided in ``_entering``.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from ._attach import Us
from ._entering import OUTSIDE, Holder, Inside, refusal, threatens
from ._errors import HostError
from ._privileges import Kernel
from ._procfs import Gone, ProcessDir, list_pids

#: ioctl_ns(2).
_NS_GET_USERNS, _NS_GET_PARENT = 0xB701, 0xB702
_CLONE_NEWNS, _CLONE_NEWPID = 0x00020000, 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 0x8, 0x4000, 0x40000
#: Besides its PID namespace a recorder joins all of these, so that nothing of the host's is left to it. The last one
#: changes which files there are.
_KINDS = ("cgroup", "ipc", "net", "uts", "mnt")
#: Looks at those who were born since the look before, until none of them has gone unseen.
_ROUNDS = 20
#: How often it is seen who has come in the meantime (seconds), and the most of the time that it may take.
_EVERY, _SHARE = 0.2, 0.05


class Door(NamedTuple):
    """The way to one target, held by descriptors: they stay what they are, whatever becomes of the target.

    ``inner`` is its PID inside, ``place`` the number of the outermost PID namespace below ours that it is in.
    """

    pid_namespace: int
    others: Tuple[int, ...]
    root: int
    inner: int
    place: int
    foreign: Tuple[str, ...]

    @classmethod
    def open(cls, process: ProcessDir, us: Us) -> Optional[Door]:
        """None where the target is in no PID namespace below ours; OSError where we may not look, Gone if it ended."""
        held: List[int] = []
        try:
            held.append(process.open("ns/pid"))
            place = _place(held[0])
            if place is None:
                _close(held)
                return None
            kinds = [kind for kind in _KINDS if os.path.exists("/proc/self/ns/" + kind)]
            held += [process.open("ns/" + kind) for kind in kinds]
            held.append(process.open("root", os.O_PATH | os.O_DIRECTORY))
            owners = {kind: _owner(fd) for kind, fd in zip(["pid"] + kinds, held)}
            foreign = tuple(kind for kind, owner in owners.items() if owner != us.namespace)
            return cls(held[0], tuple(held[1:-1]), held[-1], process.status().nspids[-1], place, foreign)
        except (FileNotFoundError, ProcessLookupError) as error:
            _close(held)
            raise Gone(process.pid) from error
        except BaseException:
            _close(held)
            raise

    def close(self) -> None:
        _close([self.pid_namespace, self.root, *self.others])


def open_door(process: ProcessDir, us: Us, way: str) -> Optional[Door]:
    """The way to this target, None where there is nothing to enter; HostError where it must not be gone."""
    try:
        door = Door.open(process, us)
    except OSError as error:
        raise HostError("its namespaces cannot be looked at", str(error), OUTSIDE) from None
    if door is None:
        return None
    found = census({door.place})
    refused = refusal(us, way, Inside(door.foreign, found.holders.get(door.place), found.settled))
    if refused is not None:
        door.close()
        raise refused
    return door


class Census(NamedTuple):
    """Who threatens a recorder, by the number of the outermost PID namespace; ``settled`` when all were looked at."""

    holders: Dict[int, Holder]
    settled: bool


def census(places: Set[int]) -> Census:
    """Look at each thread in these PID namespaces and in those below them; each has capabilities of its own.

    Also who is in a namespace between ours and the target's counts: it sees what goes on further in. That each process
    is asked for its namespace, and the namespace for those above it, finds those who came in from outside, too; NSpid
    would not tell two containers from each other.
    """
    homes: Dict[int, Optional[int]] = {os.stat("/proc/self/ns/pid").st_ino: None}
    holders: Dict[int, Holder] = {}
    seen: Set[int] = set()
    for _round in range(_ROUNDS):
        unseen = False
        for pid in list_pids():
            if pid in seen:
                continue
            seen.add(pid)
            try:
                home = _home(pid, homes)
                if home in places and home not in holders:
                    found = _holder(pid)
                    if found is not None:
                        holders[home] = found
            except (Gone, OSError):
                unseen = True
        if not unseen:
            return Census(holders, True)
    return Census(holders, False)


class Guard:
    """Looks again and again who has come into the namespaces that were entered, at bounded cost."""

    def __init__(self) -> None:
        self._next = 0.0

    def look(self, places: Iterable[int]) -> Dict[int, Holder]:
        """Those who threaten a recorder now; nobody when it is too early for another look."""
        began, wanted = time.monotonic(), set(places)
        if not wanted or began < self._next:
            return {}
        found = census(wanted)
        now = time.monotonic()
        self._next = now + max(_EVERY, (now - began) / _SHARE)
        return found.holders


def leave(kernel: Kernel, door: Door, kept: Set[int]) -> None:
    """In a child: leave everything of the host's behind but the descriptors ``kept``; children are born inside.

    Nobody in there sees this process: it stays in our own PID namespace. The mounts are a copy of our own.
    """
    held = {door.pid_namespace, door.root, *door.others}
    _close(fd for fd in map(int, os.listdir("/proc/self/fd")) if fd not in kept | held)
    for fd in door.others:
        kernel.setns("joining its namespaces", fd, 0)
    kernel.setns("joining its PID namespace", door.pid_namespace, _CLONE_NEWPID)
    os.fchdir(door.root)
    _close(held)
    kernel.unshare("copying its mounts", _CLONE_NEWNS)
    kernel.mount("keeping its mounts apart", "none", "/", "", _MS_REC | _MS_PRIVATE)
    os.chroot(".")
    os.chdir("/")


def settle(kernel: Kernel) -> None:
    """In a child that was born inside: have a ``/proc`` of our own, for theirs may be anything.

    Should they get it away again (they can move the directory), then what is read is what they want to be read.
    """
    kernel.mount("mounting /proc", "proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    if os.readlink("/proc/self") != str(os.getpid()):
        raise OSError("its /proc cannot be replaced by one of our own")


def _place(fd: int) -> Optional[int]:
    """The number of the outermost PID namespace below ours; None where it is ours, or not below."""
    ours = os.stat("/proc/self/ns/pid").st_ino
    found, above = None, os.dup(fd)
    while True:
        number = os.fstat(above).st_ino
        if number == ours:
            os.close(above)
            return found
        found = number
        try:
            parent = fcntl.ioctl(above, _NS_GET_PARENT)
        except OSError:
            return None  # ours is not above it
        finally:
            os.close(above)
        above = parent


def _home(pid: int, homes: Dict[int, Optional[int]]) -> Optional[int]:
    """The place of a process; ``homes`` remembers those of namespaces."""
    fd = os.open("/proc/%d/ns/pid" % pid, os.O_RDONLY | os.O_CLOEXEC)
    try:
        number = os.fstat(fd).st_ino
        if number not in homes:
            homes[number] = _place(fd)
        return homes[number]
    finally:
        os.close(fd)


def _holder(pid: int) -> Optional[Holder]:
    """The process as a threat, if one of its threads is one; Gone when some could not be looked at.

    A child of ours in there is a recorder: everybody else's parent is in there too, or is nobody's that we know.
    """
    with ProcessDir(pid) as process:
        if process.ppid == os.getpid():
            return None
        seen: Set[int] = set()
        for _round in range(_ROUNDS):
            fresh = [one for one in process.thread_ids() if one not in seen]
            if not fresh:
                return None
            for thread in fresh:
                try:
                    found = threatens(process.thread_status(thread))
                except Gone:
                    continue  # those whom it left behind are fresh in the next round
                seen.add(thread)
                if found is not None:
                    inner = (process.status().nspids or (pid,))[-1]
                    return Holder(pid, inner, process.stat().comm, found)
    raise Gone(pid)


def _owner(fd: int) -> int:
    """The number of the user namespace that a namespace belongs to; 0 where it is not for us to know."""
    try:
        user = fcntl.ioctl(fd, _NS_GET_USERNS)
    except OSError:
        return 0
    number = os.fstat(user).st_ino
    os.close(user)
    return number


def _close(descriptors: Iterable[int]) -> None:
    for one in descriptors:
        try:
            os.close(one)
        except OSError:
            pass  # the descriptor of a listing of them

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "credentials" of the host wing (private to the collection): who we and our targets are, read for ``_attach``."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time
from typing import List, NamedTuple, Optional, Tuple

from ._attach import AUTO, POLICIES, Target, Us, Verdict, describe, verdict
from ._errors import HostError
from ._procfs import ProcessDir, Status, parse_maps, user_name
from ._surroundings import runtime

#: ioctl_ns(2).
_NS_GET_PARENT = 0xB702
_NS_GET_OWNER_UID = 0xB704
#: The numbers of the namespaces that the kernel starts with (``PROC_*_INIT_INO`` in its include/linux/proc_ns.h).
_INITIAL_NAMESPACES = {"cgroup": 0xEFFFFFFB, "pid": 0xEFFFFFFC, "user": 0xEFFFFFFD}
#: ``Seccomp`` in ``/proc/<pid>/status`` under a filter.
_FILTER = 2
#: No process has this PID: the kernel's limit is far lower.
_NO_PID = 2**31 - 1
_PTRACE_ATTACH = 16
#: A thread that waits for a disk is in state D for moments; one that is there at each of these looks is stuck.
_LOOKS = 3
_LOOK_SECONDS = 0.05
_READ, _SEARCH = 4, 1
_CONTAINER_CGROUPS = ("/docker/", "/docker-", "/kubepods", "/libpod", "/cri-containerd", "/crio-")


class Terms(NamedTuple):
    """On what terms this host is attached to: the user's policy, Yama's scope (None without Yama), and who we are."""

    policy: str
    scope: Optional[int]
    us: Us

    @classmethod
    def here(cls, policy: str) -> Terms:
        return cls(policy, ptrace_scope(), ourselves())

    def judge(self, target: Target, blocking: bool) -> Verdict:
        return verdict(self.policy, self.scope, self.us, target, blocking)

    def describe(self, way: str, uid: int) -> str:
        return describe(way, self.us, user_name(uid))


def policy_from_wire(value: object) -> str:
    """The argument ``attach_policy``; HostError for anything but one of the policies."""
    if value is None:
        return AUTO
    if value not in POLICIES:
        raise HostError("attach_policy is neither auto nor relax", "got %r" % (value,), "set it to one of them")
    return str(value)


def ptrace_scope() -> Optional[int]:
    """``kernel.yama.ptrace_scope``; None on a kernel without Yama."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def ourselves() -> Us:
    inside = contained()
    with ProcessDir(os.getpid()) as process:
        status = process.status()
        chain = user_namespaces(process)
    return Us(
        uid=status.uids[0],
        gid=status.gids[0],
        permitted=status.permitted,
        effective=status.effective,
        namespace=chain[0][0] if chain else 0,
        forbidden=_forbidden() if status.seccomp == _FILTER else (),
        contained=inside,
        runtime=runtime() if inside else "",
    )


def look_at(process: ProcessDir, blocking: bool) -> Target:
    """Who a target is now; Gone when it has ended. Threads are looked at only where they would be stopped."""
    status = process.status()
    return Target(
        uids=(status.uids[0], status.uids[1], status.uids[2]),
        gids=(status.gids[0], status.gids[1], status.gids[2]),
        permitted=status.permitted,
        namespaces=user_namespaces(process),
        dumpable=_dumpable(process, status),
        tracer=status.tracer,
        state=process.state,
        stuck=blocking and _stuck(process),
        readable=_readable(process, status.uids[1], status.gids[1]),
    )


def user_namespaces(process: ProcessDir) -> Optional[Tuple[Tuple[int, int], ...]]:
    """Numbers and makers of its user namespace and of those around it, up to ours; None when we may not look.

    A kernel without user namespaces gives one with number 0.
    """
    try:
        fd = process.open("ns/user")
    except FileNotFoundError:
        return ((0, 0),)
    except OSError:
        return None
    found: List[Tuple[int, int]] = []
    while fd >= 0:
        owner = bytearray(4)
        inode = os.fstat(fd).st_ino
        try:
            fcntl.ioctl(fd, _NS_GET_OWNER_UID, owner)
            parent = fcntl.ioctl(fd, _NS_GET_PARENT)
        except OSError:  # the outermost that we may see
            parent = -1
        os.close(fd)
        found.append((inode, int.from_bytes(owner, sys.byteorder)))
        fd = parent
    return tuple(found)


def contained() -> bool:
    """Are we in a container, whose kernel settings are its host's?

    A file such as /.dockerenv tells less: it stays in what was made from a container's image, a virtual machine say.
    """
    for name, initial in _INITIAL_NAMESPACES.items():
        try:
            if os.stat("/proc/self/ns/" + name).st_ino != initial:
                return True
        except OSError:
            continue  # a kernel without this kind
    try:
        with open("/proc/self/cgroup") as file:
            groups = file.read(65536)
    except OSError:
        return False
    return any(mark in groups for mark in _CONTAINER_CGROUPS)


def _dumpable(process: ProcessDir, status: Status) -> Optional[bool]:
    """Files of a process that is not dumpable belong to root; so nothing is seen of root's own."""
    ids = (status.uids[1], status.gids[1])
    if ids == (0, 0):
        return None
    return process.file_owner() == ids


def _stuck(process: ProcessDir) -> bool:
    for _look in range(_LOOKS):
        if "D" not in process.thread_states():
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _readable(process: ProcessDir, uid: int, gid: int) -> bool:
    """May this user and group, with no other groups, read the interpreter? Going by permission bits, so not by ACLs."""
    libraries = [path for path in parse_maps(process.maps() or b"") if "/libpython" in path]
    try:
        # The executable has a link that leads there past all directories; a library has to be reached by its path.
        allowed = [_allows(os.stat("/proc/%d/exe" % process.pid), uid, gid, _READ)]
        for path in libraries:
            names = path.split("/")
            above = [_root(process, "/".join(names[:depth]) or "/") for depth in range(1, len(names))]
            allowed += [_allows(os.stat(directory), uid, gid, _SEARCH) for directory in above]
            allowed.append(_allows(os.stat(_root(process, path)), uid, gid, _READ))
    except OSError:
        return True  # we cannot tell: we may not look ourselves, or a file was replaced
    return all(allowed)


def _root(process: ProcessDir, path: str) -> str:
    return "/proc/%d/root%s" % (process.pid, path)


def _allows(found: os.stat_result, uid: int, gid: int, bit: int) -> bool:
    shift = 6 if found.st_uid == uid else 3 if found.st_gid == gid else 0
    return bool(stat.S_IMODE(found.st_mode) >> shift & bit)


def _forbidden() -> Tuple[str, ...]:
    """Those of py-spy's system calls that our seccomp filter refuses; tried on nobody."""
    try:
        import ctypes
    except ImportError:
        return ()  # the keeper says so

    libc = ctypes.CDLL(None, use_errno=True)
    names = []
    if libc.process_vm_readv(os.getpid(), None, 0, None, 0, 0) != 0:
        names.append("process_vm_readv")
    if libc.ptrace(_PTRACE_ATTACH, _NO_PID, None, None) != 0 and ctypes.get_errno() != errno.ESRCH:
        names.append("ptrace")
    return tuple(names)

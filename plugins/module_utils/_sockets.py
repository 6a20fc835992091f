# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "sockets" of the host wing (private to the collection): who listens on a TCP port.

``/proc/<pid>/net/tcp`` and ``tcp6`` list the sockets of the process's network namespace with their inodes, for
anybody to read; ``/proc/<pid>/fd`` tells its owner and root which of them a process has open. Workers that were forked
after their master began to listen have the same socket open.
"""

from __future__ import annotations

import os
import re
from typing import Dict, FrozenSet, Iterable, NamedTuple, Optional, Set

from ._procfs import Gone, ProcessDir

#: So many open files of one process are looked through, the lowest numbers first; listeners are opened early.
MAX_FILES = 4096
#: So much of a table is read at most (bytes); some 100,000 listeners.
MAX_TABLE = 16 << 20
#: TCP_LISTEN and TCP_SYN_RECV (the kernel's net/tcp_states.h).
_LISTEN, _SYN_RECV = b"0A", b"03"


class Listeners(NamedTuple):
    """Who has a socket open that listens on the port. ``unknown``: processes of which that cannot be told.

    ``heard``: somebody listens, in one of the network namespaces that were looked at, whoever it is.
    """

    pids: FrozenSet[int] = frozenset()
    unknown: FrozenSet[int] = frozenset()
    heard: bool = False

    def plus(self, other: Listeners) -> Listeners:
        return Listeners(self.pids | other.pids, self.unknown | other.unknown, self.heard or other.heard)


def parse_listeners(data: bytes, port: int) -> Set[int]:
    """Inodes of the sockets that listen on a port, from ``net/tcp`` or ``net/tcp6``.

    See proc_net_tcp in the kernel's documentation.
    """
    line = rb"^ *\d+: [0-9A-F]+:%04X [0-9A-F]+:[0-9A-F]{4} 0A \S+ \S+ \S+ +\d+ +\d+ (\d+) " % port
    return {int(match.group(1)) for match in re.finditer(line, data, re.MULTILINE)} - {0}


def find_listeners(pids: Iterable[int], port: int) -> Listeners:
    """Which of these processes listen; each network namespace's table is read once."""
    tables: Dict[str, Set[str]] = {}
    found, unknown = set(), set()
    with ProcessDir(os.getpid()) as ourselves:
        tables[ourselves.namespace("net") or ""] = _listening(ourselves, port)
    for pid in pids:
        try:
            with ProcessDir(pid) as process:
                namespace = process.namespace("net")
                if namespace is None:  # then we may not see its files either
                    holds = None
                else:
                    if namespace not in tables:
                        tables[namespace] = _listening(process, port)
                    holds = _holds(process, tables[namespace]) if tables[namespace] else False
                if holds is None and process.state in ("Z", "X"):
                    continue  # a zombie has no open files
        except Gone:
            continue
        if holds:
            found.add(pid)
        elif holds is None:
            unknown.add(pid)
    return Listeners(frozenset(found), frozenset(unknown), any(tables.values()))


def _listening(process: ProcessDir, port: int) -> Set[str]:
    """What links to the listening sockets in the process's network namespace look like."""
    try:
        inodes = _read_table(process, "net/tcp6", port)
    except OSError:
        inodes = set()  # a kernel without it; that the process lives the next table tells
    try:
        inodes |= _read_table(process, "net/tcp", port)
    except OSError as error:
        raise Gone(process.pid) from error
    return {"socket:[%d]" % inode for inode in inodes}


def _read_table(process: ProcessDir, name: str, port: int) -> Set[int]:
    """Read as far as there are listeners: the kernel lists them first, and of connections there may be a million."""
    inodes: Set[int] = set()
    rest, size = b"", 0
    table = process.open(name)
    try:
        while size < MAX_TABLE:
            part = os.read(table, 65536)
            size += len(part)
            lines, _end, rest = (rest + part).rpartition(b"\n")
            inodes |= parse_listeners(lines, port)
            if not part or _past_listeners(lines):
                break
    finally:
        os.close(table)
    return inodes


def _past_listeners(lines: bytes) -> bool:
    """Do these lines end among connections? Kernels before 4.4 list those half made beside their listeners."""
    fields = lines.rpartition(b"\n")[2].split()
    return len(fields) > 9 and fields[0][:1].isdigit() and fields[3] not in (_LISTEN, _SYN_RECV)


def _holds(process: ProcessDir, sockets: Set[str]) -> Optional[bool]:
    """Has it one of these open; None when that cannot be told."""
    try:
        folder = process.open("fd")
    except OSError:
        return None
    try:
        with os.scandir(folder) as files:
            for number, file in enumerate(files):
                if number == MAX_FILES:
                    return None
                try:
                    # The link is read and not followed: a file on a dead server would hold us up.
                    if os.readlink(file.name, dir_fd=folder) in sockets:
                        return True
                except OSError:
                    continue
    except OSError:
        return None
    finally:
        os.close(folder)
    return False

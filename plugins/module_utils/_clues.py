# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "clues" of the host wing (private to the collection): what a cgroup or a parent process tells of a container.

Pure. The rules are data: to teach it another runtime, add a row. A cgroup's path is read from its root down and the
first match counts: below its own group a container may name others as it likes, and so may whoever was given a group
by systemd. Such names are *claims* of somebody; only root can make the others.
"""

from __future__ import annotations

import re
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

DOCKER, PODMAN, CONTAINERD, CRIO, LXC, NSPAWN = "docker", "podman", "containerd", "cri-o", "lxc", "nspawn"
#: A PID namespace of its own, and nothing that tells who made it.
NAMESPACE = "namespace"

#: How the names of the processes begin that runtimes leave above a container (``comm``, cut at 15 characters).
WATCHERS = ("conmon", "containerd-shim", "lxc-", "lxd", "incusd", "systemd-nspawn")

_ID = r"(?P<id>[0-9a-f]{64})"
#: What one name in a cgroup's path says. Measured for all but CRI-O and Kubernetes, which are from their sources.
_CGROUPS = (
    (DOCKER, re.compile(r"docker-%s\.scope\Z" % _ID)),
    (PODMAN, re.compile(r"libpod-(?:payload-)?%s(?:\.scope)?\Z" % _ID)),
    (CRIO, re.compile(r"crio-%s(?:\.scope)?\Z" % _ID)),
    (CONTAINERD, re.compile(r"cri-containerd-%s\.scope\Z" % _ID)),
    (LXC, re.compile(r"lxc\.payload\.(?P<id>.+)\Z")),
)
#: The same where the name above it, too, is needed. Whose runtime a bare id is, its parent process tells.
_PAIRS = (
    (DOCKER, re.compile(r"docker/%s\Z" % _ID)),
    (LXC, re.compile(r"lxc/(?P<id>[^/]+)\Z")),
    (NSPAWN, re.compile(r"(?:machine-(?P<id>[^/]+)\.scope|systemd-nspawn@(?P<unit>[^/]+)\.service)/payload\Z")),
    ("", re.compile(r"[^/]*/%s\Z" % _ID)),
)
_USER = re.compile(r"user@(\d+)\.service\Z")
#: systemd gives what is below such a group to the service's user where the unit says so (Delegate=).
_DELEGATED = (".service", ".scope")
#: systemd's escape of a character in a unit's name, as ``\x2d``.
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


class Clue(NamedTuple):
    """Of a container: ``runtime`` and ``name`` may be unknown (""). For LXC and nspawn the id is the name.

    ``claim`` says whose word it is, "" where only root can have said it; ``uid`` is that of a user whose container it
    is. ``bundle`` is the directory in which the runtime keeps what it knows of it, or of another container of its pod.
    """

    runtime: str
    id: str
    name: str = ""
    claim: str = ""
    uid: int = 0
    bundle: str = ""


class Parent(NamedTuple):
    """A process above a container's. ``exe`` is None when it may not be known; ``cwd`` likewise."""

    uid: int
    argv: Tuple[str, ...]
    exe: Optional[str]
    cwd: Optional[str]


def by_cgroups(paths: Sequence[str]) -> Optional[Clue]:
    """What the first of the cgroups of a process that knows says of its container."""
    for path in paths:
        found = _by_path([name for name in path.split("/") if name])
        if found is not None:
            return found
    return None


def _by_path(names: Sequence[str]) -> Optional[Clue]:
    claim, uid = "", 0
    for index, name in enumerate(names):
        pair = "%s/%s" % (names[index - 1] if index else "", name)
        for rules, text in ((_CGROUPS, name), (_PAIRS, pair)):
            for runtime, pattern in rules:
                match = pattern.match(text)
                if match:
                    return _clue(runtime, match.groupdict(), claim, uid)
        user = _USER.match(name)
        if user:
            claim, uid = claim or name, int(user.group(1))
        elif name.endswith(_DELEGATED) and not _begins_nspawn(names[index:]):
            claim = claim or name
    return None


def _begins_nspawn(names: Sequence[str]) -> bool:
    return bool(_PAIRS[2][1].match("/".join(names[:2])))


def _clue(runtime: str, fields: Dict[str, Optional[str]], claim: str, uid: int) -> Clue:
    identity = fields.get("id") or fields.get("unit") or ""
    if runtime == NSPAWN:
        identity = _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), identity)
    return Clue(runtime, identity, identity if runtime in (LXC, NSPAWN) else "", claim, uid)


def by_parent(parent: Parent) -> Optional[Clue]:
    """What a process says of the container that it watches; None for all that are no runtime's.

    The executable is the kernel's word, arguments are those of whoever started it: root's count, others' are claims.
    """
    program = _base(parent.exe if parent.exe is not None else (parent.argv[0] if parent.argv else ""))
    if parent.exe is None and parent.argv and parent.argv[0].startswith("[lxc monitor] "):
        program = "lxc-start"
    found = None
    if program == "conmon":
        found = _by_conmon(parent)
    elif program.startswith("containerd-shim"):
        found = _by_shim(parent)
    elif program.startswith("lxc-") or program in ("lxd", "incusd"):
        found = _by_monitor(parent)
    elif program == "systemd-nspawn":
        found = _by_nspawn(parent)
    if found is None:
        return None
    if parent.uid != 0:
        return found._replace(claim="a process of its user", uid=parent.uid)
    return found if parent.exe is not None else found._replace(claim="the command line of a process of root")


def _by_conmon(parent: Parent) -> Optional[Clue]:
    """Podman's and CRI-O's: ``conmon … -c ID … -b BUNDLE … -n NAME …``."""
    identity, bundle = _option(parent.argv, "-c", "--cid"), _option(parent.argv, "-b", "--bundle")
    if not re.match(_ID + r"\Z", identity):
        return None
    return Clue(PODMAN, identity, _option(parent.argv, "-n", "--name"), bundle=bundle)


def _by_shim(parent: Parent) -> Optional[Clue]:
    """``containerd-shim-runc-v2 -namespace NAMESPACE -id ID …``; its working directory is the bundle.

    Docker is the namespace ``moby``. For a pod there may be one, with the id of its sandbox.
    """
    identity = _option(parent.argv, "-id", "--id")
    if not identity:
        return None
    docker = _option(parent.argv, "-namespace", "--namespace") == "moby"
    bundle = parent.cwd if parent.cwd is not None and parent.cwd.endswith("/" + identity) else ""
    return Clue(DOCKER, identity, bundle=bundle) if docker else Clue(CONTAINERD, identity, identity, bundle=bundle)


def _by_monitor(parent: Parent) -> Optional[Clue]:
    """``[lxc monitor] PATH NAME`` is its title once it has set one."""
    match = re.match(r"\[lxc monitor\] \S+ (\S+)\s*\Z", " ".join(parent.argv))
    name = match.group(1) if match else _option(parent.argv, "-n", "--name")
    return Clue(LXC, name, name) if name else None


def _by_nspawn(parent: Parent) -> Optional[Clue]:
    """Named by option, else by its directory or image, as systemd-nspawn(1) tells."""
    name = _option(parent.argv, "-M", "--machine")
    if not name:
        root = _option(parent.argv, "-D", "--directory") or _option(parent.argv, "-i", "--image")
        name = _base(root.rstrip("/"))
    name = name[:-4] if name.endswith(".raw") else name
    return Clue(NSPAWN, name, name) if name else None


def _option(argv: Sequence[str], short: str, long: str) -> str:
    """The value of an option, in any of the ways that it can be written; "" when it is not there."""
    for index, word in enumerate(argv[1:], 1):
        if word in (short, long):
            return argv[index + 1] if index + 1 < len(argv) else ""
        if word.startswith(long + "="):
            return word[len(long) + 1 :]
        if len(short) == 2 and word.startswith(short) and not word.startswith("--"):
            return word[2:]
        if word == "--":
            break
    return ""


def _base(path: str) -> str:
    mark = " (deleted)"
    return (path[: -len(mark)] if path.endswith(mark) else path).rpartition("/")[2]

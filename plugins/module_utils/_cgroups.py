# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "cgroups" of the host wing (private to the collection): which systemd unit a process is in, by its cgroup.

Pure. systemd is not asked: the path of the cgroup says it, by the rules that systemd itself goes by
(``cg_path_get_unit`` and ``cg_path_get_user_unit`` in its src/basic/cgroup-util.c). Slices come first, the first name
after them is the unit, and what a service makes below its own cgroup is its own affair. Only root can put a process
into a unit of the system. Anybody can name a unit of his own systemd as he likes, so such units count only where no
process is in a unit of the system with that name.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import Dict, FrozenSet, List, Mapping, NamedTuple, Tuple

from ._procfs import without_deleted

#: Units whose processes have a cgroup (systemd.unit(5) names them all; targets, timers and so on have no processes).
_SUFFIXES = (".service", ".scope", ".slice", ".socket", ".mount", ".swap")
_OTHERS = (".target", ".timer", ".path", ".device", ".automount")
#: What a unit's name may be made of, and the wildcards of systemctl.
_NAME = re.compile(r"[A-Za-z0-9:_.\\@*?!\[\]-]{1,255}\Z")
_USER_MANAGER = re.compile(r"user@[^/]+\.service\Z")
#: Where PID 1 puts itself, below the root of all its units; the latter two are of older versions.
_HOMES = ("/init.scope", "/system.slice", "/system")

#: By hierarchy: "systemd" (its own, v1) and "" (cgroup v2).
Paths = Mapping[str, str]


class Place(NamedTuple):
    """Names of units a process is in: its unit and the slices above, of the system and of its user's own systemd."""

    system: Tuple[str, ...] = ()
    user: Tuple[str, ...] = ()

    @property
    def service(self) -> str:
        """``web.service``, or ``user@1000.service/web.service`` of a user's own; "" in sessions and bare slices."""
        names = [some[-1] for some in self if some and some[-1].endswith(".service")]
        return "/".join(names)


class Members(NamedTuple):
    """Who is in a unit. ``of_users``: in units of users' own systemd; ``systemd``: does it run on this host at all."""

    pids: FrozenSet[int] = frozenset()
    of_users: bool = False
    systemd: bool = True


def full_name(name: str) -> str:
    """As systemctl takes it: ``web`` is ``web.service``. ``web@`` means all its instances. ValueError for no name."""
    if not _NAME.match(name):
        raise ValueError("not the name of a unit")
    stem, dot, suffix = name.rpartition(".")
    if not dot or dot + suffix not in _SUFFIXES + _OTHERS:
        stem, suffix = name, "service"
    return "%s.%s" % (stem + "*" if stem.endswith("@") else stem, suffix)


def parse_cgroup(data: bytes) -> Dict[str, str]:
    """``/proc/<pid>/cgroup``, see cgroups(7). The kernel allows no line end in the name of a cgroup."""
    found = {}
    for line in data.decode("utf-8", "replace").split("\n"):
        fields = line.split(":", 2)
        if len(fields) == 3 and fields[1] in ("", "name=systemd"):
            found[fields[1].rpartition("=")[2]] = without_deleted(fields[2])
    return found


def place(paths: Paths, init: Paths) -> Place:
    """Where systemd has a process. ``init`` are the paths of PID 1: in a container the root of all others is there."""
    for hierarchy in ("systemd", ""):
        names = _below(paths.get(hierarchy, ""), _root(init.get(hierarchy, "")))
        system, rest = _units(names)
        if system:
            return Place(tuple(system), tuple(_units(rest)[0]) if _USER_MANAGER.match(system[-1]) else ())
    return Place()


def members(places: Mapping[int, Place], name: str) -> Members:
    """Who is in the unit or slice of this (full) name; nobody is an answer too."""
    matches = re.compile(translate(name)).match
    for of_users in (False, True):
        found = {pid for pid, one in places.items() if any(map(matches, one.user if of_users else one.system))}
        if found:
            return Members(frozenset(found), of_users)
    return Members()


def _root(path: str) -> str:
    for home in _HOMES:
        if path.endswith(home):
            return path[: -len(home)]
    return path.rstrip("/")


def _below(path: str, root: str) -> List[str]:
    """The names below the root. A leading underscore is systemd's, before names that the kernel keeps for itself."""
    if not path.startswith(root + "/"):
        return []
    return [name[1:] if name.startswith("_") else name for name in path[len(root) :].split("/") if name]


def _units(names: List[str]) -> Tuple[List[str], List[str]]:
    """The slices and the unit that the path begins with, and what is below."""
    end = 0
    while end < len(names) and names[end].endswith(".slice"):
        end += 1
    if end < len(names) and names[end].endswith(_SUFFIXES):
        end += 1
    return names[:end], names[end:]

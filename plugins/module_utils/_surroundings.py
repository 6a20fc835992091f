# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "surroundings" of the host wing (private to the collection): what kind of container we are in ourselves.

Asked where something is refused in there, to name the very option that would help; nothing else goes by it.
"""

from __future__ import annotations

import os
from typing import Dict, FrozenSet, Tuple

DOCKER, PODMAN, KUBERNETES, NSPAWN, LXC = "docker", "podman", "kubernetes", "nspawn", "lxc"

#: What runtimes leave behind: Docker and Podman a file, Kubernetes a variable for each process.
_FILES = (("/run/.containerenv", PODMAN), ("/.dockerenv", DOCKER))
#: The variable ``container`` of the first process (systemd's "The Container Interface").
_VALUES = {"systemd-nspawn": NSPAWN, "lxc": LXC, "podman": PODMAN, "docker": DOCKER}


def runtime() -> str:
    """What made the container we are in; "" where it cannot be told."""
    return named((_of_init(), dict(os.environ)), frozenset(path for path, _name in _FILES if os.path.exists(path)))


def named(environments: Tuple[Dict[str, str], ...], files: FrozenSet[str]) -> str:
    """The same from environments and from which of the files there are. Kubernetes first: it uses other runtimes."""
    if any("KUBERNETES_SERVICE_HOST" in one for one in environments):
        return KUBERNETES
    for one in environments:
        if one.get("container") in _VALUES:
            return _VALUES[one["container"]]
    return next((name for path, name in _FILES if path in files), "")


def _of_init() -> Dict[str, str]:
    """The environment of the first process; nothing where we may not read it."""
    try:
        with open("/proc/1/environ", "rb") as file:
            words = file.read(65536).decode("utf-8", "replace").split("\0")
    except OSError:
        return {}
    return {key: value for key, _equals, value in (word.partition("=") for word in words)}

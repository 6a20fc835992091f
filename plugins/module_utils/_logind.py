# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "logind" of the host wing (private to the collection): what the login manager does to processes at logout.

See logind.conf(5): with ``KillUserProcesses=yes`` it ends whatever is in a login's scope, also of a user who
lingers (loginctl(1)), and also what sudo started there as somebody else. Lingering keeps a user's own systemd.
"""

from __future__ import annotations

import os
import re
from typing import Dict, List, Optional

_KEYS = ("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers")
#: Of systemd's parse_boolean.
_TRUE = frozenset({"1", "yes", "y", "true", "t", "on"})
_SCOPE = re.compile(r"/user-(\d+)\.slice/session-[^/\n]+\.scope")

Settings = Dict[str, List[str]]


def kills_at_logout() -> bool:
    """Whether the login that this process is in would take it along when it ends."""
    user = _login_owner()
    return user is not None and kills(read_settings(_contents(_files())), user)


def lingers() -> bool:
    """Whether the user we run as has a systemd of its own that stays when nobody is logged in."""
    import pwd

    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return os.path.exists("/var/lib/systemd/linger/" + name)


def kills(settings: Settings, user: str) -> bool:
    """Whether these settings end the processes of a login of ``user``."""
    enabled = settings["KillUserProcesses"][-1:]
    only = settings["KillOnlyUsers"]
    if not enabled or enabled[0].lower() not in _TRUE or user in settings["KillExcludeUsers"]:
        return False
    return not only or user in only


def read_settings(texts: List[str]) -> Settings:
    """The settings in these files, of which later ones add to earlier ones; an empty value begins anew."""
    settings: Settings = {key: [] for key in _KEYS}
    settings["KillExcludeUsers"] = ["root"]
    for line in "\n".join(texts).split("\n"):
        key, _equals, value = (part.strip() for part in line.partition("="))
        if key in settings:
            settings[key] = settings[key] + value.split() if value else []
    return settings


def _login_owner() -> Optional[str]:
    """The name of the user (the number where there is none) whose login scope we are in; None outside of any."""
    try:
        with open("/proc/self/cgroup") as handle:
            found = _SCOPE.search(handle.read())
    except OSError:
        return None
    if found is None:
        return None
    import pwd

    try:
        return pwd.getpwuid(int(found.group(1))).pw_name
    except KeyError:
        return found.group(1)


def _files() -> List[str]:
    """logind's configuration in the order in which later settings win (systemd.unit(5), drop-ins by name)."""
    names: Dict[str, str] = {}
    for directory in ("/usr/lib/systemd/logind.conf.d", "/run/systemd/logind.conf.d", "/etc/systemd/logind.conf.d"):
        try:
            for name in os.listdir(directory):
                names[name] = directory + "/" + name
        except OSError:
            continue
    mains = ["/etc/systemd/logind.conf", "/run/systemd/logind.conf", "/usr/lib/systemd/logind.conf"]
    main = [path for path in mains if os.path.exists(path)][:1]
    return main + [names[name] for name in sorted(names) if name.endswith(".conf")]


def _contents(paths: List[str]) -> List[str]:
    texts = []
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as handle:
                texts.append(handle.read())
        except OSError:
            continue
    return texts

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "nspawn" of the lab (private to the collection): the same fleet, its hosts booted by a real systemd."""

from __future__ import annotations

from pathlib import Path

from .hosts import Fleet, Host, serves_ssh


class SystemdFleet(Fleet):
    """``with SystemdFleet(2) as fleet:`` is as :class:`Fleet`; units, timers and the login manager are real."""

    kind = "systemd"
    namespaces = ("--net", "--mount", "--pid", "--kill-child")

    def _is_init(self, pid: int) -> bool:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "systemd"

    def _is_ready(self, host: Host) -> bool:
        state = host.run("systemctl is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded") and serves_ssh(host.pid)

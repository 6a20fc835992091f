# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "selecting" of the lab (private to the collection): what this machine, asked as a host, would choose."""

from __future__ import annotations

from typing import Any, NamedTuple

from ansible_collections.pyspy.fleet.tests.lab.host_program import Host


class Found(NamedTuple):
    """What the host answered: the reasons of targets and of skipped, by PID; ``python``: their versions."""

    targets: dict[int, str]
    skipped: dict[int, str]
    python: dict[int, str]
    notes: list[str]
    error: str


def ask(**selectors: Any) -> Found:
    answer = Host("").ask("info", {"selectors": selectors})
    if not answer["ok"]:
        error = answer["error"]
        assert error["remedy"]
        return Found({}, {}, {}, [], ": ".join(filter(None, (error["reason"], error["detail"]))))
    rows = answer["selection"]
    targets = {one["pid"]: one["reason"] for one in rows["targets"]}
    skipped = {one["pid"]: one["reason"] for one in rows["skipped"]}
    python = {one["pid"]: one["python"] for one in rows["targets"] + rows["skipped"]}
    return Found(targets, skipped, python, rows["notes"], "")

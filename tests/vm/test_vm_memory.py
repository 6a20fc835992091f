# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runbook's last page: a host of which all memory is taken, and what can be seen there all the same."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.incidents.page import Desk, dumps, not_shown, scenario
from ansible_collections.pyspy.fleet.tests.lab.incidents.services import FOLDER, HERE
from ansible_collections.pyspy.fleet.tests.lab.vm import Machine
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: MiB that the service leaves to others: fewer than pyspy_min_free_memory, and than a host of this size should have.
LEFT = 108


def test_the_memory_of_the_host_is_gone(tmp_path: Path) -> None:
    page = scenario("The memory of a host is gone")
    with Machine() as machine:
        machine.run(f"mkdir -p {FOLDER}")
        machine.write(f"{FOLDER}/sessions.py", (HERE / "sessions.py").read_bytes())
        machine.run(f"systemd-run --quiet --unit=shop -p User=web python3 {FOLDER}/sessions.py {LEFT}")
        await_condition("the memory to be gone", lambda: _available(machine) < LEFT + 10)
        who, refused, dump, profile = map(Desk(tmp_path, machine.directory, machine.inventory).types, page.commands)
        assert machine.run("systemctl is-active shop").stdout == "active\n"
    assert re.search(r"^ *\d{6} +\d+ +\S*python3 /srv/shop/sessions\.py", who.text, re.MULTILINE), who.text
    assert refused.code != 0
    assert re.search(r"available memory \(MiB\) is [\d.]+, the limit is 128 \(pyspy_min_free_memory\)", refused.words)
    assert (dump.code, profile.code) == (0, 0), dump.text + profile.text
    assert "(shop/sessions.py:" in dump.words and "Process" in dumps(dump)
    assert re.search(r"^Hottest +[\d.]+ %  remember +shop/sessions\.py:\d+$", profile.text, re.MULTILINE)
    assert not_shown(page, who, refused, dump, profile) == []


def _available(machine: Machine) -> int:
    return int(machine.run("awk '/^MemAvailable/ {print $2}' /proc/meminfo").stdout) >> 10

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attaching on a kernel with a real Yama: what is foretold is what it does, under every ptrace_scope."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from ansible_collections.pyspy.fleet.tests.lab import matrix
from ansible_collections.pyspy.fleet.tests.lab.vm import Machine

PLACE = "/opt/attach"
#: Who reaches what no blocking stands in the way of.
REACHED = {
    0: {"root", "root relaxing", "root without the capability", "the target's user"},
    1: {"root", "root relaxing"},
    2: {"root", "root relaxing"},
    3: set(),
}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """One machine; the last scope cannot be left without a reboot."""
    with Machine() as one:
        one.run(f"mkdir -m 755 {PLACE}")
        for name, data in matrix.files().items():
            one.write(f"{PLACE}/{name}", data)
        one.run(f"chmod 755 {PLACE}/*")
        yield one


def rows(machine: Machine, scope: int) -> list[matrix.Row]:
    machine.run(f"echo {scope} > /proc/sys/kernel/yama/ptrace_scope")
    done = subprocess.run(
        [*machine.ssh(), *matrix.command(PLACE)], stdout=subprocess.PIPE, text=True, check=True, timeout=900
    )
    assert machine.scope() == scope
    return matrix.parse(done.stdout)


@pytest.mark.parametrize("scope", [0, 1, 2, 3])
def test_what_is_foretold_is_what_yama_does(machine: Machine, scope: int) -> None:
    found = rows(machine, scope)
    assert {row["scope"] for row in found} == {scope}
    assert not matrix.wrong(found)
    plain = [row for row in found if row["target"] == "plain"]
    reached = {row["attacker"] for row in plain if row["actual"]}
    assert reached - {"another user with the capability alone"} == REACHED[scope]
    capable = [row for row in found if row["attacker"] == "root" and not row["blocking"]]
    assert len(capable) >= 7 and all(row["actual"] is (scope < 3) for row in capable)
    # A target's permission (PR_SET_PTRACER) cannot be seen, so scope 1 alone refuses nobody beforehand.
    permitted = {row["predicted"]: row["actual"] for row in found if _is_permission(row)}
    assert permitted == {0: {True: True}, 1: {None: True}, 2: {False: False}, 3: {False: False}}[scope]


def _is_permission(row: matrix.Row) -> bool:
    return row["target"] == "permitted" and row["attacker"] == "the target's user"

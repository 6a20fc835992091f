# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A connection that leads into a container: what works with CAP_SYS_PTRACE, and what is said without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab.host_program import BUSY, Host
from ansible_collections.pyspy.fleet.tests.lab.sandbox import Sandbox, sandbox

PYTHON = "/usr/bin/python3"
USER = 31001
#: A worker of a root master: it changed its user and ran no new program since.
WORKER = f"import os; os.setgroups([]); os.setresgid(*[{USER}] * 3); os.setresuid(*[{USER}] * 3)\n" + BUSY


def target(box: Sandbox, capable: bool) -> int:
    """Its PID inside."""
    pid = box.start(PYTHON, "-c", WORKER, "0", "0", "300", capable=capable)
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("NSpid")).split()[-1])


def connected(box: Sandbox, capable: bool, *variables: str) -> Host:
    return Host("/srv/pyspy", PYTHON, (*box.enter(capable), "env", *variables))


def recorded(there: Host, pid: int) -> dict[str, Any]:
    started = there.start([pid], duration=1, limits={"max_load": 0})
    assert started["ok"], started
    head, _bodies = there.collect(started["recording"]["id"])
    [capture] = head["captures"]
    assert capture["process"]["pid"] == pid
    return dict(capture)


def test_with_the_capability_it_works() -> None:
    with sandbox(capable=True, root=True) as box:
        capture = recorded(connected(box, True), target(box, True))
        assert capture["outcome"] == "profiled" and capture["samples"] > 20, capture
        assert capture["attach"] == f"as user {USER} with CAP_SYS_PTRACE alone"
        assert "container" not in "; ".join(capture["notes"]), "seen from inside it is none"


@pytest.mark.parametrize(
    ("mark", "variables", "words"),
    [
        ("", (), "Docker, Podman: --cap-add=SYS_PTRACE; compose: cap_add"),
        (".dockerenv", (), "start this container with --cap-add=SYS_PTRACE (compose"),
        ("run/.containerenv", (), "start this container with --cap-add=SYS_PTRACE, or"),
        (".dockerenv", ("KUBERNETES_SERVICE_HOST=192.0.2.1",), 'capabilities.add: ["SYS_PTRACE"] for this container'),
        ("", ("container=lxc",), "lxc.cap.drop"),
    ],
)
def test_without_it_the_exact_option_is_named(mark: str, variables: tuple[str, ...], words: str) -> None:
    with sandbox(root=True) as box:
        if mark:
            (box.folder / "root" / mark).touch()
        capture = recorded(connected(box, False, *variables), target(box, False))
        assert capture["outcome"] == "failed" and "attaching is refused" in capture["reason"], capture
        assert words in capture["remedy"] and "the container's host" in capture["remedy"]

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The selectors on real process trees of this machine, asked through the host program as the controller asks it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.pyspy.fleet.tests.lab.host_program import Host
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: A supervisor that is a shell, a Python below it, and one more that this starts through another shell.
TREE = f"{sys.executable} {{folder}}/parent.py & echo $!; wait"
PARENT = """
import subprocess, sys
subprocess.run(["/bin/sh", "-c", sys.executable + " " + sys.argv[0].replace("parent", "child") + "; true"])
"""
CHILD = """
while True:
    pass
"""

Start = Callable[..., "subprocess.Popen[str]"]


class Found(NamedTuple):
    """What the host answered: names of targets with their reasons, reasons of the skipped, by PID."""

    targets: dict[int, str]
    skipped: dict[int, str]
    notes: list[str]
    error: str


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a program in a session of its own, which is killed as a whole at the end."""
    started: list[subprocess.Popen[str]] = []

    def run(*argv: str, cwd: Path) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        started.append(child)
        return child

    yield run
    for child in started:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def ask(**selectors: Any) -> Found:
    answer = Host("").ask("info", {"selectors": selectors})
    if not answer["ok"]:
        return Found({}, {}, [], answer["error"]["reason"])
    rows = answer["selection"]
    targets = {one["pid"]: one["reason"] for one in rows["targets"]}
    return Found(targets, {one["pid"]: one["reason"] for one in rows["skipped"]}, rows["notes"], "")


def test_children_of_a_shell(start: Start, tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "child.py").write_text(CHILD)
    shell = start("/bin/sh", "-c", TREE.format(folder=tmp_path), cwd=tmp_path)
    assert shell.stdout is not None
    parent = int(shell.stdout.readline())
    await_condition("the child", lambda: len(ask(children_of=shell.pid).targets) == 2)
    found = ask(children_of=shell.pid)
    assert list(found.targets)[1] == parent, "the child works, so it comes first"
    assert any(note.startswith(f"children_of {shell.pid} (sh) matched 3 of ") for note in found.notes)
    below_parent = ask(children_of=parent)
    assert set(below_parent.targets) == set(found.targets) - {parent}
    assert below_parent.skipped[parent] == f"not below process {parent}"
    assert "less than the 1 % of min_cpu" in ask(children_of=shell.pid, min_cpu=1).skipped[parent]
    assert ask(children_of=2**22 + 1).error == f"No process {2**22 + 1} on this host, so nothing is below it"


def test_roles_of_gunicorn(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def app(environ, start_response):\n    return []\n")
    gunicorn = Path(sys.executable).with_name("gunicorn")
    master = start(str(gunicorn), "-w", "2", "-b", f"unix:{tmp_path}/socket", "shop:app", cwd=tmp_path)
    where = re.escape(str(tmp_path))
    await_condition("the workers", lambda: len(ask(pattern=where).targets) == 2)
    workers = set(ask(pattern=where).targets)
    masters = ask(pattern=where, process_role="master")
    assert list(masters.targets) == [master.pid]
    assert {masters.skipped[pid] for pid in workers} == {"gunicorn worker, and only masters are asked for"}
    assert set(ask(pattern=where, process_role="any").targets) == workers | {master.pid}
    assert set(ask(pids=[master.pid], process_role="any").targets) == workers | {master.pid}
    assert set(ask(children_of=master.pid).targets) == workers

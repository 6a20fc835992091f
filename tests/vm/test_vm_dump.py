# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``dump.yml`` on a kernel with a real Yama: what is lowered for it, and what becomes of that when we are killed."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, outcome
from ansible_collections.pyspy.fleet.tests.lab.vm import Machine
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """One machine on which gunicorn runs as ``web`` and py-spy is installed."""
    with Machine() as one:
        one.start_gunicorn()
        done = one.ansible("ansible-playbook", "playbooks/install.yml", "-u", "root")
        assert done.returncode == 0, done.stdout + done.stderr
        yield one


def dump(machine: Machine, runs: Path, **settings: Any) -> Outcome:
    extra = json.dumps({"pyspy_output_dir": str(runs), **settings})
    return outcome(machine.ansible("ansible-playbook", "playbooks/dump.yml", "-u", "root", "-e", extra), runs)


@pytest.mark.parametrize("native", [False, True])
def test_the_scope_is_untouched_by_default(machine: Machine, tmp_path: Path, native: bool) -> None:
    run = dump(machine, tmp_path, pyspy_native=native, pyspy_pattern="gunicorn")
    assert run.code == 0, run.text
    captures = run.hosts["vm1"]["captures"]
    assert {one["outcome"] for one in captures} == {"profiled"} and captures
    assert {one["measure"]["native"] for one in captures} == {native}
    assert all(one["attach"].endswith("with CAP_SYS_PTRACE alone") for one in captures)
    scope = run.hosts["vm1"]["evidence"]["scope"]
    assert [scope[name] for name in ("before", "during", "after")] == [1, None, 1] and machine.scope() == 1


def test_a_relaxed_dump(machine: Machine, tmp_path: Path) -> None:
    run = dump(machine, tmp_path, pyspy_attach_policy="relax", pyspy_pattern="gunicorn")
    assert run.code == 0, run.text
    captures = run.hosts["vm1"]["captures"]
    assert {one["outcome"] for one in captures} == {"profiled"} and captures
    assert all(one["attach"].endswith("without any capability") for one in captures)
    scope = run.hosts["vm1"]["evidence"]["scope"]
    assert [scope[name] for name in ("before", "original", "during", "after")] == [1, 1, 0, 1]
    assert machine.scope() == 1


def test_when_the_program_is_killed_the_scope_comes_back(machine: Machine, tmp_path: Path) -> None:
    runs: list[Outcome] = []
    settings = {"pyspy_attach_policy": "relax", "pyspy_dump_count": 20, "pyspy_dump_interval": 1}
    play = threading.Thread(target=lambda: runs.append(dump(machine, tmp_path, **settings)))
    play.start()
    await_condition("the scope to be lowered", lambda: machine.scope() == 0)
    ours = {one.pid: one.parent for one in machine.processes() if re.match(r"\S*python\S* -I -S -c ", one.command)}
    [program] = [pid for pid, parent in ours.items() if parent != 1 and parent not in ours]  # not the dead-man
    machine.run(f"kill -9 {program}")
    await_condition("the scope to come back", lambda: machine.scope() == 1)
    play.join()
    assert runs[0].code != 0 and "Traceback" not in runs[0].text
    assert machine.scope() == 1

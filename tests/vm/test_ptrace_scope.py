# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease on a real ``kernel.yama.ptrace_scope`` by its module and its role, and what the last scope refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab.vm import Machine
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: The role as its README shows it, with what the sysctl is in between.
PLAY = """
- hosts: web
  gather_facts: false
  tasks:
    - ansible.builtin.import_role:
        name: pyspy.fleet.pyspy_ptrace_scope
      vars:
        pyspy_ptrace_scope_seconds: 120
        pyspy_ptrace_scope_reason: INC-4711
    - ansible.builtin.slurp:
        src: /proc/sys/kernel/yama/ptrace_scope
      register: meanwhile
    - ansible.builtin.debug:
        msg: "meanwhile it is {{ meanwhile.content | b64decode | trim }}"
    - ansible.builtin.import_role:
        name: pyspy.fleet.pyspy_ptrace_scope
        tasks_from: release
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as one:
        yield one


def ask(machine: Machine, options: str, *words: str, code: int = 0) -> dict[str, Any]:
    """One ad-hoc task of the module; its result."""
    task = ("-u", "root", "-m", "pyspy.fleet.ptrace_scope", "-a", options)
    # One line of JSON for each host, whatever the callback of the user's configuration.
    done = machine.ansible("ansible", "web", "-o", *task, *words, ANSIBLE_CALLBACK_FORMAT_PRETTY="false")
    assert done.returncode == code, done.stdout + done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("vm1 | "))
    found: dict[str, Any] = json.loads(line.partition(" => ")[2])
    return found


def test_two_holders_and_the_last_to_go_restores(machine: Machine) -> None:
    planned = ask(machine, "seconds=600 holder=one", "--check")
    assert planned["changed"] and (planned["before"], planned["after"], machine.scope()) == (1, 0, 1)
    taken = ask(machine, "seconds=600 holder=one reason=INC-1")
    assert taken["changed"] and (taken["before"], taken["after"], taken["original"]) == (1, 0, 1)
    assert machine.scope() == 0
    prolonged = ask(machine, "seconds=900 holder=one")
    assert not prolonged["changed"] and prolonged["seconds_left"] == 900
    second = ask(machine, "seconds=600 holder=two")
    assert not second["changed"] and second["original"] == 1
    first_gone = ask(machine, "state=released holder=one")
    assert not first_gone["changed"] and first_gone["notes"] == ["still held by two"] and machine.scope() == 0
    ended = ask(machine, "state=released holder=two")
    assert ended["changed"] and ended["after"] == machine.scope() == 1
    again = ask(machine, "state=released holder=two")
    assert not again["changed"]
    assert (
        machine.run("ls -d /run/pyspy-fleet; systemctl list-units --all --no-legend 'pyspy-*'", check=False).stdout
        == ""
    )


def test_it_ends_by_itself_and_a_third_partys_value_stays(machine: Machine) -> None:
    ask(machine, "seconds=5 holder=one")
    await_condition("the end of the lease", lambda: machine.scope() == 1)
    ask(machine, "seconds=600 holder=one")
    machine.run("sysctl -q kernel.yama.ptrace_scope=2")
    ended = ask(machine, "state=released holder=one")
    assert "somebody else set it to 2" in ended["msg"] and not ended["changed"] and machine.scope() == 2
    machine.run("sysctl -q kernel.yama.ptrace_scope=1")


def test_the_clean_up_ends_what_is_forced(machine: Machine) -> None:
    ask(machine, "seconds=600 holder=one")
    options = ("playbooks/cleanup.yml", "-u", "root")
    left = machine.ansible("ansible-playbook", *options)
    assert left.returncode == 0 and "left alone" in left.stdout and machine.scope() == 0
    ended = machine.ansible("ansible-playbook", *options, "-e", "pyspy_cleanup_force=true")
    assert ended.returncode == 0 and "lease one on ptrace_scope" in ended.stdout and machine.scope() == 1


def test_the_role_takes_it_and_gives_it_back(machine: Machine, tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    play.write_text(PLAY)
    planned = machine.ansible("ansible-playbook", str(play), "-u", "root", "--check", "--diff")
    assert planned.returncode == 0 and "meanwhile it is 1" in planned.stdout and machine.scope() == 1
    assert "-kernel.yama.ptrace_scope = 1\n+kernel.yama.ptrace_scope = 0\n" in planned.stdout
    done = machine.ansible("ansible-playbook", str(play), "-u", "root")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "meanwhile it is 0" in done.stdout and machine.scope() == 1
    entries = machine.run("journalctl -q -t pyspy-fleet -n 2 -o cat").stdout.splitlines()
    assert "set from 1 to 0" in entries[0] and "INC-4711" in entries[0] and "set from 0 to 1" in entries[1]


def test_scope_3_is_refused_at_once_with_the_reason(machine: Machine, tmp_path: Path) -> None:
    """The last test: only a reboot lowers it again."""
    machine.start_gunicorn()
    machine.run("sysctl -q kernel.yama.ptrace_scope=3")
    refused = ask(machine, "seconds=60", code=2)
    assert "does not let it be lowered before a reboot" in refused["msg"]
    for policy in ("auto", "relax"):
        settings = {"pyspy_attach_policy": policy, "pyspy_duration": 60, "pyspy_output_dir": str(tmp_path / policy)}
        done = machine.ansible("ansible-playbook", "playbooks/profile.yml", "-u", "root", "-e", json.dumps(settings))
        assert done.returncode == 2
        words = " ".join(done.stdout.split())
        assert "ptrace_scope is 3: nobody may attach to any process" in words and "but a reboot" in words
        manifest = json.loads(next((tmp_path / policy).glob("*/manifest.json")).read_text())
        assert manifest["hosts"]["vm1"]["recording"] == "", "no window was waited for"

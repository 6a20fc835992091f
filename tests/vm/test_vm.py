# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine with a real Yama: that it is one, and that a profile of it changes nothing there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.lab.vm import Machine
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

SCOPE = "/proc/sys/kernel/yama/ptrace_scope"
#: PTRACE_SEIZE (0x4206) by a process that is not the target's parent: what Yama is about. Prints 0 or an errno.
SEIZE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
print(ctypes.get_errno() if libc.ptrace(0x4206, int(sys.argv[1]), None, None) else 0)
"""
EPERM = 1


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """One machine, as the tests before in this file left it."""
    with Machine() as one:
        yield one


@contextlib.contextmanager
def scope(machine: Machine, value: int) -> Iterator[None]:
    machine.run(f"echo {value} > {SCOPE}")
    try:
        yield
    finally:
        machine.run(f"echo 1 > {SCOPE}")


def ours(machine: Machine) -> list[str]:
    """What of ours is on the machine beside the installed binary: processes, files, units."""
    found = [one.command for one in machine.processes() if "py-spy" in one.command or "pyspy_fleet" in one.command]
    found += machine.run("ls -d /run/pyspy-fleet /tmp/*pyspy* /tmp/ansible* 2>/dev/null", check=False).stdout.split()
    return found + machine.run("systemctl list-units --all --plain --no-legend 'pyspy-fleet-*'").stdout.splitlines()


def test_it_is_a_whole_debian(machine: Machine) -> None:
    assert machine.run("cat /proc/1/comm; stat -fc %T /sys/fs/cgroup").stdout.split() == ["systemd", "cgroup2fs"]
    assert machine.run("systemctl is-system-running; systemctl --failed --no-legend").stdout.split() == ["running"]
    assert (
        machine.run("cat /proc/sys/kernel/random/boot_id").stdout != Path("/proc/sys/kernel/random/boot_id").read_text()
    )


def test_yama_decides(machine: Machine) -> None:
    assert machine.scope() == 1
    machine.write("/opt/seize.py", SEIZE.encode())
    pid = machine.run("setsid sleep infinity </dev/null >/dev/null 2>&1 & echo $!", user="admin").stdout.strip()

    def seize(user: str) -> int:
        return int(machine.run(f"python3 /opt/seize.py {pid}", user=user).stdout)

    try:
        assert (seize("admin"), seize("root")) == (EPERM, 0)
        with scope(machine, 0):
            assert (seize("admin"), seize("deploy")) == (0, EPERM)
        with scope(machine, 2):
            assert (seize("admin"), seize("root")) == (EPERM, 0)
    finally:
        machine.run(f"kill {pid}")
    assert machine.scope() == 1


@pytest.mark.parametrize("user", ["root", "deploy"])
def test_a_profile_leaves_nothing_behind(machine: Machine, tmp_path: Path, user: str) -> None:
    master = machine.start_gunicorn()
    become = () if user == "root" else ("-b",)
    options = ("-e", "pyspy_duration=14", "-e", f"pyspy_output_dir={tmp_path}")
    done = machine.ansible("ansible-playbook", "playbooks/profile.yml", "-u", user, *become, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads(next(tmp_path.glob("*/manifest.json")).read_text())
    captures = manifest["hosts"]["vm1"]["captures"]
    # The worker without a request is idle, but for what it does at its start.
    outcomes = {one["outcome"] for one in captures}
    assert "profiled" in outcomes and outcomes <= {"profiled", "empty"}
    assert "price_basket" in next(tmp_path.glob("*/fleet.folded")).read_text()
    assert machine.scope() == 1
    assert ours(machine) == []
    assert [one.state for one in machine.processes() if one.parent == master and one.state not in "RS"] == []
    machine.stop_gunicorn()


def test_two_machines_at_once(machine: Machine) -> None:
    with Machine() as other:
        other.run("touch /root/other")
        assert other.port != machine.port
        assert machine.run("ls /root").stdout == ""
        with scope(other, 0):
            assert machine.scope() == 1
    machine.run("true")


def test_a_cut_cable_is_mended(machine: Machine) -> None:
    def answers() -> bool:
        knock = (*machine.ssh(shared=False), "true")
        return subprocess.run(knock, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0

    machine.cut()
    assert not answers()
    machine.mend()
    await_condition("the machine's return", answers)


def test_a_machine_ends_with_its_owner() -> None:
    script = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from ansible_collections.pyspy.fleet.tests.lab.vm import Machine\n"
        "with Machine() as machine:\n"
        "    print(machine.qemu.process.pid, machine.directory, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    owner = subprocess.Popen((sys.executable, "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        pid, directory = owner.stdout.readline().split()
        assert Path(f"/proc/{pid}/comm").read_text().startswith("qemu")
        owner.send_signal(signal.SIGKILL)
    await_condition("the end of the orphaned machine", lambda: not os.path.exists(f"/proc/{pid}"))
    with Machine() as next_one:
        assert not os.path.exists(directory)
    assert not next_one.directory.exists()
    assert list(next_one.key.parent.glob("run-*")) == []


def test_a_moment_can_be_gone_back_to(machine: Machine) -> None:
    machine.remember()
    machine.run(f"touch /root/later; echo 2 > {SCOPE}")
    machine.recall()
    assert machine.run("ls /root").stdout == ""
    assert machine.scope() == 1


def test_scope_3_is_for_good(machine: Machine) -> None:
    """The last test of this machine: only a reboot lowers it again."""
    machine.run(f"echo 3 > {SCOPE}")
    assert machine.run(f"echo 1 > {SCOPE}", check=False).returncode != 0
    assert machine.scope() == 3
    machine.reset()
    assert machine.scope() == 1

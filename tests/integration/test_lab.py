# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab keeps what it promises to the other tests: real hosts, apart from each other, and no trace afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet
from ansible_collections.pyspy.fleet.tests.lab.network import pids_in
from ansible_collections.pyspy.fleet.tests.lab.nspawn import SystemdFleet
from ansible_collections.pyspy.fleet.tests.lab.tree import ADMIN_PASSWORD
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition


def namespaces(fleet: Fleet) -> set[int]:
    """Numbers of the network namespaces of all hosts and of the hub."""
    paths = [fleet._hub.namespace, *(f"/proc/{host.pid}/ns/net" for host in fleet.hosts)]
    return {os.stat(path).st_ino for path in paths}


def residents(inodes: set[int]) -> list[int]:
    return [pid for inode in inodes for pid in pids_in(inode)]


def machine() -> tuple[str, str, str]:
    """Mounts, network links and named network namespaces of this machine."""
    links = subprocess.run(("ip", "-brief", "link"), capture_output=True, text=True, check=True).stdout
    named = subprocess.run(("ip", "netns", "list"), capture_output=True, text=True, check=True).stdout
    return Path("/proc/self/mountinfo").read_text(), links, named


def folders(directory: Path) -> list[Path]:
    """The fleet's own folder and its cgroups, as far as they are there."""
    cgroups = Path("/sys/fs/cgroup")
    found = [directory, *cgroups.glob(directory.name), *cgroups.glob(f"*/{directory.name}")]
    return [folder for folder in found if folder.exists()]


def test_six_hosts_answer_ansible(fleet: Fleet) -> None:
    done = fleet.ansible("ansible", "all", "-m", "ping")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == 6


@pytest.mark.parametrize(
    ("user", "password"), [("root", None), ("deploy", None), ("admin", ADMIN_PASSWORD)], ids=["root", "deploy", "admin"]
)
def test_users_become_root(fleet: Fleet, user: str, password: str | None) -> None:
    extra = () if password is None else ("-e", f"ansible_become_password={password}")
    done = fleet.ansible("ansible", "web1", "-u", user, "-b", "-a", "id -u; whoami", *extra, "-m", "shell")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[1:] == ["0", "root"]


def test_admin_needs_the_password(fleet: Fleet) -> None:
    done = fleet.ansible("ansible", "web1", "-u", "admin", "-b", "-a", "id")
    assert done.returncode != 0
    assert "password" in done.stdout + done.stderr


def test_files_can_be_transferred(fleet: Fleet) -> None:
    """Without pipelining modules travel by sftp or scp."""
    for method in ("sftp", "scp", "piped"):
        done = fleet.ansible("ansible", "web2", "-m", "ping", "-e", f"ansible_ssh_transfer_method={method}")
        assert done.returncode == 0, done.stdout + done.stderr


def test_gunicorn_runs_in_the_hosts_own_pid_namespace(fleet: Fleet) -> None:
    host, other = fleet.hosts[:2]
    master = host.start_gunicorn(workers=3, busy=1)
    workers = host.children(master)
    assert len(workers) == 3
    assert not any("gunicorn" in process.command for process in other.processes())
    assert os.readlink(host.root / f"proc/{master}/ns/pid") != os.readlink("/proc/self/ns/pid")

    ticks = {worker: (host.root / f"proc/{worker}/stat") for worker in workers}
    await_condition("one busy worker", lambda: sum(_cpu(stat) >= 30 for stat in ticks.values()) == 1)
    host.stop_gunicorn()
    assert not any("gunicorn" in process.command for process in host.processes())


def _cpu(stat: Path) -> int:
    """User and system time of a process in clock ticks."""
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_host_can_be_cut_off_and_comes_back(fleet: Fleet) -> None:
    host = fleet.hosts[2]
    knock = [*fleet.ssh(host), "-o", "ConnectTimeout=2", "true"]

    def answers() -> bool:
        return subprocess.run(knock, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0

    assert answers()
    fleet.cut(host)
    assert not answers()
    fleet.mend(host)
    await_condition("the host's return", answers)


def test_systemd_hosts_run_units(systemd_fleet: SystemdFleet) -> None:
    host = systemd_fleet.hosts[1]
    done = systemd_fleet.ansible("ansible", "web2", "-a", "systemd-run --wait --pipe --quiet echo from a unit")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "from a unit" in done.stdout
    assert host.run("systemctl list-units --failed --no-legend").stdout == ""


@pytest.mark.parametrize("kind", [Fleet, SystemdFleet])
def test_nothing_is_left_of_a_fleet(kind: type[Fleet]) -> None:
    before = machine()
    with pytest.raises(KeyboardInterrupt), kind(2) as fleet:
        assert fleet.ansible("ansible", "all", "-m", "ping").returncode == 0
        inodes = namespaces(fleet)
        assert len(inodes) == 3
        assert len(residents(inodes)) > 3
        raise KeyboardInterrupt
    assert residents(inodes) == []
    assert folders(fleet.directory) == []
    assert machine() == before


@pytest.mark.parametrize("kind", ["hosts.Fleet", "nspawn.SystemdFleet"])
def test_a_killed_fleet_goes_down_and_the_next_one_tidies_up(kind: str) -> None:
    before = machine()
    room, name = kind.split(".")
    script = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"from ansible_collections.pyspy.fleet.tests.lab.{room} import {name}\n"
        f"with {name}(1) as fleet:\n"
        "    print(fleet.hosts[0].pid, fleet._hub.namespace, fleet.directory, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    owner = subprocess.Popen((sys.executable, "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        pid, hub, directory = owner.stdout.readline().split()
        inodes = {os.stat(f"/proc/{pid}/ns/net").st_ino, os.stat(hub).st_ino}
        owner.send_signal(signal.SIGKILL)
    await_condition("the end of the orphaned hosts", lambda: residents(inodes) == [])
    assert folders(Path(directory)) != [], "a killed owner cannot remove its folder"
    with Fleet(1):
        pass
    assert folders(Path(directory)) == []
    assert machine() == before

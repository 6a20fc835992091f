# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's containers on a machine with systemd and cgroups of version 2: what their clients and /proc say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._bundle import MARK, bundle
from ansible_collections.pyspy.fleet.tests.lab.containers.container import Runtime
from ansible_collections.pyspy.fleet.tests.lab.containers.on_machine import RUNTIMES, USER
from ansible_collections.pyspy.fleet.tests.lab.containers.skeleton import IMAGE, PYTHON
from ansible_collections.pyspy.fleet.tests.lab.host_program import BUSY
from ansible_collections.pyspy.fleet.tests.lab.runs import outcome
from ansible_collections.pyspy.fleet.tests.lab.vm import Machine
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: Where the container's processes are.
CGROUP = {
    "containerd": "/default/{name}",
    "docker": "/system.slice/docker-{id}.scope",
    "lxc": "/lxc.payload.{name}",
    "nspawn": "/machine.slice/machine-{name}.scope/payload",
    "podman": "/machine.slice/libpod-{id}.scope/container",
    "rootless_podman": "/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/libpod-{id}.scope/container",
}
#: Each process writes down its PID; one of two, so that not all of them are the first one.
FAMILY = """
import os, sys, time
os.fork()
open("%s/%d" % (sys.argv[1], os.getpid()), "x").close()
time.sleep(1000)
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as one:
        yield one


def test_what_clients_and_proc_say(machine: Machine, runtime_name: str, runtime: Runtime) -> None:
    folder = f"{runtime.shared}/{runtime_name}"
    machine.run(f"mkdir -m 777 {folder}")

    def said() -> list[str]:
        return str(machine.run(f"ls {folder}").stdout).split()

    with runtime.start("web7", (PYTHON, "-c", FAMILY, folder)) as container:
        await_condition("both", lambda: len(said()) == 2)
        truth = container.truth()
        assert {str(inside) for inside in truth.pids.values()} == {*said()}
        assert len(truth.pids) == 2 and 1 in truth.pids.values() and not {*truth.pids} & {*truth.pids.values()}
        assert (truth.runtime, truth.name) == (runtime.name, "web7")
        assert truth.image == ("" if runtime_name in ("lxc", "nspawn") else IMAGE)
        uid = machine.run(f"id -u {USER}").stdout.strip()
        expected = CGROUP[runtime_name].format(name=truth.name, id=truth.id, uid=uid)
        for pid, inside in truth.pids.items():
            assert f"0::{expected}" in machine.run(f"cat /proc/{pid}/cgroup").stdout.splitlines()
            assert machine.run(f"grep NSpid: /proc/{pid}/status").stdout.split()[1:] == [str(pid), str(inside)]
        further = container.run_inside(("sleep", "1000"))
        assert {*container.members()} == {*truth.pids, further}


PROGRAM = "/root/pyspy-fleet-host.pyz"


def chosen(machine: Machine, **selectors: Any) -> dict[int, dict[str, Any]]:
    """What the host program would take, asked by hand on the machine."""
    question = json.dumps({"selectors": {"max_targets": 99, **selectors}})
    said = machine.run(f"python3 -I -S {PROGRAM} info '{question}'").stdout
    answer = json.loads(said.partition(MARK)[2].splitlines()[0])
    assert answer["ok"], answer["error"]
    return {row["pid"]: row for row in answer["selection"]["targets"]}


@pytest.fixture(scope="module")
def asked(machine: Machine) -> Machine:
    machine.write(PROGRAM, bundle())
    return machine


def test_what_the_host_program_says(asked: Machine, runtime_name: str, runtime: Runtime) -> None:
    with runtime.start("lab8", (PYTHON, "-c", "import time; time.sleep(1000)")) as container:
        truth = container.truth()
        rows = chosen(asked, container="lab8")
        assert {pid: row["container_pid"] for pid, row in rows.items()} == dict(truth.pids)
        (found,) = (row["container"] for row in rows.values())
        image = "" if runtime_name == "containerd" else truth.image
        assert (found["runtime"], found["id"], found["image"]) == (truth.runtime, truth.id, image)
        assert found["claim"] == (f"user {USER}" if runtime_name == "rootless_podman" else "")
        assert chosen(asked, container=truth.id[:12] if len(truth.id) == 64 else truth.id).keys() == rows.keys()


def test_units_by_cgroups_of_version_2(asked: Machine) -> None:
    """There is no other hierarchy that could say it."""
    assert asked.run("stat --file-system --format=%T /sys/fs/cgroup").stdout.strip() == "cgroup2fs"
    asked.run("systemd-run --unit=lab-unit --slice=lab.slice python3 -c 'import time; time.sleep(1000)'")
    pid = int(asked.run("systemctl show --property=MainPID --value lab-unit").stdout)
    for unit in ("lab-unit", "lab-unit.service", "lab.slice", "lab-*"):
        rows = chosen(asked, unit=unit)
        assert {pid: row["unit"] for pid, row in rows.items()} == {pid: "lab-unit.service"}, unit


def test_a_recording_goes_into_a_container(machine: Machine, tmp_path: Path) -> None:
    """From the keeper's unit, past Docker's AppArmor profile, on a Yama that restricts: threads that sleep, sleep.

    The window is long because an emulated processor may need seconds until py-spy has read the target's symbols, which
    is taken for a cost of sampling: it is then begun again more gently.
    """
    settings = {"pyspy_container": "web9", "pyspy_enter_namespaces": True, "pyspy_duration": 20}
    extra = ("-e", json.dumps({**settings, "pyspy_output_dir": str(tmp_path)}))
    assert machine.scope() == 1
    with RUNTIMES["docker"](machine) as docker, docker.start("web9", (PYTHON, "-c", BUSY, "5", "20", "1000")):
        run = outcome(machine.ansible("ansible-playbook", "playbooks/profile.yml", "-u", "root", *extra), tmp_path)
    assert run.code == 0, run.text
    captures = run.hosts["vm1"]["captures"]
    assert (captures[0]["outcome"], captures[0]["measure"]["kind"]) == ("profiled", "cpu"), captures
    stacks = (run.folder / "fleet.folded").read_text()
    assert "burn" in stacks and "deep" not in stacks
    assert machine.scope() == 1 and "Restored 1 of 1 host (read back)" in run.words

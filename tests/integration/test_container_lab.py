# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's containers are real, what it says of them is true, and nothing is left of them afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.lab import place
from ansible_collections.pyspy.fleet.tests.lab.containers.bare import Bubblewrap
from ansible_collections.pyspy.fleet.tests.lab.containers.container import Container, Runtime
from ansible_collections.pyspy.fleet.tests.lab.containers.containerd import Containerd
from ansible_collections.pyspy.fleet.tests.lab.containers.skeleton import IMAGE, PYTHON
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: Fixture → the file where the runtime is, and how it is made there.
RUNTIMES = {
    "bare": ("bare", "Bare()"),
    "bubblewrap": ("bare", "Bubblewrap()"),
    "containerd": ("containerd", "Containerd()"),
    "docker": ("docker", "Docker()"),
    "lxc": ("lxc", "Lxc()"),
    "nspawn": ("nspawn", "Nspawn()"),
    "podman": ("podman", "Podman()"),
    "rootless_podman": ("podman", "Podman(rootless=True)"),
}
WITH_IDS = ("docker", "podman", "rootless_podman")
#: What stands between the container's first process and the machine's.
PARENT = {
    "bare": "unshare",
    "bubblewrap": "bwrap",
    "containerd": "containerd-shim-runc-v2",
    "docker": "containerd-shim-runc-v2",
    "lxc": "lxc-start",
    "nspawn": "systemd-nspawn",
    "podman": "conmon",
    "rootless_podman": "conmon",
}
#: The container's cgroup, in every hierarchy; of what is not here, the cgroups are those of its starter.
#: (nspawn has one of its own in systemd's hierarchies alone.)
CGROUP = {
    "containerd": "/default/{name}",
    "docker": "/docker/{id}",
    "lxc": "{own}/lxc.payload.{name}",
    "podman": "/libpod_parent/libpod-{id}",
}
#: Tells the roll its PID, each in its turn, and stays.
CALL = """
import os, socket, sys, time
roll = socket.socket(socket.AF_UNIX)
roll.connect(sys.argv[1] + "/roll")
roll.send(str(os.getpid()).encode())
time.sleep(1000)
"""
FAMILY = (PYTHON, "-c", "import os; os.fork(); os.fork()" + CALL)
SLEEPER = (PYTHON, "-c", "import time; time.sleep(1000)")


class Roll:
    """What processes say of themselves; the kernel adds the PID of each on this machine (unix(7), SO_PEERCRED)."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"{folder}/roll")
        (folder / "roll").chmod(0o777)
        self._socket.listen()
        self._socket.settimeout(30)
        self._path = folder / "roll"

    def call(self, count: int) -> dict[int, int]:
        """PID on this machine → PID inside, of the next ``count`` who come."""
        found = {}
        for _one in range(count):
            caller, _address = self._socket.accept()
            with caller:
                pid, _uid, _gid = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                found[pid] = int(caller.recv(20))
        return found

    def close(self) -> None:
        self._socket.close()
        self._path.unlink()


@pytest.fixture(params=RUNTIMES)
def runtime_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def runtime(request: pytest.FixtureRequest, runtime_name: str) -> Runtime:
    found: Runtime = request.getfixturevalue(runtime_name)
    return found


@pytest.fixture
def roll(runtime: Runtime) -> Iterator[Roll]:
    with contextlib.closing(Roll(runtime.shared)) as one:
        yield one


@pytest.fixture
def container(runtime: Runtime, roll: Roll) -> Iterator[Container]:
    """One of four processes. Its name is not that of anybody's who runs these tests at the same time."""
    with runtime.start(runtime.directory.name, (*FAMILY, runtime.inside)) as one:
        yield one


def status(pid: int, key: str) -> list[int]:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return [int(word) for word in line.split()[1:]]
    raise KeyError(key)


def command_lines_of(directory: str) -> list[str]:
    """Of all processes that were started for a runtime: its folder is named in each."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return [words for words in found if directory in words]


def lives(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


def cgroups(pid: int | str) -> dict[str, str]:
    """Controllers → path."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return {controllers: path for _number, controllers, path in lines}


def test_the_truth_is_what_the_processes_say(runtime: Runtime, container: Container, roll: Roll) -> None:
    said = roll.call(4)
    truth = container.truth()
    # Bubblewrap itself is the first process in its namespace, and says nothing.
    silent = {pid: inside for pid, inside in truth.pids.items() if pid not in said}
    assert list(silent.values()) == ([1] if isinstance(runtime, Bubblewrap) else [])
    assert truth.pids == said | silent and not said.keys() & set(said.values())
    assert (truth.runtime, truth.name) == (runtime.name, runtime.directory.name)
    further = container.run_inside((PYTHON, "-c", CALL, runtime.inside))
    said |= roll.call(1)
    assert further in said and container.truth().pids == said | silent
    assert {pid: status(pid, "NSpid") for pid in said} == {pid: [pid, inside] for pid, inside in said.items()}


def test_who_is_its_parent(runtime_name: str, container: Container, roll: Roll) -> None:
    (first,) = (pid for pid, inside in container.truth().pids.items() if inside == 1)
    parent = status(first, "PPid")[0]
    assert os.path.basename(os.readlink(f"/proc/{parent}/exe")) == PARENT[runtime_name]


def test_which_cgroup_it_is_in(runtime_name: str, container: Container, roll: Roll) -> None:
    truth = container.truth()
    # LXC starts from where the machine's first process is, not its own.
    expected = cgroups(1 if runtime_name == "lxc" else "self")
    for controllers, own in expected.items():
        path = CGROUP.get(runtime_name, "{own}").format(own=own.rstrip("/"), id=truth.id, name=truth.name)
        if runtime_name == "nspawn" and controllers in ("", "name=systemd"):
            path = own.rstrip("/") + "/payload"
        expected[controllers] = path or "/"
    for pid in truth.pids:
        assert cgroups(pid) == expected


def test_a_restarted_one_has_its_name_and_other_processes(container: Container, roll: Roll) -> None:
    said = roll.call(4)
    before = container.truth()
    container.restart()
    again = roll.call(4)
    after = container.truth()
    assert set(said) <= set(before.pids) and set(again) <= set(after.pids) and not set(before.pids) & set(after.pids)
    assert after._replace(pids={}) == before._replace(pids={})


@pytest.mark.parametrize("runtime_name", WITH_IDS)
def test_a_container_in_the_machines_own_pid_namespace(runtime: Runtime, roll: Roll) -> None:
    with runtime.start("lab-hostpid", (*FAMILY, runtime.inside), options=("--pid=host",)) as container:
        said = roll.call(4)
        assert container.truth().pids == said == {pid: pid for pid in said}


def test_ids_and_images(runtime_name: str, container: Container) -> None:
    truth = container.truth()
    assert (len(truth.id) == 64) is (runtime_name in WITH_IDS)
    assert truth.image == (IMAGE if runtime_name in ("containerd", *WITH_IDS) else "")


def test_a_pod_is_laid_out_as_on_a_node(containerd: Containerd) -> None:
    """Its containers hang from one shim, which names the pod's own container and none of them."""
    with (
        containerd.start_pod("shop", "web-0", "app", SLEEPER, image="images.example/shop/api:7") as first,
        containerd.start_pod("shop", "web-0", "proxy", SLEEPER) as second,
    ):
        truths = [first.truth(), second.truth()]
        assert [truth.name for truth in truths] == ["app", "proxy"]
        assert [truth.image for truth in truths] == ["images.example/shop/api:7", IMAGE]
        parents = {status(pid, "PPid")[0] for truth in truths for pid, inside in truth.pids.items() if inside == 1}
        (words,) = (Path(f"/proc/{parent}/cmdline").read_text().split("\0") for parent in parents)
        assert words[1:3] == ["-namespace", "k8s.io"] and not {truth.id for truth in truths} & set(words)
        for truth in truths:
            bundle = containerd.directory / "state/io.containerd.runtime.v2.task/k8s.io" / truth.id
            told = json.loads((bundle / "config.json").read_text())["annotations"]
            assert told.pop("io.kubernetes.cri.sandbox-id") in words and told.pop("io.kubernetes.cri.sandbox-uid")
            assert told == {
                "io.kubernetes.cri.container-type": "container",
                "io.kubernetes.cri.container-name": truth.name,
                "io.kubernetes.cri.image-name": truth.image,
                "io.kubernetes.cri.sandbox-name": "web-0",
                "io.kubernetes.cri.sandbox-namespace": "shop",
            }
            for pid in truth.pids:
                group = Path(f"/proc/{pid}/cgroup").read_text().splitlines()[0].split(":", 2)[2]
                assert re.fullmatch(f"/kubepods/burstable/pod[0-9a-f-]{{36}}/{truth.id}", group)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_nothing_is_left_of_a_runtime_whose_owner_was_killed(runtime: str) -> None:
    """Not even of the containers: their processes end with their owner, files when the next one comes."""
    room, made = RUNTIMES[runtime]
    script = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"from ansible_collections.pyspy.fleet.tests.lab.containers.{room} import *\n"
        f"with {made} as runtime:\n"
        "    truth = runtime.start(runtime.directory.name, ('sleep', '1000')).truth()\n"
        "    print(runtime.directory, truth.id or None, *truth.pids, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    owner = subprocess.Popen((sys.executable, "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        directory, number, *pids = owner.stdout.readline().split()
        assert all(map(lives, pids)) and command_lines_of(directory)
        owner.send_signal(signal.SIGKILL)
    await_condition("the end of its processes", lambda: not command_lines_of(directory) and not any(map(lives, pids)))
    await_condition("the end of its cgroups", lambda: not [*place.CGROUPS.glob(f"**/*{number}*")])
    # Its folder is left to whoever comes next.
    place.release(place.claim(place.STATE))
    assert not Path(directory).exists() and directory not in Path("/proc/self/mountinfo").read_text()

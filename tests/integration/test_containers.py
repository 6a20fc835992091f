# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes in containers of real runtimes: what their own clients say of them, and what the host program finds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab.containers.container import Container, Runtime, Truth
from ansible_collections.pyspy.fleet.tests.lab.containers.containerd import Containerd
from ansible_collections.pyspy.fleet.tests.lab.containers.docker import Docker
from ansible_collections.pyspy.fleet.tests.lab.containers.skeleton import PYTHON
from ansible_collections.pyspy.fleet.tests.lab.host_program import BUSY, Host
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet
from ansible_collections.pyspy.fleet.tests.lab.runs import play
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

RUNTIMES = ("docker", "podman", "rootless_podman", "containerd", "lxc", "nspawn")
SLEEP = "import time; time.sleep(1000)"
#: A shell, below it a Python, and beside that another one.
FAMILY = ("/bin/sh", "-c", f"{PYTHON} -c '{SLEEP}' & {PYTHON} -c '{SLEEP}' & wait")


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    found: Runtime = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def container(runtime: Runtime) -> Iterator[Container]:
    with runtime.start("lab-api", FAMILY) as one:
        await_condition("its processes", lambda: len(pythons(one.truth())) == 2)
        yield one


def pythons(truth: Truth) -> dict[int, int]:
    """Of its processes those that are Python, by what the kernel says they execute."""
    found = {}
    for pid, inside in truth.pids.items():
        if os.readlink(f"/proc/{pid}/exe").rpartition("/")[2].startswith("python"):
            found[pid] = inside
    return found


def ask(**selectors: Any) -> dict[str, Any]:
    answer: dict[str, Any] = Host("").ask("info", {"selectors": selectors})
    return answer


def chosen(**selectors: Any) -> dict[int, dict[str, Any]]:
    answer = ask(**selectors)
    assert answer["ok"], answer["error"]
    return {row["pid"]: row for row in answer["selection"]["targets"]}


def refused(**selectors: Any) -> str:
    answer = ask(**selectors)
    assert not answer["ok"], answer["selection"]["targets"]
    assert answer["error"]["remedy"]
    return ": ".join(filter(None, (answer["error"]["reason"], answer["error"]["detail"])))


def insides(rows: dict[int, dict[str, Any]]) -> dict[int, int]:
    return {pid: row["container_pid"] for pid, row in rows.items()}


def test_what_a_container_is(container: Container) -> None:
    truth = container.truth()
    rows = chosen(pids=list(pythons(truth)))
    assert insides(rows) == pythons(truth)
    for row in rows.values():
        found = row["container"]
        assert (found["runtime"], found["id"], found["name"]) == (truth.runtime, truth.id, truth.name)
        # Only containerd's own database knows the image, but for pods.
        assert found["image"] == ("" if truth.runtime == "containerd" else truth.image)


def test_by_name_and_id(container: Container) -> None:
    truth = container.truth()
    for name in (truth.name, truth.id, truth.id[:12], "lab-a*"):
        assert insides(chosen(container=name)) == pythons(truth), name
    inside = max(pythons(truth).values())
    assert set(insides(chosen(container=truth.name, container_pids=[inside])).values()) == {inside}
    shell = min(truth.pids.values())
    assert "(sh) is not Python" in refused(container=truth.name, container_pids=[shell])


def test_what_is_not_there(container: Container) -> None:
    truth = container.truth()
    missing = refused(container="lab-nobody")
    assert missing.startswith("No container on this host is called lab-nobody, or has that id: there are ")
    assert "lab-api" in missing
    absent = max(truth.pids.values()) + 1000
    assert refused(container=truth.name, container_pids=[absent]).startswith(
        f"No process {absent} in container {truth.name}: its"
    )
    mistaken = ask(container=truth.name, container_pids=[max(pythons(truth))])
    assert "numbers of the host go into pids" in mistaken["error"]["remedy"]
    assert not chosen(kube_pod="lab-*")


def test_a_further_process_and_a_restart(container: Container) -> None:
    before = pythons(container.truth())
    further = container.run_inside((PYTHON, "-c", SLEEP))
    truth = container.truth()
    assert insides(chosen(container=truth.name)) == {**before, further: truth.pids[further]}
    container.restart()
    await_condition("its new processes", lambda: len(pythons(container.truth())) == 2)
    again = container.truth()
    assert again.id == truth.id and not set(again.pids) & set(before)
    assert insides(chosen(container=truth.id)) == pythons(again)
    assert "No process" in refused(pids=list(before))


@pytest.fixture(params=["docker", "podman", "rootless_podman"])
def with_host_pids(request: pytest.FixtureRequest) -> Iterator[Container]:
    runtime: Runtime = request.getfixturevalue(request.param)
    with runtime.start("lab-outside", (PYTHON, "-c", SLEEP), options=("--pid=host",)) as one:
        yield one


def test_the_hosts_own_pids(with_host_pids: Container) -> None:
    """Its PID namespace is the host's; what it belongs to, the cgroup or its parent says."""
    truth = with_host_pids.truth()
    rows = chosen(container="lab-outside")
    assert insides(rows) == {pid: pid for pid in truth.pids}
    assert {row["container"]["id"] for row in rows.values()} == {truth.id}


MAY_NEST = ("--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined")
NESTED = f"unshare --pid --fork --mount-proc {PYTHON} -c '{SLEEP}' & {PYTHON} -c '{SLEEP}' & wait"


def test_the_same_number_twice_in_one_container(docker: Docker) -> None:
    """A namespace within: its first process is 1 there, and has a number of the container's too."""
    with docker.start("lab-nested", ("/bin/sh", "-c", NESTED), options=MAY_NEST) as container:
        await_condition("its processes", lambda: len(pythons(container.truth())) == 2)
        truth = container.truth()
        assert insides(chosen(container="lab-nested")) == pythons(truth)
        for pid, inside in pythons(truth).items():
            assert set(chosen(container="lab-nested", container_pids=[inside])) == {pid}
        assert "is not Python" in refused(container="lab-nested", container_pids=[1])


def test_pods(containerd: Containerd) -> None:
    with (
        containerd.start_pod("shop", "web-7d9f", "api", (PYTHON, "-c", SLEEP), image="images.example/api:7") as api,
        containerd.start_pod("shop", "cart-5b2c", "api", (PYTHON, "-c", SLEEP), image="images.example/api:8") as cart,
    ):
        truth = api.truth()
        (row,) = chosen(kube_pod="web-*", kube_namespace="shop").values()
        assert insides({row["pid"]: row}) == dict(truth.pids)
        found = row["container"]
        assert (found["namespace"], found["pod"], found["name"]) == ("shop", "web-7d9f", "api")
        assert (found["id"], found["image"]) == (truth.id, "images.example/api:7")
        assert set(chosen(container="api")) == set(truth.pids) | set(cart.truth().pids)
        assert set(chosen(kube_pod="cart-5b2c", container_pids=[1])) == set(cart.truth().pids)
        assert not chosen(kube_namespace="other")


@pytest.mark.parametrize("name", ["bare", "bubblewrap"])
def test_a_namespace_that_no_runtime_made(name: str, request: pytest.FixtureRequest) -> None:
    runtime: Runtime = request.getfixturevalue(name)
    with runtime.start("lab-bare", FAMILY) as container:
        await_condition("its processes", lambda: len(pythons(container.truth())) == 2)
        truth = container.truth()
        rows = chosen(pids=list(pythons(truth)))
        assert insides(rows) == pythons(truth)
        namespaces = {os.readlink(f"/proc/{pid}/ns/pid") for pid in truth.pids}
        assert {row["container"]["id"] for row in rows.values()} == namespaces
        assert {row["container"]["runtime"] for row in rows.values()} == {"namespace"}
        (namespace,) = namespaces
        assert set(chosen(container=namespace)) == set(rows)


#: Starts what comes after "--", stays above it, and takes no notice of the rest; perl may be called anything.
IMITATION = 'shift @ARGV while $ARGV[0] ne "--"; shift @ARGV; if (!fork) { exec @ARGV } sleep 1000;'


def test_an_imitated_runtime_is_a_claim(docker: Docker, tmp_path: Path) -> None:
    """A user's own "conmon" tells of a container that has the name, and the id, of one of root's."""
    program, script = shutil.copy("/usr/bin/perl", tmp_path / "conmon"), tmp_path / "script"
    script.write_text(IMITATION)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    with docker.start("lab-api", (PYTHON, "-c", SLEEP)) as container:
        truth = container.truth()
        for identity, name in ((truth.id, "lab-other"), ("e" * 64, "lab-api")):
            words = (program, script, "-c", identity, "-n", name, "--", PYTHON, "-c", SLEEP)
            with subprocess.Popen(words, user=65534, group=65534, extra_groups=[], cwd="/") as child:
                try:
                    await_condition("its child", lambda: len(chosen(user="nobody")) == 1)
                    (row,) = chosen(user="nobody").values()
                    assert (row["container"]["id"], row["container"]["claim"]) == (identity, "user nobody")
                    assert set(chosen(container="lab-api")) == set(truth.pids)
                    assert set(chosen(container=truth.id)) == set(truth.pids)
                finally:
                    for pid in (*children(child.pid), child.pid):
                        os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


#: Threads that sleep, and how deep; one works beside them for so many seconds.
CROWDED = (PYTHON, "-c", BUSY, "5", "20", "100")


def test_a_run_from_the_plan_to_the_report(docker: Docker, fleet: Fleet, directory: str, tmp_path: Path) -> None:
    """Every output names the container and the PID inside; those that sleep are not counted as busy."""
    local = ("-i", "localhost,", "-l", "localhost", "-c", "local")
    settings = {"pyspy_container": "lab-crowded", "pyspy_duration": 2, "pyspy_install_dir": directory}
    with docker.start("lab-crowded", CROWDED) as container:
        (pid,) = container.truth().pids
        planned = play(fleet, tmp_path, "profile", *local, "--check", **settings)
        who = f"(pid {pid}, 1 in lab-crowded)"
        assert f"profile python3 -c {who} of root: single process, " in planned.words
        assert not (tmp_path / "latest").exists()
        done = play(fleet, tmp_path, "profile", *local, **settings)
    assert done.code == 0, done.text
    (row,) = done.hosts["localhost"]["selection"]["targets"]
    assert (row["pid"], row["container_pid"], row["container"]["name"]) == (pid, 1, "lab-crowded")
    assert done.hosts["localhost"]["coverage"] == done.manifest["counts"]["targets"]
    found = done.manifest["counts"]["targets"]
    assert (found["chosen"], found["profiled"], found["failed"]) == (1, 1, 0)
    assert f"1 profiled, {found['found'] - 1} skipped; 1 of {found['found']} Python processes chosen" in done.words
    assert who in (done.folder / "index.html").read_text()
    [graph] = (done.folder / "hosts/localhost").glob(f"{pid}*.svg")
    assert f"{who} on localhost" in graph.read_text()
    seconds = {"deep": 0.0, "burn": 0.0}
    for line in (done.folder / "fleet.folded").read_text().splitlines():
        for name in seconds:
            seconds[name] += float(line.rpartition(" ")[2]) if name in line else 0
    assert seconds["deep"] < 0.02 * seconds["burn"]


def test_c_code_of_a_container_is_seen_from_inside(
    docker: Docker, fleet: Fleet, directory: str, tmp_path: Path
) -> None:
    """On request, and only where nobody in there has, or could have, a capability over what goes in."""
    local = ("-i", "localhost,", "-l", "localhost", "-c", "local")
    native = {"pyspy_native": True, "pyspy_enter_namespaces": True}
    settings = {"pyspy_container": "lab-native", "pyspy_duration": 2, "pyspy_install_dir": directory, **native}
    with docker.start("lab-native", CROWDED) as container:
        assert len(container.truth().pids) == 1
        done = play(fleet, tmp_path / "may", "profile", *local, **settings)
    (capture,) = done.hosts["localhost"]["captures"]
    assert (capture["outcome"], capture["measure"]["native"]) == ("profiled", True), done.text
    with docker.start("lab-native", CROWDED, options=("--cap-add=SYS_PTRACE",)):
        refused = play(fleet, tmp_path / "may-not", "profile", *local, **settings)
    assert refused.code == 2
    assert "its namespaces are not entered: process 1 there" in refused.words
    assert "leave pyspy_enter_namespaces out" in refused.words

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The selectors on real process trees of this machine, asked through the host program as the controller asks it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.lab.host_program import state_of
from ansible_collections.pyspy.fleet.tests.lab.selecting import ask
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


def test_port_of_gunicorn(start: Start, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def app(environ, start_response):\n    return []\n")
    gunicorn = Path(sys.executable).with_name("gunicorn")
    with socket.create_server(("127.0.0.1", 0)) as finder:
        port = finder.getsockname()[1]
    master = start(str(gunicorn), "-w", "3", "-b", f"127.0.0.1:{port}", "shop:app", cwd=tmp_path)
    other = start(str(gunicorn), "-w", "1", "-b", f"unix:{tmp_path}/socket", "shop:app", cwd=tmp_path)
    await_condition("the workers", lambda: len(ask(port=port).targets) == 3)
    await_condition("the other's", lambda: len(ask(children_of=other.pid).targets) == 1)
    found = ask(port=port)
    assert set(found.targets) == set(ask(children_of=master.pid).targets)
    assert {reason.partition(",")[0] for reason in found.targets.values()} == {"gunicorn worker"}
    assert found.skipped[master.pid] == "gunicorn master of 3 workers"
    assert found.skipped[other.pid] == f"does not listen on port {port}"
    assert any(note.startswith(f"port {port} matched 4 of ") for note in found.notes)
    assert not ask(port=port, pattern="nowhere to be found").targets, "given together they narrow"


#: Listens on a port of 127.0.0.1, says which, and becomes what it is told with that socket open; else it waits.
LISTENER = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(listener.getsockname()[1], flush=True)
listener.set_inheritable(True)
if sys.argv[2:]:
    os.execvp(sys.argv[2], sys.argv[2:])
time.sleep(600)
"""


def test_port_that_something_else_listens_on(start: Start, tmp_path: Path) -> None:
    child = start(sys.executable, "-c", LISTENER, "0", "sleep", "600", cwd=tmp_path)
    assert child.stdout is not None
    port = int(child.stdout.readline())
    await_condition("sleep", lambda: Path(f"/proc/{child.pid}/comm").read_text() == "sleep\n")
    assert ask(port=port).error == (
        f"What listens on TCP port {port} cannot be a target: Process {child.pid} (sleep) is not Python"
    )
    os.kill(child.pid, signal.SIGKILL)
    await_condition("its end", lambda: state_of(child.pid) == "Z")
    assert ask(port=port).error == nobody_listens(port)


def test_port_while_somebody_is_about_to_end(start: Start, tmp_path: Path) -> None:
    """Its files are closed and it is no zombie yet: the init of a PID namespace, in which a zombie is left to reap."""
    init = start("unshare", "--pid", "--fork", "--kill-child", "sleep", "600", cwd=tmp_path)
    await_condition("the init", lambda: bool(children(init.pid)))
    inside = children(init.pid)[0]
    guest = start("nsenter", f"--target={inside}", "--pid", "sleep", "600", cwd=tmp_path)
    await_condition("the guest", lambda: bool(children(guest.pid)))
    os.kill(guest.pid, signal.SIGSTOP)  # so it does not reap
    os.kill(inside, signal.SIGKILL)
    await_condition("its last wait", lambda: left_namespaces(inside))
    assert state_of(inside) not in "ZX"
    with socket.create_server(("127.0.0.1", 0)) as finder:
        port = finder.getsockname()[1]
    assert ask(port=port).error == nobody_listens(port)


def nobody_listens(port: int) -> str:
    """What is to be said, on this machine: there are some whose PID 1 root may not read either."""
    hidden = sum(is_hidden(name) for name in os.listdir("/proc") if name.isdigit())
    if not hidden:
        return f"Nobody listens on TCP port {port}"
    several = "1 process" if hidden == 1 else f"{hidden} processes"
    return f"Nobody that can be seen listens on TCP port {port}: the open files of {several} cannot all be read"


def is_hidden(pid: str) -> bool:
    try:
        os.readlink(f"/proc/{pid}/ns/net")
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def left_namespaces(pid: int) -> bool:
    try:
        os.readlink(f"/proc/{pid}/ns/net")
    except FileNotFoundError:
        return True
    return False


def test_port_in_a_network_namespace_of_its_own(start: Start, tmp_path: Path) -> None:
    """As in a container: the same number is another port there, and both are found."""
    inside = "ip link set lo up && exec " + shlex.join([sys.executable, "-c", LISTENER, "8765"])
    child = start("unshare", "--net", "/bin/sh", "-c", inside, cwd=tmp_path)
    assert child.stdout is not None and child.stdout.readline() == "8765\n"
    assert list(ask(port=8765).targets) == [child.pid]
    outside = start(sys.executable, "-c", LISTENER, "8765", cwd=tmp_path)
    assert outside.stdout is not None and outside.stdout.readline() == "8765\n"
    assert set(ask(port=8765).targets) == {child.pid, outside.pid}


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

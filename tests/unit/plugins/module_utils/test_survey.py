# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "survey" and of ``look``: on real processes, under each Python that is here."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _survey
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import ProcessDir
from ansible_collections.pyspy.fleet.plugins.module_utils._selection import Selection, Selectors, look
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Process as WireProcess

COLLECTIONS = _survey.__file__.partition("/ansible_collections/")[0]
MINOR = "{}.{}".format(*sys.version_info)

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a program in a session of its own, which is killed as a whole at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str, cwd: object = None) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            argv,
            cwd=str(cwd),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        started.append(child)
        return child

    yield run
    for child in started:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def until(condition: Callable[[], object]) -> bool:
    """Wait for a condition that comes true by itself."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def below(folder: object, **more: object) -> Selectors:
    """Processes that name the test's own folder in their command line."""
    return Selectors.from_wire({"pattern": re.escape(str(folder)), **more})


def roles(selection: Selection) -> dict[str, int]:
    """How many of each role are among those that were meant."""
    count: dict[str, int] = {}
    for process in selection.targets + selection.skipped:
        if process.reason != "does not match the pattern" and not process.reason.startswith("never a target"):
            count[process.role] = count.get(process.role, 0) + 1
    return count


POOL = """
import multiprocessing, signal, sys, time

def work(busy):
    signal.alarm(120)
    while True:
        busy or time.sleep(60)

if __name__ == "__main__":
    signal.alarm(120)
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=work, args=(busy,)) for busy in (False, True)]
    for child in children:
        child.start()
    print(children[1].pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("fork", {"worker": 2, "master": 1}),
        ("spawn", {"worker": 2, "master": 1, "helper": 1}),
        ("forkserver", {"worker": 2, "master": 1, "helper": 2}),
    ],
)
def test_multiprocessing(start, tmp_path, method, expected):
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    parent = start(sys.executable, str(script), method, cwd=tmp_path)
    busy = int(parent.stdout.readline())
    selectors = below(tmp_path)
    assert until(lambda: [process.pid for process in look(selectors, 0.2).targets][:1] == [busy])
    selection = look(selectors, 0.2)
    # Helpers have command lines of their own, but their starter speaks for them.
    assert roles(selection) == expected
    assert {process.name for process in selection.targets} == {"pool.py"}
    assert {process.python for process in selection.targets} == {MINOR}
    named = look(Selectors(pids=(parent.pid,)), 0.0)
    assert sorted(process.pid for process in named.targets) == sorted(process.pid for process in selection.targets)
    assert f"its master {parent.pid} was named" in named.targets[0].reason


def test_gunicorn(start, tmp_path):
    pytest.importorskip("gunicorn")
    (tmp_path / "shop.py").write_text("def app(environ, start_response):\n    return []\n")
    gunicorn = os.path.join(os.path.dirname(sys.executable), "gunicorn")
    master = start(gunicorn, "-w", "3", "-b", f"unix:{tmp_path}/socket", "shop:app", cwd=tmp_path)
    selectors = below(tmp_path)
    assert until(lambda: roles(look(selectors, 0.0)) == {"master": 1, "worker": 3})
    selection = look(selectors, 0.0)
    assert {process.name for process in selection.targets} == {"gunicorn"}
    assert all(process.reason.startswith("gunicorn worker, ") for process in selection.targets)
    assert [process.reason for process in selection.skipped if process.pid == master.pid] == [
        "gunicorn master of 3 workers"
    ]
    capped = look(below(tmp_path, max_targets=1), 0.0)
    assert len(capped.targets) == 1
    assert sum("not among the 1 hottest" in process.reason for process in capped.skipped) == 2


def test_no_secret_leaves_the_host(start, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(120)\n")
    child = start(sys.executable, str(script), "--token=s3cret", "s3cret", cwd=tmp_path)
    child.stdout.readline()
    selection = look(below(tmp_path), 0.0)
    assert [process.pid for process in selection.targets] == [child.pid]
    assert selection.targets[0].name == "worker.py"
    assert selection.targets[0].reason == "single process, CPU not measured" and selection.targets[0].cpu is None
    assert "s3cret" not in json.dumps([process.to_wire() for process in selection.targets + selection.skipped])
    assert [process.pid for process in look(Selectors(pattern="--token=s3cret"), 0.0).targets] == [child.pid]


def test_our_own_line_is_never_taken(start, tmp_path):
    selection = look(Selectors(pattern="."), 0.0)
    mine = [process for process in selection.skipped if process.pid == os.getpid()]
    assert [process.reason for process in mine] == ["never a target: started this run"]
    playbook = tmp_path / "ansible-playbook"
    playbook.write_text("import time\nprint('up', flush=True)\ntime.sleep(120)\n")
    child = start(sys.executable, str(playbook), "-e", "pyspy_pattern=app", cwd=tmp_path)
    child.stdout.readline()
    selection = look(below(tmp_path), 0.0)
    assert [process.reason for process in selection.skipped if process.pid == child.pid] == [
        "never a target: Ansible itself"
    ]
    assert not selection.targets


def test_a_zombie_is_seen_as_one(start, tmp_path):
    child = start(sys.executable, "-c", "print('up', flush=True); input()", cwd=tmp_path)
    child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    with ProcessDir(child.pid) as process:
        assert until(lambda: process.state == "Z")
    row = _survey.survey(0.0)[child.pid]
    assert row.zombie() and row.argv == ()


def test_a_process_that_becomes_another_program_is_seen_as_that(monkeypatch):
    """Between the two looks; a moment earlier it had its parent's command line."""
    code = "import os; print('up', flush=True); os.read(0, 1); os.execvp('sleep', ['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        pipe = child.stdin

        def become(_pause: float) -> None:
            pipe.write(b"x")
            pipe.flush()
            with ProcessDir(child.pid) as process:
                while process.argv()[:1] != ("sleep",):
                    os.sched_yield()

        monkeypatch.setattr(_survey.time, "sleep", become)
        row = _survey.survey(0.5)[child.pid]
        child.kill()
    assert row.interpreter is None and row.argv[0] == "sleep"


def test_an_ordinary_user_may_look(start, tmp_path):
    """Another user's executables cannot be read then; those processes are judged by their names."""
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")
    script = tmp_path / "app.py"
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(120)\n")
    child = start("python3", str(script), cwd=tmp_path)
    child.stdout.readline()
    ours, theirs = os.pipe()
    other = os.fork()
    if other == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        selection = look(below(tmp_path), 0.0)
        os.write(theirs, json.dumps([[process.pid, process.reason] for process in selection.targets]).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours) as answer:
        ((pid, reason),) = json.loads(answer.read())
    os.waitpid(other, 0)
    assert pid == child.pid and "taken for Python by its name" in reason


def test_whose_a_process_is():
    """The effective user and group: what attaching is decided by."""
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")
    ready, tell = os.pipe()
    other = os.fork()
    if other == 0:
        os.setresgid(0, 65533, 0)
        os.setresuid(0, 65534, 0)
        os.write(tell, b"x")
        signal.pause()
    os.read(ready, 1)
    row = _survey.survey(0.0)[other]
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    os.close(ready)
    os.close(tell)
    assert (row.uid, row.gid) == (65534, 65533)


def pythons() -> list[str]:
    """The interpreters from 3.8 to 3.13 that are here, on the path or under pyenv."""
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    found = {}
    for minor in range(8, 14):
        candidates = glob.glob(f"{root}/versions/3.{minor}.*/bin/python3.{minor}")
        path = candidates[0] if candidates else shutil.which(f"python3.{minor}")
        if path:
            found[minor] = path
    return list(found.values())


LOOK = """
import json, sys
from ansible_collections.pyspy.fleet.plugins.module_utils._selection import Selectors, look
selection = look(Selectors.from_wire(json.loads(sys.stdin.read())))
print(json.dumps([process.to_wire() for process in selection.targets]))
"""


@pytest.mark.parametrize("python", pythons())
def test_look_runs_under_each_python_and_finds_it(start, tmp_path, python):
    script = tmp_path / "app.py"
    script.write_text(
        "import socket\nlistener = socket.create_server(('127.0.0.1', 0))\n"
        "print(listener.getsockname()[1], flush=True)\nwhile True: pass\n"
    )
    child = start(python, str(script), cwd=tmp_path)
    port = int(child.stdout.readline())
    done = subprocess.run(
        [python, "-c", LOOK],
        input=json.dumps({"pattern": re.escape(str(script)), "port": port, "min_cpu": 0.1}),
        env={"PYTHONPATH": COLLECTIONS, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (target,) = [WireProcess.from_wire(row) for row in json.loads(done.stdout)]
    assert (target.pid, target.name, target.role) == (child.pid, "app.py", "single")
    assert target.python == os.path.basename(python).replace("python", "")
    assert target.cpu is not None and target.cpu > 0

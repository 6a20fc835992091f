# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pythons of all kinds: what is chosen is what py-spy reads, and what it cannot read is skipped and says why."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._survey import survey, unreadable
from ansible_collections.pyspy.fleet.tests.lab.host_program import Host, parent_of
from ansible_collections.pyspy.fleet.tests.lab.interpreters import (
    CODE,
    SharedPython,
    interpreter,
    narrow_python,
    one_file_bundle,
    pyspy_says,
)
from ansible_collections.pyspy.fleet.tests.lab.managers import environment, running
from ansible_collections.pyspy.fleet.tests.lab.selecting import ask
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

REPLACED = "its libpython was replaced or removed on disk while it ran"


def assert_chosen(pid: int, version: str) -> None:
    """Ours chooses it and knows its version, and py-spy reads it."""
    found = ask(pids=[pid])
    assert list(found.targets) == [pid] and found.python[pid] == version
    assert "burn (" in pyspy_says(pid)


def assert_skipped(pid: int, reason: str, error: str) -> None:
    """Ours skips it and says why; py-spy's own error shows that this is right."""
    skipped = ask(children_of=os.getpid()).skipped[pid]
    assert skipped.startswith(reason)
    assert ask(pids=[pid]).error.endswith(f" cannot be profiled: {skipped}")
    assert pyspy_says(pid).startswith(error)


@pytest.mark.parametrize("name", ["python{version}", "server"])
def test_libpython_that_was_upgraded(name: str, tmp_path: Path) -> None:
    python = SharedPython(tmp_path, name)
    with python.started() as process:
        assert_chosen(process.pid, python.version)
        python.upgrade()
        assert_skipped(process.pid, REPLACED, "Error: No such file or directory")
        with python.started() as restarted:
            assert_chosen(restarted.pid, python.version)
            assert_skipped(process.pid, REPLACED, "Error: No such file or directory")


def test_executable_that_was_upgraded_does_no_harm(tmp_path: Path) -> None:
    python = SharedPython(tmp_path, "python{version}")
    with python.started() as process:
        python.program.unlink()
        assert_chosen(process.pid, python.version)


def test_all_of_a_service_say_that_they_need_a_restart(tmp_path: Path) -> None:
    """Also those that would not have been among the hottest."""
    python = SharedPython(tmp_path, "python{version}")
    with ExitStack() as stack:
        stale = [stack.enter_context(python.started()).pid for _process in range(3)]
        python.upgrade()
        fresh = stack.enter_context(interpreter(environment() / "python", "-c", CODE))
        found = ask(children_of=os.getpid(), max_targets=2)
        assert {fresh.pid, *stale} & set(found.targets) == {fresh.pid}
        assert all(found.skipped[pid].startswith(REPLACED) for pid in stale)


def test_closer_look_is_at_the_very_process_that_was_seen(tmp_path: Path) -> None:
    """Another one that got its number in between is not judged in its place."""
    python = SharedPython(tmp_path, "server")
    with python.started() as process:
        python.upgrade()
        pid, table = process.pid, survey(0.0)
        assert list(unreadable(table, [pid])) == [pid]
        stat = table[pid].stat
        earlier = {pid: table[pid]._replace(stat=stat._replace(start=stat.start - 1))}
        assert unreadable(earlier, [pid]) == {}
    assert unreadable(table, [pid]) == {}


def test_version_is_held_against_the_py_spy_that_is_meant(tmp_path: Path) -> None:
    """There is no 3.15 here, so another one bears that name: the name is what its version is taken from."""
    host = Host("")
    with SharedPython(tmp_path, "python3.15").started() as process:
        order = host.order([process.pid]) | {"check": True}
        answer = host.ask("start", order)
        assert [target["pid"] for target in answer["selection"]["targets"]] == [process.pid]
        order["binary"]["version"] = "0.4.2"
        reason = host.ask("start", order)["error"]["reason"]
        assert reason.endswith(" cannot be profiled: Python 3.15: py-spy 0.4.2 reads 3.14 at most")


def test_uwsgi_whose_libpython_was_upgraded(tmp_path: Path) -> None:
    python = SharedPython(tmp_path, "python")
    library_path = f"env LD_LIBRARY_PATH={tmp_path}"
    uwsgi = "uwsgi --master -p 2 --need-app --lazy-apps --module shop:app --http-socket 127.0.0.1:0"
    with running(tmp_path, *library_path.split(), *uwsgi.split()) as here:
        workers = set(here.workers(2))
        found = ask(children_of=here.shell)
        assert set(found.targets) == workers and {found.python[pid] for pid in workers} == {python.version}
        assert all("Thread" in pyspy_says(pid) for pid in workers)
        python.upgrade()
        found = ask(children_of=here.shell)
        assert not found.targets and all(found.skipped[pid].startswith(REPLACED) for pid in workers)
        assert all(pyspy_says(pid).startswith("Error: No such file or directory") for pid in workers)


def test_an_application_in_one_file(tmp_path: Path) -> None:
    """What starts is no Python: it unpacks one, and waits for it."""
    version = SharedPython(tmp_path, "python").version
    with interpreter(one_file_bundle(tmp_path), TMPDIR=str(tmp_path)) as boot:
        found = ask(children_of=boot.pid)
        (application,) = found.targets
        assert parent_of(application) == boot.pid
        assert_chosen(application, version)
        assert ask(pids=[boot.pid]).error == f"Process {boot.pid} (bundled) is not Python"
        # As a cleaner of /tmp does to one that runs for weeks.
        (unpacked,) = tmp_path.glob("_MEI*")
        shutil.rmtree(unpacked)
        assert_skipped(application, REPLACED, "Error: No such file or directory")
        os.kill(application, 9)
        await_condition("its end", lambda: boot.poll() is not None)


def test_pypy() -> None:
    with interpreter("pypy3", "-c", CODE) as process:
        assert_skipped(process.pid, "PyPy: py-spy reads CPython only", "Error: Failed to find python version")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the 32-bit Python is for x86")
def test_32_bit() -> None:
    with interpreter("chroot", narrow_python(), "/usr/bin/python3.11", "-S", "-c", CODE) as process:
        reason = "32-bit Python: the py-spy of this host reads 64-bit Python only"
        assert_skipped(process.pid, reason, "Error: Failed to find a python interpreter in the .data section")


PLACES = (Path("/usr/bin"), *Path.home().glob(".pyenv/versions/*/bin"))
HERE = {path.resolve() for place in PLACES for path in place.iterdir() if re.fullmatch(r"python[23]\.\d+", path.name)}


@pytest.mark.parametrize("python", sorted(HERE), ids=str)
def test_every_python_of_this_machine(python: Path) -> None:
    ask_version = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"
    version = subprocess.run((python, "-c", ask_version), capture_output=True, text=True, check=True).stdout
    with interpreter(python, "-u", "-c", CODE.replace(", flush=True", "")) as process:
        assert_chosen(process.pid, version)

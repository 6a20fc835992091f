# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "interpreters"."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from subprocess import PIPE

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._interpreters import (
    identify,
    is_python_name,
    judge,
    undecided,
)
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import ProcessDir
from hypothesis import given
from hypothesis import strategies as st

LIB = "/usr/lib/x86_64-linux-gnu/"


@pytest.mark.parametrize(
    ("exe", "mapped", "version", "embedded"),
    [
        ("/usr/bin/python3.11", None, "3.11", False),
        ("/usr/bin/python3.11 (deleted)", None, "3.11", False),
        ("/usr/libexec/platform-python3.6", None, "3.6", False),
        ("/usr/bin/python3.8m", None, "3.8", False),
        ("/usr/bin/python3.11-dbg", None, "3.11", False),
        ("/usr/bin/python2.7", None, "2.7", False),
        ("/opt/py/bin/python3", None, None, False),
        ("/opt/py/bin/python3", [LIB + "libc.so.6"], None, False),
        ("/opt/py/bin/python3", [LIB + "libpython3.so", LIB + "libpython3.12.so.1.0"], "3.12", False),
        ("/opt/py/bin/python", ["/l/lib-dynload/_json.cpython-310-x86_64-linux-gnu.so"], "3.10", False),
        ("/usr/bin/uwsgi-core", [LIB + "libpython3.11.so.1.0"], "3.11", True),
        ("/srv/venv/bin/uwsgi", ["/l/lib-dynload/_json.cpython-39-aarch64-linux-gnu.so"], "3.9", True),
        ("/tmp/_MEI12/app", ["/tmp/_MEI12/libpython3.8m.so.1.0"], "3.8", True),
    ],
)
def test_cpython(exe, mapped, version, embedded):
    verdict = judge(exe, "x", ["x"], mapped)
    assert verdict is not None
    assert (verdict.implementation, verdict.version, verdict.embedded) == ("CPython", version, embedded)
    assert not verdict.guess and not verdict.unsupported


@pytest.mark.parametrize(
    ("exe", "mapped", "reason"),
    [
        ("/usr/bin/pypy3.10", None, "PyPy"),
        ("/opt/app/server", ["/opt/app/libpypy3.10-c.so"], "PyPy"),
        ("/usr/bin/python3.13t", None, "free-threaded"),
        ("/usr/bin/uwsgi", [LIB + "libpython3.13t.so.1.0"], "free-threaded"),
        ("/usr/bin/python3", ["/l/_json.cpython-313t-x86_64-linux-gnu.so"], "free-threaded"),
    ],
)
def test_what_py_spy_cannot_read(exe, mapped, reason):
    verdict = judge(exe, "x", ["x"], mapped)
    assert verdict is not None and verdict.unsupported.startswith(reason)


@pytest.mark.parametrize(
    ("exe", "argv"),
    [
        ("/usr/bin/bash", ["bash", "-c", "python3 app.py"]),
        ("/usr/bin/sudo", ["sudo", "python3", "app.py"]),
        ("/usr/bin/nginx", ["python3", "not.py"]),
        ("/usr/bin/python3-config", ["python3-config"]),
        ("/opt/pythonista", ["pythonista"]),
    ],
)
def test_not_python(exe, argv):
    assert judge(exe, "python3", argv, [LIB + "libc.so.6"]) is None


@pytest.mark.parametrize(
    ("argv", "comm", "version"),
    [
        (["/usr/bin/python3.11", "/srv/app.py"], "python3.11", "3.11"),
        (["/srv/venv/bin/python", "/srv/venv/bin/gunicorn"], "gunicorn", None),
        (["my server"], "python3.9", "3.9"),
        (["gunicorn: worker [shop]"], "gunicorn: worke", None),
        (["[celeryd: celery@a:MainProcess]"], "[celeryd: celer", None),
    ],
)
def test_another_users_process_is_a_guess(argv, comm, version):
    verdict = judge(None, comm, argv)
    assert verdict is not None and verdict.guess and verdict.version == version


@pytest.mark.parametrize(
    ("argv", "comm"), [(["sh", "-c", "python3 x"], "sh"), ([], "kworker"), (["nginx: worker"], "nginx")]
)
def test_no_guess_without_ground(argv, comm):
    assert judge(None, comm, argv) is None


def test_maps_are_asked_for_only_when_they_would_tell():
    assert undecided(judge("/usr/bin/uwsgi", "uwsgi", ["uwsgi"]))
    assert undecided(judge("/usr/bin/python3", "python3", ["python3"]))
    assert not undecided(judge("/usr/bin/python3.11", "python3", ["python3"]))
    assert not undecided(judge(None, "python3", ["python3"]))


TEXT = st.text(max_size=40)


@given(st.none() | TEXT, TEXT, st.lists(TEXT, max_size=4), st.none() | st.lists(TEXT, max_size=4))
def test_nothing_raises(exe, comm, argv, mapped):
    verdict = judge(exe, comm, argv, mapped)
    assert verdict is None or verdict.guess == (exe is None)


@pytest.mark.parametrize("name", ["python", "python3", "python3.11", "pypy3", ".python3-wrapped"])
def test_names(name):
    assert is_python_name(name)


def test_real_processes(tmp_path):
    """A link to the interpreter under another name, as a venv has it, and a program that is not Python."""
    link = tmp_path / "app"
    link.symlink_to(sys.executable)
    with subprocess.Popen([link, "-c", "print(flush=True); input()"], stdin=PIPE, stdout=PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with ProcessDir(child.pid) as process:
            verdict = identify(process, "app", process.argv())
        child.kill()
    assert verdict is not None and verdict.version == "{}.{}".format(*sys.version_info) and not verdict.guess
    with subprocess.Popen([shutil.which("cat") or "cat"], stdin=PIPE) as child:
        with ProcessDir(child.pid) as process:
            assert identify(process, "cat", process.argv()) is None
        child.kill()


def test_a_python_by_another_name_is_known_by_what_it_maps(tmp_path):
    server = tmp_path / "server"
    shutil.copy(os.path.realpath(sys.executable), server)
    code = "import ctypes; print(flush=True); input()"
    env = {"PYTHONHOME": sys.base_prefix, "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
    with subprocess.Popen([server, "-c", code], stdin=PIPE, stdout=PIPE, env=env) as child:
        assert child.stdout is not None and child.stdout.readline() == b"\n"
        with ProcessDir(child.pid) as process:
            verdict = identify(process, "server", process.argv())
        child.kill()
    assert verdict is not None and verdict.embedded
    assert verdict.version == "{}.{}".format(*sys.version_info)

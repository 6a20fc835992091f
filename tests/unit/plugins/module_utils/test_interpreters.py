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
    NEWEST_READ,
    PINNED,
    against,
    fault,
    identify,
    is_python_name,
    judge,
    undecided,
)
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import ProcessDir
from ansible_collections.pyspy.fleet.plugins.plugin_utils._releases import NEWEST, RELEASES
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
    ("version", "pyspy", "reason"),
    [
        ("3.11", "0.4.3", ""),
        ("3.15", "0.4.3", ""),
        ("3.16", "0.4.3", "Python 3.16: py-spy 0.4.3 reads 3.15 at most"),
        ("3.15", "0.4.2", "Python 3.15: py-spy 0.4.2 reads 3.14 at most"),
        ("3.14", "0.4.0", "Python 3.14: py-spy 0.4.0 reads 3.13 at most"),
        ("3.16", "0.9.0", ""),
        ("3.16", "", ""),
        ("3.3", "0.4.3", ""),
        ("3.2", "0.4.3", "Python 3.2: py-spy reads 2.3 to 2.7, and 3.3 or newer"),
        ("2.7", "0.4.3", ""),
        ("2.2", "0.9.0", "Python 2.2: py-spy reads 2.3 to 2.7, and 3.3 or newer"),
        ("4.0", "0.9.0", "Python 4.0: py-spy reads 2.3 to 2.7, and 3.3 or newer"),
    ],
)
def test_versions_that_a_py_spy_reads(version, pyspy, reason):
    verdict = judge(f"/usr/bin/python{version}", "x", ["x"])
    assert verdict is not None and against(verdict, pyspy).unsupported == reason


def test_what_is_wrong_at_any_version_stays():
    verdict = judge("/usr/bin/python3.16t", "x", ["x"])
    assert verdict is not None and against(verdict, "0.4.3") == verdict
    unknown = judge("/usr/bin/python3", "x", ["x"])
    assert unknown is not None and against(unknown, "0.4.3") == unknown


def test_every_pinned_py_spy_is_in_the_table():
    assert set(NEWEST_READ) == set(RELEASES) and PINNED == NEWEST


WIDE = b"""55d0c0000000-55d0c0001000 r-xp 00001000 fe:00 77 /usr/bin/python3.11
7f99f4400000-7f99f4503000 r--p 00000000 fe:00 78 /usr/lib/libpython3.11.so.1.0%s
7ffd1c000000-7ffd1c021000 rw-p 00000000 00:00 0 [stack]
"""
NARROW = b"""08048000-08060000 r--p 00000000 fe:00 77 /usr/bin/python3.11
f7f00000-f7f21000 r-xp 00000000 fe:00 78 /usr/lib/ld-linux.so.2
ffcea000-ffd0b000 rw-p 00000000 00:00 0 [stack]
"""


@pytest.mark.parametrize(
    ("maps", "reason"),
    [
        (WIDE % b"", ""),
        (WIDE % b" (deleted)", "its libpython was replaced or removed on disk"),
        (WIDE.replace(b"libpython3.11", b"libpython3.8m") % b" (deleted)", "its libpython was replaced"),
        ((WIDE % b"").replace(b"/python3.11\n", b"/python3.11 (deleted)\n"), ""),  # py-spy has /proc/<pid>/exe
        ((WIDE % b"").replace(b"[stack]", b"/usr/lib/libz.so.1 (deleted)"), ""),
        ((WIDE % b"").replace(b"[stack]", b"/tmp/libpython3.11.so/x (deleted)"), ""),
        (NARROW, "32-bit Python: the py-spy of this host reads 64-bit Python only"),
        (b"", ""),  # it has ended, or may not be known
    ],
)
@pytest.mark.skipif(sys.maxsize < 2**32, reason="the table is of a 64-bit host")
def test_what_the_map_of_memory_tells(maps, reason):
    assert fault(maps).startswith(reason) and bool(fault(maps)) == bool(reason)


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
        (["[celery beat]"], "[celery beat]", None),
        (["granian asgi 0.0.0.0:80 shop:app worker-1"], "granian asgi 0.", None),
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
    assert verdict is None or against(verdict, "0.4.3").guess == (exe is None)


@given(st.integers(min_value=0), st.integers(min_value=0))
def test_no_number_in_a_name_is_too_long(major, minor):
    verdict = judge(None, "x", [f"python{major}.{minor}"])
    assert verdict is None or against(verdict, "0.4.3").version == f"{major}.{minor}"
    assert judge(None, "x", ["python3." + "9" * 16000]) is None


@given(st.binary(max_size=200))
def test_no_map_raises(maps):
    assert isinstance(fault(maps), str)


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

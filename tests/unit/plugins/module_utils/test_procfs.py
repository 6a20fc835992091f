# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "procfs": the parsers by property, the rest on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _procfs
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import Gone, ProcessDir, Stat, Status
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = st.integers(min_value=0, max_value=2**63)


def stat_line(pid: int, comm: bytes, state: str, ppid: int, flags: int, utime: int, stime: int, start: int) -> bytes:
    fields = [state, ppid, 1, 1, 0, -1, flags, 0, 0, 0, 0, utime, stime, 0, 0, 20, 0, 1, 0, start] + [0] * 30
    return b"%d (%s) %s\n" % (pid, comm, " ".join(str(field) for field in fields).encode())


@given(st.integers(1, 2**22), st.binary(max_size=64), st.sampled_from("RSDTtZXI"), NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_any_comm_leaves_the_other_fields_whole(pid, comm, state, ppid, utime, stime, start):
    stat = _procfs.parse_stat(stat_line(pid, comm, state, ppid, 0, utime, stime, start))
    assert stat == Stat(pid, comm.decode("utf-8", "replace"), state, ppid, False, utime + stime, start)


@pytest.mark.parametrize("comm", [b"a) S 1 2 (b", b") Z 0", b"(((", b"two\nlines", b"", b"\xff\xfe", b"a b c"])
def test_names_made_to_mislead(comm):
    stat = _procfs.parse_stat(stat_line(7, comm, "S", 3, 0x00200000, 5, 6, 99))
    assert (stat.state, stat.ppid, stat.kernel, stat.ticks, stat.start) == ("S", 3, True, 11, 99)


@given(st.binary(max_size=400))
def test_stat_refuses_anything_else_with_value_error(data):
    try:
        _procfs.parse_stat(data)
    except ValueError:
        pass


STATUS = b"""Name:\tpy\\nthon: x
State:\tS (sleeping)
PPid:\t1
TracerPid:\t42
Uid:\t1000\t33\t34\t35
Gid:\t50\t51\t52\t53
Groups:\t4 24 27\x20
NSpid:\t17028\t3\t2
CapPrm:\t0000000000080000
CapEff:\t0000000000000400
CapBnd:\t000001ffffffffff
NoNewPrivs:\t1
Seccomp:\t2
"""


def test_status():
    expected = Status(
        (1000, 33, 34, 35), (50, 51, 52, 53), (4, 24, 27), 42, (17028, 3, 2), 0x80000, 0x400, 0x1FFFFFFFFFF, 2, True
    )
    assert _procfs.parse_status(STATUS) == expected


@pytest.mark.parametrize("data", [b"", b"Uid:\t1\t2\n", STATUS.replace(b"Gid", b"Xid"), STATUS.replace(b"33", b"x")])
def test_status_that_is_none(data):
    with pytest.raises(ValueError):
        _procfs.parse_status(data)


@given(st.binary(max_size=300))
def test_status_refuses_anything_else_with_value_error(data):
    try:
        _procfs.parse_status(data)
    except ValueError:
        pass


ARGUMENT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)


@given(st.lists(ARGUMENT, max_size=6), ARGUMENT.filter(bool), st.integers(1, 40))
def test_argv_comes_back_whatever_the_padding(front, last, padding):
    argv = [*front, last]
    assert _procfs.parse_argv("\0".join(argv).encode() + b"\0" * padding) == tuple(argv)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0"])
def test_argv_of_who_has_none(data):
    assert _procfs.parse_argv(data) == ()


@given(st.binary(max_size=300))
def test_argv_and_maps_take_any_bytes(data):
    assert all(isinstance(word, str) for word in _procfs.parse_argv(data))
    assert all(path.startswith("/") for path in _procfs.parse_maps(data))


def test_maps():
    data = b"""55d0-55d1 r--p 00000000 08:01 131 /usr/bin/python3.11
55d1-55d2 r-xp 00001000 08:01 131                        /usr/bin/python3.11
7f00-7f01 rw-p 00000000 00:00 0
7f01-7f02 r-xp 00000000 08:01 140   /opt/my libs/libpython3.11.so.1.0 (deleted)
7ffd-7ffe rw-p 00000000 00:00 0                          [stack]
"""
    assert _procfs.parse_maps(data) == ("/usr/bin/python3.11", "/opt/my libs/libpython3.11.so.1.0")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    code = "open('/proc/self/comm', 'w').write('a) R 1 (b\\n c'); print('up', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        yield child
        child.kill()


def test_a_real_process(sleeper):
    with ProcessDir(sleeper.pid) as process:
        stat, status = process.stat(), process.status()
        assert (stat.pid, stat.ppid, stat.kernel) == (sleeper.pid, os.getpid(), False)
        assert stat.comm == "a) R 1 (b\n c"
        assert process.start == stat.start > 0
        assert status.uids == (os.getuid(), os.geteuid(), os.getuid(), os.geteuid())
        assert status.gids[0] == os.getgid()
        assert set(status.groups) == set(os.getgroups())
        assert process.tracer_pid == 0
        assert status.nspids[0] == sleeper.pid
        assert process.argv()[0] == sys.executable and "-c" in process.argv()
        assert process.exe() == os.path.realpath(sys.executable)
        maps = process.maps()
        assert maps is not None and os.path.realpath(sys.executable) in _procfs.parse_maps(maps)


def test_once_ended_every_read_says_gone(sleeper):
    with ProcessDir(sleeper.pid) as process:
        process.send_signal(signal.SIGKILL)
        assert until(lambda: process.state == "Z"), "a zombie can still be read"
        assert process.argv() == () and process.exe() is None
        sleeper.wait()
        reads: list[Callable[[], object]] = [process.stat, process.status, process.argv, lambda: process.start]
        for read in reads:
            with pytest.raises(Gone) as caught:
                read()
            assert caught.value.pid == sleeper.pid
        assert process.exe() is None and process.maps() is None
        with pytest.raises(Gone):
            process.send_signal(signal.SIGCONT)


def test_without_the_kernels_help_a_signal_still_goes_to_the_living_only(sleeper, monkeypatch):
    monkeypatch.delattr(signal, "pidfd_send_signal")
    with ProcessDir(sleeper.pid) as process:
        process.send_signal(signal.SIGKILL)
        sleeper.wait()
        with pytest.raises(Gone):
            process.send_signal(signal.SIGKILL)


def test_no_such_pid():
    with pytest.raises(Gone):
        ProcessDir(2**22 + 1)


def test_a_closed_directory_is_closed_once():
    process = ProcessDir(os.getpid())
    process.close()
    process.close()


def test_the_host():
    assert os.getpid() in _procfs.list_pids()
    assert _procfs.list_pids() == sorted(_procfs.list_pids())
    assert len(_procfs.boot_id()) == 36
    assert _procfs.clock_ticks() > 0


def test_users():
    assert _procfs.user_name(0) == "root" and _procfs.user_id("root") == 0
    assert _procfs.user_name(987654321) == "987654321" and _procfs.user_id("987654321") == 987654321
    assert _procfs.user_id("no-such-user") is None
    assert _procfs.user_id("²") is None


def until(condition: Callable[[], bool]) -> bool:
    """Wait for a condition that comes true by itself."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of what is read of ourselves and of targets, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ansible_collections
import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _credentials
from ansible_collections.pyspy.fleet.plugins.module_utils._attach import AUTO, POLICIES
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import Gone, ProcessDir

ROOT = str(Path(ansible_collections.__path__[0]).parent)
WAIT = "import time; print('ready', flush=True); time.sleep(600)"
#: The child of vfork(2) has its parent's memory, and the parent waits for it in state D. It ends with its parent.
STUCK = """
import ctypes, time
libc = ctypes.CDLL(None)
if libc.vfork() == 0:
    libc.prctl(1, 9, 0, 0, 0)
    print("ready", flush=True)
    time.sleep(600)
"""
#: A seccomp filter that answers EPERM to one system call: load its number, compare, allow or refuse (seccomp(2)).
FILTERED = """
import ctypes, struct, sys
call = int(sys.argv[1])
code = [(0x20, 0, 0, 0), (0x15, 0, 1, call), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
program = ctypes.create_string_buffer(struct.pack("HL", len(code), ctypes.addressof(text)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
sys.path.insert(0, sys.argv[2])
from ansible_collections.pyspy.fleet.plugins.module_utils._credentials import ourselves
print(",".join(ourselves().forbidden))
"""
CALLS = {"x86_64": {"ptrace": 101, "process_vm_readv": 310}, "aarch64": {"ptrace": 117, "process_vm_readv": 270}}


@contextmanager
def process(text: str) -> Iterator[int]:
    child = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        yield child.pid
    finally:
        child.kill()
        child.wait()
        child.stdout.close()  # type: ignore[union-attr]


def test_a_child_is_as_we_are() -> None:
    us = _credentials.ourselves()
    assert (us.uid, us.gid) == (os.getuid(), os.getgid()) and us.forbidden == ()
    with process(WAIT) as pid, ProcessDir(pid) as child:
        target = _credentials.look_at(child, True)
    assert target.uids == os.getresuid() and target.gids == os.getresgid()
    assert target.permitted == us.permitted and target.namespaces is not None
    assert target.namespaces[0][0] == us.namespace and target.readable
    assert target.dumpable is (None if os.getuid() == 0 else True)
    assert not target.tracer and not target.stuck


def test_a_thread_that_stays_in_state_d_is_seen_where_it_matters() -> None:
    with process(STUCK) as pid, ProcessDir(pid) as child:
        assert child.thread_states() == ("D",)
        assert _credentials.look_at(child, True).stuck and not _credentials.look_at(child, False).stuck


def test_who_has_ended_is_gone() -> None:
    with process(WAIT) as pid:
        child = ProcessDir(pid)
    with child, pytest.raises(Gone):
        _credentials.look_at(child, True)


@pytest.mark.parametrize("name", ["ptrace", "process_vm_readv"])
def test_what_a_filter_on_us_forbids_is_found_by_trying(name: str) -> None:
    numbers = CALLS.get(os.uname().machine)
    if numbers is None:
        pytest.skip("the numbers of system calls are known here for x86_64 and aarch64")
    command = [sys.executable, "-c", FILTERED, str(numbers[name]), ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == name


def test_the_policy_is_one_of_two() -> None:
    assert [_credentials.policy_from_wire(one) for one in (*POLICIES, None)] == [*POLICIES, AUTO]
    for value in ("yes", 1, True, [AUTO]):
        with pytest.raises(HostError, match="attach_policy"):
            _credentials.policy_from_wire(value)


@pytest.mark.parametrize(
    ("mode", "owner", "group", "read", "search"),
    [
        (0o755, 0, 0, True, True),
        (0o711, 0, 0, False, True),
        (0o700, 0, 0, False, False),
        (0o700, 7, 0, True, True),
        (0o077, 7, 8, False, False),
        (0o740, 0, 8, True, False),
        (0o704, 0, 8, False, False),
    ],
)
def test_permission_bits(mode: int, owner: int, group: int, read: bool, search: bool) -> None:
    found = os.stat_result((mode, 0, 0, 0, owner, group, 0, 0, 0, 0))
    assert _credentials._allows(found, 7, 8, 4) is read and _credentials._allows(found, 7, 8, 1) is search

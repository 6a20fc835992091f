# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a child of root's has given up before it executes anything."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

USER, GROUP = 31001, 31003
PTRACE, NOTHING = "0000000000080000", "0000000000000000"
#: Every bit but KEEP_CAPS, and every lock (capabilities(7)).
LOCKED = 0b11101111
#: PR_GET_SECUREBITS, PR_GET_PDEATHSIG.
CHILD = """
import ctypes, json, os, sys
sys.path[:] = json.loads(sys.argv[1])
from ansible_collections.pyspy.fleet.plugins.module_utils._attach import Identity
from ansible_collections.pyspy.fleet.plugins.module_utils._privileges import Kernel, become, end_with_parent
os.setgroups([4, 27])
kernel = Kernel()
become(kernel, Identity(*json.loads(sys.argv[2])), 2**41 - 1)
assert end_with_parent(kernel, os.getppid(), 15) and not end_with_parent(kernel, 0, 15)
word = ctypes.c_int()
kernel.prctl("asking", 2, ctypes.addressof(word))
lines = [line.partition(":") for line in open("/proc/self/status").read().splitlines()]
found = {key: value.split() for key, _colon, value in lines}
try:
    os.setresuid(0, 0, 0)
    back = True
except PermissionError:
    back = False
print(json.dumps(dict(found, bits=kernel.prctl("asking", 27), signal=word.value, back=back)))
"""


@pytest.mark.parametrize(("uid", "gid"), [(USER, GROUP), (0, 0)])
@pytest.mark.parametrize("capable", [True, False])
def test_everything_else_is_given_up_for_good(uid: int, gid: int, capable: bool) -> None:
    command = [sys.executable, "-c", CHILD, json.dumps(sys.path), json.dumps([uid, gid, True, capable])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["Uid"] == [str(uid)] * 4 and found["Gid"] == [str(gid)] * 4 and found["Groups"] == []
    held = {found[name][0] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert held == {PTRACE if capable else NOTHING}
    assert found["NoNewPrivs"] == ["1"] and found["bits"] == LOCKED and found["signal"] == 15
    assert found["back"] == (uid == 0)


@pytest.mark.parametrize("change", [True, False])
def test_who_may_not_become_another_says_so_instead_of_going_on(change: bool) -> None:
    """Without the capabilities for it a step fails; it is never left out."""
    text = CHILD.replace("os.setgroups([4, 27])", f"os.setresuid({USER}, {USER}, {USER})")
    command = [sys.executable, "-c", text, json.dumps(sys.path), json.dumps([0, 0, change, True])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "PermissionError" in done.stderr

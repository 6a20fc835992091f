# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "attach_matrix" of the lab (private to the collection): who may attach to whom, foretold and then tried.

Runs as root on any host with the standard library alone, so that it can be carried into a virtual machine:
``python3 attach_matrix.py PROGRAM.pyz PY-SPY`` prints one JSON object per line, with what ``_attach`` foretold
(true, false, or null for "cannot be known"), and whether ``py-spy dump`` then did attach. All three files have
to be readable to everybody.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

SYSCTL = "/proc/sys/kernel/yama/ptrace_scope"
USER, OTHER = 31001, 31002
CAP_NET_BIND_SERVICE, CAP_SYS_PTRACE = 10, 19
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 8, 47, 2
_CLONE_NEWUSER = 0x10000000
_EVERYTHING = 2**64 - 1

#: What every target runs; py-spy has something to find in it.
LOOP = """
import sys, time
if sys.argv[1:] == ["permitted"]:
    import ctypes
    ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(2**64 - 1), 0, 0, 0)
def wait():
    while True:
        time.sleep(0.01)
print("ready", flush=True)
wait()
"""

#: A debugger that waits for a breakpoint: PTRACE_SEIZE traces without stopping.
TRACER = """
import ctypes, sys, time
assert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None) == 0
print("ready", flush=True)
time.sleep(600)
"""

#: Kind of target: what became of it after it was born as root.
KINDS = ("plain", "changed", "capable", "group", "root", "permitted", "namespace", "traced", "stopped")
#: Which of them are also attached to by stopping them; for the others the kernel asks the same question again.
BLOCKED = ("plain", "changed", "traced", "stopped")


class Attacker(NamedTuple):
    """Who runs py-spy: the policy, its user (None stays root), and which capabilities it has."""

    name: str
    policy: str
    user: int | None
    capabilities: int


ATTACKERS = (
    Attacker("root", "auto", None, _EVERYTHING),
    Attacker("root relaxing", "relax", None, _EVERYTHING),
    Attacker("root without the capability", "auto", None, _EVERYTHING & ~(1 << CAP_SYS_PTRACE)),
    Attacker("the target's user", "auto", USER, 0),
    Attacker("another user", "auto", OTHER, 0),
    Attacker("another user with the capability alone", "auto", OTHER, 1 << CAP_SYS_PTRACE),
)


def main() -> None:
    program, pyspy = sys.argv[1:]
    sys.path.insert(0, program)
    for kind in KINDS:
        with _Target(kind) as target:
            for attacker in ATTACKERS if target.ready else ():  # not every host has user namespaces for everybody
                _in_child(partial(_attack, attacker, kind, pyspy, target.pid))


def _in_child(work: Callable[[], None], out: int | None = None) -> int:
    """Do ``work`` in a child, which is waited for unless it has an output of its own; gives its PID."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if out is not None:
                os.dup2(out, 1)
            work()
            sys.stdout.flush()
            status = 0
        except Exception as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(status)
    if out is None and os.waitpid(pid, 0)[1] != 0:
        sys.exit("a part of the matrix failed")
    return pid


def _become(attacker: Attacker) -> None:
    from pyspy_fleet_host._privileges import Kernel

    kernel = Kernel()
    if attacker.user is not None:
        _change_user(kernel, attacker.user, attacker.user, attacker.capabilities)
    elif attacker.capabilities != _EVERYTHING:
        mine = _permitted() & attacker.capabilities
        kernel.prctl("locking", 28, 1)  # SECBIT_NOROOT: executing as root gives nothing back
        kernel.set_capabilities(mine, mine)
        for one in range(64):
            if mine >> one & 1:
                kernel.prctl("ambient", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, one)


def _permitted() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm"))


def _change_user(kernel: Any, uid: int, gid: int, capabilities: int = 0) -> None:
    os.setgroups([])
    kernel.prctl("keeping", _PR_SET_KEEPCAPS, 1)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    kernel.set_capabilities(capabilities, capabilities)
    for one in range(64):
        if capabilities >> one & 1:
            kernel.prctl("ambient", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, one)


class _Target:
    """One target in a process of its own, and who traces it where that belongs to it."""

    def __init__(self, kind: str) -> None:
        self._children: list[int] = []
        self.pid, self.ready = self._start(partial(_be_target, kind))
        if kind == "stopped":
            os.kill(self.pid, signal.SIGSTOP)
            while _state(self.pid) != "T":
                time.sleep(0.01)
        elif kind == "traced":
            command = [sys.executable, "-c", TRACER, str(self.pid)]
            _tracer, self.ready = self._start(partial(os.execv, sys.executable, command))

    def _start(self, work: Callable[[], None]) -> tuple[int, bool]:
        """A child, and whether it said that it is ready."""
        reader, writer = os.pipe()
        pid = _in_child(work, writer)
        self._children.append(pid)
        os.close(writer)
        with open(reader) as lines:
            return pid, lines.readline() == "ready\n"

    def __enter__(self) -> _Target:
        return self

    def __exit__(self, *_details: object) -> None:
        for pid in reversed(self._children):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def _be_target(kind: str) -> None:
    from pyspy_fleet_host._privileges import Kernel

    libc = ctypes.CDLL(None, use_errno=True)
    if kind == "changed":
        _change_user(Kernel(), USER, USER)
        exec(compile(LOOP, "target.py", "exec"), {})
    elif kind == "capable":
        _change_user(Kernel(), USER, USER, 1 << CAP_NET_BIND_SERVICE)
    elif kind == "group":
        _change_user(Kernel(), USER, OTHER)
    elif kind != "root":
        _change_user(Kernel(), USER, USER)
    if kind == "namespace" and libc.unshare(_CLONE_NEWUSER) != 0:
        sys.exit("no user namespaces here")
    os.execv(sys.executable, [sys.executable, "-c", LOOP, kind])


def _attack(attacker: Attacker, kind: str, pyspy: str, pid: int) -> None:
    """Become the attacker, foretell, then try: a line of JSON without, and one with, stopping the target."""
    from pyspy_fleet_host._attach import identity, lowers
    from pyspy_fleet_host._credentials import Terms, look_at
    from pyspy_fleet_host._privileges import Kernel, become
    from pyspy_fleet_host._procfs import ProcessDir

    _become(attacker)
    terms = Terms.here(attacker.policy)
    for blocking in (False, True) if kind in BLOCKED else (False,):
        with ProcessDir(pid) as process:
            target = look_at(process, blocking)
        found = terms.judge(target, blocking)
        role = identity(found.way, terms.us, target)
        lowered = lowers(attacker.policy, terms.scope, terms.us)
        if lowered:
            _write_scope(0)
        try:
            actual, said = _try(pyspy, pid, blocking, partial(become, Kernel(), role, terms.us.effective))
        finally:
            if lowered:
                _write_scope(terms.scope)
        row = {"attacker": attacker.name, "target": kind, "scope": terms.scope, "blocking": blocking}
        row.update({"predicted": found.allowed, "actual": actual})
        print(json.dumps(dict(row, way=found.way, rule=found.rule, reason=found.reason, said=said)), flush=True)


def _write_scope(value: int | None) -> None:
    with open(SYSCTL, "w") as file:
        file.write(f"{value or 0}\n")


def _try(pyspy: str, pid: int, blocking: bool, demote: Any) -> tuple[bool, str]:
    command: list[str] = [pyspy, "dump", "--pid", str(pid)] + ([] if blocking else ["--nonblocking"])
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={"LC_ALL": "C"}, preexec_fn=demote
    )
    try:
        out, _nothing = child.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return False, "hung"
    said = "" if child.returncode == 0 else out.decode("utf-8", "replace")
    return child.returncode == 0, " ".join(said.split())[:300]


if __name__ == "__main__":
    main()

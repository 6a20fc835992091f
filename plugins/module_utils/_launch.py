# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "launch" of the host wing (private to the collection): turning a child of ours into py-spy.

Its output goes to memory files: nothing is written to disk, so nothing can be left there by one that is killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
from typing import Iterator, List, NamedTuple, Optional

from ._attach import Identity
from ._entering import OUTSIDE
from ._errors import HostError
from ._namespaces import Door, leave, settle
from ._privileges import Kernel, become, end_with_parent

#: Added to the target's priority: on a full host the targets go first.
NICENESS = 10
#: What going in may take (seconds).
_PATIENCE = 2.0
#: Of memfd_create(2): a kernel whose vm.memfd_noexec is 1 wants to be asked for an executable one; older ones
#: (before 6.3) do not know the flag.
_MFD_ALLOW_SEALING, _MFD_EXEC = 0x2, 0x10
#: F_ADD_SEALS, and F_SEAL_SEAL, _SHRINK, _GROW and _WRITE (fcntl(2)).
_ADD_SEALS, _SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8


class Role(NamedTuple):
    """What the child needs to know of who it is and is to be; ``capabilities`` are its effective ones at first.

    ``door`` is where it goes in, None where it samples from outside.
    """

    kernel: Kernel
    identity: Optional[Identity]
    capabilities: int
    keeper: int
    door: Optional[Door] = None


class Files(NamedTuple):
    """The memory files of one py-spy: what it is told to write, and what it says."""

    capture: int
    stdout: int
    stderr: int

    @classmethod
    def create(cls) -> Files:
        return cls(*(os.memfd_create("pyspy-fleet-" + name) for name in cls._fields))

    def close(self) -> None:
        for descriptor in self:
            os.close(descriptor)


def launch(binary: int, arguments: List[str], files: Files, role: Role, most: int, niceness: int = NICENESS) -> int:
    """Start py-spy from the open file ``binary``; gives its PID. It can write ``most`` bytes into one file."""
    if role.door is not None:
        return _launch_inside(binary, arguments, files, role, most, niceness)
    pid = os.fork()
    if pid == 0:
        _become_pyspy(binary, arguments, files, role, most, niceness)
    return pid


def _launch_inside(binary: int, arguments: List[str], files: Files, role: Role, most: int, niceness: int) -> int:
    """The same in other namespaces: a child leaves the host behind, and its sibling is born inside, as our child.

    None of them is dumpable: a second bar besides their capabilities, which keeps everybody from their memory.
    """
    import select

    reading, writing = os.pipe()
    dumpable = role.kernel.dumpable()
    try:
        role.kernel.set_dumpable(0)
        between = os.fork()
        if between == 0:
            _become_pyspy(binary, arguments, files, role, most, niceness, writing)
    finally:
        role.kernel.set_dumpable(dumpable)
        os.close(writing)
    # A file system of theirs may keep it waiting for ever.
    ready, _writable, _errors = select.select([reading], [], [], _PATIENCE)
    word = os.read(reading, 32) if ready else b""
    os.close(reading)
    os.kill(between, signal.SIGKILL)
    os.waitpid(between, 0)
    if not word:
        said = b"".join(pieces(files.stderr, 1000)).decode("utf-8", "replace") or "no answer in %g s" % _PATIENCE
        raise HostError("the target's namespaces could not be entered", said, OUTSIDE)
    return int(word)


def sealed(binary: int) -> int:
    """A copy of the open file ``binary`` in memory that nobody can change any more, nor read who executes it.

    Whoever executes a file that he may not read is not dumpable (``would_dump`` in the kernel's fs/exec.c): nobody but
    who holds CAP_SYS_PTRACE has access to his memory and his files in ``/proc``.
    """
    try:
        try:
            copy = os.memfd_create("pyspy-fleet-binary", os.MFD_CLOEXEC | _MFD_ALLOW_SEALING | _MFD_EXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            copy = os.memfd_create("pyspy-fleet-binary", os.MFD_CLOEXEC | _MFD_ALLOW_SEALING)
        for piece in pieces(binary, os.fstat(binary).st_size):
            while piece:
                piece = piece[os.write(copy, piece) :]
        os.fchmod(copy, 0o111)
        fcntl.fcntl(copy, _ADD_SEALS, _SEALS)
        return copy
    except OSError as error:
        raise HostError(
            "py-spy cannot be put into memory, as it has to be for entering namespaces",
            str(error),
            "see that sysctl vm.memfd_noexec is below 2, or leave pyspy_enter_namespaces out",
        ) from None


def pieces(descriptor: int, most: int) -> Iterator[bytes]:
    """What is in a memory file, up to ``most`` bytes."""
    offset = 0
    while offset < most:
        piece = os.pread(descriptor, min(1 << 20, most - offset), offset)
        if not piece:
            return
        yield piece
        offset += len(piece)


def exit_text(status: Optional[int]) -> str:
    """How it ended, by what ``waitpid`` gave."""
    if status is None:
        return "no exit status"
    return "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "exit code %d" % os.WEXITSTATUS(status)


def give_way() -> None:
    """When memory runs out, let the kernel take us, and the py-spys below us, before anything that serves."""
    try:
        with open("/proc/self/oom_score_adj", "w") as handle:
            handle.write("1000")
    except OSError:
        pass  # some sandboxes mount /proc read-only


def _become_pyspy(
    binary: int, arguments: List[str], files: Files, role: Role, most: int, niceness: int, writing: int = -1
) -> None:
    """In the child: turn into py-spy, or write why not where its stderr goes. Never returns.

    Where it goes in, the PID of who does is written to ``writing``.
    """
    doing = "starting py-spy"
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(niceness)
        os.dup2(os.memfd_create("pyspy-fleet-nothing"), 0)
        os.dup2(files.stdout, 1)
        os.dup2(files.stderr, 2)
        os.set_inheritable(files.capture, True)
        if role.door is not None:
            doing = "entering namespaces"
            leave(role.kernel, role.door, {0, 1, 2, files.capture, files.stderr, binary, writing})
            sibling = role.kernel.fork_sibling()
            if sibling:
                os.write(writing, b"%d" % sibling)
                os._exit(0)
            os.close(writing)
            settle(role.kernel)
            doing = "starting py-spy"
        become(role.kernel, role.identity, role.capabilities)
        # Without its keeper a recorder would sample on until its own end. From inside the keeper has no PID.
        if not end_with_parent(role.kernel, 0 if role.door else role.keeper, signal.SIGKILL):
            os._exit(127)
        os.execve(binary, ["py-spy"] + arguments, {"LC_ALL": "C"})
    except BaseException as error:  # a forked child must end here, whatever happens
        os.write(files.stderr, ("%s failed: %s" % (doing, error)).encode())
    finally:
        os._exit(127)

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "privileges" of the host wing (private to the collection): what a recorder becomes between fork and exec.

The kernel's rules are in capabilities(7). What the C library is needed for is loaded before the fork (:class:`Kernel`).
"""

from __future__ import annotations

import os
import signal
from typing import Optional

from ._attach import CAP_SETPCAP, CAP_SYS_PTRACE, Identity
from ._errors import HostError

_PR_SET_PDEATHSIG = 1
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4

#: Being uid 0 or becoming it gives nothing, no capability is kept or made ambient any more; each locked for ever
#: (SECBIT_NOROOT, _NO_SETUID_FIXUP, _KEEP_CAPS off, _NO_CAP_AMBIENT_RAISE, and their locks).
_SECUREBITS = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80
#: The number of clone(2) on the architectures that py-spy is made for, and its flag.
_CLONE = {"x86_64": 56, "aarch64": 220, "armv7l": 120, "i686": 120}
_CLONE_PARENT = 0x8000
_CAPABILITY_VERSION_3 = 0x20080522


class Kernel:
    """The system calls that Python has no functions for; OSError when one is refused."""

    def __init__(self) -> None:
        try:
            import ctypes  # here, for a start pass needs none of it
        except ImportError as error:
            remedy = "set ansible_python_interpreter to one that has it"
            raise HostError("This host's Python cannot call the kernel (no ctypes)", str(error), remedy) from None
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._word, self._long = ctypes.c_uint32, ctypes.c_ulong
        self._errno = ctypes.get_errno

    def prctl(self, what: str, option: int, *values: int) -> int:
        padded = list(values) + [0] * (4 - len(values))
        answer = int(self._libc.prctl(option, *[self._long(value) for value in padded]))
        if answer < 0:
            raise self._refused(what)
        return answer

    def set_capabilities(self, held: int, inheritable: int) -> None:
        """``held`` becomes both permitted and effective; all are sets of bits (capset(2))."""
        header = (self._word * 2)(_CAPABILITY_VERSION_3, 0)
        words = []
        for half in (0, 32):
            words += [held >> half & 0xFFFFFFFF, held >> half & 0xFFFFFFFF, inheritable >> half & 0xFFFFFFFF]
        if self._libc.capset(header, (self._word * 6)(*words)) != 0:
            raise self._refused("setting its capabilities")

    def dumpable(self) -> int:
        return self.prctl("reading whether it is dumpable", _PR_GET_DUMPABLE)

    def set_dumpable(self, value: int) -> None:
        self.prctl("being dumpable or not", _PR_SET_DUMPABLE, value)

    def fork_sibling(self) -> int:
        """Like fork(2), but the new process is a child of our parent's; gives its PID, and 0 in it."""
        number = _CLONE.get(os.uname().machine, -1)
        words = [self._long(word) for word in (number, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)]
        pid = int(self._libc.syscall(*words))
        if pid < 0:
            raise self._refused("starting a process inside")
        return pid

    def setns(self, what: str, namespace: int, kind: int) -> None:
        """Join the open ``namespace``; a PID namespace only for children to come. ``kind`` 0 takes what it is."""
        if self._libc.setns(namespace, kind) != 0:
            raise self._refused(what)

    def unshare(self, what: str, kinds: int) -> None:
        if self._libc.unshare(kinds) != 0:
            raise self._refused(what)

    def mount(self, what: str, source: str, target: str, kind: str, flags: int) -> None:
        texts = [text.encode() for text in (source, target, kind)]
        if self._libc.mount(*texts, self._long(flags), None) != 0:
            raise self._refused(what)

    def _refused(self, what: str) -> OSError:
        number = self._errno()
        return OSError(number, "%s: %s" % (what, os.strerror(number)))


def become(kernel: Kernel, identity: Optional[Identity], capabilities: int) -> None:
    """Give up everything but ``identity``, for good; None stays as we are. ``capabilities`` are our effective ones.

    The order matters: what a step needs must not have been given up by the one before.
    """
    if identity is None:
        return
    kept = 1 << CAP_SYS_PTRACE if identity.capable else 0
    # Only with this capability can the next two be said; without it no_new_privs alone has to do.
    locksmith = capabilities & 1 << CAP_SETPCAP
    if locksmith:
        _drop_bounding(kernel, kept)
    kernel.prctl("keeping capabilities", _PR_SET_KEEPCAPS, 1)
    if identity.change:
        os.setgroups([])
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    kernel.set_capabilities(kept | locksmith, kept)
    kernel.prctl("clearing the ambient capabilities", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    if identity.capable:
        kernel.prctl("keeping CAP_SYS_PTRACE over exec", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, CAP_SYS_PTRACE)
    if locksmith:
        kernel.prctl("locking the capabilities", _PR_SET_SECUREBITS, _SECUREBITS)
    kernel.set_capabilities(kept, kept)
    kernel.prctl("setting no_new_privs", _PR_SET_NO_NEW_PRIVS, 1)


def _drop_bounding(kernel: Kernel, kept: int) -> None:
    for one in range(64):
        try:
            kernel.prctl("reading the bounding set", _PR_CAPBSET_READ, one)
        except OSError:
            return  # one more than this kernel has
        if not kept >> one & 1:
            kernel.prctl("reducing the bounding set", _PR_CAPBSET_DROP, one)


def end_with_parent(kernel: Kernel, parent: int, number: int) -> bool:
    """Be sent signal ``number`` when ``parent`` ends; False when it has ended already.

    Any change of ids or capabilities clears this (prctl(2)), so it comes after :func:`become`. It outlives exec
    because ours raises nothing: what is permitted after it is ambient already (``cap_bprm_creds_from_file``).
    """
    kernel.prctl("being ended with the keeper", _PR_SET_PDEATHSIG, number)
    return os.getppid() == parent

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "lowering" of the host wing (private to the collection): setting ptrace_scope, or the reason why not."""

from __future__ import annotations

import os
import time
from typing import List

from ._credentials import contained
from ._errors import HostError
from ._scope import SEALED, Holder
from ._yama import Site, log_change

NOT_LOGGED = "this host has neither a journal nor a syslog: no entry was made"


def refuse(site: Site, current: int) -> None:
    """HostError where it is clear beforehand that ``current`` cannot be lowered."""
    if current >= SEALED:
        raise HostError(
            "ptrace_scope is %d on this host: nobody may attach to anybody" % current,
            "the kernel does not let it be lowered before a reboot",
            "set another value where the host sets it at boot (sysctl.d), and reboot",
        )
    if contained():
        raise HostError(
            "ptrace_scope is the host's, not this container's",
            "it is %d, and one value counts for the whole kernel" % current,
            "take the lease on the machine that the container runs on",
        )
    if not os.access(site.sysctl, os.W_OK):
        raise _refused("%s cannot be written (uid %d)" % (site.sysctl, os.geteuid()))


def _refused(words: str) -> HostError:
    if os.geteuid() != 0:
        return HostError("ptrace_scope can be set by root only", words, "run with become (-b)")
    return HostError(
        "ptrace_scope cannot be set from here",
        words,
        "root lacks CAP_SYS_PTRACE or /proc/sys is read-only, as in a container: set the sysctl on the host itself",
    )


def lower(site: Site, current: int, value: int, holder: Holder) -> List[str]:
    """Write the value and read it back; gives remarks."""
    if site.read() != current:
        raise HostError("Somebody else set ptrace_scope at the same moment", "it was %d" % current, "try again")
    try:
        found = site.write(value)
    except OSError as error:
        raise _refused(str(error)) from None
    if time.monotonic() >= holder.deadline:  # its dead-man may have come before us
        put_back(site, current)
        raise HostError(
            "This host is too slow for so short a lease",
            "it was over before ptrace_scope could be lowered",
            "take it for longer, or when the host is less busy",
        )
    if found != value:
        raise HostError("ptrace_scope did not take the value", "wrote %d, read %d" % (value, found), "try again")
    return log_hold(current, value, holder)


def log_hold(before: int, value: int, holder: Holder) -> List[str]:
    """The host's own record of who holds the lease until when; gives remarks."""
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + holder.deadline - time.monotonic()))
    why = "held by %s until %s at most" % (holder.name, until)
    return [] if log_change(before, value, why, holder.by, holder.reason) else [NOT_LOGGED]


def put_back(site: Site, value: int) -> int:
    """Restore the value; gives it as read back. HostError when it is not that."""
    try:
        found = site.write(value)
        words = "wrote %d, read %d" % (value, found)
    except OSError as error:
        found, words = -1, str(error)
    if found != value:
        remedy = "on the host: sysctl -w kernel.yama.ptrace_scope=%d" % value
        raise HostError("ptrace_scope could not be put back", words, remedy)
    return found

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "entering" of the host wing (private to the collection): may a recorder enter a target's namespaces. Pure.

Inside, it holds CAP_SYS_PTRACE and is a process like others. Who in there holds that capability too could take it
over; without it nobody may, for what he is permitted does not include what the recorder is
(``cap_ptrace_access_check`` in the kernel's security/commoncap.c). To read a process's environment and map of memory
CAP_PERFMON or CAP_SYS_ADMIN is enough (``may_access_mm`` in kernel/fork.c; measured on Linux 6.18). So nobody in
there may hold one of them, or be able to gain it.
"""

from __future__ import annotations

import re
from typing import Dict, NamedTuple, Optional, Tuple

from ._attach import CAP_SYS_PTRACE, CAPABLE, Us
from ._errors import HostError

CAP_SYS_CHROOT, CAP_SYS_ADMIN, CAP_PERFMON = 18, 21, 38
_NAMES = {CAP_SYS_PTRACE: "CAP_SYS_PTRACE", CAP_SYS_ADMIN: "CAP_SYS_ADMIN", CAP_PERFMON: "CAP_PERFMON"}

_SET = re.compile(rb"^Cap(Inh|Prm|Eff|Bnd|Amb):\s*([0-9a-fA-F]+)\s*$", re.MULTILINE)
_HELD = (b"Prm", b"Eff", b"Amb")
OUTSIDE = "leave pyspy_enter_namespaces out: it is then sampled from outside, without native frames"


class Threat(NamedTuple):
    """A capability that somebody has; ``held`` is false where he could only gain it."""

    capability: str
    held: bool


class Holder(NamedTuple):
    """Who stands against entering: its PID here and inside."""

    pid: int
    inner: int
    name: str
    threat: Threat


class Inside(NamedTuple):
    """What is known of where a target is.

    ``foreign`` are the kinds of its namespaces that belong to another user namespace than ours, ``holder`` is one of
    its neighbours that has the capability; ``settled`` is false where not all of them could be looked at.
    """

    foreign: Tuple[str, ...]
    holder: Optional[Holder]
    settled: bool


def threatens(status: bytes) -> Optional[Threat]:
    """What the thread with this ``/proc`` file ``status`` could do to a recorder; None for nothing.

    A program with file capabilities, or of root's with the set-user-ID bit, gives whoever executes it what is in its
    bounding set, or in its inheritable one (capabilities(7)); so these count as well.
    A thread that has ended can do nothing. What cannot be read counts as held.
    """
    if re.search(rb"^State:\s*[ZX]", status, re.MULTILINE):
        return None
    sets: Dict[bytes, int] = {kind: int(bits, 16) for kind, bits in _SET.findall(status)}
    if len(sets) < 5:
        return Threat(_NAMES[CAP_SYS_PTRACE], True)
    found = None
    for capability, name in _NAMES.items():
        having = [kind for kind, bits in sets.items() if bits >> capability & 1]
        if any(kind in _HELD for kind in having):
            return Threat(name, True)
        if having and found is None:
            found = Threat(name, False)
    return found


def refusal(us: Us, way: str, inside: Inside) -> Optional[HostError]:
    """Why nobody of ours enters; None where it may be. ``way`` is how py-spy would be run (``_attach``)."""
    if way != CAPABLE and us.has(CAP_SYS_PTRACE):
        return HostError(
            "its namespaces are not entered: what goes in holds CAP_SYS_PTRACE, and the policy relax forbids it to",
            "",
            "set pyspy_attach_policy to auto, or %s" % OUTSIDE,
        )
    if not us.has(CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_CHROOT):
        become = "run with become (-b)" if us.uid else "let whoever runs this hold them"
        return HostError(
            "entering its namespaces takes CAP_SYS_ADMIN, CAP_SYS_CHROOT and CAP_SYS_PTRACE here",
            "",
            "%s, or %s" % (become, OUTSIDE),
        )
    if inside.foreign:
        return HostError(
            "its namespaces are not entered: they belong to another user namespace (%s)" % ", ".join(inside.foreign),
            "",
            OUTSIDE,
        )
    if inside.holder is not None:
        return HostError(
            "its namespaces are not entered: %s, and so could get at what samples there" % describe(inside.holder),
            "",
            "run that container without this capability, or %s" % OUTSIDE,
        )
    if not inside.settled:
        return HostError(
            "its namespaces are not entered: processes come and go faster than they can be looked at",
            "",
            "try again, or %s" % OUTSIDE,
        )
    return None


def intruded(holder: Holder) -> HostError:
    """Why a recorder was ended in its window."""
    return HostError(
        "py-spy was ended at once: in the container that it had entered, %s" % describe(holder),
        "its samples are lost",
        "let nobody enter that container with this capability meanwhile (docker exec --privileged), or %s" % OUTSIDE,
    )


def describe(holder: Holder) -> str:
    name = "".join(one if " " < one <= "~" else "?" for one in holder.name)[:16]
    what = "holds %s" if holder.threat.held else "could gain %s (a program with the set-user-ID bit would give it)"
    return "process %d there (%s; PID %d on the host) %s" % (
        holder.inner,
        name,
        holder.pid,
        what % holder.threat.capability,
    )

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "attach" of the host wing (private to the collection): would attaching be refused, and by which rule. Pure.

The rules are the kernel's, in its order: ptrace(2), "Ptrace access mode checking" (PTRACE_MODE_ATTACH_REALCREDS,
``__ptrace_may_access`` in kernel/ptrace.c), ``cap_ptrace_access_check`` in security/commoncap.c, and Yama
(Documentation/admin-guide/LSM/Yama.rst, ``yama_ptrace_access_check``). What other security modules
(AppArmor, SELinux) would say cannot be told beforehand.
"""

from __future__ import annotations

from typing import Callable, NamedTuple, Optional, Tuple

CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_PTRACE = 5, 6, 7, 8, 19

AUTO, RELAX = "auto", "relax"
POLICIES = (AUTO, RELAX)

#: The ways to run py-spy: as the target's user with CAP_SYS_PTRACE alone; as the target's user with no capability
#: at all; as whoever runs us.
CAPABLE, BARE, OWN = "capable", "bare", "own"


class Us(NamedTuple):
    """Who runs py-spy: real ids, capabilities as bits, number of the user namespace.

    ``forbidden`` are the system calls of py-spy's that a seccomp filter on us refuses;
    ``contained`` tells whether we are in a container, whose sysctls are its host's; ``runtime`` what made it, where
    that is known (``_surroundings``).
    """

    uid: int
    gid: int
    permitted: int
    effective: int
    namespace: int
    forbidden: Tuple[str, ...] = ()
    contained: bool = False
    runtime: str = ""

    def has(self, *capabilities: int) -> bool:
        return all(self.effective >> one & 1 for one in capabilities)

    def may_change(self) -> bool:
        """May we become another user, and still signal what has become it?"""
        return self.has(CAP_SETUID, CAP_SETGID, CAP_KILL)


class Target(NamedTuple):
    """Who is attached to: real, effective and saved ids, permitted capabilities as bits.

    ``namespaces`` are its user namespaces from the innermost outwards, each with the user who made it; None
    when we may not look, which takes the permission that attaching does, all but Yama's. ``dumpable`` is None
    when it cannot be told. ``stuck`` tells of a thread that stays in uninterruptible sleep; ``readable``
    whether its user and group may read its interpreter's files.
    """

    uids: Tuple[int, int, int]
    gids: Tuple[int, int, int]
    permitted: int
    namespaces: Optional[Tuple[Tuple[int, int], ...]]
    dumpable: Optional[bool] = True
    tracer: int = 0
    state: str = "S"
    stuck: bool = False
    readable: bool = True


class Verdict(NamedTuple):
    """``allowed`` is None where the kernel's answer cannot be known: it is tried, and ``reason`` explains a refusal.

    ``way`` is how py-spy is to be run; ``rule`` names what refuses ("" when nothing does).
    """

    allowed: Optional[bool]
    way: str
    rule: str = ""
    reason: str = ""
    remedy: str = ""


class Identity(NamedTuple):
    """What py-spy is to run as. ``change`` is false where we have to stay who we are."""

    uid: int
    gid: int
    change: bool
    capable: bool


class _Case(NamedTuple):
    """One way to attach to one target; ``uid``, ``gid`` and ``permitted`` are those of py-spy in this way.

    ``reaches`` tells whether it would have CAP_SYS_PTRACE in the target's user namespace, and ``certain`` whether
    that is known: what is hidden from us need not be so from the target's own user.
    """

    way: str
    policy: str
    scope: Optional[int]
    us: Us
    target: Target
    blocking: bool
    uid: int
    gid: int
    permitted: int
    reaches: bool
    certain: bool


class _Refusal(NamedTuple):
    rule: str
    reason: str
    remedy: str
    certain: bool = True


def verdict(policy: str, scope: Optional[int], us: Us, target: Target, blocking: bool) -> Verdict:
    """How to attach to ``target``, or why it would be refused. ``scope`` is Yama's ptrace_scope, None without Yama."""
    if lowers(policy, scope, us):
        scope = 0
    verdicts = [_judge(_case(way, policy, scope, us, target, blocking)) for way in _ways(policy, us, target)]
    return min(verdicts, key=_badness)


def lowers(policy: str, scope: Optional[int], us: Us) -> bool:
    """Does this policy lower ptrace_scope for the window? That takes CAP_SYS_PTRACE; a container's is its host's."""
    return policy == RELAX and scope in (1, 2) and us.has(CAP_SYS_PTRACE) and not us.contained


def identity(way: str, us: Us, target: Target) -> Optional[Identity]:
    """What py-spy becomes in this way; None when it stays as we are."""
    if way == OWN:
        return None
    uid, gid = _ids(way, us, target)
    return Identity(uid, gid, us.may_change(), way == CAPABLE)


def describe(way: str, us: Us, user: str) -> str:
    """For people: what py-spy ran as. ``user`` is the name of the user whose id it has."""
    if way == CAPABLE:
        return "as user %s with CAP_SYS_PTRACE alone" % user
    if way == BARE or not us.permitted:
        return "as user %s without any capability" % user
    return "as user %s with the capabilities it has here" % user


def _badness(found: Verdict) -> int:
    return {True: 0, None: 1, False: 2}[found.allowed]


def _ways(policy: str, us: Us, target: Target) -> Tuple[str, ...]:
    """The ways that come into question, the one with the least privilege first."""
    if policy == RELAX:
        return (BARE,)
    if us.has(CAP_SYS_PTRACE) and _is_around(us, target):
        return (CAPABLE,)
    return (BARE, OWN) if us.permitted else (OWN,)


def _case(way: str, policy: str, scope: Optional[int], us: Us, target: Target, blocking: bool) -> _Case:
    uid, gid = _ids(way, us, target)
    reaches = way == CAPABLE or _made(target, us.namespace, uid)
    permitted = us.permitted if way == OWN else 0
    certain = way != BARE or target.namespaces is not None
    return _Case(way, policy, scope, us, target, blocking, uid, gid, permitted, reaches, certain)


def _ids(way: str, us: Us, target: Target) -> Tuple[int, int]:
    return (target.uids[1], target.gids[1]) if way != OWN and us.may_change() else (us.uid, us.gid)


def _is_around(us: Us, target: Target) -> bool:
    """Is the target in our user namespace or below it? A capability reaches downwards (user_namespaces(7))."""
    return target.namespaces is not None and us.namespace in [inode for inode, _owner in target.namespaces]


def _made(target: Target, namespace: int, uid: int) -> bool:
    """Who made a user namespace, and is in its parent, has all capabilities in it (``cap_capable``)."""
    chain = target.namespaces or ()
    above = [inode for inode, _owner in chain[1:]]
    return any(parent == namespace and owner == uid for (_inode, owner), parent in zip(chain, above))


def _judge(case: _Case) -> Verdict:
    found = [refusal for refusal in (rule(case) for rule in _RULES) if refusal]
    found.sort(key=lambda refusal: not refusal.certain)
    if not found:
        return Verdict(True, case.way)
    first = found[0]
    return Verdict(False if first.certain else None, case.way, first.rule, first.reason, first.remedy)


def _no_attach(case: _Case) -> Optional[_Refusal]:
    if case.scope is None or case.scope < 3:
        return None
    whose = " of the container's host" if case.us.contained else ""
    return _Refusal(
        "yama",
        "kernel.yama.ptrace_scope%s is %d: nobody may attach to any process" % (whose, case.scope),
        "nothing lowers it but a reboot with another value configured (sysctl.d)",
    )


def _seccomp(case: _Case) -> Optional[_Refusal]:
    needed = ("process_vm_readv", "ptrace") if case.blocking else ("process_vm_readv",)
    missing = [name for name in needed if name in case.us.forbidden]
    if not missing:
        return None
    return _Refusal(
        "seccomp",
        "a seccomp filter on whoever runs py-spy forbids %s" % " and ".join(missing),
        _in_container(case.us) if case.us.contained else "run it outside of that sandbox",
    )


def _user(case: _Case) -> Optional[_Refusal]:
    target = case.target
    if case.reaches or target.uids == (case.uid,) * 3:
        return None
    if len(set(target.uids)) > 1:
        reason = "its real, effective and saved users differ (uids %d, %d, %d)" % target.uids
    else:
        reason = "it belongs to another user (uid %d, and py-spy would run as %d)" % (target.uids[0], case.uid)
    return _lacking(case, "user", reason)


def _group(case: _Case) -> Optional[_Refusal]:
    target = case.target
    if case.reaches or target.gids == (case.gid,) * 3:
        return None
    if len(set(target.gids)) > 1:
        reason = "its real, effective and saved groups differ (gids %d, %d, %d)" % target.gids
    else:
        reason = "it runs with another group (gid %d, and py-spy would with %d)" % (target.gids[0], case.gid)
    return _lacking(case, "group", reason)


def _namespace(case: _Case) -> Optional[_Refusal]:
    chain = case.target.namespaces
    if case.reaches or not chain or chain[0][0] == case.us.namespace:
        return None
    return _lacking(case, "namespace", "it is in another user namespace")


def _dumpable(case: _Case) -> Optional[_Refusal]:
    if case.reaches or case.target.dumpable:
        return None
    if case.target.dumpable is None:
        # Where we stay who we are, having been allowed to look at its namespace is the answer.
        if case.way == OWN and case.target.namespaces is not None:
            return None
        return _lacking(case, "dumpable", "whether it is dumpable cannot be seen from outside", certain=False)
    reason = "it is not dumpable: it changed its user or group and ran no new program since (a worker of a root master)"
    return _lacking(case, "dumpable", reason)


def _capabilities(case: _Case) -> Optional[_Refusal]:
    if case.reaches or not case.target.permitted & ~case.permitted:
        return None
    return _lacking(case, "capabilities", "it holds capabilities that py-spy would not have")


def _hidden(case: _Case) -> Optional[_Refusal]:
    if case.reaches or case.target.namespaces is not None:
        return None
    reason = "the kernel lets us look at nothing of it (another user namespace, or a security module)"
    return _lacking(case, "hidden", reason)


def _yama(case: _Case) -> Optional[_Refusal]:
    if case.reaches or not case.scope or case.scope > 2:
        return None
    whose = " of the container's host" if case.us.contained else ""
    scope = "kernel.yama.ptrace_scope%s is %d: " % (whose, case.scope)
    if case.scope == 2:
        return _lacking(case, "yama", scope + "only who holds CAP_SYS_PTRACE may attach")
    # A target's permission (PR_SET_PTRACER) cannot be seen from outside.
    reason = scope + "without CAP_SYS_PTRACE only ancestors may attach, unless the target permits it"
    return _lacking(case, "yama", reason, certain=False)


def _traced(case: _Case) -> Optional[_Refusal]:
    if not case.blocking or not case.target.tracer:
        return None
    return _Refusal(
        "traced",
        "it is already traced by process %d" % case.target.tracer,
        "end that debugger or py-spy, or sample with nonblocking",
    )


def _stopped(case: _Case) -> Optional[_Refusal]:
    if not case.blocking or case.target.state not in ("T", "t"):
        return None
    return _Refusal("stopped", "it is stopped (state %s)" % case.target.state, "resume it, or sample with nonblocking")


def _stuck(case: _Case) -> Optional[_Refusal]:
    if not case.blocking or not case.target.stuck:
        return None
    return _Refusal(
        "stuck",
        "a thread of it stays in uninterruptible sleep (state D): stopping it would freeze the whole process",
        "sample with nonblocking, without native",
    )


def _files(case: _Case) -> Optional[_Refusal]:
    if case.way == OWN or case.target.readable:
        return None
    return _Refusal(
        "files",
        "its user and group may not read its interpreter's files, which py-spy has to",
        "let them be read (executable and libpython, and for this each directory above it)",
        certain=False,
    )


#: Those about the target itself come before those about the whole host: they say more.
_RULES: Tuple[Callable[[_Case], Optional[_Refusal]], ...] = (
    _no_attach,
    _seccomp,
    _user,
    _group,
    _namespace,
    _dumpable,
    _capabilities,
    _yama,
    _hidden,
    _traced,
    _stopped,
    _stuck,
    _files,
)


def _lacking(case: _Case, rule: str, reason: str, certain: bool = True) -> _Refusal:
    """A refusal for want of CAP_SYS_PTRACE in the target's user namespace, and what would help."""
    return _Refusal(rule, reason, _more(case), certain and case.certain)


def _more(case: _Case) -> str:
    us = case.us
    if case.policy == RELAX and us.has(CAP_SYS_PTRACE):
        return "set pyspy_attach_policy to auto: py-spy then holds CAP_SYS_PTRACE and nothing else"
    if us.contained:
        return ("" if us.uid == 0 else "run with become (-b), and ") + _in_container(us)
    return "let whoever runs this hold CAP_SYS_PTRACE" if us.uid == 0 else "run with become (-b)"


#: How each runtime is told to give a container CAP_SYS_PTRACE; "" is for one that we do not recognise. The filter that
#: Docker and its kin put on system calls then lets py-spy's through as well (Docker's default seccomp profile).
_OPTIONS = {
    "docker": "start this container with --cap-add=SYS_PTRACE (compose: cap_add: [SYS_PTRACE])",
    "podman": "start this container with --cap-add=SYS_PTRACE",
    "kubernetes": 'set securityContext.capabilities.add: ["SYS_PTRACE"] for this container in its pod',
    "nspawn": "start this container with --capability=CAP_SYS_PTRACE",
    "lxc": "take sys_ptrace out of lxc.cap.drop of this container, or put it into lxc.cap.keep where that is used",
    "": "give this container CAP_SYS_PTRACE (Docker, Podman: --cap-add=SYS_PTRACE; compose: cap_add: [SYS_PTRACE];"
    ' Kubernetes: securityContext.capabilities.add: ["SYS_PTRACE"]; systemd-nspawn: --capability=CAP_SYS_PTRACE)',
}


def _in_container(us: Us) -> str:
    elsewhere = "profile from the container's host"
    return elsewhere if us.has(CAP_SYS_PTRACE) else "%s, or %s" % (_OPTIONS.get(us.runtime, _OPTIONS[""]), elsewhere)

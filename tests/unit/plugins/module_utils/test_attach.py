# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the verdict on attaching: the kernel's rules as a table, and what holds for all of them.

That the kernel agrees is tested with real processes: tests/lab/attach_matrix.py.
"""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._attach import (
    AUTO,
    BARE,
    CAP_SYS_PTRACE,
    CAPABLE,
    OWN,
    POLICIES,
    RELAX,
    Identity,
    Target,
    Us,
    describe,
    identity,
    lowers,
    verdict,
)
from hypothesis import given
from hypothesis import strategies as st

ALL = 2**41 - 1
HERE, BELOW, ELSEWHERE = 100, 200, 300
ROOT = Us(0, 0, ALL, ALL, HERE)
ALICE = Us(1000, 1000, 0, 0, HERE)
TRACER = ALICE._replace(permitted=1 << CAP_SYS_PTRACE, effective=1 << CAP_SYS_PTRACE)
#: A container's root, as Docker makes it: may change its user, may not trace.
BOXED = Us(0, 0, 0xA80425FB, 0xA80425FB, HERE, contained=True)
WEB = Target((1000, 1000, 1000), (1000, 1000, 1000), 0, ((HERE, 0),))
FORKED = WEB._replace(dumpable=False)
BINDING = WEB._replace(permitted=1 << 10)
GROUPED = WEB._replace(gids=(7, 7, 7))
MIXED = WEB._replace(uids=(1000, 33, 1000))
DAEMON = Target((0, 0, 0), (0, 0, 0), ALL, ((HERE, 0),), dumpable=None)
INNER = WEB._replace(namespaces=((BELOW, 1000), (HERE, 0)))
FOREIGN = WEB._replace(namespaces=((ELSEWHERE, 0),))


@pytest.mark.parametrize("scope", [None, 0, 1, 2])
@pytest.mark.parametrize("target", [WEB, FORKED, BINDING, GROUPED, MIXED, DAEMON, INNER])
def test_the_capability_alone_reaches_everybody(scope: int | None, target: Target) -> None:
    assert verdict(AUTO, scope, ROOT, target, True) == (True, CAPABLE, "", "", "")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("us", [ROOT, ALICE, BOXED])
def test_scope_3_refuses_everybody_until_a_reboot(policy: str, us: Us) -> None:
    found = verdict(policy, 3, us, WEB, False)
    assert (found.allowed, found.rule) == (False, "yama") and "reboot" in found.remedy
    assert ("container's host" in found.reason) == us.contained


@pytest.mark.parametrize(
    ("policy", "scope", "us", "target", "allowed", "way", "rule"),
    [
        (AUTO, None, ALICE, WEB, True, OWN, ""),
        (AUTO, 0, ALICE, WEB, True, OWN, ""),
        (AUTO, 1, ALICE, WEB, None, OWN, "yama"),
        (AUTO, 2, ALICE, WEB, False, OWN, "yama"),
        (AUTO, 0, ALICE, FORKED, False, OWN, "dumpable"),
        (AUTO, 0, ALICE, BINDING, False, OWN, "capabilities"),
        (AUTO, 0, ALICE, GROUPED, False, OWN, "group"),
        (AUTO, 0, ALICE, MIXED, False, OWN, "user"),
        (AUTO, 0, ALICE, DAEMON, False, OWN, "user"),
        (AUTO, 1, ALICE, DAEMON, False, OWN, "user"),
        (AUTO, 0, ALICE, FOREIGN, False, OWN, "namespace"),
        (AUTO, 0, ALICE, WEB._replace(namespaces=None), False, OWN, "hidden"),
        # Whoever made the target's user namespace has every capability in it: rootless containers.
        (AUTO, 2, ALICE, INNER._replace(uids=(5, 5, 5)), True, OWN, ""),
        (AUTO, 2, ALICE, INNER._replace(namespaces=((BELOW, 7), (HERE, 0))), False, OWN, "namespace"),
        (RELAX, 2, ROOT, WEB, True, BARE, ""),
        (RELAX, 2, ROOT, GROUPED, True, BARE, ""),
        (RELAX, 2, ROOT, FORKED, False, BARE, "dumpable"),
        (RELAX, 2, ROOT, BINDING, False, BARE, "capabilities"),
        (RELAX, 2, ROOT, MIXED, False, BARE, "user"),
        (RELAX, 2, ROOT, DAEMON, False, BARE, "capabilities"),
        (RELAX, 0, ROOT, DAEMON._replace(permitted=0), None, BARE, "dumpable"),
        (RELAX, 0, ALICE, WEB, True, BARE, ""),
        (RELAX, 1, ALICE, WEB, None, BARE, "yama"),
        # A container's ptrace_scope is its host's, and is not touched.
        (RELAX, 2, ROOT._replace(contained=True), WEB, False, BARE, "yama"),
        (AUTO, 0, BOXED, WEB, True, BARE, ""),
        (AUTO, 1, BOXED, WEB, None, BARE, "yama"),
        # A user whose namespaces we may not look at may have made them: then nothing is refused to it.
        (AUTO, 0, BOXED, WEB._replace(namespaces=None), None, BARE, "hidden"),
        (AUTO, 2, BOXED, WEB._replace(namespaces=None), None, BARE, "yama"),
        (AUTO, 2, BOXED, FORKED._replace(namespaces=None), None, BARE, "dumpable"),
        (AUTO, 0, BOXED, DAEMON._replace(permitted=BOXED.permitted), True, OWN, ""),
        (AUTO, 0, BOXED, DAEMON, False, BARE, "capabilities"),
        # Holds the capability, but in a user namespace that the target is not in.
        (AUTO, 0, ROOT, FOREIGN, False, BARE, "namespace"),
        (AUTO, 2, TRACER, DAEMON, True, CAPABLE, ""),
        (AUTO, 0, ROOT, WEB._replace(readable=False), None, CAPABLE, "files"),
    ],
)
def test_rules(
    policy: str, scope: int | None, us: Us, target: Target, allowed: bool | None, way: str, rule: str
) -> None:
    found = verdict(policy, scope, us, target, False)
    assert (found.allowed, found.way, found.rule) == (allowed, way, rule)


@pytest.mark.parametrize(
    ("target", "rule", "word"),
    [
        (WEB._replace(tracer=42), "traced", "42"),
        (WEB._replace(state="T"), "stopped", "resume"),
        (WEB._replace(stuck=True), "stuck", "native"),
    ],
)
def test_what_only_hinders_who_stops_the_target(target: Target, rule: str, word: str) -> None:
    found = verdict(AUTO, 2, ROOT, target, True)
    assert (found.allowed, found.rule) == (False, rule) and word in found.reason + found.remedy
    assert verdict(AUTO, 2, ROOT, target, False).allowed


@pytest.mark.parametrize(
    ("forbidden", "blocking", "allowed"),
    [((), True, True), (("ptrace",), False, True), (("ptrace",), True, False), (("process_vm_readv",), False, False)],
)
def test_a_sandbox_of_our_own(forbidden: tuple[str, ...], blocking: bool, allowed: bool) -> None:
    found = verdict(AUTO, None, ROOT._replace(forbidden=forbidden), WEB, blocking)
    assert found.allowed is allowed and (allowed or found.rule == "seccomp" and forbidden[0] in found.reason)


def test_remedies_are_those_that_help() -> None:
    assert "become" in verdict(AUTO, 2, ALICE, WEB, False).remedy
    assert "auto" in verdict(RELAX, 2, ROOT, FORKED, False).remedy
    assert "container" in verdict(AUTO, 0, BOXED, FORKED, False).remedy
    assert "container's host" in verdict(RELAX, 2, ROOT._replace(contained=True), WEB, False).reason


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ("docker", "with --cap-add=SYS_PTRACE (compose: cap_add: [SYS_PTRACE])"),
        ("podman", "with --cap-add=SYS_PTRACE"),
        ("kubernetes", 'securityContext.capabilities.add: ["SYS_PTRACE"]'),
        ("nspawn", "--capability=CAP_SYS_PTRACE"),
        ("lxc", "lxc.cap.keep"),
        ("", "Docker, Podman: --cap-add=SYS_PTRACE"),
        ("something new", "Docker, Podman: --cap-add=SYS_PTRACE"),
    ],
)
def test_in_a_container_the_exact_option_is_named(runtime: str, words: str) -> None:
    us = BOXED._replace(runtime=runtime)
    found = verdict(AUTO, 0, us, FORKED, False).remedy
    assert words in found and found.endswith(", or profile from the container's host") and "become" not in found
    filtered = verdict(AUTO, None, us._replace(forbidden=("process_vm_readv",)), WEB, False)
    assert words in filtered.remedy
    assert "become (-b), and" in verdict(AUTO, 2, us._replace(uid=1000, permitted=0, effective=0), WEB, False).remedy


def test_in_a_container_that_has_the_capability_no_option_helps() -> None:
    us = ROOT._replace(contained=True, runtime="docker")
    assert verdict(AUTO, 0, us, FOREIGN, False).remedy == "profile from the container's host"


def test_what_py_spy_becomes() -> None:
    assert identity(CAPABLE, ROOT, MIXED._replace(gids=(1, 2, 3))) == Identity(33, 2, True, True)
    assert identity(BARE, ROOT, WEB) == Identity(1000, 1000, True, False)
    assert identity(BARE, ALICE, DAEMON) == Identity(1000, 1000, False, False)
    assert identity(OWN, ALICE, WEB) is None
    assert describe(CAPABLE, ROOT, "web") == "as user web with CAP_SYS_PTRACE alone"
    assert describe(BARE, ROOT, "web") == describe(OWN, ALICE, "web") == "as user web without any capability"
    assert describe(OWN, BOXED, "root") == "as user root with the capabilities it has here"


NAMESPACES = st.tuples(st.integers(1, 3), st.integers(0, 2))
CHAINS = st.one_of(st.none(), st.lists(NAMESPACES, min_size=1, max_size=3).map(tuple))
SETS = st.sampled_from([0, 1 << 10, 1 << CAP_SYS_PTRACE, ALL ^ 1 << CAP_SYS_PTRACE, ALL])
IDS = st.tuples(*[st.integers(0, 1)] * 3)
TARGETS = st.builds(
    Target,
    uids=IDS,
    gids=IDS,
    permitted=SETS,
    namespaces=CHAINS,
    dumpable=st.sampled_from([True, False, None]),
    tracer=st.integers(0, 1),
    state=st.sampled_from("RSDTt"),
    stuck=st.booleans(),
    readable=st.booleans(),
)
CALLS = st.sampled_from([(), ("ptrace",), ("process_vm_readv",)])
SOMEBODY = st.builds(
    lambda uid, gid, caps, namespace, forbidden, contained: Us(uid, gid, caps, caps, namespace, forbidden, contained),
    *[st.integers(0, 1), st.integers(0, 1), SETS, st.integers(1, 3), CALLS, st.booleans()],
)
SCOPES = st.sampled_from([None, 0, 1, 2, 3])
CASES = (st.sampled_from(POLICIES), SCOPES, SOMEBODY, TARGETS, st.booleans())
HOPE = {True: 2, None: 1, False: 0}


@given(*CASES)
def test_every_refusal_says_why_and_what_would_help(policy, scope, us, target, blocking):
    found = verdict(policy, scope, us, target, blocking)
    assert all((found.rule, found.reason, found.remedy)) == (found.allowed is not True)
    assert (found.allowed is not False) or scope != 3 or found.rule == "yama"
    assert not (policy == RELAX and found.way != BARE)


@given(*CASES)
def test_a_higher_scope_or_stopping_the_target_never_helps(policy, scope, us, target, blocking):
    hope = HOPE[verdict(policy, scope, us, target, blocking).allowed]
    assert hope <= HOPE[verdict(policy, scope, us, target, False).allowed]
    if not lowers(policy, scope, us):
        for lower in range(scope or 0):
            assert hope <= HOPE[verdict(policy, lower, us, target, blocking).allowed]


@given(*CASES)
def test_nothing_is_gained_by_what_py_spy_becomes(policy, scope, us, target, blocking):
    role = identity(verdict(policy, scope, us, target, blocking).way, us, target)
    if role is not None:
        assert not role.capable or us.has(CAP_SYS_PTRACE)
        assert (role.uid, role.gid) in ((us.uid, us.gid), (target.uids[1], target.gids[1]))
        assert us.may_change() or (role.uid, role.gid) == (us.uid, us.gid)

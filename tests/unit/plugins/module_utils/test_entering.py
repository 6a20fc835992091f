# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the rule for entering a target's namespaces, as a table.

That nobody gets at who entered is tested with real namespaces: tests/integration/test_entering.py.
"""

from __future__ import annotations

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._attach import BARE, CAP_SYS_PTRACE, CAPABLE, OWN, Us
from ansible_collections.pyspy.fleet.plugins.module_utils._entering import (
    CAP_PERFMON,
    CAP_SYS_ADMIN,
    Holder,
    Inside,
    Threat,
    describe,
    intruded,
    refusal,
    threatens,
)

ALL = 2**41 - 1
ROOT = Us(0, 0, ALL, ALL, 100)
#: What Docker leaves to a container by default.
DOCKER = 0xA80425FB
CALM = Inside((), None, True)
TRACER = Holder(4711, 12, "gdb", Threat("CAP_SYS_PTRACE", True))


def status(state: str = "S (sleeping)", **sets: int) -> bytes:
    bits = {**dict.fromkeys(("Inh", "Prm", "Eff", "Bnd", "Amb"), 0), **sets}
    lines = ["Name:\tx", f"State:\t{state}", *(f"Cap{kind}:\t{value:016x}" for kind, value in bits.items())]
    return "\n".join([*lines, "NoNewPrivs:\t0", ""]).encode()


@pytest.mark.parametrize(
    ("data", "threat"),
    [
        (status(), None),
        (status(Prm=DOCKER, Eff=DOCKER, Bnd=DOCKER), None),
        (status(Prm=1 << CAP_SYS_PTRACE), Threat("CAP_SYS_PTRACE", True)),
        (status(Eff=1 << CAP_SYS_PTRACE), Threat("CAP_SYS_PTRACE", True)),
        (status(Amb=1 << CAP_SYS_PTRACE), Threat("CAP_SYS_PTRACE", True)),
        (status(Bnd=1 << CAP_SYS_PTRACE), Threat("CAP_SYS_PTRACE", False)),
        (status(Inh=1 << CAP_SYS_PTRACE), Threat("CAP_SYS_PTRACE", False)),
        (status(Prm=1 << CAP_SYS_ADMIN, Bnd=1 << CAP_SYS_PTRACE), Threat("CAP_SYS_ADMIN", True)),
        (status(Bnd=1 << CAP_PERFMON), Threat("CAP_PERFMON", False)),
        (status("Z (zombie)", Prm=ALL, Bnd=ALL), None),
        (status("X (dead)", Prm=ALL), None),
        # A name may hold anything but a line end.
        (status().replace(b"Name:\tx", b"Name:\tState:\tZ"), None),
        (status(Prm=ALL).replace(b"Name:\tx", b"Name:\tx\\nState:\tZ"), Threat("CAP_SYS_PTRACE", True)),
        # What cannot be read, or is cut off, counts as held.
        (b"", Threat("CAP_SYS_PTRACE", True)),
        (status().partition(b"CapAmb")[0], Threat("CAP_SYS_PTRACE", True)),
    ],
)
def test_who_threatens_a_recorder(data: bytes, threat: Threat | None) -> None:
    assert threatens(data) == threat


@pytest.mark.parametrize(
    ("us", "way", "inside", "reason", "remedy"),
    [
        (ROOT, BARE, CALM, "relax", "pyspy_attach_policy to auto"),
        (ROOT._replace(effective=1 << CAP_SYS_PTRACE), CAPABLE, CALM, "takes CAP_SYS_ADMIN", "whoever runs this"),
        (Us(1000, 1000, 0, 0, 100), OWN, CALM, "takes CAP_SYS_ADMIN", "become"),
        (ROOT, CAPABLE, CALM._replace(foreign=("pid", "mnt")), "another user namespace (pid, mnt)", "leave"),
        (ROOT, CAPABLE, CALM._replace(holder=TRACER), "process 12 there (gdb; PID 4711 on the host)", "run that"),
        (ROOT, CAPABLE, CALM._replace(settled=False), "come and go", "try again"),
    ],
)
def test_every_refusal_says_why_and_what_would_help(us: Us, way: str, inside: Inside, reason: str, remedy: str) -> None:
    found = refusal(us, way, inside)
    assert found is not None and reason in found.reason and remedy in found.remedy
    assert "pyspy_enter_namespaces" in found.remedy


def test_root_may_enter_where_nobody_threatens() -> None:
    assert refusal(ROOT, CAPABLE, CALM) is None


def test_a_holder_is_named_without_what_a_terminal_obeys() -> None:
    holder = TRACER._replace(name="\x1b[31mx\ny" * 5, threat=Threat("CAP_PERFMON", False))
    assert describe(holder).startswith("process 12 there (?[31mx?y?[31mx?y; PID 4711 on the host) could gain CAP_PERF")
    assert "ended at once" in intruded(holder).reason and "exec" in intruded(holder).remedy

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that may go wrong in the middle of a window with ptrace_scope lowered, done for real.

Each fault begins at the same moment of one machine: the scope reads 0, py-spy samples, and whoever ran the playbook was
killed. What follows is only looked at, by a lookout on the machine; nothing of the collection is called.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from ansible_collections.pyspy.fleet.tests.lab.lookout import ORDER, Lookout, Seen
from ansible_collections.pyspy.fleet.tests.lab.vm import Machine, kill_session

from . import conftest

SETTINGS = ("pyspy_attach_policy=relax", "pyspy_duration=14", "pyspy_keep=10", "pyspy_nonblocking=false")
#: The file systems that could be written to, full to the last byte.
FILL = """
for place in /run /tmp; do
    fallocate -l "$(df --output=avail -B1 $place | tail -1)" $place/filler
    cat /dev/zero >> $place/filler
done 2>/dev/null
touch /run/more || echo full
"""


class Fault(NamedTuple):
    """What is done (a shell's text), and what is allowed to differ afterwards.

    ``scope`` is expected in the end, ``within`` so many seconds after the fault (0: by the restore deadline). Files
    and states of targets that match are the fault's own doing.
    """

    name: str
    done: str
    scope: int = 1
    within: float = 0
    files: str = "nothing"
    targets: str = "[RSD] 0"


FAULTS = (
    Fault("controller SIGKILLed", "true"),
    Fault("keeper SIGKILLed", "kill -KILL $KEEPER", within=2),
    Fault("keeper and py-spy SIGKILLed together", "kill -KILL $KEEPER $RECORDERS", within=2),
    Fault("keeper SIGSTOPped", "kill -STOP $KEEPER"),
    Fault("py-spy hung", "kill -STOP $RECORDERS"),
    Fault("keeper and py-spy SIGSTOPped", "kill -STOP $KEEPER $RECORDERS"),
    Fault("dead-man SIGKILLed", "kill -KILL $DEADMEN", within=2),
    Fault("dead-man SIGSTOPped, keeper SIGKILLed", "kill -STOP $DEADMEN; kill -KILL $KEEPER"),
    Fault("all of ours SIGKILLed", "kill -KILL $DEADMEN $KEEPER $RECORDERS", within=2),
    Fault("all of ours SIGSTOPped", "kill -STOP $DEADMEN $KEEPER $RECORDERS"),
    Fault("systemd reloaded and re-executed", "systemctl daemon-reload; systemctl daemon-reexec"),
    Fault("target exits", "kill -KILL $TARGETS", targets="gone"),
    Fault("target SIGSTOPped", "kill -STOP $TARGETS", targets="T 0"),
    Fault("disk full", FILL, files="/(run|tmp)/(filler|more)"),
    Fault("state directory deleted", "rm -r /run/pyspy-fleet", within=2),
    Fault("clock set back a day", "date --set=-1day"),
    Fault("clock set forward a day", "date --set=+1day"),
    Fault("third party sets 2", "echo 2 > /proc/sys/kernel/yama/ptrace_scope", scope=2),
    Fault("third party sets 2, keeper SIGKILLed", "sysctl -q kernel.yama.ptrace_scope=2; kill -KILL $KEEPER", scope=2),
)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Remembers two moments: ``prepared``, gunicorn busy and py-spy installed; ``window``, in a recording of it."""
    with Machine() as one:
        one.start_gunicorn()
        done = one.ansible("ansible-playbook", "playbooks/install.yml", "-u", "root")
        assert done.returncode == 0, done.stdout + done.stderr
        lookout = Lookout(one)
        lookout.lay()
        one.remember("prepared")
        lookout.begin(order=ORDER)
        with recording(one) as process:
            lookout.hear("window")
            kill_session(process)
            one.remember("window")
        yield one


def recording(machine: Machine, *words: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    settings = [part for setting in SETTINGS for part in ("-e", setting)]
    runs = ("-e", f"pyspy_output_dir={machine.directory}/runs")
    return machine.controller("ansible-playbook", "playbooks/profile.yml", "-u", "root", *settings, *runs, *words)


@pytest.fixture
def lookout(machine: Machine) -> Lookout:
    machine.recall("window")
    return Lookout(machine)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault(lookout: Lookout, fault: Fault, table: conftest.Table) -> None:
    lookout.listen()
    lookout.order(fault.done)
    lookout.hear("end")
    judge(fault, lookout.heard(), table)


def judge(fault: Fault, words: list[Seen], table: conftest.Table) -> None:
    """Note what came of it, then see that it is what has to come."""
    by_kind = {word["kind"]: word for word in words}
    begun, deadline, end = by_kind["fault"], by_kind["restore deadline"], by_kind["end"]
    scopes = [(word["at"], word["value"]) for word in words if word["kind"] == "scope"]
    since, final = scopes[-1]
    left = [*end["processes"], *end["units"], *(path for path in end["files"] if not re.fullmatch(fault.files, path))]
    restored = since - by_kind["injected"]["at"]
    early = begun["restore_at"] - since
    table.note(fault.name, final, max(0.0, restored), early, left, end["gone"] - begun["keep_at"])
    assert final == deadline["scope"] == end["scope"] == fault.scope, words
    assert early >= 0 and restored <= (fault.within or early + restored), words
    assert deadline["processes"] == [], words
    states = {*deadline["targets"].values(), *end["targets"].values()}
    assert all(re.fullmatch(fault.targets, state) for state in states), words
    assert left == [] and end["gone"] <= begun["keep_at"], words

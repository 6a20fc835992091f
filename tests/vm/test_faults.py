# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that may go wrong in the middle of a window with ptrace_scope lowered, done for real.

Each fault begins at the same moment of one machine: the scope reads 0, py-spy samples, and whoever ran the playbook was
killed. What follows is only looked at, by a lookout on the machine; nothing of the collection is called.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.pyspy.fleet.tests.lab.lookout import ORDER, Lookout, Seen
from ansible_collections.pyspy.fleet.tests.lab.vm import Machine, kill_session
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

from .conftest import Table

#: Blocking, so that targets could be left stopped; the captures are kept no longer than the restore deadline.
SETTINGS = ("pyspy_attach_policy=relax", "pyspy_duration=12", "pyspy_keep=10", "pyspy_nonblocking=false")
#: A path below ``/tmp`` that every boot names anew.
PRIVATE = r"(/var)?/tmp/systemd-private-.*"
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
    Fault("keeper SIGKILLed", "kill -KILL $KEEPER", within=4),
    Fault("keeper and py-spy SIGKILLed together", "kill -KILL $KEEPER $RECORDERS", within=4),
    Fault("keeper SIGSTOPped", "kill -STOP $KEEPER"),
    Fault("py-spy hung", "kill -STOP $RECORDERS"),
    Fault("dead-man SIGKILLed", "kill -KILL $DEADMEN", within=4),
    Fault("dead-man SIGSTOPped, keeper SIGKILLed", "kill -STOP $DEADMEN; kill -KILL $KEEPER"),
    Fault("all of ours SIGKILLed", "kill -KILL $DEADMEN $KEEPER $RECORDERS", within=4),
    Fault("all of ours SIGSTOPped", "kill -STOP $DEADMEN $KEEPER $RECORDERS"),
    Fault("target exits", "kill -KILL $TARGETS", targets="gone"),
    Fault("target SIGSTOPped", "kill -STOP $TARGETS", targets="T 0"),
    Fault("disk full", FILL, files="/(run|tmp)/(filler|more)"),
    Fault("state directory deleted", "rm -r /run/pyspy-fleet", within=4),
    Fault("clock set back a day", "date --set=-1day"),
    Fault("clock set forward a day", "date --set=+1day"),
    Fault("third party sets 2", "echo 2 > /proc/sys/kernel/yama/ptrace_scope", scope=2),
    Fault("third party sets 2, keeper SIGKILLed", "sysctl -q kernel.yama.ptrace_scope=2; kill -KILL $KEEPER", scope=2),
)


#: Takes systemd's place on a host without it: PID 1 only waits and reaps.
BARE_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=755,noexec run /run
mkdir -p /dev/pts /dev/shm /run/sshd
mount -t devpts pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
echo 1 > /proc/sys/kernel/yama/ptrace_scope
/usr/sbin/sshd
exec tini -- sleep infinity
"""
#: As FAULTS, on such a host.
BARE_FAULTS = (
    Fault("controller SIGKILLed", "true"),
    Fault("keeper SIGKILLed", "kill -KILL $KEEPER", within=4),
    Fault("keeper and py-spy SIGKILLed together", "kill -KILL $KEEPER $RECORDERS", within=4),
    Fault("keeper SIGSTOPped", "kill -STOP $KEEPER"),
    Fault("py-spy hung", "kill -STOP $RECORDERS"),
    Fault("watchdog SIGKILLed", "kill -KILL $WATCHDOG"),
    Fault("dead-man SIGKILLed", "kill -KILL $DEADMEN"),
    Fault("state directory deleted", "rm -r /run/pyspy-fleet", within=4),
)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Remembers two moments: ``prepared``, gunicorn busy and py-spy installed; ``window``, in a recording of it."""
    with Machine() as one:
        one.start_gunicorn()
        done = one.ansible("ansible-playbook", "playbooks/install.yml", "-u", "root")
        assert done.returncode == 0, done.stdout + done.stderr
        Lookout(one).lay()
        one.remember("prepared")
        remember_window(one, "window")
        yield one


def remember_window(machine: Machine, name: str, *settings: str) -> None:
    """Have the machine remember the middle of a window, right after the controller was killed."""
    lookout = Lookout(machine)
    lookout.lay()
    lookout.begin(order=ORDER)
    with recording(machine, machine.directory / "runs", *settings) as process:
        lookout.hear("window")
        kill_session(process)
        machine.remember(name)


def recording(
    machine: Machine, runs: Path, *settings: str, user: str = "root"
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """``profile.yml`` with the scope lowered, in the background; root by itself, others by sudo."""
    extra = [part for setting in (*SETTINGS, f"pyspy_output_dir={runs}", *settings) for part in ("-e", setting)]
    become = () if user == "root" else ("-b",)
    return machine.controller("ansible-playbook", "playbooks/profile.yml", "-u", user, *become, *extra)


@pytest.fixture
def lookout(machine: Machine) -> Lookout:
    """In the middle of a window, its controller gone."""
    machine.recall("window")
    return Lookout(machine)


@pytest.fixture
def before(machine: Machine) -> Lookout:
    """Before any window."""
    machine.recall("prepared")
    return Lookout(machine)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault(machine: Machine, fault: Fault, table: Table) -> None:
    judge(fault, inject(machine, "window", fault), table)
    assert_no_traceback(machine)


def assert_no_traceback(machine: Machine) -> None:
    assert machine.run("journalctl -q -b -o cat | grep -A20 Traceback", check=False).stdout == ""


def test_systemd_is_reloaded_and_re_executed(machine: Machine, before: Lookout, table: Table) -> None:
    """In a long window: an emulated PID 1 may need twenty seconds for it, in which nothing can be asked of it."""
    remember_window(machine, "long", "pyspy_duration=40")
    fault = Fault("systemd reloaded and re-executed", "systemctl daemon-reload; systemctl daemon-reexec")
    judge(fault, inject(machine, "long", fault), table)
    assert_no_traceback(machine)


def inject(machine: Machine, moment: str, fault: Fault) -> list[Seen]:
    """Go back to the moment and do it; what was seen. On a busy machine it may come after the window: then again."""
    lookout = Lookout(machine)
    for _attempt in range(3):
        machine.recall(moment)
        lookout.listen()
        lookout.order(fault.done)
        if lookout.hear("fault")["scope"] == 0:
            break
    lookout.hear("end")
    return lookout.heard()


def judge(fault: Fault, words: list[Seen], table: Table) -> None:
    """Note what came of it, then see that it is what has to come."""
    by_kind = {word["kind"]: word for word in words}
    begun, deadline, end = by_kind["fault"], by_kind["restore deadline"], by_kind["end"]
    since, final = [(word["at"], word["value"]) for word in words if word["kind"] == "scope"][-1]
    left = [*end["processes"], *end["units"], *(path for path in end["files"] if not re.fullmatch(fault.files, path))]
    restored = since - by_kind["injected"]["at"]
    early = begun["restore_at"] - since
    table.note(fault.name, final, max(0.0, restored), early, left, end["gone"] - begun["keep_at"])
    assert begun["scope"] == 0, words
    assert final == deadline["scope"] == end["scope"] == fault.scope, words
    assert early >= 0 and restored <= (fault.within or early + restored), words
    assert deadline["processes"] == [], words
    states = {*deadline["targets"].values(), *end["targets"].values()}
    assert all(re.fullmatch(fault.targets, state) for state in states), words
    assert left == [] and end["gone"] <= begun["keep_at"], words


def test_the_host_is_rebooted(machine: Machine, lookout: Lookout, table: Table) -> None:
    """The button, pressed in the window: nothing of ours comes up again."""
    assert machine.scope() == 0
    machine.reset()
    left = [path for path in lookout.new_files() if not re.fullmatch(PRIVATE, path)]
    left += [one.command for one in machine.processes() if re.search("py-?spy", one.command)]
    table.note("host rebooted", machine.scope(), None, None, left, 0)
    assert (machine.scope(), left) == (1, [])


def test_the_connection_is_cut_and_sshd_killed(machine: Machine, before: Lookout, table: Table, tmp_path: Path) -> None:
    before.begin(fault="pkill -KILL -x sshd")
    with recording(machine, tmp_path):
        before.hear("window")
        machine.cut()
        before.hear("end")
    machine.mend()
    judge(Fault("ssh connection cut and sshd killed", "", targets="[RSDtT] 0"), before.heard(), table)


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [(24, 20, "true"), (44, 14, "true"), (40, 14, "kill -KILL $FIRST")],
    ids=["the first ends first", "the second ends first", "the first one's keeper SIGKILLed"],
)
def test_two_controllers(
    machine: Machine,
    before: Lookout,
    table: Table,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    first: int,
    second: int,
    fault: str,
) -> None:
    """Two recordings of two workers: the value is back when the last of them is over, and no sooner."""
    pids = machine.children(int(machine.run("cat /tmp/service.pid").stdout))
    before.begin(recordings=2, fault=fault)
    # So that both controllers find theirs, however slow they are; and whether there are samples is not the question.
    kept, content = "pyspy_keep=60", "pyspy_fail_on=none"
    with recording(machine, tmp_path / "1", f"pyspy_duration={first}", f"pyspy_pids={pids[0]}", kept) as one:
        before.hear("lowered")
        with recording(
            machine, tmp_path / "2", f"pyspy_duration={second}", f"pyspy_pids={pids[1]}", kept, content
        ) as other:
            window = before.hear("window")["recordings"]
            before.hear("end")
            ended = [process.communicate(timeout=60)[0] for process in (one, other)]
    words = before.heard()
    judge(Fault(f"two controllers overlap: {request.node.callspec.id}", ""), words, table)
    by_target = {recording["targets"][0]: recording["ends_at"] for recording in window}
    last = by_target[pids[1]] if "KILL" in fault else max(by_target.values())
    assert (by_target[pids[0]] < by_target[pids[1]]) is (first - second < 10), ended
    values = [(word["at"], word["value"]) for word in words if word["kind"] == "scope"]
    assert [value for _at, value in values] == [0, 1] and values[1][0] >= last, words
    codes = [one.returncode, other.returncode]
    assert codes == [2 if "KILL" in fault else 0, 0], "".join(ended)


def test_a_third_party_is_reported(machine: Machine, before: Lookout, table: Table, tmp_path: Path) -> None:
    before.begin(fault="sysctl -q -w kernel.yama.ptrace_scope=2")
    with recording(machine, tmp_path) as process:
        process.communicate(timeout=120)  # whether there are samples depends on when it came
    before.hear("end")
    judge(Fault("third party sets 2, the controller collects", "", scope=2), before.heard(), table)
    [manifest] = tmp_path.glob("2*/manifest.json")
    evidence = json.loads(manifest.read_text())["hosts"]["vm1"]["evidence"]
    assert "somebody else set it to 2 in the meantime; left alone" in evidence["notes"]
    assert (evidence["scope"]["original"], evidence["scope"]["after"]) == (1, 2)


def test_who_logs_out_is_killed(machine: Machine, before: Lookout, table: Table, tmp_path: Path) -> None:
    """``KillUserProcesses=yes``: root's recording is no part of the login; another user's is refused beforehand."""
    folder = "/etc/systemd/logind.conf.d"
    text = "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n"
    machine.run(f"mkdir -p {folder}; cat > {folder}/kill.conf; systemctl restart systemd-logind", stdin=text.encode())
    plain = machine.ansible(
        "ansible-playbook", "playbooks/profile.yml", "-u", "deploy", "-e", f"pyspy_output_dir={tmp_path}"
    )
    assert plain.returncode == 2
    assert "The login manager of this host ends all of a user's processes at logout" in " ".join(plain.stdout.split())
    assert (machine.scope(), lookout_sees_nothing(machine)) == (1, [])
    before.begin(order=ORDER)
    with recording(machine, tmp_path, "pyspy_duration=30", user="deploy") as process:
        before.hear("window")
        kill_session(process)
        machine.run("setsid sleep 600 </dev/null >/dev/null 2>&1 &", user="deploy")
        machine.hang_up()
        await_condition("logout's killing", lambda: "sleep 600" not in machine.run("ps -ef").stdout)
        before.order("true")
        before.hear("end")
    judge(Fault("logout with KillUserProcesses=yes (sudo)", "", files=f"{folder}.*|{PRIVATE}"), before.heard(), table)


def lookout_sees_nothing(machine: Machine) -> list[str]:
    return [one.command for one in machine.processes() if re.search("py-?spy", one.command)]


@pytest.fixture(scope="module")
def bare(machine: Machine) -> Machine:
    """The same machine booted without systemd; what it remembers as ``bare`` is a window there."""
    machine.recall("prepared")
    machine.run("rm /sbin/init; cat > /sbin/init; chmod 755 /sbin/init; sync", stdin=BARE_INIT.encode())
    machine.reset()
    machine.run(f"date --set=@{time.time():.0f}")
    assert machine.run("cat /proc/1/comm; ls -d /run/systemd", check=False).stdout == "tini\n"
    machine.start_gunicorn()
    remember_window(machine, "bare", "pyspy_duration=9")
    return machine


@pytest.mark.parametrize("fault", BARE_FAULTS, ids=[fault.name for fault in BARE_FAULTS])
def test_fault_without_systemd(bare: Machine, fault: Fault, table: Table) -> None:
    judge(fault._replace(name=f"no systemd: {fault.name}"), inject(bare, "bare", fault), table)

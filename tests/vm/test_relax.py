# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``pyspy_attach_policy: relax`` on a kernel with a real Yama: a whole run, and what is seen on the host meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab.lookout import Lookout, Seen
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, outcome
from ansible_collections.pyspy.fleet.tests.lab.vm import Machine

REASON = "INC-1234 slow checkout"
#: So long (seconds) that py-spy has read its target's symbols on an emulated processor.
WINDOW = 14


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """One machine on which gunicorn runs as ``web`` and py-spy is installed."""
    with Machine() as one:
        one.start_gunicorn()
        done = one.ansible("ansible-playbook", "playbooks/install.yml", "-u", "root")
        assert done.returncode == 0, done.stdout + done.stderr
        yield one


@pytest.fixture
def lookout(machine: Machine) -> Lookout:
    one = Lookout(machine)
    one.lay()
    return one


def profile(machine: Machine, runs: Path, *words: str, duration: int = WINDOW) -> Outcome:
    settings = {"pyspy_attach_policy": "relax", "pyspy_duration": duration, "pyspy_output_dir": runs}
    extra = ("-e", json.dumps({**settings, "pyspy_reason": REASON}, default=str))
    return outcome(machine.ansible("ansible-playbook", "playbooks/profile.yml", *extra, *words), runs)


def journal(machine: Machine) -> list[dict[str, Any]]:
    """Our entries in the host's journal, the newest first."""
    lines = machine.run("journalctl -q -r -o json SYSLOG_IDENTIFIER=pyspy-fleet").stdout.splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("words", [("-u", "root"), ("-u", "deploy", "-b")], ids=["root", "deploy -b"])
def test_a_relaxed_profile(machine: Machine, lookout: Lookout, tmp_path: Path, words: tuple[str, ...]) -> None:
    lookout.begin(show=True)
    run = profile(machine, tmp_path, *words)
    assert run.code == 0, run.text
    window, end = lookout.hear("window"), lookout.hear("end")
    holds_nothing(machine, window)
    evidence = run.hosts["vm1"]["evidence"]
    scope = evidence["scope"]
    assert [scope[name] for name in ("before", "original", "during", "after")] == [1, 1, 0, 1]
    assert scope["lowered_at"] + 1 <= scope["restored_at"] and evidence["left"] == []
    assert "Restored 1 of 1 host (read back)" in run.words
    assert re.search(r"Exposed kernel\.yama\.ptrace_scope was lowered on 1 host for \d+\.\d s at most", run.words)
    assert "profiled" in {one["outcome"] for one in run.hosts["vm1"]["captures"]}
    assert machine.scope() == 1
    assert (end["processes"], end["units"], end["files"]) == ([], [], [])
    assert {state.split()[1] for state in end["targets"].values()} == {"0"}
    restored, lowered = journal(machine)[:2]
    assert lowered["MESSAGE"].startswith("kernel.yama.ptrace_scope set from 1 to 0: held by ")
    assert re.search(r"until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ at most; by .*; reason: " + REASON, lowered["MESSAGE"])
    assert restored["MESSAGE"].startswith("kernel.yama.ptrace_scope set from 0 to 1: given back by ")
    assert (words[1] in lowered["PYSPY_FLEET_BY"]) and lowered["PYSPY_FLEET_REASON"] == REASON


def holds_nothing(machine: Machine, window: Seen) -> None:
    """Each py-spy was its target's user and group in the window, for good, and had no capability."""
    web = machine.run("id -u web; id -g web").stdout.split()
    [recording] = window["recordings"]
    assert len(recording["recorders"]) == len(recording["targets"]) >= 1
    for status in recording["recorders"].values():
        assert [set(status[key].split()) for key in ("Uid", "Gid")] == [{web[0]}, {web[1]}]
        assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Groups"]) == ("1", "")


def test_the_dead_man_stands_before_the_scope_is_lowered(machine: Machine, lookout: Lookout, tmp_path: Path) -> None:
    """A service of PID 1 with a bound and a last word, both with the original value, since before the lowering."""
    lookout.begin(show=True)
    assert profile(machine, tmp_path, "-u", "root").code == 0
    window, shown = lookout.hear("window"), lookout.hear("units")["shown"]
    [dead_man] = window["dead_men"]
    what, _sysctl, _directory, _epoch, original, lowered = dead_man["arguments"][:6]
    assert (what, original, lowered) == ("watch", "1", "0")
    [name] = [name for name in shown if name.endswith("-lease.service")]
    service = dict(line.partition("=")[::2] for line in shown[name].splitlines())
    assert (service["ActiveState"], service["MainPID"]) == ("active", str(dead_man["pid"]))
    assert int(service["ActiveEnterTimestampMonotonic"]) / 1e6 <= window["last_before"]
    assert 1 <= seconds(service["RuntimeMaxUSec"]) <= WINDOW + 0.4 + 10
    assert re.search(r"\srestore /proc/sys/kernel/yama/ptrace_scope \S+ \S+ 1 0 ", shown[name])
    [timer] = [name for name in shown if name.endswith("-lease-timer.timer")]
    assert "OnStartupUSec=" in shown[timer] and "OnActiveUSec=" not in shown[timer]


def seconds(text: str) -> float:
    """As systemd prints a time: ``12s``, ``1min 3s``."""
    units = {"min": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(min|ms|us|s)", text))


def test_without_a_dead_man_nothing_is_lowered(machine: Machine, tmp_path: Path) -> None:
    """systemd starts no unit for the lease: the recording fails, and the scope was never touched."""
    entries = len(journal(machine))
    real = "/usr/bin/systemd-run.real"
    script = f'#!/bin/sh\ncase "$*" in *-lease*) echo "no more units" >&2; exit 1;; esac\nexec {real} "$@"\n'
    machine.run(f"mv /usr/bin/systemd-run {real}; cat > /usr/bin/systemd-run", stdin=script.encode())
    machine.run("chmod 755 /usr/bin/systemd-run")
    try:
        run = profile(machine, tmp_path, "-u", "root")
    finally:
        machine.run(f"mv {real} /usr/bin/systemd-run")
    assert run.code == 2
    assert "systemd did not start a transient unit: no more units" in run.words
    assert machine.scope() == 1 and len(journal(machine)) == entries

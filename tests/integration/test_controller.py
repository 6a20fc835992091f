# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happens to the controller or the network within a window: the hosts go on, and the captures are not lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.lab.hosts import CHECKOUT, Fleet, Host
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, changes, outcome, play, start_busy, traces
from ansible_collections.pyspy.fleet.tests.lab.terminal import Terminal
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

OPEN = "The window is open until"
#: As somebody's own settings: a host that went away is noticed within seconds.
IMPATIENT = (
    "-o ControlMaster=auto -o ControlPersist=60s -o ConnectTimeout=2 -o ServerAliveInterval=1 -o ServerAliveCountMax=2"
)
STATE = "run/pyspy-fleet"


@pytest.fixture(scope="module", autouse=True)
def prepared(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> None:
    for host in fleet.hosts:
        start_busy(host, "deploy")
    assert play(fleet, tmp_path_factory.mktemp("install"), "install", "--forks", "6").code == 0


@contextmanager
def profiling(fleet: Fleet, folder: Path, hosts: str, duration: int, *words: str) -> Iterator[Terminal]:
    """``profile.yml`` on a terminal of its own, its window open; results go to the default folder below ``folder``."""
    command = ["ansible-playbook", "pyspy.fleet.profile", "-l", hosts, "-e", f"pyspy_duration={duration}", *words]
    with Terminal(command, folder, surroundings(fleet)) as terminal:
        terminal.read_until(OPEN)
        yield terminal


def surroundings(fleet: Fleet) -> dict[str, str]:
    """So that a command can be typed as it is printed: the inventory and the collection are in the environment."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_INVENTORY": str(fleet.inventory),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
        "ANSIBLE_HOME": str(fleet.directory / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "COLUMNS": "80",
    }


def typed(fleet: Fleet, folder: Path, line: str) -> Outcome:
    """A command line, run as it stands."""
    done = subprocess.run(
        ("/bin/sh", "-c", line),
        cwd=folder,
        env=surroundings(fleet),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return outcome(done, folder / "pyspy-runs")


def run_of(folder: Path) -> str:
    return str((folder / "pyspy-runs" / "latest").readlink())


def collected(run: Outcome, *hosts: str) -> None:
    """Every one of these hosts gave a usable capture of its busy script."""
    for host in hosts:
        assert [capture["outcome"] for capture in run.hosts[host]["captures"]] == ["profiled"], run.text
    assert "burn" in (run.folder / "fleet.folded").read_text(encoding="utf-8")


def ours(host: Host) -> list[str]:
    """What of ours runs on the host."""
    return [
        row.command for row in host.processes() if row.command.startswith("py-spy ") or "pyspy_fleet" in row.command
    ]


def test_ctrl_c_in_the_window_and_the_printed_advice(fleet: Fleet, tmp_path: Path) -> None:
    before = traces(fleet.hosts[:2])
    with profiling(fleet, tmp_path, "web1,web2", 6) as terminal:
        terminal.type("\x03")
        terminal.read_until("pyspy_cleanup_force=true")
        assert terminal.read_to_end() != 0
    assert terminal.text.count("Interrupted: the recordings go on until their deadline on the hosts") == 1
    assert "Traceback" not in terminal.text and "[WARNING]" not in terminal.text
    assert max(map(len, terminal.text.partition("Interrupted")[2].splitlines())) <= 100
    [advice] = re.findall(r"^ *(ansible-playbook pyspy\.fleet\.collect .*)$", terminal.text, re.MULTILINE)
    run = typed(fleet, tmp_path, f"{advice} -l web1,web2")
    assert run.code == 0, run.text
    collected(run, "web1", "web2")
    assert changes(fleet.hosts[:2], before) == {"web1": [], "web2": []}


def test_ctrl_c_and_the_advice_for_ending_the_recordings(fleet: Fleet, tmp_path: Path) -> None:
    before = traces(fleet.hosts[:1])
    with profiling(fleet, tmp_path, "web1", 600) as terminal:
        terminal.type("\x03")
        terminal.read_until("pyspy_cleanup_force=true")
    [advice] = re.findall(r"^ *(ansible-playbook pyspy\.fleet\.cleanup .*)$", terminal.text, re.MULTILINE)
    cautious = typed(fleet, tmp_path, "ansible-playbook pyspy.fleet.cleanup -l web1")
    assert "left alone" in cautious.text and cautious.recap("web1")["changed"] == 0
    done = typed(fleet, tmp_path, f"{advice} -l web1")
    assert done.code == 0 and "ended and removed" in done.text and done.recap("web1")["changed"] == 1
    assert changes(fleet.hosts[:1], before) == {"web1": []}


def test_a_killed_controller_and_then_collect(fleet: Fleet, tmp_path: Path) -> None:
    before = traces(fleet.hosts[:2])
    with profiling(fleet, tmp_path, "web1,web2", 3) as terminal:
        terminal.kill()
    name = run_of(tmp_path)
    # A recording this young may still have a controller: it is named and left.
    early = typed(fleet, tmp_path, "ansible-playbook pyspy.fleet.collect -l web1,web2")
    assert early.code == 0 and f"name it: pyspy_collect_run={name}" in early.words
    plan = typed(fleet, tmp_path, f"ansible-playbook pyspy.fleet.collect --check -l web1 -e pyspy_collect_run={name}")
    assert plan.code == 0 and "would be collected: " in plan.text
    run = typed(fleet, tmp_path, f"ansible-playbook pyspy.fleet.collect -l web1,web2 -e pyspy_collect_run={name}")
    assert run.code == 0, run.text
    collected(run, "web1", "web2")
    assert changes(fleet.hosts[:2], before) == {"web1": [], "web2": []}
    again = typed(fleet, tmp_path, f"ansible-playbook pyspy.fleet.collect -l web1 -e pyspy_collect_run={name}")
    assert again.code == 2 and f"This host has no recording of run {name}" in again.words


def test_a_cut_cable_that_is_mended_in_time_is_not_noticed(fleet: Fleet, tmp_path: Path) -> None:
    with profiling(fleet, tmp_path, "web3", 3) as terminal:
        fleet.cut(fleet.hosts[2])
        fleet.mend(fleet.hosts[2])
        assert terminal.read_to_end() == 0
    collected(outcome(finished(terminal), tmp_path / "pyspy-runs"), "web3")


def finished(terminal: Terminal) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess((), terminal.read_to_end(), terminal.text, "")


def test_a_cable_cut_beyond_the_window_and_collect_when_it_is_mended(fleet: Fleet, tmp_path: Path) -> None:
    """web3 has its own master of ssh and its own patience from here on."""
    before = traces(fleet.hosts[2:4])
    words = ("-e", f"ansible_ssh_args='{IMPATIENT}'", "-e", f"ansible_control_path_dir={tmp_path}")
    with profiling(fleet, tmp_path, "web3,web4", 2, *words) as terminal:
        fleet.cut(fleet.hosts[2])
        try:
            assert terminal.read_to_end() == 2
        finally:
            fleet.mend(fleet.hosts[2])
    run = outcome(finished(terminal), tmp_path / "pyspy-runs")
    assert run.hosts["web3"]["status"] == "unreachable"
    collected(run, "web4")
    advice = run.fatal("web3").partition("Remedy: when it is back: ")[2].rstrip(".")
    assert advice == f"ansible-playbook pyspy.fleet.collect -e pyspy_collect_run={run.folder.name}"
    later = typed(fleet, tmp_path, f"{advice} -l web3")
    assert later.code == 0, later.text
    collected(later, "web3")
    assert changes(fleet.hosts[2:4], before) == {"web3": [], "web4": []}


def test_ssh_notices_a_host_that_went_away(fleet: Fleet, tmp_path: Path) -> None:
    done = fleet.ansible("ansible", "web5", "-m", "pyspy.fleet.cleanup", "-vvv")
    assert "ServerAliveInterval=10" in done.stdout and "ServerAliveCountMax=3" in done.stdout


def test_a_killed_ssh_session_does_not_end_the_recording(fleet: Fleet, tmp_path: Path) -> None:
    host = fleet.hosts[4]
    with profiling(fleet, tmp_path, "web5", 4) as terminal:
        sessions = [row.pid for row in host.processes() if row.command.startswith("sshd: root")]
        assert sessions
        host.run(f"kill -KILL {' '.join(map(str, sessions))}")
        assert terminal.read_to_end() == 0, terminal.text
    collected(outcome(finished(terminal), tmp_path / "pyspy-runs"), "web5")


def test_captures_that_nobody_collects_are_deleted_by_the_host(fleet: Fleet, tmp_path: Path) -> None:
    host = fleet.hosts[5]
    before = traces([host])
    with profiling(fleet, tmp_path, "web6", 1, "-e", "pyspy_keep=10") as terminal:
        terminal.kill()
    assert (host.root / STATE).exists()
    await_condition("the keep deadline", lambda: not (host.root / STATE).exists() and not ours(host))
    assert changes([host], before) == {"web6": []}
    name = run_of(tmp_path)
    late = typed(fleet, tmp_path, f"ansible-playbook pyspy.fleet.collect -l web6 -e pyspy_collect_run={name}")
    assert late.code == 2 and "deleted at its keep deadline" in late.words


def test_two_runs_at_once(fleet: Fleet, tmp_path: Path) -> None:
    """The second is refused while the first has the target, and the first keeps what it has."""
    host = fleet.hosts[5]
    before = traces([host])
    folder = tmp_path / "other"
    folder.mkdir()
    with profiling(fleet, tmp_path, "web6", 600) as first:
        second = typed(fleet, folder, "ansible-playbook pyspy.fleet.profile -l web6 -e pyspy_duration=1")
        assert second.code == 2
        assert "All chosen targets are already being sampled" in second.words
        assert "Remedy: wait for that window to end" in second.fatal("web6")
        first.type("\x03")
        first.read_to_end()
    [keeper] = (host.root / STATE).glob("*/keeper.json")
    host.run(f"kill -TERM {json.loads(keeper.read_text(encoding='utf-8'))['keeper'][0]}")  # ends the window early
    name = run_of(tmp_path)
    run = typed(fleet, tmp_path, f"ansible-playbook pyspy.fleet.collect -l web6 -e pyspy_collect_run={name}")
    collected(run, "web6")
    assert changes([host], before) == {"web6": []}

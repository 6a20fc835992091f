# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the rooms "detach", "logind", "units" and "daemon": which way a keeper goes, and who watches over it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _detach, _logind, _state, _systemd, _units
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import boot_id
from ansible_collections.pyspy.fleet.plugins.module_utils._recording import PROGRAM, Request
from ansible_collections.pyspy.fleet.plugins.module_utils._state import Folder
from hypothesis import given
from hypothesis import strategies as st

KILL = "[Login]\nKillUserProcesses=yes\n"


@pytest.mark.parametrize(
    ("texts", "user", "killed"),
    [
        ([], "deploy", False),
        ([KILL], "deploy", True),
        ([KILL], "root", False),
        (["#KillUserProcesses=yes\n; KillUserProcesses=yes\n"], "deploy", False),
        (["  KillUserProcesses = True \n"], "deploy", True),
        ([KILL, "KillUserProcesses=no"], "deploy", False),
        (["KillUserProcesses=no", KILL], "deploy", True),
        ([KILL, "KillUserProcesses="], "deploy", False),
        ([KILL + "KillExcludeUsers=web deploy"], "deploy", False),
        ([KILL + "KillExcludeUsers=web", "KillExcludeUsers="], "root", True),
        ([KILL + "KillOnlyUsers=web admin"], "deploy", False),
        ([KILL + "KillOnlyUsers=web", "KillOnlyUsers=deploy"], "deploy", True),
        (["KillUserProcesses=maybe"], "deploy", False),
        ([KILL.replace("\n", "\r\n")], "deploy", True),
    ],
)
def test_what_the_login_manager_does(texts, user, killed):
    assert _logind.kills(_logind.read_settings(texts), user) is killed


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=80) | st.just(KILL), max_size=4))
def test_any_configuration_is_read(texts):
    assert _logind.kills(_logind.read_settings(texts), "deploy") in (True, False)


@pytest.mark.parametrize(
    ("cgroup", "owner"),
    [
        ("0::/user.slice/user-0.slice/session-12.scope\n", "root"),
        ("12:cpu:/\n1:name=systemd:/user.slice/user-0.slice/session-c3.scope\n0::/\n", "root"),
        ("0::/lab/web1/user.slice/user-54321.slice/session-1.scope\n", "54321"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/x.service\n", None),
        ("0::/system.slice/cron.service\n", None),
        ("", None),
    ],
)
def test_whose_login_we_are_in(monkeypatch, tmp_path, cgroup, owner):
    (tmp_path / "cgroup").write_text(cgroup)
    real = open
    monkeypatch.setattr(_logind, "open", lambda _path: real(tmp_path / "cgroup"), raising=False)
    assert _logind._login_owner() == owner


@pytest.mark.parametrize(
    ("uid", "available", "kills", "lingers", "expected"),
    [
        (0, True, True, False, "systemd"),
        (0, False, False, False, "daemon"),
        (1000, True, False, False, "daemon"),
        (1000, True, False, True, "daemon"),
        (1000, True, True, True, "systemd"),
        (1000, True, True, False, None),
        (1000, False, True, True, None),
    ],
)
def test_which_way(monkeypatch, uid, available, kills, lingers, expected):
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(_systemd, "available", lambda: available)
    monkeypatch.setattr(_logind, "kills_at_logout", lambda: kills)
    monkeypatch.setattr(_logind, "lingers", lambda: lingers)
    if expected:
        assert _detach.way() == expected
    else:
        with pytest.raises(HostError, match="at logout") as caught:
            _detach.way()
        assert "KillUserProcesses" in caught.value.detail and "enable-linger" in caught.value.remedy


def test_without_systemd_nobody_kills(monkeypatch):
    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    assert _detach.way() == "daemon"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for systemd's tools: they write down how they were called. Real ones are met on the lab's hosts."""
    for name, answer in (("systemctl", "echo 2500000"), ("systemd-run", "test ! -e $(dirname $0)/refuse || exit 4")):
        tool = tmp_path / name
        tool.write_text(f'#!/bin/sh\nfor word in {name} "$@"; do echo "$word"; done >>{tmp_path}/calls\n{answer}\n')
        tool.chmod(stat.S_IRWXU)
    monkeypatch.setattr(_systemd, "_PLACES", (f"{tmp_path}/",))
    monkeypatch.setattr(_state, "base_path", lambda: str(tmp_path / "state"))
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path


def request() -> Request:
    now = time.monotonic()
    hostile = '$(id)\n"; rm -rf / #\x1b]0;x'
    return Request({}, [], [], [], {}, False, 1, "", hostile, hostile, boot_id(), now + 30, now + 930)


def test_a_unit_is_named_and_bounded(tools):
    made, folder = request(), Folder.create()
    program = tools / "program"
    program.write_bytes(b"the program")
    _units.launch(folder, made, str(program), "/usr/bin/python3")
    calls = (tools / "calls").read_text()
    assert Path(folder.file(PROGRAM)).read_bytes() == b"the program"
    assert calls.count(f"--unit=pyspy-fleet-{folder.identity}\n") == 1
    assert calls.count(f"--unit=pyspy-fleet-{folder.identity}-keep\n") == 1
    assert "id)" not in calls and "rm -rf" not in calls, "nothing of a user's reaches a unit"
    words = dict(line.partition("=")[::2] for line in calls.split("\n") if line.startswith("--on-startup"))
    early = made.keep_until_at - 2.5 - int(words["--on-startup"].removesuffix("ms")) / 1000
    assert 1.9 <= early <= 4, "what deletes takes its time, and is over by the deadline"
    bounds = [int(line.rpartition("=")[2]) for line in calls.split("\n") if "RuntimeMaxSec" in line]
    assert bounds and time.monotonic() + bounds[0] + 2 <= made.restore_at() - 1


def test_when_systemd_refuses_nothing_is_left(tools):
    (tools / "refuse").touch()
    (tools / "program").touch()
    folder = Folder.create()
    with pytest.raises(HostError, match="transient unit") as caught:
        _units.launch(folder, request(), str(tools / "program"), "/usr/bin/python3")
    assert caught.value.remedy
    stop = f"stop\npyspy-fleet-{folder.identity}-keep.timer\npyspy-fleet-{folder.identity}.service\n"
    assert (tools / "calls").read_text().endswith(stop)


def test_the_tools_own_words_become_the_detail(tools):
    (tools / "systemd-run").write_text("#!/bin/sh\necho Failed to start: Access denied >&2; exit 1\n")
    with pytest.raises(HostError) as caught:
        _systemd._ask("systemd-run", [])
    assert caught.value.detail == "Failed to start: Access denied"


def test_without_the_tools(monkeypatch):
    monkeypatch.setattr(_systemd, "_PLACES", ("/nonexistent/",))
    assert not _systemd.available()
    with pytest.raises(HostError) as caught:
        _systemd._ask("systemd-run", [])
    assert "systemd-run is not there" in caught.value.detail


WATCHDOG = """
import os, signal, sys, time
sys.path[:] = {path!r}
from ansible_collections.pyspy.fleet.plugins.module_utils import _daemon
from ansible_collections.pyspy.fleet.plugins.module_utils._recording import Request
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGCHLD, signal.SIGTERM}})
now = time.monotonic()
request = Request({{}}, [], [], [], {{}}, False, 1, "", "", "", "", now + {ends_in}, now + 1000)
keeper = os.fork()
if keeper == 0:
    signal.sigwait({{signal.SIGTERM}} if {obedient} else {{signal.SIGUSR1}})
    os._exit(0)
if {told}:
    os.kill(os.getpid(), signal.SIGTERM)
print(_daemon._await_keeper(keeper, request).keep_until_at == 0.0)
"""


@pytest.mark.parametrize(
    ("ends_in", "obedient", "told", "forgets"),
    [(1000, True, True, True), (-100, False, False, False), (-100, False, True, True)],
    ids=["told to go while the keeper still runs", "the keeper is late", "both"],
)
def test_a_watchdog_remembers_that_it_was_told_to_go(ends_in, obedient, told, forgets):
    """Else it would stay until the keep deadline although its recording is gone."""
    script = WATCHDOG.format(path=sys.path, ends_in=ends_in, obedient=obedient, told=told)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == str(forgets)

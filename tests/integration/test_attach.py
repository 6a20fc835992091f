# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attaching on this machine: what is foretold is what the kernel does, and a recorder holds no more than it must.

This kernel need not have Yama; the same matrix runs in virtual machines that do.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _bundle
from ansible_collections.pyspy.fleet.tests.lab import matrix
from ansible_collections.pyspy.fleet.tests.lab.host_program import (
    BUSY,
    Host,
    parent_of,
    recorder_of,
    target,
)
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: One that every user may run; the tests' own may lie in root's home.
PYTHON = "/usr/bin/python3"
USER, GROUP, NOBODY = 31001, 31003, 65534
ONLY_PTRACE = "0000000000080000"
NOTHING = "0000000000000000"


@contextmanager
def service(user: int = USER, group: int = GROUP) -> Iterator[subprocess.Popen[str]]:
    """A busy process of another user, with groups that a recorder must not have."""
    command = [PYTHON, "-c", BUSY, "0", "0", "300"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, user=user, group=group, extra_groups=[4, 27])
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in lines)}


def held(pid: int) -> dict[str, str]:
    """The capabilities of a process, by set."""
    return {name: value for name, value in status(pid).items() if name.startswith("Cap")}


def everything(of: str) -> dict[str, str]:
    return dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), of)


def start(host: Host, pids: list[int], policy: str = "auto", **options: Any) -> dict[str, Any]:
    return host.start(pids, policy=policy, **options)


def test_what_is_foretold_is_what_the_kernel_does(directory: str) -> None:
    rows = matrix.here(directory)
    assert {row["target"] for row in rows} >= {"plain", "changed", "capable", "group", "traced", "stopped", "root"}
    assert not matrix.wrong(rows)
    assert all(row["actual"] for row in rows if row["attacker"] == "root" and not row["blocking"])


def test_a_recorder_is_its_targets_user_with_one_capability(host: Host) -> None:
    with service() as busy:
        started = start(host, [busy.pid], duration=3)
        found = status(recorder_of(busy.pid))
        assert found["Uid"].split() == [str(USER)] * 4 and found["Gid"].split() == [str(GROUP)] * 4
        assert found["Groups"] == "" and found["NoNewPrivs"] == "1"
        assert held(int(found["Pid"])) == everything(ONLY_PTRACE)
        head, _bodies = host.collect(started["recording"]["id"])
        capture = head["captures"][0]
        assert capture["outcome"] == "profiled"
        assert capture["attach"] == f"as user {USER} with CAP_SYS_PTRACE alone"


def test_root_as_a_target_gives_its_recorder_nothing_more(host: Host) -> None:
    with target() as busy:
        started = start(host, [busy.pid], duration=3)
        found = status(recorder_of(busy.pid))
        assert found["Uid"].split() == ["0"] * 4 and found["NoNewPrivs"] == "1" and found["Groups"] == ""
        assert held(int(found["Pid"])) == everything(ONLY_PTRACE)
        head, _bodies = host.collect(started["recording"]["id"])
        assert head["captures"][0]["attach"] == "as user root with CAP_SYS_PTRACE alone"


def test_relaxed_a_recorder_holds_no_capability(host: Host) -> None:
    with service() as busy:
        started = start(host, [busy.pid], "relax", duration=3)
        found = status(recorder_of(busy.pid))
        assert found["Uid"].split() == [str(USER)] * 4 and found["NoNewPrivs"] == "1" and found["Groups"] == ""
        assert held(int(found["Pid"])) == everything(NOTHING)
        head, _bodies = host.collect(started["recording"]["id"])
        assert head["captures"][0]["attach"] == f"as user {USER} without any capability"


def test_relaxed_root_is_out_of_reach_and_this_is_said(host: Host) -> None:
    with target() as busy, service() as other:
        alone = start(host, [busy.pid], "relax", duration=1)
        assert "recording" not in alone
        [refused] = alone["captures"]
        assert refused["outcome"] == "failed" and "capabilities" in refused["reason"] and "auto" in refused["remedy"]
        started = start(host, [busy.pid, other.pid], "relax", duration=1)
        reasons = {one["pid"]: one["reason"] for one in started["selection"]["targets"]}
        assert "attaching is refused: it holds capabilities" in reasons[busy.pid]
        head, _bodies = host.collect(started["recording"]["id"])
        captures = {capture["process"]["pid"]: capture for capture in head["captures"]}
        assert captures[other.pid]["outcome"] == "profiled" and captures[busy.pid]["outcome"] == "failed"
        assert "attaching is refused" in captures[busy.pid]["reason"] and captures[busy.pid]["remedy"]


@pytest.mark.parametrize("policy", ["auto", "relax"])
def test_a_demoted_recorder_ends_with_its_keeper(host: Host, policy: str) -> None:
    with service() as busy:
        started = start(host, [busy.pid], policy, duration=30)
        recorder = recorder_of(busy.pid)
        os.kill(parent_of(recorder), signal.SIGKILL)
        await_condition("the recorder to be gone", lambda: not os.path.exists(f"/proc/{recorder}"), 20)
        assert host.ask("collect", {"recording": started["recording"]["id"], "patience": 5})["phase"] == "broken"


def plan_of(user: int, selectors: dict[str, Any]) -> dict[str, Any]:
    """What ``start`` in check mode answers to an ordinary user."""
    command = ["/bin/sh", "-c", _bundle.command(PYTHON)]
    data = _bundle.envelope("start", {"selectors": selectors, "check": True})
    done = subprocess.run(command, input=data, capture_output=True, check=True, user=user, group=user, extra_groups=[])
    return _bundle.parse_answer(done.stdout.decode(), done.stderr.decode(), 0, PYTHON)


def test_an_ordinary_user_is_told_whom_the_kernel_keeps_away(host: Host) -> None:
    with service(NOBODY, NOBODY) as mine, service(NOBODY) as other:
        alone = plan_of(NOBODY, {"pids": [other.pid]})
        assert not alone["ok"] and f"PID {other.pid} cannot be sampled" in alone["error"]["reason"]
        assert "another group" in alone["error"]["reason"] and "become" in alone["error"]["remedy"]
        named = plan_of(NOBODY, {"pids": [mine.pid, other.pid]})["selection"]
        assert {one["pid"]: "refused" in one["reason"] for one in named["targets"]} == {
            mine.pid: False,
            other.pid: True,
        }
        found = plan_of(NOBODY, {"max_targets": 1000})["selection"]
        reasons = {one["pid"]: one["reason"] for one in found["targets"]}
        assert "refused" not in reasons[mine.pid]
        assert "attaching is refused: it runs with another group" in reasons[other.pid]


def test_a_policy_that_does_not_exist_is_refused_by_name(host: Host) -> None:
    answer = start(host, [os.getpid()], "yes")
    assert not answer["ok"] and "attach_policy" in answer["error"]["reason"] and "'yes'" in answer["error"]["detail"]


def test_files_that_the_targets_user_may_not_read_are_named(host: Host, directory: str) -> None:
    """A worker of a root master, whose interpreter only root may read."""
    python = Path(directory, "python3")
    shutil.copy(os.path.realpath(PYTHON), python)
    python.chmod(0o700)
    text = f"import os, sys; os.setgroups([]); os.setresgid(*[{GROUP}] * 3); os.setresuid(*[{USER}] * 3)\n"
    command = [str(python), "-c", text + BUSY, "0", "0", "300"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        started = start(host, [process.pid], duration=1)
        assert "may be refused" in started["selection"]["targets"][0]["reason"]
        head, _bodies = host.collect(started["recording"]["id"])
        capture = head["captures"][0]
        assert capture["outcome"] == "failed" and "interpreter's files" in capture["reason"]
        assert capture["detail"] and "directory" in capture["remedy"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]

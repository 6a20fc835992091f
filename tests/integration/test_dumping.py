# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dumps on this machine without Ansible: what one pass brings, and what it leaves when it is hindered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._resumer import Resumer
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _bundle
from ansible_collections.pyspy.fleet.tests.lab.host_program import STATE, Host, state_of, target
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

from .test_harm import stuck, thread_states
from .test_host_program import PYTHONS

#: Sleeps in C code that asks nobody whether it may: as a thread that waits for a lock.
SLEEPER = "import sys, time; print('ready', flush=True); time.sleep(1000)"


def threads_of(look: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["thread_name"]: row for row in look["threads"]}


def dumper_of(pid: int) -> int:
    """The PID of the py-spy that dumps ``pid``; 0 when there is none at this moment."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"py-spy", b"dump"] and str(pid).encode() in words:
            return int(name)
    return 0


def catch_holding(pid: int) -> int:
    """Stop a py-spy while it holds its target; its PID.

    A py-spy that is killed while it attaches leaves a SIGSTOP behind, in a moment that nobody hits: so one is sent.
    """
    caught: list[int] = []

    def look() -> bool:
        for _attempt in range(200):
            dumper = dumper_of(pid)
            if dumper and state_of(pid) == "t":
                os.kill(dumper, signal.SIGSTOP)
                await_condition("it to stop", lambda dumper=dumper: state_of(dumper) in "TZX", 5)
                if state_of(pid) == "t":
                    caught.append(dumper)
                    return True
                os.kill(dumper, signal.SIGCONT)
        return False

    await_condition("a py-spy that holds its target", look, 30)
    os.kill(pid, signal.SIGSTOP)
    return caught[0]


@contextmanager
def dumping(host: Host, pid: int, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A pass of ``dump`` that goes on while we look."""
    host.dump([pid], count=1)  # py-spy is there from now on
    order = {**host.order([pid], role="any"), "options": options}
    command = ["/bin/sh", "-c", _bundle.command(host.interpreter)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(_bundle.envelope("dump", order))
    process.stdin.close()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def answer_of(host: Host, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    out = process.stdout.read().decode()
    answer: dict[str, Any] = _bundle.parse_answer(out, "", process.wait(), host.interpreter)
    return answer


def test_threads_and_what_they_used(host: Host) -> None:
    with target(threads=3, depth=5) as busy:
        # Long enough that it uses some CPU, whatever else this machine does.
        answer, [dumped] = host.dump([busy.pid], count=3, interval=1)
        assert state_of(busy.pid) == "R"
    [head] = answer["captures"]
    assert (head["outcome"], head["samples"], head["errors"]) == ("profiled", 3, 0)
    assert head["measure"] == {"kind": "dump", "rate": 0, "blocking": False, "native": False}
    looks = dumped["looks"]
    assert len(looks) == 3 and looks[1]["at"] - looks[0]["at"] >= 0.1
    first, last = threads_of(looks[0]), threads_of(looks[-1])
    assert len(first) == 4 and dumped["others"] == 0
    assert last["MainThread"]["cpu"] - first["MainThread"]["cpu"] > 0.2
    assert last["Thread-1 (deep)"]["cpu"] == first["Thread-1 (deep)"]["cpu"]
    assert [frame["name"] for frame in first["Thread-1 (deep)"]["frames"][:6]] == ["deep"] * 6
    assert looks[-1]["cpu"] - looks[0]["cpu"] > 0.2
    assert answer["evidence"]["targets"] == [
        {"pid": busy.pid, "state_before": "R", "tracer_before": 0, "state_after": "R", "tracer_after": 0, "note": ""}
    ]
    assert host.processes() == [] and not STATE.exists()


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.name)
def test_under_every_python(host: Host, python: Path) -> None:
    host.interpreter = str(python)
    with target(python=str(python), threads=1, depth=2) as busy:
        _answer, [dumped] = host.dump([busy.pid], count=2, interval=0.2)
    first, last = (threads_of(look) for look in dumped["looks"])
    main, other = (
        next(row for row in last.values() if (name == row["thread_name"]) is (name == "MainThread"))
        for name in ("MainThread", "")
    )
    assert main["cpu"] > first["MainThread"]["cpu"]
    assert {frame["name"] for frame in main["frames"]} & {"burn", "<module>"}
    # Before 3.11 the main thread is known by its name, the others by nothing.
    assert (other["cpu"] is None) == (python.name in ("python3.8", "python3.9", "python3.10"))


def test_threads_of_a_container_are_found_by_their_numbers_inside(host: Host) -> None:
    with ExitStack() as stack:
        shell = stack.enter_context(
            subprocess.Popen(
                ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE
            )
        )
        stack.callback(shell.kill)
        assert shell.stdout is not None and shell.stdout.readline() == b"ready\n"
        [inner] = map(int, Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text(encoding="utf-8").split())
        _answer, [dumped] = host.dump([inner], count=1)
    [thread] = dumped["looks"][0]["threads"]
    assert thread["os_thread_id"] == 1 and thread["cpu"] > 0


def test_threads_without_a_python_stack_are_counted(host: Host) -> None:
    code = (
        "import ctypes, time\n"
        "libc = ctypes.CDLL(None); thread = ctypes.c_ulong()\n"
        "libc.pthread_create(ctypes.byref(thread), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)\n" + SLEEPER
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        _answer, [dumped] = host.dump([process.pid], count=1)
        process.kill()
    assert len(dumped["looks"][0]["threads"]) == 1 and dumped["others"] == 1


def test_more_targets_than_are_dumped_at_once(host: Host) -> None:
    with ExitStack() as stack:
        pids = [stack.enter_context(target(threads=2, depth=3)).pid for _number in range(12)]
        answer, dumped = host.dump(pids, count=2, interval=0)
    assert {head["process"]["pid"] for head in answer["captures"]} == set(pids)
    assert {head["outcome"] for head in answer["captures"]} == {"profiled"}
    assert all(len(one["looks"]) == 2 for one in dumped)
    with ExitStack() as stack:
        pids = [stack.enter_context(target(seconds=300)).pid for _number in range(3)]
        answer, dumped = host.dump(pids, count=1, most=2)
    assert len(dumped) == 2 and all(one["cpu"] > 0 for one in answer["selection"]["targets"]), "the hottest of them"


def test_locals_and_command_lines_only_on_request(host: Host) -> None:
    with target(threads=1, depth=1, extra=("--password=made-up",)) as busy:
        plain, [without] = host.dump([busy.pid], count=1)
        asked, [with_locals] = host.dump([busy.pid], count=1, locals=True, command_lines=True)
    assert "command_line" not in without and "made-up" not in str(plain) + str(asked)
    assert with_locals["command_line"][-1] == "--password=made-up"
    frames = [frame for row in without["looks"][0]["threads"] for frame in row["frames"]]
    assert {bool(frame["locals"]) for frame in frames} == {False}
    deep = threads_of(with_locals["looks"][0])["Thread-1 (deep)"]["frames"][0]
    assert [(one["name"], one["repr"]) for one in deep["locals"]] == [("depth", "0")]


def test_native_frames(host: Host) -> None:
    with target(threads=1, depth=1) as busy:
        answer, [dumped] = host.dump([busy.pid], count=2, interval=0, native=True)
        assert state_of(busy.pid) == "R"
    [head] = answer["captures"]
    assert head["measure"] == {"kind": "dump", "rate": 0, "blocking": True, "native": True}
    assert "the target was stopped for each dump, for native frames" in head["notes"]
    names = [frame["name"] for frame in threads_of(dumped["looks"][0])["Thread-1 (deep)"]["frames"]]
    assert "deep" in names and any("nanosleep" in name or "select" in name for name in names), names


def test_a_target_that_ends_between_two_dumps(host: Host) -> None:
    with target(threads=1, depth=1) as busy:
        with dumping(host, busy.pid, count=4, interval=1, deadline=60) as pass_:
            await_condition("a look", lambda: dumper_of(busy.pid) > 0)
            await_condition("its end", lambda: dumper_of(busy.pid) == 0)
            await_condition("another, after the first was taken", lambda: dumper_of(busy.pid) > 0)
            busy.kill()
            busy.wait()
            answer = answer_of(host, pass_)
    [head] = answer["captures"]
    assert head["outcome"] == "profiled" and head["samples"] in (1, 2, 3)
    assert f"the target ended after {head['samples']} of 4 dumps" in head["notes"]


def test_a_py_spy_that_hangs_is_killed_at_the_deadline_and_the_target_runs_on(host: Host) -> None:
    with (
        target(threads=300, depth=30) as busy,
        dumping(host, busy.pid, count=100, interval=0, native=True, deadline=20) as pass_,
    ):
        dumper = catch_holding(busy.pid)
        answer = answer_of(host, pass_)
        assert dumper_of(busy.pid) == 0 and not Path(f"/proc/{dumper}").exists()
        assert state_of(busy.pid) in "RS"
    assert any("the deadline of 20 s left time for" in warning for warning in answer["warnings"])
    [trace] = answer["evidence"]["targets"]
    assert trace["state_after"] in "RS" and trace["tracer_after"] == 0


def test_a_py_spy_that_crashes_does_not_leave_its_target_stopped(host: Host) -> None:
    with (
        target(threads=300, depth=30) as busy,
        dumping(host, busy.pid, count=100, interval=0, native=True, deadline=20) as pass_,
    ):
        dumper = catch_holding(busy.pid)
        os.kill(dumper, signal.SIGABRT)
        os.kill(dumper, signal.SIGCONT)
        await_condition("the target to run on", lambda: state_of(busy.pid) in "RS", 10)
        assert answer_of(host, pass_)["captures"][0]["outcome"] == "profiled"


def test_a_net_that_is_gone_takes_nothing_with_it() -> None:
    net = Resumer([])
    os.kill(net._pid, signal.SIGKILL)
    net.dismiss()
    with pytest.raises(ChildProcessError):
        os.waitpid(net._pid, 0)


def test_when_we_are_killed_the_target_runs_on(host: Host) -> None:
    with (
        target(threads=300, depth=30) as busy,
        dumping(host, busy.pid, count=100, interval=0, native=True, deadline=60) as pass_,
    ):
        dumper = catch_holding(busy.pid)
        program = int(Path(f"/proc/{dumper}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        os.kill(program, signal.SIGKILL)
        await_condition("py-spy to go", lambda: not Path(f"/proc/{dumper}").exists())
        await_condition("the target to run on", lambda: state_of(busy.pid) in "RS", 10)
        await_condition("nothing of ours to be left", lambda: not host.processes(), 10)
        pass_.wait()


def test_who_was_stopped_before_stays_so(host: Host) -> None:
    with target() as busy:
        busy.send_signal(signal.SIGSTOP)
        await_condition("it to stop", lambda: state_of(busy.pid) == "T")
        answer, _dumped = host.dump([busy.pid], count=1)
        assert "it is stopped (state T)" in answer["captures"][0]["reason"]
        allowed = {"allow_stopped": True}
        answer, [dumped] = host.dump([busy.pid], count=2, interval=0, limits=allowed)
        assert answer["captures"][0]["outcome"] == "profiled" and len(dumped["looks"]) == 2
        assert state_of(busy.pid) == "T"


def test_what_cannot_be_done_is_said(host: Host) -> None:
    with target() as busy:
        answer, _dumped = host.dump([busy.pid], limits={"max_load": 0.0001, "min_free_memory": 1e8})
        assert answer["ok"] is False and "too strained" in answer["error"]["reason"]
        answer, _dumped = host.dump([busy.pid], native=True, nonblocking=True)
        assert answer["error"]["reason"] == "native and nonblocking exclude each other"
        answer, _dumped = host.dump([busy.pid], check=True)
        assert answer["ok"] and "captures" not in answer
        assert [one["pid"] for one in answer["selection"]["targets"]] == [busy.pid]
    answer, dumped = host.dump([], limits={"max_load": 0}, pattern="nobody-has-this")
    assert answer["ok"] and answer["captures"] == [] and answer["evidence"] is None and not dumped
    answer, _dumped = host.dump([busy.pid])
    assert answer["ok"] is False and str(busy.pid) in str(answer["error"])


@pytest.mark.parametrize("wish", [{"nonblocking": False}, {"native": True}])
def test_a_target_with_a_thread_in_state_d_is_not_stopped(host: Host, wish: dict[str, bool]) -> None:
    with stuck() as pid:
        answer, dumped = host.dump([pid], count=2, interval=0, **wish)
        heads = {head["process"]["pid"]: head for head in answer["captures"]}
        assert heads[pid]["outcome"] == "profiled" and not heads[pid]["measure"]["blocking"], heads
        assert "uninterruptible sleep (state D)" in "; ".join(heads[pid]["notes"])
        assert len(dumped[list(heads).index(pid)]["looks"]) == 2
        assert "D" in thread_states(pid) and "T" not in thread_states(pid).upper()

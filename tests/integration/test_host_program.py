# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recordings on this machine without Ansible: what a keeper does, and what it leaves when it is hindered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _bundle
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.tests.lab.host_program import (
    STATE,
    Host,
    parent_of,
    recorder_of,
    state_of,
    target,
)
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: Hosts may have any of these; the newest py-spy reads all of them.
PYTHONS = [
    found
    for version in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
    for found in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))[:1]
] or [Path(sys.executable)]

#: PTRACE_SEIZE (0x4206): traces without stopping, as a debugger that waits for a breakpoint.
TRACER = """
import ctypes, sys, time
assert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None) == 0
print("attached", flush=True)
time.sleep(1000)
"""


UNTOUCHED = {"state_before": "R", "tracer_before": 0, "state_after": "R", "tracer_after": 0, "note": ""}


def trace_of(head: dict[str, Any]) -> dict[str, Any]:
    """The evidence on the only target."""
    [trace] = head["evidence"]["targets"]
    return dict(trace)


def frames(body: bytes) -> set[str]:
    return {frame["name"] for frame in json.loads(zlib.decompress(body))["shared"]["frames"]}


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.name)
def test_under_every_python(directory: str, host: Host, python: Path) -> None:
    with target(python=str(python)) as busy:
        host.interpreter = str(python)
        started = host.start([busy.pid], duration=1)
        assert started["ok"], started
        assert [one["pid"] for one in started["selection"]["targets"]] == [busy.pid]
        head, bodies = host.collect(started["recording"]["id"])
        capture = head["captures"][0]
        assert capture["outcome"] == "profiled" and capture["samples"] > 10
        # Without thread ids (before 3.11) nobody can tell who sleeps, but for the GIL.
        kind = "gil" if python.name in ("python3.8", "python3.9", "python3.10") else "cpu"
        assert capture["measure"] == {"kind": kind, "rate": 100, "blocking": False, "native": False}
        assert "burn" in frames(bodies[0])
        assert trace_of(head) == {**UNTOUCHED, "pid": busy.pid}
        assert host.seen_left == [], "read back after the last of it was given away"
        host.wait_until_clean()


def test_without_a_word_from_the_user_the_interpreter_is_found(host: Host) -> None:
    command = _bundle.command(None)
    data = _bundle.envelope("list", {})
    # The first python3 on this PATH cannot run anything, as a version manager's dead shim.
    with tempfile.TemporaryDirectory() as shims:
        shim = Path(shims, "python3")
        shim.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
        shim.chmod(0o755)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=data,
            capture_output=True,
            env={"PATH": f"{shims}:/usr/bin:/bin"},
            check=True,
        )
        answer = _bundle.parse_answer(done.stdout.decode(), "", 0, None)
        assert answer["recordings"] == []
        assert Path(str(answer["python"])).name.startswith("python3")
        bare = command.replace("/usr/bin/", shims + "/").replace("/usr/local/bin/", shims + "/")
        done = subprocess.run(
            ["/bin/sh", "-c", bare], input=data, capture_output=True, env={"PATH": shims}, check=False
        )
        with pytest.raises(FleetError, match="No Python 3.8 or newer"):
            _bundle.parse_answer(done.stdout.decode(), done.stderr.decode(), done.returncode, None)


def test_the_wall_clock_ends_the_window(host: Host) -> None:
    """py-spy counts samples: 500 Hz on this target would take it more than ten times as long as was asked for."""
    with target(threads=60, depth=100) as busy:
        started = host.start([busy.pid], duration=2, rate=500, nonblocking=False)
        head, _bodies = host.collect(started["recording"]["id"])
        assert 1.9 < head["captures"][0]["seconds"] < 2 + 5 + 1  # at worst the whole grace
        assert any("blocking was asked for" in note for note in head["captures"][0]["notes"])
        assert state_of(busy.pid) in "RS"


def test_a_target_that_ends_is_a_result(host: Host) -> None:
    with target(seconds=2) as busy:
        started = host.start([busy.pid], duration=20)
        head, bodies = host.collect(started["recording"]["id"])
        capture = head["captures"][0]
        assert capture["outcome"] == "profiled" and "the target ended in the window" in capture["notes"]
        assert trace_of(head)["state_after"] == "" and trace_of(head)["note"] == "ended in the window"
        assert "burn" in frames(bodies[0])


def test_an_idle_target_is_no_failure(host: Host) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    try:
        started = host.start([sleeper.pid], duration=1)
        head, _bodies = host.collect(started["recording"]["id"])
        assert head["captures"][0]["outcome"] == "empty"
        assert "idle" in " ".join(head["captures"][0]["notes"])
        started = host.start([sleeper.pid], duration=1, idle=True)
        head, _bodies = host.collect(started["recording"]["id"])
        assert head["captures"][0]["outcome"] == "profiled" and head["captures"][0]["measure"]["kind"] == "wall"
    finally:
        sleeper.kill()
        sleeper.wait()


def test_one_recorder_per_target(host: Host) -> None:
    with target() as busy, target() as other:
        first = host.start([busy.pid], duration=60)
        keeper = parent_of(recorder_of(busy.pid))
        second = host.ask("start", host.order([busy.pid]))
        assert not second["ok"] and "already being sampled" in second["error"]["reason"]
        assert first["recording"]["id"] in second["error"]["detail"]
        third = host.start([busy.pid, other.pid], duration=1)
        assert [one["pid"] for one in third["selection"]["targets"]] == [other.pid]
        assert any("already being sampled" in one["reason"] for one in third["selection"]["skipped"])
        os.kill(keeper, signal.SIGTERM)  # ends its window early, and keeps what it has
        for started in (first, third):
            head, _bodies = host.collect(started["recording"]["id"])
            assert head["captures"][0]["outcome"] == "profiled"


def again(identity: str, name: str, **changes: object) -> Path:
    """The folder of a recording that was asked for like another one, and that nobody has begun."""
    folder = STATE / name
    folder.mkdir(mode=0o700)
    request = json.loads((STATE / identity / "request.json").read_text())
    (folder / "request.json").write_text(json.dumps({**request, **changes}))
    return folder


def keep(identity: str) -> None:
    """Be the keeper of a recording, until its end."""
    with tempfile.NamedTemporaryFile(suffix=".pyz") as program:
        program.write(_bundle.bundle())
        program.flush()
        subprocess.run([sys.executable, "-I", "-S", program.name, "keep", identity], check=True)


@contextmanager
def reborn(pid: int) -> Iterator[None]:
    """Another process with this PID, which nobody has now."""
    for _attempt in range(200):  # whoever else starts a process at the same moment takes it before us
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            if process.pid == pid:
                yield
                return
        finally:
            process.kill()
            process.wait()
    raise AssertionError("the PID was never had again")


def test_a_pid_that_changed_hands_between_selection_and_attaching_is_not_sampled(host: Host) -> None:
    with target() as busy:
        started = host.start([busy.pid], duration=1)
        # Enough of the window has to be left for it to be tried.
        again(started["recording"]["id"], "00aa", ends_at=time.monotonic() + 20)
        host.collect(started["recording"]["id"])
    with reborn(busy.pid):
        keep("00aa")
        head, bodies = host.collect("00aa")
    assert head["captures"][0]["outcome"] == "failed" and bodies == [b""]
    assert "ended before it could be attached" in head["captures"][0]["reason"]


def test_a_killed_keeper_takes_its_recorders_along(host: Host) -> None:
    with target() as busy:
        started = host.start([busy.pid], duration=30, native=True)
        recorder = recorder_of(busy.pid)
        os.kill(parent_of(recorder), signal.SIGKILL)
        await_condition("the recorder to be gone", lambda: not os.path.exists(f"/proc/{recorder}"), 5)
        answer = host.ask("collect", {"recording": started["recording"]["id"], "patience": 5})
        assert answer["phase"] == "broken" and answer["result"]["error"]["reason"] and answer["left"] == []
        assert trace_of(answer["result"])["state_after"] in "RS" and not trace_of(answer["result"])["tracer_after"]
        host.wait_until_clean()
        await_condition("the target to run", lambda: state_of(busy.pid) in "RS", 5)


def test_a_bug_that_ends_a_keeper_is_told_to_who_asks_for_the_recording(host: Host) -> None:
    with target() as busy:
        started = host.start([busy.pid], duration=1)
        folder = again(started["recording"]["id"], "00aa", binary={"no": "version"}, ends_at=time.monotonic() + 60)
        host.collect(started["recording"]["id"])
        keep("00aa")
        (folder / "keeper.json").write_text(json.dumps({"watchdog": [1, 0]}))  # as its watchdog notes a keeper's end
        answer = host.ask("collect", {"recording": "00aa", "patience": 5})
        error = answer["result"]["error"]
        assert answer["phase"] == "broken" and error["reason"] == "The host program failed" and error["remedy"]
        assert error["detail"].startswith("TypeError: ") and "(_keeper.py:" in error["detail"] and answer["left"] == []


def test_a_stopped_keeper_is_ended_by_its_watchdog(host: Host) -> None:
    with target() as busy:
        started = host.start([busy.pid], duration=1)
        keeper = parent_of(recorder_of(busy.pid))
        os.kill(keeper, signal.SIGSTOP)
        await_condition("the keeper to be ended", lambda: not os.path.exists(f"/proc/{keeper}"), 20)
        answer = host.ask("collect", {"recording": started["recording"]["id"], "patience": 5})
        assert answer["phase"] == "broken"
        host.wait_until_clean()


def test_a_hung_py_spy_is_killed_and_the_others_are_kept(host: Host) -> None:
    with target() as busy, target() as other:
        started = host.start([busy.pid, other.pid], duration=2)
        os.kill(recorder_of(busy.pid), signal.SIGSTOP)
        head, _bodies = host.collect(started["recording"]["id"])
        outcomes = {capture["process"]["pid"]: capture for capture in head["captures"]}
        assert outcomes[busy.pid]["outcome"] == "failed" and "had to be killed" in outcomes[busy.pid]["reason"]
        assert outcomes[other.pid]["outcome"] == "profiled"
        assert state_of(busy.pid) in "RS"


def test_what_somebody_else_stopped_stays_stopped(host: Host) -> None:
    with target() as busy:
        started = host.start([busy.pid], duration=2)
        recorder_of(busy.pid)
        busy.send_signal(signal.SIGSTOP)
        host.collect(started["recording"]["id"])
        assert state_of(busy.pid) == "T"


def test_uncollected_captures_are_deleted_at_the_keep_deadline(host: Host) -> None:
    with target() as busy:
        started = host.start([busy.pid], duration=1, keep=10)
        identity = started["recording"]["id"]
        await_condition("the result", (STATE / identity / "result").exists, 20)
        await_condition("no recorder to run", lambda: len(host.processes()) == 1, 10)  # the one that waits to delete
        listed = host.ask("list")["recordings"]
        assert [(row["id"], row["phase"], row["run"]) for row in listed] == [(identity, "done", "a-run")]
        host.wait_until_clean()
        gone = host.ask("collect", {"recording": identity})
        assert not gone["ok"] and "has no recording" in gone["error"]["reason"] and gone["error"]["remedy"]


def test_cleanup_leaves_healthy_recordings_alone(host: Host) -> None:
    with target() as busy:
        started = host.start([busy.pid], duration=30)
        identity = started["recording"]["id"]
        recorder_of(busy.pid)
        answer = host.ask("cleanup")
        assert not answer["changed"] and "left alone" in answer["found"][0] and identity in answer["found"][0]
        dry = host.ask("cleanup", {"force": True, "check": True})
        assert dry["changed"] and (STATE / identity).exists()
        answer = host.ask("cleanup", {"force": True})
        assert answer["changed"] and "ended and removed" in answer["found"][0]
        host.wait_until_clean()
        again = host.ask("cleanup", {"force": True})
        assert not again["changed"] and again["found"] == []


def test_cleanup_removes_what_a_reboot_left(host: Host) -> None:
    with target() as busy:
        started = host.start([busy.pid], duration=1)
        identity = started["recording"]["id"]
        again(identity, "00bb", boot="another")
        host.collect(identity)
        answer = host.ask("cleanup")
        assert answer["changed"] and "no result" in answer["found"][0]
        assert not STATE.exists()


def test_full_disk_is_said(host: Host) -> None:
    STATE.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(STATE)], check=True)
    try:
        with target(threads=5, depth=60) as busy:
            started = host.start([busy.pid], duration=2, idle=True, rate=200)
            assert started["ok"], started
            keeper = STATE / started["recording"]["id"] / "keeper.json"
            await_condition("the keeper to say who it is", keeper.exists)
            filler = STATE / "filler"
            with filler.open("wb", buffering=0) as handle, pytest.raises(OSError):
                while True:
                    handle.write(b"x" * 512)
            head, _bodies = host.collect(started["recording"]["id"])
            assert head["captures"][0]["outcome"] == "failed"
            assert "No space left" in head["captures"][0]["detail"]
    finally:
        subprocess.run(["umount", str(STATE)], check=True)
        STATE.rmdir()


def test_command_lines_of_subprocesses_stay_on_the_host(host: Host) -> None:
    with target(extra=("--token=a-made-up-secret",)) as busy:
        started = host.start([busy.pid], duration=1, subprocesses=True)
        head, bodies = host.collect(started["recording"]["id"])
        text = zlib.decompress(bodies[0])
        assert b"burn" in text and b"a-made-up-secret" not in text
        assert "a-made-up-secret" not in json.dumps([head, started])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"duration": 0}, "duration"),
        ({"duration": -1}, "duration"),
        ({"duration": 10**9}, "duration"),
        ({"rate": 0}, "rate"),
        ({"native": True, "nonblocking": True}, "native and nonblocking"),
        ({"gil": True, "idle": True}, "gil and idle"),
        ({"gil": "yes"}, "gil"),
    ],
)
def test_bad_options_are_refused_by_name_before_anything_runs(
    host: Host, options: dict[str, object], words: str
) -> None:
    order = host.order([os.getpid()])
    order["options"].update(options)
    answer = host.ask("start", order)
    assert not answer["ok"]
    assert words in answer["error"]["reason"] and answer["error"]["remedy"]
    assert not STATE.exists()


def test_who_may_not_be_attached_to_is_named_with_the_rule(host: Host) -> None:
    """Somebody's debugger traces one target, and a blocking py-spy needs the trace for itself."""
    with target() as traced, target() as other:
        tracer = subprocess.Popen([sys.executable, "-c", TRACER, str(traced.pid)], stdout=subprocess.PIPE, text=True)
        try:
            assert tracer.stdout is not None and tracer.stdout.readline() == "attached\n"
            [left] = host.start([traced.pid], duration=1)["captures"]
            assert left["outcome"] == "failed" and f"left alone: process {tracer.pid} traces it" in left["reason"]
            allowed = {"allow_traced": True}
            [alone] = host.start([traced.pid], limits=allowed, duration=1, nonblocking=False)["captures"]
            assert f"already traced by process {tracer.pid}" in alone["reason"]
            assert "nonblocking" in alone["remedy"] and not STATE.exists()
            started = host.start([traced.pid, other.pid], limits=allowed, duration=1, nonblocking=False)
            head, _bodies = host.collect(started["recording"]["id"])
            captures = {capture["process"]["pid"]: capture for capture in head["captures"]}
            assert captures[other.pid]["outcome"] == "profiled"
            refused = captures[traced.pid]
            assert refused["outcome"] == "failed" and "already traced" in refused["reason"]
            assert "nonblocking" in refused["remedy"]
        finally:
            tracer.kill()
            tracer.wait()
            tracer.stdout.close()  # type: ignore[union-attr]


def test_a_stopped_target_is_left_alone_unless_that_is_allowed(host: Host) -> None:
    with target() as busy:
        busy.send_signal(signal.SIGSTOP)
        await_condition("the target to stop", lambda: state_of(busy.pid) == "T")
        [left] = host.start([busy.pid], duration=1)["captures"]
        assert "left alone: it is stopped" in left["reason"] and "pyspy_allow_stopped" in left["remedy"]
        started = host.start([busy.pid], limits={"allow_stopped": True}, duration=1)
        head, _bodies = host.collect(started["recording"]["id"])
        assert head["captures"][0]["outcome"] in ("profiled", "empty") and state_of(busy.pid) == "T"


def test_a_host_that_is_strained_is_left_alone(host: Host) -> None:
    with target() as busy:
        answer = host.start([busy.pid], limits={"min_free_memory": 99999999})
        assert not answer["ok"] and "pyspy_min_free_memory" in answer["error"]["remedy"]
        checked = host.ask("start", {**host.order([busy.pid], limits={"max_load": 1e-6}), "check": True})
        assert not checked["ok"] and "load average per CPU is" in checked["error"]["detail"]
        assert not STATE.exists() and not host.processes()


def test_by_hand(host: Host) -> None:
    with tempfile.NamedTemporaryFile(suffix=".pyz") as program, target() as busy:
        program.write(_bundle.bundle())
        program.flush()
        arguments = json.dumps({"selectors": {"pids": [busy.pid]}})
        done = subprocess.run(
            [sys.executable, "-I", "-S", program.name, "info", arguments], capture_output=True, text=True, check=True
        )
        answer = _bundle.parse_answer(done.stdout, done.stderr, 0, None)
        assert answer["selection"]["targets"][0]["name"] == "busy_target.py"  # type: ignore[index]
        done = subprocess.run([sys.executable, "-I", "-S", program.name], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "usage:" in done.stderr
        done = subprocess.run(
            [sys.executable, "-I", "-S", program.name, "info", "{"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1 and "not JSON" in done.stderr and "Traceback" not in done.stderr

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Do no harm, on this machine: the plan goes by what a target is, and by what it suffers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab.host_program import (
    BUSY,
    Host,
    recorder_of,
    state_of,
    target,
    ticks_of,
)
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition


def recorded(host: Host, pid: int, **options: Any) -> tuple[dict[str, Any], list[bytes]]:
    started = host.start([pid], **options)
    assert started["ok"], started
    return host.collect(started["recording"]["id"])


def functions(body: bytes) -> set[str]:
    return {frame["name"] for frame in json.loads(zlib.decompress(body))["shared"]["frames"]}


def notes(capture: dict[str, Any]) -> str:
    return "; ".join(capture["notes"])


def test_many_threads_get_a_lower_rate_and_the_reason(host: Host) -> None:
    with target(threads=40, depth=48) as busy:
        head, bodies = recorded(host, busy.pid)
        (capture,) = head["captures"]
        assert capture["outcome"] == "profiled" and "burn" in functions(bodies[0])
        assert capture["measure"]["kind"] == "cpu" and 10 <= capture["measure"]["rate"] < 50
        assert "Hz instead of 100: reading 41 threads with" in notes(capture)
        assert capture["harm"]["threads"] == 41 and capture["harm"]["frames"] > 40 * 48
        assert capture["harm"]["stopped"] == 0 and capture["harm"]["cpu_during"] > 0


def test_more_threads_still_have_only_the_holder_of_the_gil_read(host: Host) -> None:
    with target(threads=60, depth=98) as busy:
        head, bodies = recorded(host, busy.pid)
        (capture,) = head["captures"]
        assert capture["measure"]["kind"] == "gil" and functions(bodies[0]) >= {"burn"}
        assert "only the thread that holds the GIL is read" in notes(capture)
        assert "released the GIL is not seen" in notes(capture)


@contextmanager
def contained() -> Iterator[int]:
    """A busy process with three sleeping threads in another PID namespace; gives its PID out here."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "busy_target.py")
        script.write_text(BUSY, encoding="utf-8")
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, str(script), "3", "5"]
        process = subprocess.Popen([*command, "300"], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8"))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("wish", [{}, {"native": True}])
def test_in_a_container_sleepers_are_not_counted_as_busy(host: Host, wish: dict[str, bool]) -> None:
    with contained() as pid:
        head, bodies = recorded(host, pid, **wish)
        (capture,) = head["captures"]
        assert capture["outcome"] == "profiled", capture
        assert capture["measure"]["kind"] == "gil" and not capture["measure"]["blocking"]
        assert "in a container" in notes(capture)
        assert "burn" in functions(bodies[0]) and "deep" not in functions(bodies[0])


def test_blocking_is_honoured_with_a_warning_and_a_bearable_rate(host: Host) -> None:
    with target(threads=40, depth=48) as busy:
        head, bodies = recorded(host, busy.pid, duration=4, nonblocking=False)
        capture = head["captures"][0]
        assert capture["outcome"] == "profiled" and "burn" in functions(bodies[0])
        assert capture["measure"]["blocking"] and capture["measure"]["rate"] <= 5
        assert "blocking was asked for" in notes(capture)


#: It grows after it was looked at: ten threads more, each time it is told to.
GROWING = BUSY.replace(
    'print("ready"',
    """import signal
def grow(*_details):
    for _thread in range(10):
        threading.Thread(target=deep, args=(48,), daemon=True).start()
signal.signal(signal.SIGUSR1, grow)
print("ready\"""",
)


def grow_until_it_hurts(process: subprocess.Popen[str], recorder: int) -> None:
    """Machines differ in how many threads that takes: a few more at a time, until this recorder has been ended."""
    for _step in range(10):
        process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(TimeoutError):
            # Twice the time that a judgement takes, so that one is of this size alone.
            await_condition("the recorder to be ended", lambda: not os.path.exists(f"/proc/{recorder}"), 5)
            return
    raise AssertionError("a hundred threads more did not hurt")


def test_one_that_hurts_goes_on_more_gently(host: Host) -> None:
    """Its plan was made for one thread, and stopping many more for each sample takes much of its time."""
    process = subprocess.Popen([sys.executable, "-c", GROWING, "0", "0", "300"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        started = host.start([process.pid], duration=90, rate=30, nonblocking=False)
        grow_until_it_hurts(process, recorder_of(process.pid))
        await_condition("the next segment to have samples", lambda: ticks_of(recorder_of(process.pid)) >= 20)
        os.kill(recorder_of(process.pid), signal.SIGINT)  # nobody needs the rest of the window
        head, bodies = host.collect(started["recording"]["id"])
        first, second = head["captures"][:2]
        assert [first["segment"], second["segment"]] == [1, 2] and first["process"] == second["process"]
        assert "gone on with more gently" in notes(first) and "cost too much" in notes(second)
        assert second["measure"]["rate"] < first["measure"]["rate"] == 30 and second["measure"]["blocking"]
        assert first["outcome"] == second["outcome"] == "profiled" and first["harm"]["stopped"] > 5
        assert all("burn" in functions(body) for body in bodies[:2])
        assert first["ended"] <= second["began"]
        [trace] = head["evidence"]["targets"]
        assert trace["pid"] == process.pid and trace["state_after"] in "RSD" and not trace["tracer_after"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_a_py_spy_that_hangs_with_its_target_stopped_is_killed_long_before_the_window_ends(host: Host) -> None:
    with target(threads=60, depth=98) as busy, target() as other:
        started = host.start([busy.pid, other.pid], duration=60, nonblocking=False, gil=True)
        recorder = recorder_of(busy.pid)

        def caught() -> bool:
            os.kill(recorder, signal.SIGSTOP)
            await_condition("py-spy to be stopped", lambda: state_of(recorder) == "T")
            if state_of(busy.pid) == "t":
                return True
            os.kill(recorder, signal.SIGCONT)
            return False

        await_condition("py-spy to be stopped in the middle of a sample", caught)
        await_condition("py-spy to be killed", lambda: not os.path.exists(f"/proc/{recorder}"))
        await_condition("the target to run", lambda: state_of(busy.pid) in "RS")
        assert host.processes(), "the other target is still sampled"
        os.kill(recorder_of(other.pid), signal.SIGINT)
        head, _bodies = host.collect(started["recording"]["id"])
        captures = {capture["process"]["pid"]: capture for capture in head["captures"]}
        assert captures[other.pid]["outcome"] == "profiled"
        assert captures[busy.pid]["outcome"] == "failed" and "had to be killed" in captures[busy.pid]["reason"]
        assert captures[busy.pid]["harm"]["stopped"] > 0


#: A thread waits in state D for the child of its posix_spawn(), which waits for somebody to write to a FIFO.
STUCK = """
import ctypes, os, sys, threading
libc = ctypes.CDLL(None)
actions = ctypes.create_string_buffer(1024)
libc.posix_spawn_file_actions_init(actions)
libc.posix_spawn_file_actions_addopen(actions, 0, sys.argv[1].encode(), os.O_RDONLY, 0)
words = (ctypes.c_char_p * 2)(b"true", None)
def stuck():
    libc.posix_spawn(ctypes.byref(ctypes.c_int()), b"/bin/true", actions, None, words, None)
def burn():
    total = 0
    for number in range(3000):
        total += number * number
threading.Thread(target=stuck).start()
print("ready", flush=True)
while True:
    burn()
"""


@contextmanager
def stuck() -> Iterator[int]:
    """A busy process with another thread in state D; gives its PID."""
    with tempfile.TemporaryDirectory() as folder:
        fifo = os.path.join(folder, "fifo")
        os.mkfifo(fifo)
        process = subprocess.Popen([sys.executable, "-c", STUCK, fifo], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            await_condition("a thread in state D", lambda: "D" in thread_states(process.pid))
            yield process.pid
        finally:
            os.close(os.open(fifo, os.O_RDWR))  # lets the child go on, and end
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]


def thread_states(pid: int) -> str:
    return "".join(
        Path(f"/proc/{pid}/task/{thread}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        for thread in os.listdir(f"/proc/{pid}/task")
    )


@pytest.mark.parametrize("wish", [{"nonblocking": False}, {"native": True}])
def test_a_target_with_a_thread_in_state_d_is_not_stopped(host: Host, wish: dict[str, bool]) -> None:
    with stuck() as pid:
        # Its child is taken for a worker of it, as long as it waits.
        head, bodies = recorded(host, pid, role="any", **wish)
        captures = {capture["process"]["pid"]: number for number, capture in enumerate(head["captures"])}
        capture = head["captures"][captures[pid]]
        assert not capture["measure"]["blocking"] and not capture["measure"]["native"], capture
        assert "uninterruptible sleep (state D)" in notes(capture)
        assert capture["outcome"] == "profiled" and "burn" in functions(bodies[captures[pid]])
        assert "D" in thread_states(pid) and "T" not in thread_states(pid).upper()

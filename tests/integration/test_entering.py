# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes in other PID namespaces: the picture is the right one, and nobody in there gets at who enters."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab import hostile_program
from ansible_collections.pyspy.fleet.tests.lab.host_program import STATE, Host, parent_of, recorder_of
from ansible_collections.pyspy.fleet.tests.lab.sandbox import CONFINED, Sandbox, sandbox
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: One that every user may run, and that is in a sandbox with a root directory of its own.
PYTHON = "/usr/bin/python3"
USER = 31001
#: What happens here does not depend on who else is at work.
ANY_LOAD = {"max_load": 0}
ONLY_PTRACE = "0000000000080000"

#: A busy thread that is two thirds of its time in ``burn``, and five that sleep in ``wait``.
WORK = """
import threading, time
def burn():
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        sum(number * number for number in range(300))
def chew():
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        sum(number * number for number in range(300))
def wait():
    time.sleep(1000)
for _thread in range(5):
    threading.Thread(target=wait, daemon=True).start()
print("ready", flush=True)
while True:
    burn()
    chew()
"""
#: What makes a container: each gives a :class:`Sandbox`, which a runtime's own may do as well.
BOXES: dict[str, Callable[[], AbstractContextManager[Sandbox]]] = {
    "unshare": sandbox,
    "with a root directory": partial(sandbox, root=True),
}
SLEEPER = ("/bin/sh", "-c", "echo ready; sleep 1000")


def target(box: Sandbox, *before: str) -> int:
    return box.start(*before, PYTHON, "-c", WORK)


def recorded(host: Host, pids: list[int], **options: Any) -> tuple[list[dict[str, Any]], list[bytes]]:
    started = host.start(pids, limits=ANY_LOAD, **options)
    assert started["ok"], started
    head, bodies = host.collect(started["recording"]["id"])
    return head["captures"], bodies


def refused(host: Host, pid: int, **options: Any) -> dict[str, Any]:
    """The capture of a target that is refused before anything is started."""
    started = host.start([pid], limits=ANY_LOAD, enter_namespaces=True, duration=1, **options)
    assert started["ok"] and "recording" not in started and not STATE.exists(), started
    [capture] = started["captures"]
    assert capture["outcome"] == "failed" and capture["samples"] == 0
    assert "pyspy_enter_namespaces" in capture["remedy"]
    return dict(capture)


def shares(body: bytes) -> dict[str, float]:
    """The share of the samples that each function is in."""
    document = json.loads(zlib.decompress(body))
    names = [frame["name"] for frame in document["shared"]["frames"]]
    samples = [sample for profile in document["profiles"] for sample in profile["samples"]]
    found = Counter(name for sample in samples for name in {names[frame] for frame in sample})
    return {name: count / len(samples) for name, count in found.items()}


def notes(capture: dict[str, Any]) -> str:
    return "; ".join(capture["notes"])


@pytest.mark.parametrize("kind", BOXES)
def test_the_picture_is_the_same_on_the_host_from_outside_and_inside(host: Host, kind: str) -> None:
    with subprocess.Popen([PYTHON, "-c", WORK], stdout=subprocess.PIPE, text=True) as here, BOXES[kind]() as box:
        try:
            assert here.stdout is not None and here.stdout.readline() == "ready\n"
            inside = target(box)
            cases: dict[str, tuple[str, dict[str, float]]] = {}
            for name, pid, entering in (("host", here.pid, False), ("out", inside, False), ("in", inside, True)):
                [capture], [body] = recorded(host, [pid], duration=4, enter_namespaces=entering)
                assert capture["outcome"] == "profiled", capture
                assert ("from inside its container" in notes(capture)) == entering
                cases[name] = capture["measure"]["kind"], shares(body)
        finally:
            here.kill()
    assert [kind for kind, _shares in cases.values()] == ["cpu", "gil", "cpu"]
    for _kind, found in cases.values():
        assert found.get("wait", 0) < 0.05, cases
        assert abs(found["burn"] - 2 / 3) < 0.15 and abs(found["burn"] - cases["host"][1]["burn"]) < 0.15, cases


def test_this_is_what_would_be_seen_otherwise(host: Host, tmp_path: Path) -> None:
    """py-spy's own way, from outside: the reason for all of this."""
    with sandbox() as box:
        pid = target(box)
        recorded(host, [pid], duration=1)
        [pyspy] = list(Path(host.directory).glob("py-spy-*"))
        command = [str(pyspy), "record", "-p", str(pid), "-d", "2", "-f", "speedscope", "-o", str(tmp_path / "seen")]
        subprocess.run([*command, "--nonblocking"], check=True, capture_output=True)
        assert shares(zlib.compress((tmp_path / "seen").read_bytes()))["wait"] > 0.6


def test_native_frames_are_had_inside(host: Host) -> None:
    with sandbox(root=True) as box:
        pid = target(box)
        [capture], [body] = recorded(host, [pid], native=True, enter_namespaces=True, duration=3)
        assert capture["outcome"] == "profiled", capture
        assert capture["measure"] == {**capture["measure"], "kind": "cpu", "native": True, "blocking": True}
        assert {"burn", "clock_gettime"} <= set(shares(body)), shares(body)
        [without], _bodies = recorded(host, [pid], native=True, duration=1)
        assert "pyspy_enter_namespaces" in notes(without) and not without["measure"]["native"]


@pytest.mark.parametrize("user", [0, USER])
@pytest.mark.parametrize("kind", BOXES)
def test_nothing_of_the_hosts_is_left_to_a_recorder_inside(host: Host, user: int, kind: str) -> None:
    with BOXES[kind]() as box:
        pid = target(box, "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all", "--")
        started = host.start([pid], limits=ANY_LOAD, enter_namespaces=True, duration=3)
        recorder = Path("/proc", str(recorder_of(inner(pid))))
        status = dict(line.split(":\t", 1) for line in (recorder / "status").read_text().splitlines())
        assert status["Uid"].split() == [str(user)] * 4 and not status["Groups"].strip()
        assert status["NoNewPrivs"] == "1"
        assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {ONLY_PTRACE}
        for name in ("pid", "net", "uts", "ipc", "cgroup", "user"):
            assert os.readlink(recorder / "ns" / name) == os.readlink(f"/proc/{pid}/ns/{name}"), name
        assert os.readlink(recorder / "ns/mnt") not in {os.readlink(f"/proc/{one}/ns/mnt") for one in ("self", pid)}
        assert os.path.samestat(os.stat(recorder / "root"), os.stat(f"/proc/{pid}/root"))
        assert os.readlink(recorder / "cwd") == os.readlink(recorder / "root")
        # It opens the target's own files, too, and closes them again.
        await_condition("nothing but memory to be open", lambda: all(map(is_ours, descriptors(recorder))))
        assert (recorder / "environ").read_bytes() == b"LC_ALL=C\0"
        with pytest.raises(OSError, match="Operation not permitted|Text file busy"):
            os.open(recorder / "exe", os.O_RDWR)
        assert stat.S_IMODE(os.stat(recorder / "exe").st_mode) == 0o111
        assert (recorder / "environ").stat().st_uid == 0, "it is not dumpable, so its files are root's"
        head, _bodies = host.collect(started["recording"]["id"])
        assert head["captures"][0]["outcome"] == "profiled", head["captures"]


def descriptors(process: Path) -> list[str]:
    return [os.readlink(process / "fd" / name) for name in os.listdir(process / "fd")]


def is_ours(link: str) -> bool:
    return link.startswith("/memfd:pyspy-fleet")


def inner(pid: int) -> int:
    """The PID inside."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("NSpid")).split()[-1])


@pytest.mark.parametrize("user", [0, USER])
def test_a_hostile_neighbour_sees_the_recorder_and_gets_at_nothing(host: Host, user: int) -> None:
    with sandbox() as box:
        pid = target(box, "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all", "--")
        found = box.folder / "found"
        box.start(PYTHON, hostile_program.__file__, str(found))
        [capture], _bodies = recorded(host, [pid], enter_namespaces=True, duration=2)
        assert capture["outcome"] == "profiled", capture
        await_condition("its results", lambda: "py-spy" in found.read_text(encoding="utf-8"))
        rows = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]
        seen = [row for row in rows if any("py-spy record" in line for line in row["lines"])]
        assert len(seen) == 1 and seen[0]["tries"] > 50, rows
        assert not [row for row in rows if row["succeeded"]], rows


def test_its_attempts_would_succeed_on_who_has_no_more_than_it(host: Host) -> None:
    """The counter-check: the same program on a process that is not protected."""
    with sandbox() as box:
        found = box.folder / "found"
        box.start(PYTHON, hostile_program.__file__, str(found))
        box.run("/bin/sleep", "1")
        await_condition("its results", lambda: "sleep" in found.read_text(encoding="utf-8"))
        rows = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]
        [row] = [row for row in rows if any("/bin/sleep" in line for line in row["lines"])]
        assert set(row["succeeded"]) == set(hostile_program.ATTEMPTS), row


def test_one_who_holds_the_capability_bars_the_way(host: Host) -> None:
    with sandbox() as box:
        pid = target(box)
        holder = box.start(*SLEEPER, capable=True)
        capture = refused(host, pid)
        assert f"process {inner(holder)} there" in capture["reason"] and f"PID {holder} on" in capture["reason"]
        assert "holds CAP_SYS_PTRACE" in capture["reason"]


def test_one_who_could_gain_it_bars_the_way_too(host: Host) -> None:
    """An ordinary user's: a program with the set-user-ID bit would give it whatever is in its bounding set."""
    with sandbox() as box:
        pid = target(box)
        box.start("setpriv", f"--reuid={USER}", "--clear-groups", "--inh-caps=-all", "--", *SLEEPER, capable=True)
        assert "could gain CAP_SYS_PTRACE" in refused(host, pid)["reason"]


#: The main thread gives it up, or ends; another one keeps it.
HIDING = """
import ctypes, os, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
threading.Thread(target=time.sleep, args=(1000,)).start()
if sys.argv[1] == "ended":
    os.write(1, b"ready\\n")
    libc.pthread_exit(None)
number = 0
while libc.prctl(24, number, 0, 0, 0) == 0:
    number += 1
header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0] * 6)
assert libc.capset(header, sets) == 0
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("way", ["dropped", "ended"])
def test_a_thread_that_holds_it_is_found_behind_one_that_does_not(host: Host, way: str) -> None:
    with sandbox() as box:
        pid = target(box)
        holder = box.start(PYTHON, "-c", HIDING, way, capable=True)
        status = Path(f"/proc/{holder}/status")
        wanted = "State:\tZ" if way == "ended" else "CapBnd:\t0000000000000000"
        await_condition("its main thread to be harmless", lambda: wanted in status.read_text(encoding="utf-8"))
        assert f"PID {holder} on the host" in refused(host, pid)["reason"]


def test_who_is_in_a_namespace_around_the_targets_bars_the_way(host: Host) -> None:
    """A container in a container: the outer one sees what goes on in the inner one."""
    with sandbox(capable=True) as outer:
        nested = ("unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "--")
        unshare = outer.start(*nested, *CONFINED, PYTHON, "-c", WORK, capable=True)
        pid = int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text(encoding="utf-8").split()[0])
        assert f"PID {outer.init} on the host" in refused(host, pid)["reason"]


def test_a_user_namespace_of_its_own_bars_the_way(host: Host) -> None:
    with sandbox(users=True) as box:
        assert "another user namespace (pid, " in refused(host, target(box))["reason"]


def test_relax_and_entering_exclude_each_other(host: Host) -> None:
    with sandbox() as box:
        pid = target(box, "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all", "--")
        capture = refused(host, pid, policy="relax")
        assert "relax" in capture["reason"] and "auto" in capture["remedy"]


def test_who_comes_in_with_the_capability_ends_the_recorder_at_once(host: Host) -> None:
    with sandbox() as box:
        pid = target(box)
        started = host.start([pid], limits=ANY_LOAD, enter_namespaces=True, duration=60)
        recorder = recorder_of(inner(pid))
        box.start(*SLEEPER, capable=True)
        await_condition("the recorder to be gone", lambda: not os.path.exists(f"/proc/{recorder}"))
        head, _bodies = host.collect(started["recording"]["id"])
        [capture] = head["captures"]
        assert capture["outcome"] == "failed" and "ended at once" in capture["reason"]
        assert capture["ended"] - capture["began"] < 30 and capture["detail"] == "its samples are lost"
        [trace] = head["evidence"]["targets"]
        assert trace["state_after"] in "RS" and not trace["tracer_after"]


def test_two_targets_of_one_container_do_not_bar_each_other(host: Host) -> None:
    with sandbox() as box:
        captures, bodies = recorded(host, [target(box), target(box)], enter_namespaces=True, duration=2)
        assert [capture["outcome"] for capture in captures] == ["profiled"] * 2, captures
        assert all("burn" in shares(body) for body in bodies)


def test_a_second_recording_does_not_go_into_the_same_container(host: Host) -> None:
    with sandbox() as box:
        first, second = target(box), target(box)
        started = host.start([first], limits=ANY_LOAD, enter_namespaces=True, duration=4)
        recorder = recorder_of(inner(first))
        [refusal] = host.start([second], limits=ANY_LOAD, enter_namespaces=True, duration=1)["captures"]
        assert refusal["outcome"] == "failed" and f"PID {recorder} on the host" in refusal["reason"]
        head, _bodies = host.collect(started["recording"]["id"])
        assert head["captures"][0]["outcome"] == "profiled", head["captures"]


def test_a_swapped_proc_is_harmless(host: Host) -> None:
    """What stands there leads everywhere to a file that must not be touched, and to a program that must not run."""
    with sandbox(root=True) as box:
        pid = target(box)
        victim, program, ran = (box.folder / name for name in ("victim", "program", "ran"))
        victim.write_text("precious", encoding="utf-8")
        program.write_text(f"#!/bin/sh\necho $0 >> {ran}\n", encoding="utf-8")
        program.chmod(0o755)
        fake = box.folder / "fake"
        for name in ("self", str(inner(pid))):
            (fake / name / "fd").mkdir(parents=True)
            (fake / name / "exe").symlink_to(program)
            for number in range(20):
                (fake / name / "fd" / str(number)).symlink_to(victim if number % 2 else program)
        box.run("mount", "--bind", str(fake), "/proc", capable=True)
        [capture], [body] = recorded(host, [pid], enter_namespaces=True, duration=2)
        assert capture["outcome"] == "profiled" and "burn" in shares(body), capture
        assert victim.read_text(encoding="utf-8") == "precious" and not ran.exists()


def test_where_proc_cannot_be_had_it_is_said(host: Host) -> None:
    with sandbox(root=True) as box:
        pid = target(box)
        box.run("umount", "/proc", capable=True)
        box.run("rmdir", "/proc", capable=True)
        [capture], _bodies = recorded(host, [pid], enter_namespaces=True, duration=1)
        assert capture["outcome"] == "failed" and "could not be entered" in capture["reason"], capture
        assert "mounting /proc" in capture["detail"] and "pyspy_enter_namespaces" in capture["remedy"]


def test_a_recorder_inside_ends_with_its_keeper(host: Host) -> None:
    with sandbox() as box:
        pid = target(box)
        host.start([pid], limits=ANY_LOAD, enter_namespaces=True, duration=60)
        recorder = recorder_of(inner(pid))
        os.kill(parent_of(recorder), signal.SIGKILL)
        await_condition("the recorder to be gone", lambda: not os.path.exists(f"/proc/{recorder}"), 20)


def test_a_container_that_ends_in_the_window_waits_for_nobody(host: Host) -> None:
    with sandbox() as box:
        pid = target(box)
        started = host.start([pid], limits=ANY_LOAD, enter_namespaces=True, duration=60)
        recorder_of(inner(pid))
        os.kill(box.init, signal.SIGKILL)
        await_condition("the container to be gone", lambda: not os.path.exists(f"/proc/{box.init}"))
        head, _bodies = host.collect(started["recording"]["id"])
        assert head["captures"][0]["outcome"] == "failed"


def test_in_our_own_namespaces_there_is_nothing_to_enter(host: Host) -> None:
    with subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, text=True) as here:
        try:
            assert here.stdout is not None and here.stdout.readline() == "ready\n"
            [capture], [body] = recorded(host, [here.pid], enter_namespaces=True, duration=1)
            assert capture["outcome"] == "profiled" and "burn" in shares(body)
            assert "inside" not in notes(capture)
        finally:
            here.kill()


@pytest.mark.parametrize("kind", BOXES)
def test_a_dump_from_inside(host: Host, kind: str) -> None:
    with BOXES[kind]() as box:
        pid = target(box)
        asked = {"count": 2, "interval": 0, "native": True, "limits": ANY_LOAD}
        answer, [dumped] = host.dump([pid], enter_namespaces=True, **asked)
        [capture] = answer["captures"]
        assert capture["outcome"] == "profiled" and capture["measure"]["native"], capture
        assert "from inside its container's namespaces" in notes(capture)
        threads = {row["thread_name"]: row for row in dumped["looks"][-1]["threads"]}
        assert {"nanosleep", "clock_nanosleep"} & {frame["name"] for frame in threads["Thread-1 (wait)"]["frames"]}
        assert threads["MainThread"]["cpu"] > threads["Thread-1 (wait)"]["cpu"] > 0
        without, _looks = host.dump([pid], **asked)
        assert "pyspy_enter_namespaces" in notes(without["captures"][0])
        assert not without["captures"][0]["measure"]["native"]


def test_a_dump_does_not_go_in_where_a_recording_would_not(host: Host) -> None:
    with sandbox() as box:
        pid = target(box)
        box.start(*SLEEPER, capable=True)
        answer, _looks = host.dump([pid], enter_namespaces=True, limits=ANY_LOAD)
        [capture] = answer["captures"]
        assert capture["outcome"] == "failed" and "holds CAP_SYS_PTRACE" in capture["reason"], capture

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m bench harm``: what profiling leaves a target, and how true the picture is; default py-spy beside ours.

A target has one thread that works and counts its work, two thirds of its own CPU time in one function; all others
sleep, at some depth. Each round measures it alone, under ``py-spy record`` as one would type it, alone again, and
under the host program (what ``profile.yml`` runs on a host). Work per second of wall time is what the target keeps;
the same without the time in which it waited for a CPU tells a machine that others keep busy from a py-spy that stops
it (but leaves out that py-spy may take the CPU as well).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.pyspy.fleet.plugins.plugin_utils import _releases
from ansible_collections.pyspy.fleet.tests.lab.host_program import Host
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: Threads and the depth of each: the rows of py-spy's own harm.
ROWS = ((1, 5), (5, 20), (9, 30), (21, 30), (41, 50), (61, 100))
WINDOW = 5
ROUNDS = 3

#: The work: calls of ``heavy`` and ``light`` until each has had its share of the thread's CPU time.
TARGET = """
import mmap, struct, sys, threading, time
threads, depth, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def heavy():
    total = 0
    for number in range(2000):
        total += number * number
    return total
def light():
    total = 0
    for number in range(1000):
        total += number * number
    return total
def sleeper(left):
    return sleeper(left - 1) if left else time.sleep(100000)
def work():
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 32) as page:
        rounds = 0
        while True:
            for _number in range(50):
                heavy()
                light()
            rounds += 1
            if not rounds % 5:
                begin = time.thread_time(); heavy(); middle = time.thread_time(); light(); end = time.thread_time()
                truth[0] += middle - begin
                truth[1] += end - middle
            page[:32] = struct.pack("dddd", rounds, time.thread_time(), *truth)
def at(left):
    return at(left - 1) if left else work()
truth = [0.0, 0.0]
for _number in range(threads - 1):
    threading.Thread(target=sleeper, args=(depth - 3,), daemon=True).start()
print("ready", flush=True)
at(depth - 3)
"""


class Progress(NamedTuple):
    """What a target has done: units of work, its thread's CPU seconds, and those of its two functions in a sample.

    ``waited`` are the seconds in which it could have run and had no CPU (schedstat, sched-stats in the kernel's docs).
    """

    at: float
    waited: float
    units: float
    cpu: float
    heavy: float
    light: float


class Round(NamedTuple):
    """Work per second while profiled over work per second without; ``ready`` leaves out waiting for a CPU."""

    wall: float
    ready: float
    share: float
    busy: float
    samples: int
    recorder: str


class Victim:
    """One target of a row."""

    def __init__(self, process: subprocess.Popen[str], page: Path) -> None:
        self.pid = process.pid
        self._page = page

    def progress(self) -> Progress:

        waited = int(Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text(encoding="ascii").split()[1])
        return Progress(time.monotonic(), waited / 1e9, *struct.unpack("dddd", self._page.read_bytes()))

    def true_share(self) -> float:
        now = self.progress()
        return now.heavy / (now.heavy + now.light)


@contextmanager
def victim(threads: int, depth: int) -> Iterator[Victim]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        script, page = Path(folder, "victim.py"), Path(folder, "page")
        script.write_text(TARGET, encoding="utf-8")
        page.write_bytes(bytes(32))
        command = [sys.executable, str(script), str(threads), str(depth), str(page)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield Victim(process, page)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]


def rate(target: Victim, during: Callable[[], None]) -> tuple[float, float]:
    """Units of work per second while ``during`` runs: of wall time, and of that without waiting for a CPU."""
    before = target.progress()
    during()
    after = target.progress()
    units, seconds = after.units - before.units, after.at - before.at
    return units / seconds, units / max(seconds - (after.waited - before.waited), 1e-9)


def sampled(target: Victim, samples: Callable[[], bool]) -> tuple[float, float]:
    """The same while a recorder samples: ``samples`` tells whether it does. Its start and its writing are left out."""
    await_condition("the recorder to sample", samples)
    return rate(target, lambda: time.sleep(WINDOW - 1.5))


def seen(document: bytes) -> tuple[float, float, int]:
    """The share of ``heavy`` in the working thread's samples; that thread's share of all samples; samples in all."""
    content = json.loads(document)
    names = [frame["name"] for frame in content["shared"]["frames"]]
    counts = {"heavy": 0, "light": 0}
    everything = 0
    working = 0
    for profile in content["profiles"]:
        for sample in profile["samples"]:
            everything += 1
            stack = {names[index] for index in sample}
            working += "work" in stack
            for function in counts:
                counts[function] += function in stack
    both = sum(counts.values())
    return counts["heavy"] / max(both, 1), working / max(everything, 1), both


def by_default(target: Victim, host: Host) -> tuple[bytes, tuple[float, float], str]:
    """``py-spy record`` as its manual has it; ended after the window as an impatient person would, with Ctrl-C."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "out.json")
        binary = f"{host.directory}/py-spy-{_releases.known().version}"
        command = [binary, "record", "-p", str(target.pid), "-d", "600", "-f", "speedscope", "-o", str(output)]
        with Path(folder, "words").open("wb") as words:
            recorder = subprocess.Popen(command, stdout=words, stderr=words)
            kept = sampled(target, lambda: b"Sampling" in Path(folder, "words").read_bytes())
            recorder.send_signal(2)
            recorder.wait(60)
        return output.read_bytes(), kept, "cpu 100 Hz, blocking"


def by_us(target: Victim, host: Host) -> tuple[bytes, tuple[float, float], str]:
    """The host program, as ``profile.yml`` runs it."""
    started = host.start([target.pid], duration=WINDOW)
    assert started["ok"], started
    kept = sampled(target, lambda: any(_is_record(pid, target.pid) for pid in host.processes()))
    head, bodies = host.collect(started["recording"]["id"])
    capture: dict[str, Any] = head["captures"][0]
    measure = capture["measure"]
    plan = f"{measure['kind']} {measure['rate']:g} Hz, {'' if measure['blocking'] else 'non'}blocking"
    harm = capture["harm"]
    return zlib.decompress(bodies[0]), kept, f"{plan}; {harm['recorder_cpu']:.0f} % of a core"


def _is_record(recorder: int, target: int) -> bool:
    try:
        words = Path(f"/proc/{recorder}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[:2] == [b"py-spy", b"record"] and str(target).encode() in words


def compare(target: Victim, host: Host) -> dict[str, Round]:
    rounds = {}
    for name, contestant in (("py-spy", by_default), ("ours", by_us)):
        before = rate(target, lambda: time.sleep(1.5))
        document, kept, how = contestant(target, host)
        after = rate(target, lambda: time.sleep(1.5))
        wall, ready = ((before[number] + after[number]) / 2 for number in (0, 1))
        rounds[name] = Round(kept[0] / wall, kept[1] / ready, *seen(document), how)
    return rounds


def main() -> int:
    print(f"One target, a window of {WINDOW} s; medians of {ROUNDS} rounds, alone and profiled in turn.")
    print("Seen: the share of the function that takes two thirds, ± two standard errors of its samples.\n")
    print(
        "| threads × depth | contestant | how | keeps % | without waiting for a CPU % | true share | seen | samples"
        " | samples of the thread that works, % |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    directory = tempfile.mkdtemp(dir="/srv", prefix="pyspy-bench-")
    os.chmod(directory, 0o755)
    host = Host(directory)
    try:
        for threads, depth in ROWS:
            _row(threads, depth, host)
    finally:
        host.ask("cleanup", {"force": True})
        shutil.rmtree(directory)
    return 0


def _row(threads: int, depth: int, host: Host) -> None:
    found: dict[str, list[Round]] = {"py-spy": [], "ours": []}
    with victim(threads, depth) as target:
        # Brings py-spy to this machine before it is measured by itself.
        host.collect(host.start([target.pid], duration=1)["recording"]["id"])
        for _number in range(ROUNDS):
            for name, one in compare(target, host).items():
                found[name].append(one)
        truth = target.true_share()
    for name, rounds in found.items():
        samples = sum(one.samples for one in rounds)
        share = sum(one.share * one.samples for one in rounds) / max(samples, 1)
        error = 200 * math.sqrt(share * (1 - share) / max(samples, 1))
        wall, ready, busy = (
            statistics.median(getattr(one, field) for one in rounds) for field in ("wall", "ready", "busy")
        )
        print(
            f"| {threads}×{depth} | {name} | {rounds[-1].recorder} | {100 * wall:.0f} | {100 * ready:.0f}"
            f" | {100 * truth:.0f} | {100 * share:.0f} ± {error:.0f} | {samples} | {100 * busy:.0f} |",
            flush=True,
        )

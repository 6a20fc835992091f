# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of grouping on real programs, each with one fault, dumped by the real py-spy: the culprit must be named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumps import Dump
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks import Group, groups
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks_text import gil_lines, screen, sentences
from ansible_collections.pyspy.fleet.plugins.plugin_utils._waiting import IDLE, MOVING, STUCK

PY_SPY = os.path.join(os.path.dirname(sys.executable), "py-spy")
TICKS = os.sysconf("SC_CLK_TCK")

LOCKED_POOL = """
import queue, threading
LOCK, JOBS = threading.Lock(), queue.Queue()
def flush():
    with LOCK:
        threading.Event().wait()
def handle():
    with LOCK:
        pass
def work():
    while True:
        JOBS.get()
threading.Thread(target=flush, name="holder").start()
while not LOCK.locked():
    pass
for number in range(8):
    threading.Thread(target=handle, name="pool-%d" % number).start()
for number in range(3):
    threading.Thread(target=work, name="spare-%d" % number).start()
"""

DEADLOCK = """
import threading
ONE, TWO = threading.Lock(), threading.Lock()
BOTH = threading.Barrier(2)
def debit():
    with ONE:
        BOTH.wait()
        with TWO:
            pass
def credit():
    with TWO:
        BOTH.wait()
        with ONE:
            pass
threading.Thread(target=debit).start()
threading.Thread(target=credit).start()
"""

SILENT_SERVER = """
import http.client, socket, threading
SERVER = socket.create_server(("127.0.0.1", 0), backlog=16)
def fetch_rates():
    connection = http.client.HTTPConnection(*SERVER.getsockname())
    connection.request("GET", "/rates")
    connection.getresponse()
for number in range(4):
    threading.Thread(target=fetch_rates).start()
"""

IDLE_LOOP = """
import asyncio
async def main():
    await asyncio.Event().wait()
asyncio.run(main())
"""

GIL_HOG = """
import threading
def spin():
    while True:
        sum(range(1000))
def answer():
    while True:
        threading.Event().wait(0.01)
threading.Thread(target=spin, name="hog").start()
for number in range(2):
    threading.Thread(target=answer).start()
"""

#: Every sort of worker between two jobs, and one thread that looks the same but waits for a result.
BETWEEN_JOBS = """
import concurrent.futures, logging.handlers, multiprocessing, os, queue, socket, socketserver, threading
def result():
    queue.Queue().get()
def waits_for_result():
    result()
if __name__ == "__main__":
    class Worker(threading.Thread):
        def run(self):
            queue.Queue().get()
    Worker().start()
    threading.Thread(target=waits_for_result).start()
    executor = concurrent.futures.ThreadPoolExecutor(1)
    executor.submit(int).result()
    processes = concurrent.futures.ProcessPoolExecutor(1)
    processes.submit(os.getpid).result()
    pool = multiprocessing.Pool(1)
    pool.map(abs, [1])
    server = socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler)
    threading.Thread(target=socket.create_server(("127.0.0.1", 0)).accept).start()
    logging.handlers.QueueListener(queue.Queue()).start()
    server.serve_forever()  # a main thread that ends would end the executors too
"""

#: What each program's dump must show before it is looked at: function, or function:line, and threads in it.
Ready = dict[str, int]
Look = Callable[[str, Ready], list[Group]]


def dump(pid: int) -> list[dict[str, object]]:
    """What the real py-spy says, with the CPU time of each thread as a host would add it; [] when it is too early.

    A thread that is just being started has no id of the operating system yet.
    """
    done = subprocess.run(
        [PY_SPY, "dump", "--json", "--nonblocking", "--pid", str(pid)],
        capture_output=True,
        check=False,
    )
    threads: list[dict[str, object]] = json.loads(done.stdout) if done.returncode == 0 else []
    for thread in threads:
        try:
            stat = Path(f"/proc/{pid}/task/{thread['os_thread_id']}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return []
        thread["asleep"] = stat[0] == "S"
        thread["cpu"] = (int(stat[11]) + int(stat[12])) / TICKS
    return threads


def frames_of(threads: list[dict[str, object]]) -> list[str]:
    """All frames, each as ``name`` and as ``name:line``."""
    frames = [frame for thread in threads for frame in thread["frames"]]  # type: ignore[attr-defined]
    return [text for frame in frames for text in (frame["name"], f"{frame['name']}:{frame['line']}")]


def await_frames(child: subprocess.Popen[bytes], wanted: Ready) -> None:
    """Return once each thread has got to where it will stay: asleep, but for a hog's."""
    deadline = time.monotonic() + 60
    while True:
        threads = dump(child.pid)
        seen = frames_of(threads)
        at_rest = "spin" in wanted or all(thread["asleep"] for thread in threads)
        if threads and at_rest and all(seen.count(name) >= number for name, number in wanted.items()):
            return
        assert child.poll() is None, "the program ended"
        assert time.monotonic() < deadline, f"{wanted} did not come up: {seen}"


def cpu_of(looks: list[dict[str, object]]) -> float:
    return sum(thread["cpu"] for thread in looks[-1]["threads"])  # type: ignore[attr-defined]


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Look]:
    started: list[subprocess.Popen[bytes]] = []

    def run(program: str, wanted: Ready) -> list[Group]:
        (tmp_path / "shop.py").write_text(program)
        command = [sys.executable, str(tmp_path / "shop.py")]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        started.append(child)
        await_frames(child, wanted)
        looks: list[dict[str, object]] = []
        deadline = time.monotonic() + 60
        # A hog has to have used CPU between the looks, however busy this machine is; the others never will.
        while len(looks) < 3 or ("spin" in wanted and cpu_of(looks) - cpu_of(looks[:1]) < 0.2):
            if threads := dump(child.pid):  # what moves cannot always be read
                looks = [*looks, {"at": time.monotonic(), "threads": threads}][-90:]
            assert time.monotonic() < deadline, f"{len(looks)} dumps"
        return groups([Dump.from_wire({"host": "web-07", "pid": child.pid, "name": "shop", "looks": looks})])

    yield run
    for child in started:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def culprits(rows: list[Group], state: str) -> dict[str, int]:
    """How many threads of this state are in which function."""
    found: dict[str, int] = {}
    for row in rows:
        if row.states.get(state) and row.culprit is not None:
            name = row.stack[row.culprit].name
            found[name] = found.get(name, 0) + row.states[state]
    return found


def test_a_pool_that_waits_for_a_lock_and_the_one_that_holds_it(look: Look) -> None:
    rows = look(LOCKED_POOL, {"flush": 1, "handle": 8, "Queue.get": 3, "_shutdown": 1})
    assert culprits(rows, STUCK) == {"handle": 8, "flush": 1}
    assert sum(culprits(rows, IDLE).values()) == 4
    first = sentences(rows)[0]
    assert "8 of 13 threads stuck in `handle`" in first and "1 in `flush`" in first
    assert [member.thread for row in rows if "flush" in str(row.stack) for member in row.members] == ["holder"]


def test_two_threads_in_a_deadlock(look: Look) -> None:
    rows = look(DEADLOCK, {"debit:8": 1, "credit:13": 1, "_shutdown": 1})
    assert culprits(rows, STUCK) == {"debit": 1, "credit": 1}
    # The line is that of the second lock, in each.
    lines = {row.stack[0].name: list(row.lines(0)) for row in rows if STUCK in row.states}
    assert lines == {"debit": [8], "credit": [13]}


def test_threads_that_wait_for_a_server_that_never_answers(look: Look) -> None:
    rows = look(SILENT_SERVER, {"SocketIO.readinto": 4, "_shutdown": 1})
    assert culprits(rows, STUCK) == {"fetch_rates": 4}
    assert rows[0].threads == 4 and rows[0].stack[0].file == "socket.py" and rows[0].stack[0].plumbing
    assert any(line.startswith("  > fetch_rates (") and ":7)" in line for line in screen(rows).lines())


def test_an_event_loop_that_waits_is_idle(look: Look) -> None:
    rows = look(IDLE_LOOP, {"EpollSelector.select": 1})
    assert culprits(rows, IDLE) == {"EpollSelector.select": 1} and not culprits(rows, STUCK)
    assert sentences(rows) == ["1 thread on 1 host: 1 idle."]


def test_a_worker_between_jobs_is_told_from_one_that_waits_for_a_result(look: Look) -> None:
    names = "Queue.get:3 _worker socket.accept BaseServer.serve_forever Pool._handle_results"
    wanted = {name: int(number or 1) for name, _colon, number in (word.partition(":") for word in names.split())}
    rows = look(BETWEEN_JOBS, wanted)
    assert culprits(rows, STUCK) == {"result": 1}, screen(rows).lines()
    assert sum(culprits(rows, IDLE).values()) >= 9


def test_the_thread_that_holds_the_gil_is_named(look: Look) -> None:
    rows = look(GIL_HOG, {"spin": 1, "answer": 2})
    assert culprits(rows, MOVING)["spin"] == 1
    assert any("in `spin` (" in line and "web-07 pid" in line for line in gil_lines(rows))

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Workers that were forked behind Python's back: uWSGI's, whose main thread goes by the thread id of its master."""

from __future__ import annotations

import json
import socket
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab.host_program import Host, recorder_of
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: A request for /nap waits, one for /burn works, both without end.
APPLICATION = """
import time
def burn():
    sum(number * number for number in range(3000))
def nap():
    time.sleep(1000)
def application(environ, start_response):
    print("in", environ["PATH_INFO"], environ["wsgi.version"], flush=True)
    if environ["PATH_INFO"] == "/nap":
        nap()
    while True:
        burn()
"""


@contextmanager
def service(folder: Path) -> Iterator[dict[str, int]]:
    """uWSGI with two workers, one for each request; gives their PIDs."""
    (folder / "app.py").write_text(APPLICATION, encoding="utf-8")
    address, log = str(folder / "socket"), folder / "log"
    options = ["--master", "--processes", "2", "--http-socket", address, "--wsgi-file", str(folder / "app.py")]
    with ExitStack() as stack:
        output = stack.enter_context(log.open("w", encoding="utf-8"))
        master = subprocess.Popen(["uwsgi_python3", *options], stdout=output, stderr=output)
        stack.callback(lambda: end(master))
        await_condition("the workers", lambda: log.read_text(encoding="utf-8").count("spawned uWSGI worker") == 2)
        for path in ("/nap", "/burn"):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(address)
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            await_condition("the request to be served", lambda path=path: f"in {path}" in log.read_text("utf-8"))
        workers = sorted(map(int, children(master.pid).split()), key=ticks)
        await_condition("one of them to work", lambda: ticks(workers[1]) + ticks(workers[0]) > 20)
        workers.sort(key=ticks)
        yield {"nap": workers[0], "burn": workers[1]}


def children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def end(master: subprocess.Popen[bytes]) -> None:
    workers = children(master.pid).split()
    master.kill()
    subprocess.run(["kill", "-9", *workers], check=True)
    master.wait()


def samples(body: bytes) -> dict[str, int]:
    """In how many samples each function is."""
    if not body:
        return {}
    document = json.loads(zlib.decompress(body))
    names = [frame["name"] for frame in document["shared"]["frames"]]
    found: dict[str, int] = {}
    for sample in [sample for profile in document["profiles"] for sample in profile["samples"]]:
        for name in {names[frame] for frame in sample}:
            found[name] = found.get(name, 0) + 1
    return found


@pytest.mark.parametrize("wish", [{}, {"nonblocking": False}])
def test_a_forked_worker_that_sleeps_is_not_seen_working(host: Host, tmp_path: Path, wish: dict[str, Any]) -> None:
    with service(tmp_path) as pids:
        started = host.start(list(pids.values()), duration=2, limits={"max_load": 0}, **wish)
        recorder_of(pids["burn"])
        head, bodies = host.collect(started["recording"]["id"])
        found = {one["process"]["pid"]: (one, body) for one, body in zip(head["captures"], bodies, strict=True)}
        for capture, _body in found.values():
            assert capture["measure"]["kind"] == "gil" and "behind Python's back" in "; ".join(capture["notes"])
        assert found[pids["nap"]][0]["outcome"] == "empty", found[pids["nap"]]
        assert samples(found[pids["burn"]][1])["burn"] > 50

        # py-spy's own way, which is the reason for this.
        [pyspy] = list(Path(host.directory).glob("py-spy-*"))
        command = [str(pyspy), "record", "-p", str(pids["nap"]), "-d", "1", "-f", "speedscope", "-o"]
        subprocess.run([*command, str(tmp_path / "seen"), "--nonblocking"], check=True, capture_output=True)
        assert samples(zlib.compress((tmp_path / "seen").read_bytes()))["nap"] > 50

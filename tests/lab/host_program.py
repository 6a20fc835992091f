# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "host_program" of the lab (private to the collection): the host program on this machine, and targets for it.

It is fed exactly as the controller feeds it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.pyspy.fleet.plugins.plugin_utils import _bundle, _fetch, _releases
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

STATE = Path("/run/pyspy-fleet")

#: ``burn`` is where a target of this script is busy.
BUSY = """
import sys, threading, time
def burn():
    total = 0
    for number in range(3000):
        total += number * number
    return total
def deep(depth):
    return deep(depth - 1) if depth else time.sleep(1000)
for _thread in range(int(sys.argv[1])):
    threading.Thread(target=deep, args=(int(sys.argv[2]),), daemon=True).start()
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    burn()
"""


@contextmanager
def target(
    *, threads: int = 0, depth: int = 0, seconds: float = 300, python: str = sys.executable, extra: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A busy process of our own, ended by its PID."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "busy_target.py")
        script.write_text(BUSY, encoding="utf-8")
        command = [python, str(script), str(threads), str(depth), str(seconds), *extra]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]


class Host:
    """This machine as a host: :meth:`ask` is one pass. py-spy is kept in ``directory`` (root's, as it has to be).

    ``through`` is a command that runs others where the connection leads: in a container, say.
    """

    def __init__(self, directory: str, interpreter: str = sys.executable, through: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.through = through
        self.interpreter = interpreter
        #: What the host found left of the last recording that was collected.
        self.seen_left: object = None

    def ask(self, operation: str, arguments: dict[str, Any] | None = None, payload: bytes = b"") -> dict[str, Any]:
        data = _bundle.envelope(operation, arguments or {}, payload)
        done = subprocess.run(
            [*self.through, "/bin/sh", "-c", _bundle.command(self.interpreter)],
            input=data,
            capture_output=True,
            check=False,
            timeout=120,
        )
        answer: dict[str, Any] = _bundle.parse_answer(
            done.stdout.decode(), done.stderr.decode(), done.returncode, self.interpreter
        )
        return answer

    def order(
        self,
        pids: list[int],
        duration: int = 2,
        keep: int = 60,
        policy: str = "auto",
        limits: dict[str, Any] | None = None,
        role: str = "worker",
        **options: Any,
    ) -> dict[str, Any]:
        release = _releases.known()
        binary = {"version": release.version, "sha256": release.checksums(), "directory": self.directory}
        return {
            "selectors": {"pids": pids, "process_role": role},
            "options": {"duration": duration, **options},
            "binary": {**binary, "executable": ""},
            "size": 9_000_000,
            "attach_policy": policy,
            "limits": limits or {},
            "keep": keep,
            "run": "a-run",
        }

    def start(self, pids: list[int], **options: Any) -> dict[str, Any]:
        order = self.order(pids, **options)
        answer = self.ask("start", order)
        if "need_binary" in answer:
            payload = _fetch.compressed(_releases.NEWEST, answer["need_binary"]["architecture"])
            answer = self.ask("start", order, payload)
        return answer

    def dump(
        self,
        pids: list[int],
        policy: str = "auto",
        limits: dict[str, Any] | None = None,
        role: str = "any",
        check: bool = False,
        most: int | None = None,
        pattern: str = "",
        **options: Any,
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """One pass of ``dump``: its answer, and the looks at each target (as :class:`Dump` takes them)."""
        import base64
        import zlib

        order = {**self.order(pids, policy=policy, limits=limits, role=role), "options": options, "check": check}
        order["selectors"].update(max_targets=most, pattern=pattern)
        answer = self.ask("dump", order)
        if "need_binary" in answer:
            answer = self.ask("dump", order, _fetch.compressed(_releases.NEWEST, answer["need_binary"]["architecture"]))
        bodies = base64.b64decode(answer.get("data", ""))
        looks = []
        for capture in answer.get("captures", ()):
            body, bodies = bodies[: capture["size"]], bodies[capture["size"] :]
            looks.append(json.loads(zlib.decompress(body)) if body else {})
        return answer, looks

    def collect(self, recording: str) -> tuple[dict[str, Any], list[bytes]]:
        """The finished recording: its head, and the compressed body of each capture."""
        import base64

        data = b""
        for _pass in range(20):
            answer = self.ask("collect", {"recording": recording, "patience": 9, "offset": len(data)})
            assert answer["ok"], answer
            assert answer["phase"] != "broken", answer  # and gone: a further pass would find no recording
            self.seen_left = answer.get("left")
            if answer["phase"] == "done":
                data += base64.b64decode(answer["data"])
                if len(data) == answer["total"]:
                    break
        head_line, _end, rest = data.partition(b"\n")
        head = json.loads(head_line)
        bodies, offset = [], 0
        for capture in head["captures"]:
            bodies.append(rest[offset : offset + capture["size"]])
            offset += capture["size"]
        return head, bodies

    def processes(self) -> list[int]:
        """PIDs of keepers, watchdogs and recorders on this machine, not on the hosts of a fleet."""
        found = []
        here = os.stat("/proc/self/ns/pid").st_ino
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
                elsewhere = os.stat(f"/proc/{name}/ns/pid").st_ino != here
            except OSError:
                continue
            if elsewhere:
                continue
            # A controller that works on other hosts has the program in the command line of its ssh.
            if words[0] == b"py-spy" or (
                not words[0].startswith(b"ssh") and any(b"pyspy_fleet_host" in word for word in words)
            ):
                found.append(int(name))
        return found

    def wait_until_clean(self) -> None:
        await_condition("everything of ours to be gone", lambda: not STATE.exists() and not self.processes(), 30)


def recorder_of(pid: int) -> int:
    """The PID of the py-spy that samples ``pid``."""
    found: list[int] = []

    def look() -> bool:
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:2] == [b"py-spy", b"record"] and str(pid).encode() in words:
                found.append(int(name))
        return bool(found)

    await_condition(f"a py-spy on {pid}", look, 20)
    return found[0]


def state_of(pid: int) -> str:
    return _stat(pid)[0]


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def ticks_of(pid: int) -> int:
    """The CPU time that a process has used (clock ticks)."""
    return int(_stat(pid)[11]) + int(_stat(pid)[12])


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` from the state (field 3) on."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()

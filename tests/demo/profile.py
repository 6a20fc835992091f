# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demonstration (``make profile``): a small real web service on this machine, profiled while one worker is busy.

No root and no sudo: the service runs as whoever started this and permits
tracing itself (see ``tests/lab/service/app.py``, which says why).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "tests" / "lab" / "service"
WINDOW = 5
WORKERS = 4


@contextmanager
def service() -> Iterator[tuple[int, str]]:
    """gunicorn with four workers on a free port of the loopback; its PID and address."""
    reading, writing = os.pipe()
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--workers",
        str(WORKERS),
        "--bind",
        "127.0.0.1:0",
        "--chdir",
        str(SERVICE),
    ]
    environment = {**os.environ, "DEMO_PERMIT_TRACING": "1"}
    with os.fdopen(reading) as log, os.fdopen(writing, "w") as out:
        process = subprocess.Popen([*command, "--timeout", "120", "app:application"], stderr=out, env=environment)
        out.close()
        try:
            address = _address(log)
            threading.Thread(target=log.read, daemon=True).start()  # nobody reads on, and a full pipe would stop it
            yield process.pid, address
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _address(log: Iterator[str]) -> str:
    seen = []
    for line in log:
        seen.append(line)
        if "Listening at: " in line:
            return line.split("Listening at: ")[1].split()[0]
    sys.exit("The demonstration service did not start:\n" + "".join(seen[-5:]))


def wait_until_ready(address: str) -> None:
    for _attempt in range(100):
        try:
            urllib.request.urlopen(address, timeout=5).read()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    sys.exit(f"The demonstration service does not answer at {address}.")


@contextmanager
def busy(address: str) -> Iterator[None]:
    """One worker works on one long request; breaking it off when the window is over ends the work."""
    response = urllib.request.urlopen(f"{address}/checkout?seconds=100", timeout=10)
    stop = threading.Event()

    def drain() -> None:
        while not stop.is_set() and response.read(4096):
            pass
        response.close()

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        yield
    finally:
        stop.set()
        reader.join()


def main() -> int:
    print(f"Starting a web service on this machine: gunicorn, {WORKERS} workers, one of them busy ...", flush=True)
    with service() as (pid, address):
        wait_until_ready(address)
        with busy(address):
            command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local"]
            command += ["playbooks/profile.yml", "-e", f"pyspy_pids={pid}", "-e", f"pyspy_duration={WINDOW}"]
            command += ["-e", "pyspy_title='make profile'", *sys.argv[1:]]
            print("$", " ".join(["ansible-playbook", *command[1:]]), flush=True)
            return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

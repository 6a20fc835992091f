# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "managers" of the lab (private to the collection): real managers of Python processes, started by the tests.

Each is from PyPI, in an environment of their own; its workers say who they are, and who
started them, by files of their own in the folder that it runs in.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

CHECKOUT = Path(__file__).resolve().parents[2]
#: Where a process says that it is a worker: the file's name is its PID, the content its parent's.
REPORTS = "reports"

REPORT = """
import os
def report(*_whatever, **_more):
    with open("reports/.%d" % os.getpid(), "w") as file:
        file.write(str(os.getppid()))
    os.rename("reports/.%d" % os.getpid(), "reports/%d" % os.getpid())
"""
#: A manager that imports this in its workers only.
WSGI = """
from report import report
report()
def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
"""
#: One that may import it anywhere, and says in its workers that they have started.
ASGI = """
from report import report
async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        said = (await receive())["type"]
        if said == "lifespan.startup":
            report()
        await send({"type": said + ".complete"})
        if said == "lifespan.shutdown":
            return
"""
#: A worker with a child of its own, as large jobs use them.
POOL_IN_A_WORKER = """
import multiprocessing
from report import report
from shop import app
if multiprocessing.parent_process() is None:
    pool = multiprocessing.get_context("spawn").Pool(1, initializer=report)
"""
CELERY = """
import sys
from celery import Celery, signals
from report import report
app = Celery("tasks", broker="filesystem://", broker_transport_options={
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"})
signals.worker_process_init.connect(report)
def where_threads_work(sender, **_more):
    if "thread" in type(sender.pool).__module__:
        report()
signals.worker_ready.connect(where_threads_work)
def where_beat_runs_alone(**_more):
    if "beat" in sys.argv:
        report()
signals.beat_init.connect(where_beat_runs_alone)
"""
DRAMATIQ = """
import dramatiq
from dramatiq.brokers.stub import StubBroker
from report import report
class Reporting(dramatiq.Middleware):
    def after_process_boot(self, broker):
        report()
dramatiq.set_broker(StubBroker())
dramatiq.get_broker().add_middleware(Reporting())
"""
RQ = """
import time
from report import report
def job():
    report()
    time.sleep(600)
"""
POOL = """
import multiprocessing, sys, time
from report import report
def work():
    report()
    time.sleep(600)
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    for _process in range(2):
        context.Process(target=work).start()
    time.sleep(600)
"""
SINGLE = """
import time
from report import report
report()
time.sleep(600)
"""
SUPERVISORD = """
[supervisord]
nodaemon=true
[program:shop]
command=gunicorn -w 2 -b unix:socket shop:app
[program:batch]
command=/bin/sh -c "python single.py; true"
"""
#: What each program finds in the folder that it is started in.
FILES = {
    "report.py": REPORT,
    "shop.py": WSGI,
    "pooled.py": POOL_IN_A_WORKER,
    "asgi.py": ASGI,
    "tasks.py": CELERY,
    "actors.py": DRAMATIQ,
    "jobs.py": RQ,
    "pool.py": POOL,
    "single.py": SINGLE,
    "supervisord.conf": SUPERVISORD,
    # As where it is not installed, for those that can do without.
    "untitled/setproctitle.py": "raise ImportError('not for this test')\n",
}


@functools.cache
def environment() -> Path:
    """The folder of the managers' programs; installed first where it is missing (half a minute, once)."""
    venv = CHECKOUT / ".venvs" / "managers"
    venv.parent.mkdir(exist_ok=True)
    with (venv.parent / "managers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ("requirements/venv.sh", str(venv), "3.11", "requirements/managers.txt")
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return venv / "bin"


class Running(NamedTuple):
    """A command below a shell of its own, in a folder of its own."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def shell(self) -> int:
        return self.process.pid

    def reported(self) -> dict[int, int]:
        """The workers by their own account, each with its parent."""
        files = [path for path in (self.folder / REPORTS).iterdir() if path.name.isdigit()]
        return {int(path.name): int(path.read_text()) for path in files}

    def workers(self, number: int) -> dict[int, int]:
        """The same, once there are so many."""

        def there() -> bool:
            return len(self.reported()) >= number or self.process.poll() is not None

        await_condition(f"{number} workers", there)
        found = self.reported()
        assert len(found) == number, (self.folder / "log").read_text()[-4000:]
        return found


@contextmanager
def running(folder: Path, *command: str, untitled: bool = False) -> Iterator[Running]:
    """Run a command below ``sh -c``; at the end whatever works in its folder is killed, one by one."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for name in (REPORTS, "queue", "control"):
        (folder / name).mkdir()
    environ = dict(os.environ, PATH=f"{environment()}:{os.environ['PATH']}", HOME=str(folder))
    environ["PYTHONPATH"] = f"{folder}:{folder}/untitled" if untitled else str(folder)
    with (folder / "log").open("w") as log:
        shell = subprocess.Popen(
            ("/bin/sh", "-c", '"$@"; true', "sh", *command),
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Running(shell, folder)
    finally:
        shell.kill()
        shell.wait()
        await_condition("the end of all in the folder", lambda: not _killed_in(folder))


def _killed_in(folder: Path) -> list[int]:
    """Kill every process that works there: some leave the session, the group and the tree."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/cwd") == str(folder):
                os.kill(int(name), signal.SIGKILL)
                found.append(int(name))
        except OSError:
            continue
    return found


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A server of our own on a socket in ``folder``: its address. It listens nowhere else and writes nothing."""
    socket = folder / "redis"
    # Debian's redis-server is this program by another name, but would be started as a service when installed.
    program = shutil.which("redis-check-rdb")
    assert program, "install redis-tools"
    command = ("redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "")
    with subprocess.Popen(command, executable=program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        try:
            await_condition("redis", socket.exists)
            yield f"unix://{socket}"
        finally:
            server.kill()

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "incidents" of the lab (private to the collection): the runbook's services on a host, and requests to them.

Whoever enters one has a service that has its fault at this moment; at the end its processes are gone.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.pyspy.fleet.tests.lab.hosts import Host
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

HERE = Path(__file__).parent
FOLDER = "/srv/shop"
MARK = "/tmp/incident"
#: As an ordinary service of the demonstration's user, that leaves the machine to others where it can.
ENVIRONMENT = f"cd {FOLDER} && PYTHONPATH={FOLDER}:/opt/service PYTHONDONTWRITEBYTECODE=1 exec setsid nice -n 19"


@contextmanager
def running(host: Host, command: str) -> Iterator[int]:
    """A command in the background of a host, in the folder of the programs; its PID. Killed with all of its session."""
    folder = host.root / FOLDER.lstrip("/")
    folder.mkdir(exist_ok=True)
    for program in HERE.glob("*.py"):
        shutil.copy(program, folder)
    mark = host.root / MARK.lstrip("/")
    script = shlex.quote(f"echo $$ > {MARK}; exec {command}")
    host.run(f"({ENVIRONMENT} sh -c {script}) >>/tmp/log 2>&1 &", user="web")
    await_condition("the command's PID", lambda: mark.read_text().strip().isdigit())
    pid = int(mark.read_text())
    mark.unlink()
    try:
        yield pid
    finally:
        # New ones may be born until the first is gone.
        await_condition("the end of the service", lambda: not _killed(host, pid))


def _killed(host: Host, session: int) -> bool:
    return bool(host.run(f"pkill -KILL --session {session}", check=False).returncode == 0)


@contextmanager
def gunicorn(host: Host, program: str, workers: int, *words: str) -> Iterator[int]:
    """One of the programs as a web service on port 8000; its master's PID, once it listens."""
    command = f"python3 -m gunicorn {program}:application --workers {workers} --timeout 0 --bind 127.0.0.1:8000"
    with running(host, " ".join((command, "--worker-tmp-dir /dev/shm", *words))) as master:
        # Somebody else's socket is not enough.
        await_condition(
            f"{program} on {host.name}", lambda: _listens(host, 8000) and len(host.children(master)) == workers
        )
        yield master


@contextmanager
def other(host: Host, role: str) -> Iterator[None]:
    """Somebody whom a service asks (see ``others.py``)."""
    port = {"supplier": 9000, "rates": 9001}[role]
    with running(host, f"python3 others.py {role}"):
        await_condition(f"{role} on {host.name}", lambda: _listens(host, port))
        yield


def _listens(host: Host, port: int) -> bool:
    return f":{port:04X} 00000000:0000 0A" in Path(f"/proc/{host.pid}/net/tcp").read_text()


def request(host: Host, path: str) -> None:
    """One request whose answer nobody waits for."""
    talk = (
        f'exec 3<>/dev/tcp/127.0.0.1/8000; printf "GET {path} HTTP/1.0\\r\\n\\r\\n" >&3;'
        " exec setsid cat <&3 >/dev/null 2>&1 &"
    )
    host.run(f"bash -c '{talk}'", user="web")


@contextmanager
def hanging(host: Host) -> Iterator[int]:
    """Four workers: one holds the lock, and three wait for it."""
    with other(host, "supplier"), gunicorn(host, "stock", 4) as master:
        request(host, "/recount")
        await_condition("the lock to be held", lambda: locks(host) == (1, 0))
        for _worker in range(3):
            request(host, "/reserve")
        await_condition("three to wait for the lock", lambda: locks(host) == (1, 3))
        yield master


def locks(host: Host) -> tuple[int, int]:
    """How many processes of the host hold a lock by flock(2), and how many wait for one."""
    rows = [line.split() for line in host.run("cat /proc/locks").stdout.splitlines() if " FLOCK " in line]
    waiting = sum(row[1] == "->" for row in rows)
    return len(rows) - waiting, waiting


@contextmanager
def reporting(host: Host, reports: int) -> Iterator[int]:
    """Two workers, of which so many build a report."""
    with gunicorn(host, "orders", 2) as master:
        for _report in range(reports):
            request(host, "/report")
        await_condition("busy workers", lambda: sum(_ticks(host, pid) > 50 for pid in host.children(master)) == reports)
        yield master


def _ticks(host: Host, pid: int) -> int:
    """CPU time of a process, utime and stime (proc(5))."""
    fields = (host.root / f"proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


#: One customer, who waits for each answer.
LOAD = (
    "while sleep 1; do"
    ' (exec 3<>/dev/tcp/127.0.0.1/8000; printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3; exec cat <&3 >/dev/null); done'
)


@contextmanager
def asking(host: Host, role: str) -> Iterator[int]:
    """Two workers that two customers keep at it, and that are told to ask this one."""
    settings = {"supplier": "--env RATES_PORT=9000", "rates": "--env RATES_PORT=9001"}[role]
    load = f"bash -c {shlex.quote(LOAD)}"
    with other(host, role), gunicorn(host, "rates", 2, settings) as master, running(host, load), running(host, load):
        if role == "supplier":
            # A worker that its first request reaches between two dumps is not stuck over all of them.
            await_condition("workers that wait for the supplier", lambda: connections(host, 9000) == 2)
        yield master


def connections(host: Host, port: int) -> int:
    """How many processes of the host are connected to a port of its own (state 01 in the kernel's table)."""
    rows = [line.split() for line in Path(f"/proc/{host.pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


@contextmanager
def dying(host: Host) -> Iterator[int]:
    """Two workers that give up four seconds after their start, over and over."""
    with other(host, "supplier"), gunicorn(host, "prices", 2, "--config prices.py") as master:
        first = set(host.children(master))
        await_condition("other workers", lambda: len(set(host.children(master)) - first) > 1)
        yield master

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "hosts" of the lab (private to the collection): a fleet of ssh hosts on this machine.

Each host has its own network, PID, mount, UTS and IPC namespaces, its own sshd,
and an overlay on the shared tree. Everything is tethered to the thread that made
the fleet: when that ends, however it ends, the kernel takes the hosts down.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from . import place
from .network import TETHER, Hub, end
from .tree import tree
from .waiting import await_condition

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
ENVIRONMENT = ("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")


class Process(NamedTuple):
    """One process of a host, by the PID that it has there."""

    pid: int
    parent: int
    state: str
    command: str


class Host:
    """One host of a fleet; ``pid`` is its init, as seen from this machine."""

    def __init__(self, name: str, number: int, pid: int, address: str) -> None:
        self.name = name
        self.number = number
        self.pid = pid
        self.address = address

    @property
    def root(self) -> Path:
        """The host's file system, from outside."""
        return Path(f"/proc/{self.pid}/root")

    def run(self, command: str, user: str = "root", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host, not through ssh: for looking on and for setting things up."""
        enter = ("nsenter", "--target", str(self.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")
        return subprocess.run(
            (*enter, *ENVIRONMENT, "runuser", "-u", user, "--", "sh", "-c", command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
            timeout=120,
        )

    def processes(self) -> list[Process]:
        """All processes of the host, zombies included."""
        found = []
        for entry in (self.root / "proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    found.append(_process(entry))
        return sorted(found)

    def pids(self) -> set[int]:
        return {process.pid for process in self.processes()}

    def start_gunicorn(
        self, workers: int = 4, busy: int = 1, user: str = "web", rest: float = 0.02, app: str = ""
    ) -> int:
        """Start the demonstration service; ``busy`` of its workers burn CPU. Gives its master's PID on the host.

        At the lowest priority and with rests (s), so that a fleet of busy hosts leaves this machine to the tests.
        """
        code = app or (HERE / "service" / "app.py").read_text(encoding="utf-8")
        (self.root / "opt" / "service" / "app.py").write_text(code, encoding="utf-8")
        self.run(gunicorn_command(workers), user=user)
        pidfile = self.root / "tmp" / "service.pid"
        await_condition("gunicorn's pid file", lambda: pidfile.read_text().strip().isdigit())
        master = int(pidfile.read_text())
        await_condition("gunicorn's workers", lambda: len(self.children(master)) == workers)
        for _request in range(busy):  # One at a time: each waits until a worker has taken it.
            self.run(f"bash -c '{endless_request(rest)}'", user=user)
        return master

    def children(self, pid: int) -> list[int]:
        return [process.pid for process in self.processes() if process.parent == pid]

    def stop_gunicorn(self) -> None:
        """Let the service's master end its workers, and wait until all of them are gone."""
        master = int((self.root / "tmp" / "service.pid").read_text())
        family = {master, *self.children(master)}
        self.run(f"kill -QUIT {master}")
        await_condition("the end of gunicorn", lambda: not family & self.pids())


def endless_request(rest: float = 0.02) -> str:
    """Returns when a worker has begun to answer; the rest of the answer runs to nowhere in the background."""
    return (
        "exec 3<>/dev/tcp/127.0.0.1/8000; "
        f'printf "GET /checkout?seconds=86400&rest={rest:g} HTTP/1.0\\r\\n\\r\\n" >&3; '
        "read -r status <&3; exec setsid cat <&3 >/dev/null 2>&1 &"
    )


def gunicorn_command(workers: int) -> str:
    """Starts the demonstration service in the background, on a host of the lab's tree."""
    return (
        "cd /opt/service && PYTHONPATH=/opt/service PYTHONDONTWRITEBYTECODE=1 nice -n 19"
        " python3 -m gunicorn app:application --daemon --pid /tmp/service.pid"
        f" --workers {workers} --timeout 0 --bind 127.0.0.1:8000 --worker-tmp-dir /dev/shm"
    )


def _process(entry: Path) -> Process:
    head, rest = (entry / "stat").read_text().rsplit(")", 1)
    state, parent = rest.split()[:2]
    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return Process(int(entry.name), int(parent), state, command or head.partition("(")[2])


class Fleet:
    """``with Fleet(6) as fleet:`` gives six hosts, web1 to web6, in the inventory group ``web``.

    Users: root, ``deploy`` (sudo without a password), ``admin`` (sudo with ``ADMIN_PASSWORD``), all by
    the fleet's key; ``web`` owns the service. Make it in a thread that outlives it.
    """

    kind = "plain"
    namespaces: tuple[str, ...] = ("--net", "--mount", "--uts", "--ipc", "--pid", "--kill-child")

    def __init__(self, count: int) -> None:
        self.count = count
        self.hosts: list[Host] = []
        self._starters: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.directory = place.claim()
        self._closing = contextlib.ExitStack()
        self._closing.callback(place.release, self.directory)
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def _start(self) -> None:
        self._lower = tree()
        self.key = self.directory / "key"
        _quiet("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pyspy.fleet lab", "-f", str(self.key))
        self._hub = Hub()
        self._closing.callback(self._hub.close)
        self._closing.callback(self._stop_hosts)
        names = [f"web{number}" for number in range(1, self.count + 1)]
        for name in names:
            self._starters.append(self._launch(name))
        for number, name in enumerate(names, 1):
            pid = self._find_init(name, self._starters[number - 1])
            self.hosts.append(Host(name, number, pid, self._hub.plug(pid, number)))
        for host in self.hosts:
            await_condition(f"{host.name} (see {self._log(host.name)})", partial(self._is_ready, host))
        self.inventory = self._write_inventory()

    def _launch(self, name: str) -> subprocess.Popen[bytes]:
        scratch = self.directory / name
        scratch.mkdir()
        boot = ("sh", str(HERE / "boot.sh"), self.kind, str(self._lower), str(scratch), name, f"{self.key}.pub")
        with self._log(name).open("wb") as log:
            return subprocess.Popen(
                (*TETHER, "unshare", *self.namespaces, *boot), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def _find_init(self, name: str, starter: subprocess.Popen[bytes]) -> int:
        """The PID of the host's init, once it runs."""
        found: list[int] = []

        def booted() -> bool:
            if starter.poll() is not None:
                raise RuntimeError(f"{name} did not start:\n{self._log(name).read_text()}")
            found[:] = [pid for pid in _descendants(starter.pid) if self._is_init(pid)]
            return bool(found)

        await_condition(f"{name}'s init (see {self._log(name)})", booted)
        return found[0]

    def _is_init(self, pid: int) -> bool:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "tini"

    def _is_ready(self, host: Host) -> bool:
        return serves_ssh(host.pid)

    def _write_inventory(self) -> Path:
        """ssh and its kin run in the hub's network namespace; the controller itself stays where it is."""
        for program in ("ssh", "scp", "sftp"):
            wrapper = self.directory / program
            wrapper.write_text(f'#!/bin/sh\nexec nsenter --net={self._hub.namespace} {program} "$@"\n')
            wrapper.chmod(0o755)
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        lines = ["[web]", *(f"{host.name} ansible_host={host.address}" for host in self.hosts), "", "[web:vars]"]
        lines += [
            "ansible_python_interpreter=/usr/bin/python3",
            f"ansible_ssh_private_key_file={self.key}",
            f"ansible_ssh_executable={self.directory}/ssh",
            f"ansible_scp_executable={self.directory}/scp",
            f"ansible_sftp_executable={self.directory}/sftp",
            f"ansible_control_path_dir={self.directory}/cp",
            f"ansible_ssh_common_args={options}",
            "ansible_ssh_args=-o ControlMaster=auto -o ControlPersist=60s",
        ]
        inventory = self.directory / "inventory"
        inventory.write_text("\n".join(lines) + "\n")
        return inventory

    def ssh(self, host: Host, user: str = "root") -> list[str]:
        """The beginning of a command line that runs something on ``host`` by plain ssh."""
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes"
        return [f"{self.directory}/ssh", *options.split(), "-i", str(self.key), f"{user}@{host.address}"]

    def ansible(self, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``ansible``, ``ansible-playbook``, … of this environment from the checkout, with the inventory."""
        return subprocess.run(
            ansible_command(program, self.inventory, *arguments),
            cwd=CHECKOUT,
            env={**ansible_environment(self.directory), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def cut(self, host: Host) -> None:
        """Pull the host's network cable."""
        self._hub.cut(host.number)

    def mend(self, host: Host) -> None:
        self._hub.mend(host.number)

    def _stop_hosts(self) -> None:
        for host in self.hosts:
            end(host.pid)
        for starter in self._starters:
            end(starter.pid)
            starter.wait()
        self.hosts.clear()
        self._starters.clear()


def ansible_command(program: str, inventory: Path, *arguments: str) -> list[str]:
    """The command line of one of this environment's Ansible programs."""
    return [str(Path(sys.executable).with_name(program)), "-i", str(inventory), *arguments]


def ansible_environment(directory: Path) -> dict[str, str]:
    """What Ansible is to find in its environment; it keeps its files in ``directory``."""
    own = {
        "ANSIBLE_HOME": str(directory / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return {**os.environ, **own}


def serves_ssh(pid: int) -> bool:
    """Whether something listens on port 22 in the network namespace of ``pid`` (state 0A in the kernel's table)."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(":0016") and row[3] == "0A" for row in rows)


def _descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in _descendants(child)]


def _quiet(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

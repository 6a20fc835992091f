# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "vm" of the lab (private to the collection): a machine with a kernel of its own, so with a real Yama.

It is booted once, when its image is made; every test goes on from that moment
(QEMU's snapshot) on a disk of its own. The machine ends with the thread that
made it, however that ends, and its disk has no name from the start.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from . import place
from .hosts import (
    CHECKOUT,
    HERE,
    Process,
    ansible_command,
    ansible_environment,
    endless_request,
    gunicorn_command,
)
from .image import Image, image
from .network import TETHER, end
from .tree import LabError, run
from .waiting import await_condition

#: ``/dev/kvm`` is there on some machines and hangs: the processor is always emulated.
PROCESSOR = ("-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1024")
CARDS = (
    *("-device", "virtio-net-pci,netdev=lan,romfile=", "-device", "virtio-rng-pci"),
    *("-device", "virtio-blk-pci,drive=disk"),
)
KERNEL = "root=/dev/vda rw console=ttyS0 panic=-1 net.ifnames=0 mitigations=off quiet"
#: Names of moments in a disk: the one that all machines begin with, and the one that a machine remembers.
SNAPSHOT = "booted"
MOMENT = "moment"
SSH = (
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=5"),
)
#: A line that is as good as a boot id for "has it been booted again": the same after a restore, another after a reboot.
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


class Ran(NamedTuple):
    """What a command on the machine gave."""

    stdout: str
    stderr: str
    returncode: int


class Qemu:
    """One emulator process on one disk: its monitor, and the port that leads to its sshd."""

    def __init__(self, files: Image, disk: Path, directory: Path, *arguments: str) -> None:
        self._socket = directory / "monitor"
        with (directory / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(
                (
                    *(*TETHER, "qemu-system-x86_64", "-nodefaults", "-display", "none"),
                    *(*PROCESSOR, *CARDS, "-netdev", "user,id=lan,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
                    *("-kernel", str(files.kernel), "-initrd", str(files.initrd), "-append", KERNEL),
                    *("-drive", f"if=none,id=disk,format=qcow2,file={disk},discard=unmap"),
                    *("-serial", f"file:{directory}/console", "-qmp", f"unix:{self._socket},server=on,wait=off"),
                    *arguments,
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await_condition(f"QEMU's monitor (see {log.name})", lambda: bool(self.monitor("info status")))

    def monitor(self, command: str) -> str:
        """One line to QEMU's monitor, as a person would type it; what it answers."""
        if self.process.poll() is not None:
            raise RuntimeError(f"QEMU ended with status {self.process.returncode}")
        with socket.socket(socket.AF_UNIX) as connection, contextlib.ExitStack() as closing:
            connection.settimeout(60)
            connection.connect(str(self._socket))
            stream = closing.enter_context(connection.makefile("rw"))
            json.loads(stream.readline())
            self._ask(stream, "qmp_capabilities")
            return str(self._ask(stream, "human-monitor-command", **{"command-line": command}))

    def _ask(self, stream: Any, command: str, **arguments: str) -> Any:
        stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        stream.flush()
        while True:
            answer = json.loads(stream.readline())
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def port(self) -> int:
        """Where on 127.0.0.1 the machine's sshd can be reached; QEMU took a free one."""
        for line in self.monitor("info usernet").splitlines():
            if "HOST_FORWARD" in line:
                return int(line.split()[3])
        raise RuntimeError("QEMU forwards no port")

    def close(self) -> None:
        end(self.process.pid)
        self.process.wait()


class Machine:
    """``with Machine() as machine:`` is a Debian host, just booted, with Yama's scope 1, systemd and cgroup v2.

    Users as on the other hosts of the lab: root, ``deploy`` (sudo without a password), ``admin``, ``web``.
    """

    name = "vm1"

    def __enter__(self) -> Self:
        files = image(f"{PROCESSOR}{CARDS}{KERNEL}", _boot)
        disk = files.folder / f"run-{secrets.token_hex(4)}.qcow2"
        with contextlib.ExitStack() as closing:
            try:
                shutil.copy(_booted(files), disk)
                self._power_on(closing, files, disk, "-loadvm", SNAPSHOT)
            finally:
                disk.unlink(missing_ok=True)  # QEMU holds it open
            self._reach()
            self._set_clock()
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def _power_on(self, closing: contextlib.ExitStack, files: Image, disk: Path, *arguments: str) -> None:
        self.directory = place.claim()
        closing.callback(place.release, self.directory)
        self.key = files.key
        self.qemu = Qemu(files, disk, self.directory, *arguments)
        closing.callback(self.qemu.close)

    def _reach(self) -> None:
        self.port = self.qemu.port()
        self.inventory = self._write_inventory()
        self._await_ssh()

    def _await_ssh(self) -> None:
        await_condition("the machine's sshd", lambda: self.run("true", check=False).returncode == 0, 300)

    def _set_clock(self) -> None:
        """The machine thinks that it is still the day of its snapshot."""
        self.run(f"date --set=@{time.time():.3f}")

    def ssh(self, user: str = "root", shared: bool = True) -> list[str]:
        """The beginning of a command line that runs something on the machine, through a shared connection or not."""
        path = f"{self.directory}/{user}" if shared else "none"
        options = ("-o", f"ControlPath={path}", "-o", "ControlMaster=auto", "-o", "ControlPersist=60")
        return ["ssh", *SSH, *options, "-i", str(self.key), "-p", str(self.port), f"{user}@127.0.0.1"]

    def run(self, command: str, user: str = "root", check: bool = True, stdin: bytes = b"") -> Ran:
        """Run a shell command on the machine."""
        done = subprocess.run((*self.ssh(user), command), input=stdin, capture_output=True, check=False, timeout=120)
        ran = Ran(done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), done.returncode)
        if check and ran.returncode:
            raise RuntimeError(f"{command}: {ran.returncode}\n{ran.stderr}{ran.stdout}")
        return ran

    def hang_up(self) -> None:
        """Close all shared connections, a controller's too."""
        for path in (*self.directory.iterdir(), *self.directory.glob("cp/*")):
            if path.is_socket() and path.name != "monitor":
                command = ("ssh", "-o", f"ControlPath={path}", "-O", "exit", "nobody")
                subprocess.run(command, capture_output=True, check=False)

    def write(self, path: str, data: bytes) -> None:
        self.run(f"cat > {path}", stdin=data)

    def scope(self) -> int:
        """Yama's ``ptrace_scope`` as it is now."""
        return int(self.run("cat /proc/sys/kernel/yama/ptrace_scope").stdout)

    def monotonic(self) -> float:
        """The machine's own CLOCK_MONOTONIC."""
        return float(self.run("cut -d' ' -f1 /proc/uptime").stdout)

    def processes(self) -> list[Process]:
        """All processes of the machine but the kernel's own, zombies included."""
        lines = self.run("ps -eo pid=,ppid=,stat=,args=").stdout.splitlines()
        found = [Process(int(pid), int(parent), state[0], words) for pid, parent, state, words in map(_fields, lines)]
        return [process for process in found if 2 not in (process.pid, process.parent)]

    def children(self, pid: int) -> list[int]:
        return [process.pid for process in self.processes() if process.parent == pid]

    def pids(self) -> set[int]:
        return {process.pid for process in self.processes()}

    def apart(self) -> str:
        """The beginning of a command that belongs to no login, as far as somebody on the machine keeps account."""
        return "$(test -d /run/systemd/system && echo systemd-run --quiet --scope --collect)"

    def start_gunicorn(self, workers: int = 2, busy: int = 1, user: str = "web") -> int:
        """Start the demonstration service; ``busy`` of its workers burn CPU. Gives its master's PID."""
        self.write("/opt/service/app.py", (HERE / "service" / "app.py").read_bytes())
        self.run(f"{self.apart()} runuser -u {user} -- sh -c '{gunicorn_command(workers)}'")
        ready = f'pid=$(cat /tmp/service.pid) && [ "$(pgrep -c -P "$pid")" = {workers} ] && echo "$pid"'
        await_condition("gunicorn's workers", lambda: self.run(ready, check=False).returncode == 0)
        for _request in range(busy):  # One at a time: each waits until a worker has taken it.
            self.run(f"{self.apart()} bash", stdin=endless_request().encode())
        return int(self.run("cat /tmp/service.pid").stdout)

    def stop_gunicorn(self) -> None:
        """Let the service's master end its workers, and wait until all of them are gone."""
        master = int(self.run("cat /tmp/service.pid").stdout)
        family = {master, *self.children(master)}
        self.run(f"kill -QUIT {master}")
        await_condition("the end of gunicorn", lambda: not family & self.pids())

    def monitor(self, command: str) -> str:
        return self.qemu.monitor(command)

    def remember(self, name: str = MOMENT) -> None:
        """Keep this moment: :meth:`recall` goes back to it as often as wanted."""
        self.hang_up()
        self._take_snapshot(name)

    def recall(self, name: str = MOMENT) -> None:
        """Back to where :meth:`remember` was called."""
        self.hang_up()
        problem = self.monitor(f"loadvm {name}").strip()
        if problem:
            raise LabError(f"QEMU did not go back: {problem}")
        self.mend()
        self._await_ssh()
        self._set_clock()

    def _take_snapshot(self, name: str) -> None:
        await_condition("the end of all sessions", lambda: "ESTABLISHED" not in self.monitor("info usernet"))
        problem = self.monitor(f"savevm {name}").strip()
        if problem:
            raise LabError(f"QEMU took no snapshot: {problem}")

    def cut(self) -> None:
        """Pull the machine's network cable."""
        self.monitor("set_link lan off")

    def mend(self) -> None:
        self.monitor("set_link lan on")

    def reset(self) -> None:
        """Press the button: the machine boots again, having had no time for anything."""
        before = self.run(BOOT_ID).stdout
        self.monitor("system_reset")

        def booted() -> bool:
            ran = self.run(BOOT_ID, check=False)
            return ran.returncode == 0 and ran.stdout != before

        self.hang_up()
        await_condition("the machine to be back", booted, 600)

    def ansible(self, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``ansible``, ``ansible-playbook``, … of this environment from the checkout, with the inventory."""
        with self.controller(program, *arguments, **environment) as process:
            out, error = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    @contextlib.contextmanager
    def controller(self, program: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """As :meth:`ansible`, for those who want to do something meanwhile. It leads a session of its own."""
        with subprocess.Popen(
            (*TETHER, *ansible_command(program, self.inventory, *arguments)),
            cwd=CHECKOUT,
            # An emulated sudo takes its time.
            env={**ansible_environment(self.directory), "ANSIBLE_TIMEOUT": "120", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                kill_session(process)

    def _write_inventory(self) -> Path:
        values = {
            "ansible_host": "127.0.0.1",
            "ansible_port": str(self.port),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_control_path_dir": f"{self.directory}/cp",
            "ansible_ssh_common_args": " ".join(SSH[:6]),
            "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=60s",
        }
        inventory = self.directory / "inventory"
        rows = [f"{name}={value}" for name, value in values.items()]
        inventory.write_text("\n".join(["[web]", self.name, "", "[web:vars]", *rows]) + "\n")
        return inventory


def kill_session(process: subprocess.Popen[str]) -> None:
    """SIGKILL for a controller and its workers; nothing happens when all have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _fields(line: str) -> list[str]:
    return line.split(None, 3)


def _booted(files: Image) -> Path:
    return files.folder / "booted.qcow2"


def _boot(files: Image) -> None:
    """Boot a new image for the first time and keep the moment at which it is up."""
    chain = ("-f", "qcow2", "-F", "raw", "-b", files.disk.name, _booted(files).name)
    run("qemu-img", "create", "-q", *chain, cwd=files.folder)
    machine = Machine()
    with contextlib.ExitStack() as closing:
        machine._power_on(closing, files, _booted(files))
        machine._reach()
        machine.run("systemctl is-system-running --wait; sync")
        machine.hang_up()
        machine._take_snapshot(SNAPSHOT)

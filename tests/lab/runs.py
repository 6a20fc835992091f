# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "runs" of the lab (private to the collection): playbooks against a fleet, and what came of it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .host_program import BUSY
from .hosts import Fleet, Host
from .waiting import await_condition

BINARY = "/usr/local/libexec/pyspy-fleet/py-spy-0.4.3"
#: What an ssh server, sudo and PAM write by themselves at every login.
_LOGINS = re.compile(
    r"/run/(utmp|sudo|systemd|user|motd\.dynamic)|/var/log/(wtmp|btmp|lastlog|faillog)|/var/lib/sudo"
    r"|/home/\w+/\.sudo_as_admin_successful"
)
#: Nothing of this may ever reach a person.
_COMPLAINTS = re.compile(r"\[WARNING\]|\[DEPRECAT|Traceback|MODULE FAILURE|HostError|FleetError|Unexpected")


class Outcome(NamedTuple):
    """One run of a playbook or an ad-hoc command; ``text`` is all that the terminal showed."""

    code: int
    text: str
    runs: Path

    @property
    def folder(self) -> Path:
        return self.runs / (self.runs / "latest").readlink()

    @property
    def manifest(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        return data

    @property
    def hosts(self) -> dict[str, Any]:
        found: dict[str, Any] = self.manifest["hosts"]
        return found

    @property
    def words(self) -> str:
        """The text without its line breaks: the summary is laid out for 80 columns."""
        return " ".join(self.text.split())

    def recap(self, host: str) -> dict[str, int]:
        """The figures of one host in the recap."""
        line = re.findall(rf"^{host} +: (ok=.*)$", self.text, re.MULTILINE)[-1]
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}

    def fatal(self, host: str) -> str:
        """The line that Ansible shows for the host's failure."""
        return str(json.loads(re.findall(rf"^fatal: \[{host}\]: FAILED! => (.*)$", self.text, re.MULTILINE)[-1])["msg"])


def play(fleet: Fleet, runs: Path, playbook: str, *words: str, **variables: object) -> Outcome:
    """Run a playbook of the collection; results go below ``runs``.

    Extra variables as a person types them; those in capitals belong to the environment.
    """
    environment = {key: str(value) for key, value in variables.items() if key.isupper()}
    settings = {"pyspy_output_dir": runs, **{key: variables[key] for key in variables.keys() - environment.keys()}}
    extra = [part for key, value in settings.items() for part in ("-e", f"{key}={value}")]
    done = fleet.ansible("ansible-playbook", f"pyspy.fleet.{playbook}", *extra, *words, **environment)
    return outcome(done, runs)


def outcome(done: subprocess.CompletedProcess[str], runs: Path) -> Outcome:
    """What a finished command said; it must not have shown anything that is not for people."""
    text = done.stdout + done.stderr
    assert not _COMPLAINTS.search(text), text
    return Outcome(done.returncode, text, runs)


def start_busy(host: Host, user: str) -> int:
    """A script that ``user`` runs and that is busy in ``burn``, if nobody else wants the CPU; its PID on the host."""
    (host.root / "srv" / "busy.py").write_text(BUSY, encoding="utf-8")
    before = host.pids()
    host.run("setsid nice -n 19 python3 /srv/busy.py 0 0 86400 >/dev/null 2>&1 &", user=user)
    found: list[int] = []

    def runs() -> bool:
        commands = [row for row in host.processes() if row.command.startswith("python3 /srv/busy.py")]
        found[:] = [row.pid for row in commands if row.pid not in before]
        return bool(found)

    await_condition("the busy script", runs)
    return found[0]


class Traces(NamedTuple):
    """What a host holds: its files with mode, owner, size and time, and its processes."""

    files: frozenset[str]
    processes: frozenset[tuple[int, str]]

    @classmethod
    def of(cls, host: Host) -> Traces:
        # What a directory's time tells is only that a file came and went.
        looks = r"-type d -printf '%p %M %U\n' -o -printf '%p %M %U %s %T@\n'"
        listing = host.run(f"find / /run /tmp /dev/shm -xdev -path /dev -prune -o {looks}").stdout
        files = frozenset(line for line in listing.splitlines() if not _LOGINS.match(line))
        rows = {(row.pid, row.command) for row in host.processes() if not row.command.startswith(("sshd:", "find /"))}
        return cls(files, frozenset(rows))

    def since(self, before: Traces) -> list[str]:
        """What came, went or changed, one line each."""
        paths = {line.split(" ")[0] for line in self.files ^ before.files}
        return sorted(paths) + [f"process {row}" for row in sorted(self.processes ^ before.processes)]


def traces(hosts: Iterable[Host]) -> dict[str, Traces]:
    return {host.name: Traces.of(host) for host in hosts}


def changes(hosts: Iterable[Host], before: dict[str, Traces]) -> dict[str, list[str]]:
    """What is different on each host since ``before``."""
    return {host.name: Traces.of(host).since(before[host.name]) for host in hosts}

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

from .hosts import Fleet, Host

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

    def error(self, host: str) -> str:
        """Why the host failed, as the run's manifest has it: one line."""
        error = self.hosts[host]["error"]
        return f"{error['reason']}: {error['detail']}. Remedy: {error['remedy']}"


def play(fleet: Fleet, runs: Path, playbook: str, *words: str, **variables: object) -> Outcome:
    """Run a playbook of the collection with extra variables; results go below ``runs``."""
    settings = [f"{key}={value}" for key, value in {"pyspy_output_dir": runs, **variables}.items()]
    extra = [part for setting in settings for part in ("-e", setting)]
    return outcome(fleet.ansible("ansible-playbook", f"pyspy.fleet.{playbook}", *extra, *words), runs)


def outcome(done: subprocess.CompletedProcess[str], runs: Path) -> Outcome:
    """What a finished command said; it must not have shown anything that is not for people."""
    text = done.stdout + done.stderr
    assert not _COMPLAINTS.search(text), text
    return Outcome(done.returncode, text, runs)


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

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three ways to the same end: a flame graph of one process of every host, brought back to the controller.

* ``bare``: a shell loop over ssh, all hosts at once, as a quick colleague would type it;
* ``plain``: a playbook of six ordinary tasks at the same forks;
* ``fleet``: ``playbooks/profile.yml``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ansible_collections.pyspy.fleet.plugins.plugin_utils import _fetch, _releases
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet

WINDOW = 5
FORKS = 5
#: The process that is profiled: it works some 5 % of the time, so that 20 of them leave the machine free.
TARGET = "import time\ndef work():\n    sum(range(20000))\nwhile True:\n    work()\n    time.sleep(0.01)\n"
PATTERN = "bench_target"
ON_HOST = "/usr/local/libexec/pyspy-fleet"

PLAIN = """
- hosts: web
  gather_facts: false
  tasks:
    - ansible.builtin.file: {path: /usr/local/libexec/pyspy-fleet, state: directory, mode: "0755"}
    - ansible.builtin.copy: {src: "BINARY", dest: /usr/local/libexec/pyspy-fleet/py-spy-VERSION, mode: "0755"}
    - ansible.builtin.command: pgrep -f PATTERN
      register: found
    - ansible.builtin.command: >-
        /usr/local/libexec/pyspy-fleet/py-spy-VERSION record --nonblocking -d WINDOW -o /root/out.svg
        -p {{ found.stdout_lines[0] }}
    - ansible.builtin.fetch: {src: /root/out.svg, dest: "RESULTS/"}
    - ansible.builtin.file: {path: /root/out.svg, state: absent}
"""


class Cost(NamedTuple):
    """``seconds`` of wall time, ``cpu`` seconds of the controller, ``wire`` bytes both ways, ``graphs`` that came."""

    seconds: float
    cpu: float
    wire: int
    graphs: int


class Arena:
    """A fleet with a target on each host, and the contestants that are sent to it."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.folder = folder
        self.binary = _fetch.binary(_releases.NEWEST, os.uname().machine)
        for host in fleet.hosts:
            (host.root / "opt" / f"{PATTERN}.py").write_text(TARGET)
            host.run(f"setsid python3 /opt/{PATTERN}.py </dev/null >/dev/null 2>&1 &")
        fleet.ansible("ansible", "web", "-m", "ping", "-f", "10")  # connections are warm from here on, for everybody

    def take_binary_away(self) -> None:
        for host in self.fleet.hosts:
            host.run(f"rm -rf {ON_HOST}")

    def measure(self, contestant: Callable[[Arena, Path], None]) -> Cost:
        results = Path(tempfile.mkdtemp(dir=self.folder))
        wire, used, began = self._wire(), _cpu(), time.monotonic()
        contestant(self, results)
        seconds = time.monotonic() - began
        drawn = (path for path in results.rglob("*.svg") if path.name not in ("fleet.svg", "host.svg"))
        graphs = [path for path in drawn if "<svg" in path.read_text()[:2000]]
        return Cost(seconds, _cpu() - used, self._wire() - wire, len(graphs))

    def _wire(self) -> int:
        """Bytes that crossed the controller's end of the bridge so far."""
        show = ["nsenter", f"--net={self.fleet._hub.namespace}", "ip", "-s", "-j", "link", "show", "br0"]
        link = json.loads(subprocess.run(show, capture_output=True, check=True).stdout)[0]["stats64"]
        return int(link["rx"]["bytes"]) + int(link["tx"]["bytes"])


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bare(arena: Arena, results: Path) -> None:
    """Bring the binary where it is missing, record, print the graph: one ssh for each host, all at once."""
    name = f"{ON_HOST}/py-spy-{_releases.NEWEST}"
    control = arena.fleet.directory / "bare-%h"
    shell = f"""
bring() {{ $SSH root@$1 "test -x {name}" </dev/null || \\
  $SSH -C root@$1 "mkdir -p {ON_HOST} && cat >{name} && chmod 755 {name}" <{arena.binary}; }}
record() {{ $SSH root@$1 "{name} record --nonblocking -d {WINDOW} -o /root/out.svg -p \\$(pgrep -f {PATTERN}) \\
  >/dev/null && cat /root/out.svg; rm -f /root/out.svg" </dev/null >{results}/$1.svg; }}
for host in $HOSTS; do {{ bring $host; record $host; }} & done; wait"""
    words = arena.fleet.ssh(arena.fleet.hosts[0])[:-1]
    ssh = " ".join([*words, "-o", "ControlMaster=auto", "-o", f"ControlPath={control}", "-o", "ControlPersist=60s"])
    hosts = " ".join(host.address for host in arena.fleet.hosts)
    subprocess.run(["bash", "-c", shell], env={**os.environ, "SSH": ssh, "HOSTS": hosts}, check=True)


def warm_bare(arena: Arena) -> None:
    """The loop's own ssh masters, so that nobody pays for a handshake in the measurement."""
    control = arena.fleet.directory / "bare-%h"
    for host in arena.fleet.hosts:
        options = ["-C", "-o", "ControlMaster=auto", "-o", f"ControlPath={control}", "-o", "ControlPersist=120s"]
        subprocess.run([*arena.fleet.ssh(host)[:-1], *options, f"root@{host.address}", "true"], check=True)


def plain(arena: Arena, results: Path) -> None:
    playbook = results / "plain.yml"
    text = PLAIN.replace("BINARY", str(arena.binary)).replace("VERSION", _releases.NEWEST)
    playbook.write_text(
        text.replace("PATTERN", PATTERN).replace("WINDOW", str(WINDOW)).replace("RESULTS", str(results))
    )
    _play(arena, str(playbook))


def fleet(arena: Arena, results: Path) -> None:
    options = {"pyspy_duration": WINDOW, "pyspy_pattern": PATTERN, "pyspy_output_dir": str(results)}
    _play(arena, "playbooks/profile.yml", "-e", json.dumps(options))


def _play(arena: Arena, *arguments: str) -> None:
    done = arena.fleet.ansible("ansible-playbook", "-f", str(FORKS), *arguments, ANSIBLE_PIPELINING="1")
    if done.returncode:
        sys.exit(done.stdout + done.stderr)

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input, one sort on each host: one clear line with a remedy, the other hosts go on, nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _fetch, _releases
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet, Host
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, changes, play, start_busy, traces


class Bad(NamedTuple):
    """Variables that are wrong for one host, and what is said of it: reason and detail, then the remedy."""

    settings: str
    words: str
    remedy: str


TABLE = (
    Bad("pyspy_install_version=9.9.9", "There is no pinned py-spy '9.9.9'", "0.4.3"),
    Bad("pyspy_install_version=0.3.14", "py-spy 0.3.14 is refused: killed in mid-sample", "0.4.3"),
    Bad(
        "pyspy_install_dir=/opt/empty pyspy_install_wheel_dir={wheels}",
        "none of 1 files has the sha256",
        "pip download",
    ),
    Bad(
        "pyspy_install_wheel_dir=/nowhere pyspy_install_dir=/opt/empty",
        "directory of wheels",
        "pyspy_install_wheel_dir",
    ),
    Bad("pyspy_install_dir=/mnt/noexec", "mounted noexec", "pyspy_install_dir"),
    Bad("pyspy_install_dir=/opt/everybodys", "Somebody else could replace py-spy: /opt/everybodys", "chmod go-w"),
    Bad("pyspy_install_dir=/mnt/small", "There is no space for py-spy: /mnt/small", "free some space"),
    Bad("pyspy_install_dir=relative", "absolute", "/opt/pyspy-fleet"),
    Bad("pyspy_install_executable=/opt/missing", "not on this host: /opt/missing", "pyspy_install_executable"),
    Bad("pyspy_install_executable=/opt/older", "too old: py-spy 0.3.9", "name another py-spy"),
    Bad("pyspy_install_executable=/usr/bin/true", "not py-spy: /usr/bin/true", "name another py-spy"),
    Bad(
        "pyspy_install_executable=/opt/foreign", "cannot be executed: /opt/foreign: Exec format", "name another py-spy"
    ),
    Bad("pyspy_install_executable=/opt/script", "not a program", "name another py-spy"),
    Bad("pyspy_pids=999999", "No process 999999 on this host", "PIDs change"),
    Bad("pyspy_pids={sleep}", "(sleep) is not Python", "python_process_info"),
    Bad("pyspy_pids=two", "An option has a wrong value: Elements value for option 'pids'", "ansible-doc"),
    Bad("pyspy_user=nobodys", "No user 'nobodys' on this host", "check the name"),
    Bad("pyspy_pattern='('", "The selector pattern is not a regular expression: '('", "backslash"),
    Bad("pyspy_exclude='*'", "The selector exclude is not a regular expression: '*'", "backslash"),
    Bad("pyspy_unit=no/unit", "The selector unit is not the name of a systemd unit: got 'no/unit'", "ansible-doc"),
    Bad("pyspy_unit=nowhere", "No process of this host is in the unit nowhere.service: systemd does not", "by port"),
    Bad("pyspy_port=70000", "The selector port is not a number from 1 to 65535: got 70000", "ansible-doc"),
    Bad("pyspy_port=9", "Nobody listens on TCP port 9", "ss -ltnp"),
    Bad("pyspy_port=22", "What listens on TCP port 22 cannot be a target: Process ", "python_process_info"),
    Bad("pyspy_children_of=999999", "No process 999999 on this host, so nothing is below it", "PIDs change"),
    Bad("pyspy_process_role=boss", "An option has a wrong value: value of process_role must be one of", "ansible-doc"),
    Bad("pyspy_min_cpu=-1", "The selector min_cpu is not a number from 0 (per cent of one core)", "ansible-doc"),
    Bad("pyspy_duration=0", "duration is not a whole number from 1 to 3600 (s): got 0", "another value"),
    Bad("pyspy_duration=-1", "duration is not a whole number from 1 to 3600 (s): got -1", "another value"),
    Bad("pyspy_duration=1e9", "duration is not a whole number from 1 to 3600 (s): got 1000000000", "another value"),
    Bad("pyspy_duration=long", "An option has a wrong value: argument 'duration'", "ansible-doc"),
    Bad("pyspy_rate=0", "rate is not a whole number from 1 to 1000 (Hz): got 0", "another value"),
    Bad("pyspy_native=true pyspy_nonblocking=true", "native and nonblocking exclude each other", "one of them"),
    Bad("pyspy_gil=true pyspy_idle=true", "gil and idle exclude each other", "one of them"),
    Bad("pyspy_keep=1", "keep is not a whole number from 10 to 86400 (s)", "another value"),
)
PER_RUN = 5


class Verdict(NamedTuple):
    """The run that a row of the table was part of, on which host, and what the run left on each."""

    run: Outcome
    host: str
    left: dict[str, list[str]]


@pytest.fixture(scope="module")
def prepared(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A busy script and py-spy on each host, and what the table speaks of; gives the directory of wrong wheels."""
    for host in fleet.hosts:
        start_busy(host, "deploy")
        lay_traps(host)
    done = play(fleet, tmp_path_factory.mktemp("install"), "install", "--forks", "6")
    assert done.code == 0, done.text
    wheels = tmp_path_factory.mktemp("wheels")
    (wheels / "py_spy-0.4.3-py2.py3-none-manylinux2014_x86_64.whl").write_bytes(b"something else")
    return wheels


def lay_traps(host: Host) -> None:
    host.run(
        "mkdir -m 755 /mnt/small /mnt/noexec /opt/empty && mkdir -m 777 /opt/everybodys"
        " && mount -t tmpfs -o size=1m,mode=755 small /mnt/small"
        " && mount -t tmpfs -o noexec,mode=755 noexec /mnt/noexec"
    )
    host.run("setsid sleep 86400 >/dev/null 2>&1 &")
    pyspy = _fetch.binary(_releases.NEWEST, _releases.architecture(os.uname().machine)).read_bytes()
    assert pyspy.count(b"0.4.3") == 1
    for name, content in (
        ("older", pyspy.replace(b"0.4.3", b"0.3.9")),
        ("foreign", b"\x7fELF of another machine"),
        ("script", b"#!/bin/sh\nexec py-spy\n"),
    ):
        (host.root / "opt" / name).write_bytes(content)
        (host.root / "opt" / name).chmod(0o755)


@pytest.fixture(scope="module")
def verdicts(fleet: Fleet, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """Each row of the table on a host of its own. web1 is always right, and the controller's cache is empty."""
    found = {}
    cache = tmp_path_factory.mktemp("cache")
    for at in range(0, len(TABLE), PER_RUN):
        rows = dict(zip(fleet.hosts[1:], TABLE[at : at + PER_RUN], strict=False))
        folder = tmp_path_factory.mktemp("bad")
        lines = [f"{host.name} {filled(row.settings, host, prepared)}" for host, row in rows.items()]
        (folder / "bad").write_text("\n".join([*lines, "[all:vars]", "pyspy_duration=1", ""]), encoding="utf-8")
        limit = ",".join(host.name for host in (fleet.hosts[0], *rows))
        before = traces(fleet.hosts)
        words = ("-i", str(folder / "bad"), "-l", limit, "--forks", "6")
        done = play(fleet, folder, "profile", *words, XDG_CACHE_HOME=cache)
        left = changes(fleet.hosts, before)
        found.update({row.settings: Verdict(done, host.name, left) for host, row in rows.items()})
    return found


def filled(settings: str, host: Host, wheels: Path) -> str:
    return settings.format(wheels=wheels, sleep=host.run("pgrep sleep").stdout.strip())


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.settings)
def test_one_line_with_a_remedy(verdicts: dict[str, Verdict], row: Bad) -> None:
    run, host, left = verdicts[row.settings]
    said = run.fatal(host)
    what, _remedy, remedy = said.partition(". Remedy: ")
    assert row.words in what and row.remedy in remedy
    assert "\n" not in said
    assert run.hosts[host]["status"] == "failed"
    assert run.recap(host)["failed"] == 1 and run.recap(host)["changed"] == 0
    assert left[host] == []


@pytest.mark.parametrize("row", TABLE[::PER_RUN], ids=lambda row: row.settings)
def test_the_other_hosts_go_on(verdicts: dict[str, Verdict], row: Bad) -> None:
    run, _host, left = verdicts[row.settings]
    assert run.code == 2
    assert run.hosts["web1"]["status"] == "collected"
    assert [capture["outcome"] for capture in run.hosts["web1"]["captures"]] == ["profiled"]
    assert left["web1"] == []

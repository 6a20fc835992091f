# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts and targets that cannot be profiled beside others that can: what is said of each, and the verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet, Host
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, changes, play, start_busy, traces
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

#: PTRACE_SEIZE (0x4206): a debugger that waits for a breakpoint. A blocking py-spy needs the trace for itself.
DEBUGGER = """
import ctypes, sys, time
assert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None) == 0
time.sleep(86400)
"""
#: A cut cable is noticed soon, and no older connection is waited for.
IMPATIENT = 'ansible_ssh_args="-o ConnectTimeout=2 -o ControlPath=none"'
NO_PYTHON = "for name in python3 python3.11; do mv /usr/bin/$name /usr/bin/no-$name; done"
PYTHON_AGAIN = "for name in python3 python3.11; do mv /usr/bin/no-$name /usr/bin/$name; done"


def debug(host: Host, pid: int) -> None:
    """Let a debugger hold one process of the host."""
    (host.root / "srv" / "debugger.py").write_text(DEBUGGER, encoding="utf-8")
    host.run(f"setsid python3 /srv/debugger.py {pid} >/dev/null 2>&1 &")
    status = host.root / f"proc/{pid}/status"
    await_condition("the debugger", lambda: "TracerPid:\t0\n" not in status.read_text(encoding="utf-8"))


def profile(fleet: Fleet, folder: Path, settings: dict[str, str], *words: str, **variables: object) -> Outcome:
    """``profile.yml`` with settings of their own for some hosts."""
    inventory = folder / "settings"
    # Named, for on a machine that is busy enough the busy one is not the hottest.
    everywhere = "[all:vars]\npyspy_pattern=busy\n"
    hosts = "".join(f"{host} {text}\n" for host, text in settings.items())
    inventory.write_text(f"{hosts}{everywhere}", encoding="utf-8")
    return play(fleet, folder, "profile", "-i", str(inventory), "--forks", "6", *words, pyspy_duration=1, **variables)


@pytest.fixture(scope="module")
def prepared(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """One busy script on each host, two on the first two; a debugger holds one on each of the first four."""
    for host in fleet.hosts:
        pid = start_busy(host, "deploy")
        if host.number <= 4:
            debug(host, pid)
        if host.number <= 2:
            start_busy(host, "deploy")
    assert play(fleet, tmp_path_factory.mktemp("install"), "install", "--forks", "6").code == 0
    return fleet


@pytest.fixture(scope="module")
def judged(prepared: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    before = traces(prepared.hosts)
    settings = {
        "web1": "pyspy_fail_on=any",
        "web2": "pyspy_fail_on=all",
        "web3": "pyspy_fail_on=none",
        "web4": "pyspy_fail_on=all pyspy_allow_traced=true",
        "web5": "pyspy_pattern=nonsense",
        "web6": "pyspy_enabled=false",
    }
    done = profile(prepared, tmp_path_factory.mktemp("verdicts"), settings, pyspy_nonblocking=False)
    assert changes(prepared.hosts, before) == {host.name: [] for host in prepared.hosts}
    return done


@pytest.mark.parametrize(
    ("host", "outcomes", "failed"),
    [
        ("web1", ["failed", "profiled"], 1),
        ("web2", ["failed", "profiled"], 0),
        ("web3", ["failed"], 0),
        ("web4", ["failed"], 1),
        ("web5", [], 0),
        ("web6", [], 0),
    ],
    ids=["any of two", "all of two", "none of one", "all of one", "no target", "opted out"],
)
def test_the_verdict_follows_fail_on(judged: Outcome, host: str, outcomes: list[str], failed: int) -> None:
    assert sorted(capture["outcome"] for capture in judged.hosts[host]["captures"]) == outcomes
    assert judged.recap(host)["failed"] == failed
    assert judged.code == 2


def test_a_target_that_is_refused_says_why(judged: Outcome) -> None:
    [capture] = judged.hosts["web4"]["captures"]
    assert "attaching is refused: " in capture["reason"] and "traced" in capture["reason"]
    assert "nonblocking" in capture["remedy"] and capture["attach"] == ""
    assert capture["reason"] in judged.fatal("web4")
    assert "nonblocking" in judged.fatal("web4").partition("Remedy: ")[2]
    assert "attaching is refused: " in judged.words.partition("Hosts ")[2].partition("Report ")[0]


def test_a_target_that_somebody_debugs_is_left_alone(judged: Outcome) -> None:
    [capture] = judged.hosts["web3"]["captures"]
    assert "left alone: process" in capture["reason"] and "pyspy_allow_traced=true" in capture["remedy"]


def test_where_all_are_refused_nothing_is_started(judged: Outcome) -> None:
    assert judged.hosts["web4"]["recording"] == "" and judged.hosts["web2"]["recording"] != ""


def test_a_host_that_is_strained_is_left_alone_and_says_by_which_limit(prepared: Fleet, tmp_path: Path) -> None:
    before = traces(prepared.hosts)
    settings = {"web4": "pyspy_min_free_memory=99999999", "web5": "pyspy_min_free_space=99999999 pyspy_fail_on=none"}
    done = profile(prepared, tmp_path, settings, "-l", "web4,web5,web6")
    assert done.code == 2
    assert "available memory (MiB) is " in done.fatal("web4") and "pyspy_min_free_memory" in done.fatal("web4")
    assert "the limit is 1e+08 (pyspy_min_free_space)" in done.hosts["web5"]["error"]["detail"]
    assert [capture["outcome"] for capture in done.hosts["web6"]["captures"]] == ["profiled"]
    assert changes(prepared.hosts, before) == {host.name: [] for host in prepared.hosts}


def test_no_target_is_no_failure_and_says_how_many_each_selector_matched(judged: Outcome) -> None:
    assert judged.hosts["web5"]["status"] == "nothing"
    assert "web5: pattern 'nonsense' matched 0 of" in judged.words


def test_a_host_that_opted_out_is_listed_as_such(judged: Outcome) -> None:
    assert judged.hosts["web6"]["status"] == "opted_out"
    assert "1 opted out" in judged.words


@pytest.fixture(scope="module")
def crippled(prepared: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """web1 has no network; web2 and web3 have no Python, and on web3 the user names none."""
    settings = {
        "web1": IMPATIENT,
        "web3": "ansible_python_interpreter=auto",
        "web4": "pyspy_allow_traced=true",
        "web5": "ansible_python_interpreter=auto",
    }
    before = traces(prepared.hosts[3:])
    prepared.cut(prepared.hosts[0])
    for host in prepared.hosts[1:3]:
        host.run(NO_PYTHON)
    try:
        done = profile(prepared, tmp_path_factory.mktemp("crippled"), settings)
    finally:
        prepared.mend(prepared.hosts[0])
        for host in prepared.hosts[1:3]:
            host.run(PYTHON_AGAIN)
    assert changes(prepared.hosts[3:], before) == {host.name: [] for host in prepared.hosts[3:]}
    return done


@pytest.mark.parametrize(
    ("host", "status", "words", "remedy"),
    [
        ("web1", "unreachable", "The host cannot be reached", "see that ssh to it works"),
        ("web2", "failed", "The interpreter /usr/bin/python3 does not run on this host", "ansible_python_interpreter"),
        ("web3", "failed", "No Python 3.8 or newer on this host", "install one, or name it with"),
    ],
    ids=["unreachable", "no such interpreter", "no interpreter found"],
)
def test_a_crippled_host_is_one_line_with_a_remedy(
    crippled: Outcome, host: str, status: str, words: str, remedy: str
) -> None:
    assert crippled.hosts[host]["status"] == status
    said = crippled.fatal(host)
    assert words in said and remedy in said.partition("Remedy: ")[2]
    assert f"{host}: {words}" in crippled.words
    assert crippled.recap(host)["failed"] == 1 and crippled.code == 2


@pytest.mark.parametrize("host", ["web4", "web5", "web6"])
def test_the_other_hosts_go_on(crippled: Outcome, host: str) -> None:
    """web5 with an interpreter that was found; web4's target has a debugger, which is allowed there."""
    assert [capture["outcome"] for capture in crippled.hosts[host]["captures"]] == ["profiled"]


def test_when_no_host_can_be_reached_there_is_still_a_report(prepared: Fleet, tmp_path: Path) -> None:
    for host in prepared.hosts[:2]:
        prepared.cut(host)
    try:
        done = profile(prepared, tmp_path, dict.fromkeys(("web1", "web2"), IMPATIENT), "-l", "web1,web2")
    finally:
        for host in prepared.hosts[:2]:
            prepared.mend(host)
    assert done.code == 2
    assert "0 of 2 profiled, 2 unreachable" in done.text
    assert (done.folder / "index.html").exists()


#: What is wrong for all hosts, and what is said of it.
FOR_ALL = (
    ("pyspy_fail_on", "sometimes", "pyspy_fail_on must be one of: none, any, all, got: sometimes"),
    ("pyspy_rate", "abc", "argument 'pyspy_rate' is of type str and we were unable to convert to int"),
    ("pyspy_max_hosts", 5, "would profile 6 hosts and pyspy_max_hosts is 5. Remedy: name fewer hosts with -l"),
)


def test_what_is_wrong_for_all_hosts_is_said_once_and_nothing_runs(prepared: Fleet, tmp_path: Path) -> None:
    before = traces(prepared.hosts)
    for variable, value, words in FOR_ALL:
        done = profile(prepared, tmp_path, {}, **{variable: value})
        assert done.code == 2
        assert words in done.text
        assert done.text.count("fatal: ") == 1
    assert not (tmp_path / "latest").exists()
    assert changes(prepared.hosts, before) == {host.name: [] for host in prepared.hosts}

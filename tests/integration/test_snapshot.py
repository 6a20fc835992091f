# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds of snapshots of real services, into a store on the controller, and a controller that dies at any point."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._store._store import open_store
from ansible_collections.pyspy.fleet.tests.lab.hosts import CHECKOUT, Fleet, ansible_command, ansible_environment
from ansible_collections.pyspy.fleet.tests.lab.rounds import USUAL, kept, store_of, take, targets
from ansible_collections.pyspy.fleet.tests.lab.runs import play
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

HOSTS, WORKERS = 4, 2


@pytest.fixture(scope="module")
def service() -> Iterator[Fleet]:
    with Fleet(HOSTS) as fleet:
        for host in fleet.hosts:
            host.start_gunicorn(WORKERS, WORKERS, rest=0.05)
        yield fleet


def test_two_rounds_in_waves(service: Fleet, tmp_path: Path) -> None:
    for _round in range(2):
        done = take(service, tmp_path, pyspy_snapshot_version="2.14", pyspy_reason="INC-7")
        assert done.code == 0, done.text
    assert "Hosts 4 of 4 profiled" in done.words and "Services gunicorn" in done.words, done.text
    assert "Restored 4 of 4 hosts (read back)" in done.words
    first, second = kept(tmp_path)
    for visited in (first, second):
        assert {taken.host for taken in visited.snapshots} == {host.name for host in service.hosts}
        assert targets(visited) == HOSTS * WORKERS
        assert {taken.version for taken in visited.snapshots} == {"2.14"}
        assert {taken.capture.measure.rate for taken in visited.snapshots} == {50.0}
        # Never on more than half of the hosts at once: one wave had ended before the next began.
        windows = sorted((record.began or 0.0, record.ended or 0.0) for record in visited.records)
        assert max(ended for _began, ended in windows[:2]) <= windows[2][0]
    frames = {frame.name for taken in first.snapshots for stack in taken.profile.stacks for frame in stack.frames}
    assert "price_basket" in frames
    with open_store(str(store_of(tmp_path)), create=False) as store:
        assert [(one.hosts, one.chosen, one.reason) for one in store.rounds()] == [(4, 4, "INC-7")] * 2
    assert not list((tmp_path / "snapshots.rounds").glob("2*")), "what is in the store lies nowhere else"


def test_a_share_of_the_hosts(service: Fleet, tmp_path: Path) -> None:
    for _round in range(2):
        done = take(service, tmp_path, pyspy_snapshot_share=0.5, pyspy_snapshot_at_once=1)
        assert done.code == 0 and "2 of 4 hosts; each stands for 2" in done.words, done.text
    hosts = [{taken.host for taken in visited.snapshots} for visited in kept(tmp_path)]
    assert hosts[0] == hosts[1] and len(hosts[0]) == 2


def test_check_mode_writes_nothing(service: Fleet, tmp_path: Path) -> None:
    done = take(service, tmp_path, "--check", pyspy_snapshot_share=0.5)
    assert done.code == 0 and "targets would be profiled on 2 of 4 hosts" in done.words, done.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"pyspy_snapshot_zone": "Mars/Phobos"}, "There is no time zone 'Mars/Phobos'"),
        ({"pyspy_snapshot_usual_since": "soon"}, "There is no round of snapshots 'soon'"),
        ({"pyspy_snapshot_share": 0}, "pyspy_snapshot_share is a part of 1"),
    ],
)
def test_a_mistake_is_told_before_any_host_is_asked(
    service: Fleet, tmp_path: Path, wrong: dict[str, object], words: str
) -> None:
    for mode in ((), ("--check",)):
        done = take(service, tmp_path, *mode, **wrong)
        assert done.code != 0 and words in done.words and "Remedy: " in done.words, done.text
        assert not list(tmp_path.glob("snapshots.rounds/2*")) and "Look what runs where" not in done.text


def test_strained_hosts_are_left_alone(service: Fleet, tmp_path: Path) -> None:
    done = take(service, tmp_path, pyspy_max_load=0.0001, pyspy_fail_on="any")
    assert done.code == 0 and "This host is too strained now" in done.words, done.text
    (visited,) = kept(tmp_path)
    assert not visited.snapshots and len(visited.records) == HOSTS


def test_a_host_that_is_gone_does_not_stop_the_round(service: Fleet, tmp_path: Path) -> None:
    gone = service.hosts[2]
    service.cut(gone)
    try:
        done = take(service, tmp_path, ANSIBLE_TIMEOUT=5)
    finally:
        service.mend(gone)
    assert done.code == 0 and f"{gone.name}: The host cannot be reached" in done.words, done.text
    (visited,) = kept(tmp_path)
    assert len({taken.host for taken in visited.snapshots}) == HOSTS - 1
    assert take(service, tmp_path).code == 0


def test_a_host_whose_name_turns_the_line_around(service: Fleet, tmp_path: Path) -> None:
    """As an inventory may have it: shown as text, and found again under its folder and in the store."""
    name, host = "web\u202e1\u0007", service.hosts[0]
    lines = service.inventory.read_text(encoding="utf-8").replace(f"{host.name} ansible_host", f"{name} ansible_host")
    assert name in lines
    (tmp_path / "hosts").write_text(lines, encoding="utf-8")
    done = take(service, tmp_path, "-i", str(tmp_path / "hosts"), "-l", name)
    assert done.code == 0 and "Hosts 1 of 1 profiled" in done.words, done.text
    (visited,) = kept(tmp_path)
    assert {taken.host for taken in visited.snapshots} == {"web?1?"} and targets(visited) == WORKERS


#: Where a controller is killed: what is there to be seen of each phase, in the folder of rounds.
PHASES = {"begun": "2*", "window open": "2*/hosts/*/recording.json", "collected": "2*/hosts/*/*.speedscope.json"}


@pytest.mark.parametrize("phase", PHASES)
def test_a_controller_that_is_killed(service: Fleet, tmp_path: Path, phase: str) -> None:
    assert take(service, tmp_path).code == 0
    process = begun(service, tmp_path)
    # The folder of the first round has gone into the store.
    await_condition(phase, lambda: any((tmp_path / "snapshots.rounds").glob(PHASES[phase])))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if phase == "begun":
        # A worker of Ansible has a session of its own, and may write for a moment more what it is about.
        await_condition("the end of its workers", lambda: not controllers(tmp_path))
    # Before it has written what it is about it has asked nobody.
    left = [path.parts[-3] for path in (tmp_path / "snapshots.rounds").glob("2*/.state/round.json")]
    done = take(service, tmp_path)
    assert done.code == 0, done.text
    assert all(name in done.words for name in left)
    # Windows of the dead round may still be open: what is in them is left alone. They end by themselves.
    await_condition("the end of the windows", lambda: not recorders(service))
    assert take(service, tmp_path).code == 0
    rounds = kept(tmp_path)
    assert len(rounds) == 3 + len(left)
    assert all(targets(visited) == HOSTS * WORKERS for visited in (rounds[0], rounds[-1]))
    if phase == "collected":
        assert rounds[1].snapshots, "what had been brought is kept"
    assert not list((tmp_path / "snapshots.rounds").glob("2*"))


def begun(fleet: Fleet, folder: Path) -> subprocess.Popen[bytes]:
    """A round under way, in a session of its own."""
    values = {**USUAL, "pyspy_snapshot_store": str(store_of(folder)), "pyspy_output_dir": str(folder)}
    return subprocess.Popen(
        ansible_command("ansible-playbook", fleet.inventory, "pyspy.fleet.snapshot", "-e", json.dumps(values)),
        cwd=CHECKOUT,
        env=ansible_environment(fleet.directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def controllers(folder: Path) -> list[str]:
    """Processes of this machine that were told of the folder."""
    found = [path.read_bytes().decode() for path in Path("/proc").glob("[0-9]*/cmdline")]
    return [words for words in found if str(folder) in words]


def recorders(fleet: Fleet) -> list[str]:
    return [row.command for host in fleet.hosts for row in host.processes() if " record " in row.command]


def test_two_rounds_at_once(service: Fleet, tmp_path: Path) -> None:
    assert take(service, tmp_path).code == 0
    first = begun(service, tmp_path)
    try:
        await_condition("the other round", lambda: any((tmp_path / "snapshots.rounds").glob("2*/hosts/*")))
        second = take(service, tmp_path)
        assert second.code != 0 and "Another round is under way" in second.words and "Remedy" in second.words, (
            second.text
        )
        assert len(list((tmp_path / "snapshots.rounds").glob("2*"))) == 1, "what was refused leaves nothing"
        assert first.wait(120) == 0
    finally:
        first.kill()
    assert [targets(visited) for visited in kept(tmp_path)] == [HOSTS * WORKERS] * 2


@pytest.mark.parametrize("what", ["truncated", "newer"])
def test_a_store_that_cannot_be_used_is_refused_before_any_host_is_asked(
    service: Fleet, tmp_path: Path, what: str
) -> None:
    assert take(service, tmp_path).code == 0
    data = store_of(tmp_path).read_bytes()
    # The format's version for applications is a number at byte 60 (https://sqlite.org/fileformat.html).
    broken = data[: len(data) // 2] if what == "truncated" else data[:60] + (999).to_bytes(4, "big") + data[64:]
    store_of(tmp_path).write_bytes(broken)
    done = take(service, tmp_path)
    assert done.code != 0 and "Remedy: " in done.words and "profiled" not in done.words, done.text
    assert store_of(tmp_path).read_bytes() == broken
    store_of(tmp_path).write_bytes(data)
    assert take(service, tmp_path).code == 0 and len(kept(tmp_path)) == 2


def test_names_sort_by_time_and_old_rounds_go(service: Fleet, tmp_path: Path) -> None:
    for _round in range(3):
        done = take(service, tmp_path, pyspy_snapshot_keep_rounds=2)
        assert done.code == 0, done.text
    assert "Pruned 1 round" in done.words
    with open_store(str(store_of(tmp_path)), create=False) as store:
        rounds = store.rounds()
    assert len(rounds) == 2 and all(a.began < b.began and a.name < b.name for a, b in pairwise(rounds))


def test_rounds_are_reported_and_compared_again(service: Fleet, tmp_path: Path) -> None:
    for _round in range(2):
        assert take(service, tmp_path).code == 0
    store = {"pyspy_snapshot_store": store_of(tmp_path)}
    with open_store(str(store_of(tmp_path)), create=False) as opened:
        first, second = (one.name for one in opened.rounds())
    dry = play(service, tmp_path, "history", "--check", pyspy_history_rounds=first, **store)
    assert dry.code == 0 and "Hosts 4 of 4 profiled" in dry.words and not (tmp_path / first).exists(), dry.text
    shown = play(service, tmp_path, "history", pyspy_history_rounds=first, **store)
    assert shown.code == 0 and f"{tmp_path}/{first}/index.html" in shown.text, shown.text
    assert (tmp_path / first / "index.html").exists() and (tmp_path / first / "fleet.pprof.gz").exists()
    absent = play(service, tmp_path, "history", pyspy_history_rounds="2001-01-01", **store)
    assert absent.code != 0 and "There is no round of snapshots '2001-01-01'" in absent.words, absent.text
    sides = {"pyspy_diff_a": f"round={first}", "pyspy_diff_b": "round=latest"}
    compared = play(service, tmp_path, "diff", **sides, **store)
    assert compared.code == 0 and "judged by how 8 and 8 workers differ" in compared.words, compared.text
    assert list((tmp_path / second).glob("diff-*.html"))
    # What was opened once is linked from the page after the next round.
    assert take(service, tmp_path).code == 0
    assert f"{first}/index.html" in (tmp_path / "snapshots.html").read_text(encoding="utf-8")

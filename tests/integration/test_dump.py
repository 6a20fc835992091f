# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``dump.yml`` over six ssh hosts on which threads wait for an answer that never comes; on one of them one is stuck
elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumps import Dump
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet, Host
from ansible_collections.pyspy.fleet.tests.lab.runs import BINARY, Outcome, changes, outcome, play, traces
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

from .test_faces import ad_hoc

HOSTS = [f"web{number}" for number in range(1, 7)]
SECRET = "hunter2-of-the-shop"
PINNED = [str(path) for path in reversed((Path(BINARY), *Path(BINARY).parents[:2]))]
#: Four threads that ask and one that, where there is a second argument, holds what it flushes; the main thread is over.
STUCK = """
import socket, sys, threading
silent = socket.create_server(("127.0.0.1", 0))
lock = threading.Lock()
def ask(password):
    return socket.create_connection(silent.getsockname()).recv(1)
def serve():
    ask(sys.argv[1])
def flush():
    with lock:
        threading.Event().wait()
for work in [serve] * 4 + [flush] * len(sys.argv[2:]):
    threading.Thread(target=work).start()
print("ready", flush=True)
"""


def start_stuck(host: Host, *more: str) -> None:
    (host.root / "srv" / "stuck.py").write_text(STUCK, encoding="utf-8")
    words = " ".join((f"--token={SECRET}", *more))
    host.run(f"cd /srv; setsid python3 /srv/stuck.py {words} </dev/null >/tmp/stuck.log 2>&1 &", user="web")
    await_condition("the threads", lambda: (host.root / "tmp" / "stuck.log").read_text() == "ready\n")


class Story(NamedTuple):
    plan: Outcome
    planned: dict[str, list[str]]
    done: Outcome
    left: dict[str, list[str]]


@pytest.fixture(scope="module")
def story(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    for host in fleet.hosts:
        start_stuck(host, *(["and-flush"] if host.name == "web3" else []))
    words = ("--forks", "2")
    before = traces(fleet.hosts)
    plan = play(fleet, tmp_path_factory.mktemp("plan") / "runs", "dump", "--check", *words, pyspy_pattern="stuck")
    planned = changes(fleet.hosts, before)
    done = play(fleet, tmp_path_factory.mktemp("dump"), "dump", *words, pyspy_pattern="stuck", pyspy_dump_interval=0.5)
    yield Story(plan, planned, done, changes(fleet.hosts, before))


def test_check_mode_prints_the_plan_and_changes_nothing(story: Story) -> None:
    assert story.plan.code == 0, story.plan.text
    assert "6 targets would be dumped on 6 of 6 hosts" in story.plan.text
    assert not story.plan.runs.exists() and story.planned == {name: [] for name in HOSTS}


def test_the_pinned_binary_is_left_and_nothing_else(story: Story) -> None:
    assert story.done.code == 0, story.done.text
    assert story.left == dict.fromkeys(HOSTS, PINNED)


def test_the_first_screen_says_what_matters(story: Story) -> None:
    summary = story.done.text.partition("py-spy fleet dump")[2].partition("\nReport  ")[0].splitlines()
    assert len(summary) <= 22 and max(map(len, summary)) <= 80
    first = " ".join(" ".join(summary).split())
    assert first.startswith("24 of 31 threads stuck in `ask` (srv/stuck.py:6); 1 on web3 in `flush` (srv/stuck.py:11).")
    assert re.search(r"31 threads on 6 hosts: 25 stuck, 6 idle\.", first)
    assert "Hosts 6 of 6 dumped Targets 6 dumped," in first
    assert (
        re.search(r"Dumps 3 dumps, (0\.[4-9]|\d\.\d)( to \d\.\d)? s apart, ", first)
        and "Restored 6 of 6 hosts" in first
    )
    assert "profiled" not in story.done.text


def test_each_target_has_its_dumps_as_text_and_as_json(story: Story) -> None:
    for host in HOSTS:
        [capture] = story.done.hosts[host]["captures"]
        folder = story.done.folder / "hosts" / host
        name = capture["file"].removesuffix(".json")
        assert {path.name for path in folder.iterdir()} == {"recording.json", f"{name}.json", f"{name}.txt"}
        dump = Dump.from_wire(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
        assert dump.host == host and len(dump.looks) == capture["samples"] == 3
        text = (folder / f"{name}.txt").read_text(encoding="utf-8")
        assert text.startswith(f"Process {dump.pid}: ") and "    ask (stuck.py:6)\n    serve (stuck.py:8)\n" in text
        assert ("    flush (stuck.py:11)" in text) is (host == "web3")


def test_the_report_shows_groups_and_who_differs(story: Story) -> None:
    stacks = story.done.manifest["stacks"]
    groups = {row["culprit"]["function"]: row for row in stacks["groups"] if row["culprit"]}
    assert (
        groups["ask"]["threads"] == 24 and groups["ask"]["hosts"] == HOSTS and groups["ask"]["states"] == {"stuck": 24}
    )
    assert groups["flush"]["threads"] == 1 and groups["flush"]["hosts"] == ["web3"]
    page = (story.done.folder / "index.html").read_text(encoding="utf-8")
    assert "Stacks: 3 dumps" in page and "only web3" in page and "<script" not in page
    assert "flush" in (story.done.folder / "summary.md").read_text(encoding="utf-8")
    assert story.done.manifest["parameters"]["count"] == 3


def test_rarest_first_on_request(story: Story, fleet: Fleet, tmp_path: Path) -> None:
    done = play(fleet, tmp_path, "dump", pyspy_pattern="stuck", pyspy_dump_count=2, pyspy_dump_order="rarest")
    assert done.code == 0 and done.manifest["stacks"]["groups"][0]["culprit"]["function"] == "flush"
    assert re.search(r"^1 thread, 1 process, web3: 1 stuck", done.text, re.MULTILINE)


def test_what_was_not_asked_for_does_not_leave_the_host(story: Story) -> None:
    for path in [path for path in story.done.folder.rglob("*") if path.is_file()]:
        assert SECRET not in path.read_text(encoding="utf-8"), path
    assert SECRET not in story.done.text


def test_locals_and_command_lines_are_redacted_and_in_the_files_only(
    story: Story, fleet: Fleet, tmp_path: Path
) -> None:
    words = ("-l", "web1", "-v")
    done = play(fleet, tmp_path, "dump", *words, pyspy_pattern="stuck", pyspy_locals=True, pyspy_command_lines=True)
    assert done.code == 0, done.text
    [text] = [path.read_text(encoding="utf-8") for path in done.folder.rglob("*.txt")]
    assert "        password: (redacted)\n" in text and "Command line (redacted): python3 /srv/stuck.py --token" in text
    for path in [path for path in done.folder.rglob("*") if path.is_file()]:
        assert SECRET not in path.read_text(encoding="utf-8"), path
        assert "password" not in path.read_text(encoding="utf-8") or path.name.endswith(("py.txt", "py.json"))
    shown = done.text.partition("py-spy fleet dump")[2]
    assert SECRET not in done.text and "password" not in shown


def test_ad_hoc_the_result_itself_is_useful(story: Story, fleet: Fleet, tmp_path: Path) -> None:
    shown = ad_hoc(fleet, tmp_path, "dump", f"pattern=stuck count=2 interval=0.2 output_dir={tmp_path}", host="web3")
    assert shown["dumped"] == shown["targets"] == 1 and shown["changed"] is False
    assert shown["groups"][0].startswith("4 of 6 threads stuck in `ask` (srv/stuck.py:6); 1 in `flush`")
    assert all(Path(path).read_text(encoding="utf-8").startswith("Process ") for path in shown["dumps"])


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("pyspy_dump_order", "loudest", "pyspy_dump_order must be one of: largest, rarest"),
        ("pyspy_dump_count", "often", "pyspy_dump_count"),
        ("pyspy_dump_interval", 61, "interval is not a number from 0 to 60 (s)"),
        ("pyspy_dump_deadline", 0, "deadline"),
    ],
)
def test_a_wrong_value_is_refused_with_a_remedy(
    story: Story, fleet: Fleet, tmp_path: Path, variable: str, value: object, words: str
) -> None:
    done = play(fleet, tmp_path, "dump", "-l", "web1", pyspy_pattern="stuck", **{variable: value})
    assert done.code == 2 and words in done.fatal("web1") and "Remedy: " in done.fatal("web1")


TWICE = """
- hosts: web2
  gather_facts: false
  vars: {pyspy_pattern: stuck, pyspy_duration: 1, pyspy_idle: true, pyspy_dump_count: 2, pyspy_dump_interval: 0.2}
  tasks:
    - {ansible.builtin.import_role: {name: pyspy.fleet.pyspy, tasks_from: dump}}
    - {ansible.builtin.import_role: {name: pyspy.fleet.pyspy, tasks_from: record}}
    - {ansible.builtin.import_role: {name: pyspy.fleet.pyspy, tasks_from: dump}}
"""


def test_one_run_holds_dumps_and_a_recording(story: Story, fleet: Fleet, tmp_path: Path) -> None:
    playbook = tmp_path / "twice.yml"
    playbook.write_text(TWICE, encoding="utf-8")
    done = outcome(fleet.ansible("ansible-playbook", str(playbook), "-e", f"pyspy_output_dir={tmp_path}"), tmp_path)
    assert done.code == 0, done.text
    record = done.hosts["web2"]
    assert [one["measure"]["kind"] for one in record["captures"]] == ["dump", "wall", "dump"]
    assert len(record["selection"]["targets"]) == 1 and record["status"] == "collected"
    names = [one["file"] for one in record["captures"]]
    assert names[0].endswith("stuck.py.json") and names[2].endswith("stuck.py-2.json")
    assert all((done.folder / "hosts" / "web2" / name).exists() for name in names)
    page = (done.folder / "index.html").read_text(encoding="utf-8")
    assert "Stacks: 2 dumps" in page and "Shares of wall time" in page
    assert "Targets 1 profiled, 1 dumped" in done.words

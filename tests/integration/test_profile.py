# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``profile.yml`` over six ssh hosts at forks 2: the plan, the first run that brings py-spy, and a second one."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet
from ansible_collections.pyspy.fleet.tests.lab.runs import BINARY, Outcome, changes, play, traces

HOSTS = [f"web{number}" for number in range(1, 7)]
#: Longer than three batches of two hosts take to start, so that a window that waits for others would show.
WINDOW = 8
PINNED = [str(path) for path in reversed((Path(BINARY), *Path(BINARY).parents[:2]))]


class Story(NamedTuple):
    """Three runs one after the other, and what each changed on the hosts."""

    plan: Outcome
    planned: dict[str, list[str]]
    first: Outcome
    brought: dict[str, list[str]]
    second: Outcome
    left: dict[str, list[str]]


@pytest.fixture(scope="module")
def story(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    for host in fleet.hosts:
        host.start_gunicorn()
    words = ("--forks", "2")
    before = traces(fleet.hosts)
    plan = play(fleet, tmp_path_factory.mktemp("plan") / "runs", "profile", "--check", *words, pyspy_pattern="gunicorn")
    planned = changes(fleet.hosts, before)
    first = play(fleet, tmp_path_factory.mktemp("first"), "profile", *words, pyspy_pattern="gunicorn", pyspy_duration=1)
    brought = changes(fleet.hosts, before)
    after = traces(fleet.hosts)
    second = play(
        fleet, tmp_path_factory.mktemp("second"), "profile", *words, pyspy_pattern="gunicorn", pyspy_duration=WINDOW
    )
    yield Story(plan, planned, first, brought, second, changes(fleet.hosts, after))


def test_check_mode_prints_the_plan_and_changes_nothing(story: Story) -> None:
    assert story.plan.code == 0, story.plan.text
    assert "24 targets would be profiled on 6 of 6 hosts" in story.plan.text
    assert "gunicorn master of 4 workers" in story.plan.words
    assert not story.plan.runs.exists()
    assert story.planned == {name: [] for name in HOSTS}
    assert all(story.plan.recap(name)["changed"] == 0 for name in HOSTS)


def test_the_first_run_leaves_the_pinned_binary_and_nothing_else(story: Story) -> None:
    assert story.first.code == 0, story.first.text
    assert story.brought == dict.fromkeys(HOSTS, PINNED)
    assert all(story.first.recap(name)["changed"] == 1 for name in HOSTS)


def test_the_second_run_changes_nothing(story: Story) -> None:
    assert story.second.code == 0, story.second.text
    assert story.left == {name: [] for name in HOSTS}
    assert all(story.second.recap(name)["changed"] == 0 for name in HOSTS)


@pytest.mark.parametrize("host", HOSTS)
def test_workers_are_chosen_and_the_master_is_not(story: Story, host: str) -> None:
    selection = story.first.hosts[host]["selection"]
    assert [row["role"] for row in selection["targets"]] == ["worker"] * 4
    assert {row["user"] for row in selection["targets"]} == {"web"}
    [master] = [row for row in selection["skipped"] if row["role"] == "master"]
    assert master["reason"].endswith("gunicorn master of 4 workers")


@pytest.mark.parametrize("host", HOSTS)
def test_the_busy_worker_is_profiled_and_no_target_is_harmed(story: Story, host: str) -> None:
    record = story.second.hosts[host]
    assert record["status"] == "collected"
    assert "profiled" in {capture["outcome"] for capture in record["captures"]}
    assert {capture["outcome"] for capture in record["captures"]} <= {"profiled", "empty"}
    traces = record["evidence"]["targets"]
    assert len(traces) == 4 and record["evidence"]["left"] == []
    for trace in traces:
        assert trace["state_before"] in "RSD" and trace["state_after"] in ("R", "S", "D")
        assert trace["tracer_before"] == trace["tracer_after"] == 0


def test_all_windows_are_open_at_the_same_time_though_forks_is_two(story: Story) -> None:
    windows = [(record["began"], record["ended"]) for record in story.second.hosts.values()]
    assert max(began for began, _ended in windows) < min(ended for _began, ended in windows)
    assert all(ended - began >= WINDOW for began, ended in windows)


def test_the_folder_is_laid_out_as_promised(story: Story) -> None:
    folder = story.second.folder
    assert re.fullmatch(r"\d{8}T\d{6}Z-profile-all", folder.name)
    made = (".svg", ".folded", ".pprof.gz", ".speedscope.json")
    fleet = {f"fleet{suffix}" for suffix in made}
    files = fleet | {"index.html", "summary.md", "manifest.json", "hosts"}
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == files
    assert sorted(path.name for path in (folder / "hosts").iterdir()) == HOSTS
    for host, record in story.second.hosts.items():
        captures = [capture["file"] for capture in record["captures"] if capture["outcome"] == "profiled"]
        expected = {
            "recording.json",
            "host.svg",
            *(name.replace(".speedscope.json", suffix) for name in captures for suffix in made),
        }
        assert {path.name for path in (folder / "hosts" / host).iterdir()} == expected
        assert all(re.fullmatch(r"\d+-[\w.-]+\.speedscope\.json", name) for name in captures)
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_busy_function_is_the_hottest(story: Story) -> None:
    [picture] = story.second.manifest["pictures"]
    assert picture["hottest"][0]["name"] == "apply_discounts"
    assert "apply_discounts" in (story.second.folder / "fleet.svg").read_text(encoding="utf-8")
    assert re.search(r"^Hottest +[\d.]+ %  apply_discounts", story.second.text, re.MULTILINE)


def test_captures_are_speedscope_documents_with_full_stacks(story: Story) -> None:
    for host, record in story.second.hosts.items():
        hottest = max(record["captures"], key=lambda capture: capture["samples"])
        document = json.loads((story.second.folder / "hosts" / host / hottest["file"]).read_text(encoding="utf-8"))
        names = {frame["name"] for frame in document["shared"]["frames"]}
        assert {"checkout", "price_basket", "apply_discounts"} <= names
        assert hottest["measure"] == {"kind": "cpu", "rate": 100, "blocking": False, "native": False}


def test_the_manifest_says_who_why_and_with_what(story: Story) -> None:
    manifest = story.second.manifest
    assert manifest["versions"]["py-spy"] == "0.4.3" and manifest["versions"]["ansible-core"]
    assert int(manifest["parameters"]["duration"]) == WINDOW
    assert manifest["hosts_of_the_play"] == HOSTS
    assert {host: record["groups"] for host, record in manifest["hosts"].items()} == {host: ["web"] for host in HOSTS}


def test_the_terminal_shows_the_summary_once_and_no_json(story: Story) -> None:
    for run in (story.first, story.second):
        assert len(re.findall(r"^Hosts +6 of 6 profiled$", run.text, re.MULTILINE)) == 1
        assert len(re.findall(r"^Report +/", run.text, re.MULTILINE)) == 1
        assert "{" not in run.text
    summary = story.second.text.partition("py-spy fleet profile")[2].partition("\nReport  ")[0].splitlines()
    assert 5 < len(summary) <= 14
    assert max(map(len, summary)) <= 80

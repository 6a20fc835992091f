# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The faces beside ``profile.yml``: ad hoc, the other playbooks with and without check mode, a user's own playbook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet
from ansible_collections.pyspy.fleet.tests.lab.runs import BINARY, changes, outcome, play, traces
from ansible_collections.pyspy.fleet.tests.lab.tree import ADMIN_PASSWORD

DIRECTORY = str(Path(BINARY).parent)


@pytest.fixture(scope="module", autouse=True)
def service(fleet: Fleet) -> None:
    for host in fleet.hosts:
        host.start_gunicorn(workers=2)


def ad_hoc(fleet: Fleet, runs: Path, module: str, arguments: str, *words: str, host: str = "web1") -> Any:
    """``ansible HOST -b -m pyspy.fleet.MODULE -a ARGUMENTS`` as ``deploy``; the result that it shows."""
    command = (host, "-u", "deploy", "-b", "-m", f"pyspy.fleet.{module}", "-a", arguments, *words)
    done = outcome(fleet.ansible("ansible", *command), runs)
    assert done.code == 0, done.text
    return json.loads(re.findall(rf"^{host} \| \w+ => (\{{.*^\}})", done.text, re.MULTILINE | re.DOTALL)[0])


def test_install_record_look_clean_up_and_remove_ad_hoc(fleet: Fleet, tmp_path: Path) -> None:
    before = traces(fleet.hosts[:1])
    would = ad_hoc(fleet, tmp_path, "install", "", "--check")
    assert would["changed"] and changes(fleet.hosts[:1], before) == {"web1": []}
    assert ad_hoc(fleet, tmp_path, "install", "")["path"] == BINARY

    recorded = ad_hoc(fleet, tmp_path, "record", f"pattern=gunicorn duration=2 output_dir={tmp_path}")
    assert recorded["changed"] is False and recorded["targets"] == 2 and recorded["profiled"] >= 1
    for capture in recorded["captures"]:
        assert Path(capture).is_relative_to(tmp_path.resolve()) and Path(capture).exists()
        assert Path(capture.replace(".speedscope.json", ".svg")).exists()

    found = ad_hoc(fleet, tmp_path, "python_process_info", "pattern=gunicorn")
    assert [process["role"] for process in found["targets"]] == ["worker", "worker"]
    found = ad_hoc(fleet, tmp_path, "python_process_info", "port=8000 process_role=any children_of=1 user=web")
    assert sorted(process["role"] for process in found["targets"]) == ["master", "worker", "worker"]
    assert ad_hoc(fleet, tmp_path, "cleanup", "")["changed"] is False

    would = ad_hoc(fleet, tmp_path, "install", "state=absent", "--check")
    assert would["removed"] == [BINARY, DIRECTORY] and (fleet.hosts[0].root / BINARY[1:]).exists()
    assert ad_hoc(fleet, tmp_path, "install", "state=absent")["removed"] == [BINARY, DIRECTORY]
    assert changes(fleet.hosts[:1], before) == {"web1": ["/usr/local/libexec"]}


@pytest.mark.parametrize("playbook", ["install", "cleanup", "collect"])
def test_check_mode_changes_nothing(fleet: Fleet, tmp_path: Path, playbook: str) -> None:
    hosts = fleet.hosts[1:2]
    before = traces(hosts)
    done = play(fleet, tmp_path / "runs", playbook, "--check", "-l", "web2")
    assert done.code == 0, done.text
    assert done.recap("web2")["changed"] == (playbook == "install")
    assert changes(hosts, before) == {"web2": []}
    assert not (tmp_path / "runs").exists()


def test_install_and_remove_by_playbook(fleet: Fleet, tmp_path: Path) -> None:
    host = fleet.hosts[1]
    words = ("-l", "web2", "-u", "admin", "-b", "-e", f"ansible_become_password={ADMIN_PASSWORD}")
    for state, there, changed in (
        ("present", True, 1),
        ("present", True, 0),
        ("absent", False, 1),
        ("absent", False, 0),
    ):
        done = play(fleet, tmp_path, "install", *words, pyspy_install_state=state)
        assert done.code == 0 and done.recap("web2")["changed"] == changed
        assert (host.root / BINARY[1:]).exists() is there


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("pyspy_pattern", "nonsense", 0),
        ("pyspy_min_cpu", 100000, 0),
        ("pyspy_pids", 999999, 2),
        ("pyspy_children_of", 999999, 2),
        ("pyspy_unit", "nowhere", 2),
        ("pyspy_port", 9, 2),
        ("pyspy_port", 22, 2),
    ],
)
def test_nothing_is_brought_where_there_is_nothing_to_sample(
    fleet: Fleet, tmp_path: Path, variable: str, value: object, code: int
) -> None:
    hosts = fleet.hosts[5:]
    before = traces(hosts)
    done = play(fleet, tmp_path, "profile", "-l", "web6", **{variable: value})
    assert done.code == code and done.recap("web6")["changed"] == 0
    assert changes(hosts, before) == {"web6": []}


OWN_PLAYBOOK = """
- hosts: web
  gather_facts: false
  {keywords}
  tasks:
    - ansible.builtin.include_role:
        name: pyspy.fleet.pyspy
        tasks_from: record
      vars:
        pyspy_pattern: gunicorn
        pyspy_duration: 1
        pyspy_reason: ticket 4711
"""


#: Ansible's own remark on the check of pyspy_max_hosts, which runs on every host then: no harm.
RUN_ONCE = "[WARNING]: Using run_once with the free strategy is not currently supported."


@pytest.mark.parametrize("keywords", ["strategy: free", "serial: 2"])
def test_the_role_in_a_users_own_playbook(fleet: Fleet, tmp_path: Path, keywords: str) -> None:
    playbook = tmp_path / "own.yml"
    playbook.write_text(OWN_PLAYBOOK.format(keywords=keywords), encoding="utf-8")
    ended = fleet.ansible("ansible-playbook", str(playbook), "-e", f"pyspy_output_dir={tmp_path}")
    ended.stderr = ended.stderr.replace(RUN_ONCE, "")
    done = outcome(ended, tmp_path)
    assert done.code == 0, done.text
    assert [path.name for path in tmp_path.iterdir() if re.match(r"\d{8}T", path.name)] == [done.folder.name]
    assert {record["status"] for record in done.hosts.values()} == {"collected"} and len(done.hosts) == 6
    assert done.manifest["reason"] == "ticket 4711"
    assert len(re.findall(r"^Hosts +6 of 6 profiled$", done.text, re.MULTILINE)) == 1

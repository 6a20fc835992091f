# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparing real recordings: the page's rollout stops at a slower canary, and at nothing else."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.tests.lab.hosts import (
    CHECKOUT,
    Fleet,
    ansible_command,
    ansible_environment,
    endless_request,
    gunicorn_command,
)
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, outcome, play
from ansible_collections.pyspy.fleet.tests.lab.service.releases import AS_FAST, SLOWER

PAGE = Path(__file__).parents[2] / "docs" / "compare.md"
HOSTS, WORKERS = 5, 4
#: All workers have something to do, a tenth of the time: so many would take this machine from the other tests.
REST = 0.3
#: What a site's own tasks do here: copy a release, restart the service, and give every worker something to do.
DEPLOY = """
- name: Bring the release
  ansible.builtin.copy:
    src: "{{ release }}"
    dest: /opt/service/app.py
    mode: "0644"
- name: Restart
  ansible.builtin.command: sh /opt/restart.sh
"""
RESTART = f"""
old=$(cat /tmp/service.pid)
kill -QUIT "$old"
while kill -0 "$old" 2>/dev/null; do sleep 0.1; done
rm -f /tmp/service.pid
runuser -u web -- sh -c '{gunicorn_command(WORKERS)}'
for worker in {" ".join(map(str, range(WORKERS)))}; do
  until runuser -u web -- bash -c 'exec 3<>/dev/tcp/127.0.0.1/8000' 2>/dev/null; do sleep 0.1; done
  runuser -u web -- bash -c '{endless_request(REST)}'
done
"""


@pytest.fixture(scope="module")
def busy() -> Iterator[Fleet]:
    with Fleet(HOSTS) as fleet:
        for host in fleet.hosts:
            host.start_gunicorn(WORKERS, WORKERS, rest=REST)
            (host.root / "opt" / "restart.sh").write_text(RESTART)
        yield fleet


@pytest.fixture(scope="module")
def baseline(busy: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = play(
        busy, tmp_path_factory.mktemp("runs"), "profile", pyspy_pattern="gunicorn", pyspy_duration=8, pyspy_max_load=0
    )
    assert done.code == 0, done.text
    return done.folder.resolve()  # while it is the latest


def rollout(fleet: Fleet, baseline: Path, folder: Path, release: str) -> Outcome:
    """The page's playbook, in this release."""
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "rollout.yml").write_text(text, encoding="utf-8")
    (folder / "deploy.yml").write_text(DEPLOY, encoding="utf-8")
    (folder / "app.py").write_text(release, encoding="utf-8")
    values = {
        "release": str(folder / "app.py"),
        "baseline": baseline.name,
        "pyspy_pattern": "gunicorn",
        "pyspy_duration": 8,
        "pyspy_max_load": 0,
        "pyspy_output_dir": str(baseline.parent),
    }
    return outcome(
        fleet.ansible("ansible-playbook", str(folder / "rollout.yml"), "-e", json.dumps(values)), baseline.parent
    )


def releases(fleet: Fleet) -> list[str]:
    return [(host.root / "opt" / "service" / "app.py").read_text() for host in fleet.hosts]


def test_a_rollout_stops_at_a_slower_canary_only(busy: Fleet, baseline: Path, tmp_path: Path) -> None:
    good = rollout(busy, baseline, tmp_path, AS_FAST)
    assert good.code == 0, good.text
    assert releases(busy) == [AS_FAST] * HOSTS
    # What else is clear is a matter of chance, and of what the other tests do to this machine.
    assert good.text.count("Changes from ") == 2 and "Clearly slower" not in good.text, good.text

    bad = rollout(busy, baseline, tmp_path, SLOWER)
    assert bad.code != 0
    assert releases(busy) == [SLOWER] + [AS_FAST] * (HOSTS - 1)
    assert re.search(
        r"Clearly slower: the share of load_rates grew by more than 5 percentage points: \+\d\d\.\d ± \d+\.\d points in"
        r" load_rates \(service/app\.py\): own 0\.0 → \d\d\.\d %.*Remedy: look at the report; roll back",
        bad.words,
    ), bad.text
    content = json.loads(next(bad.folder.glob("diff-*.json")).read_text())
    assert "load_rates" in content["above"] and (content["a"]["hosts"], content["b"]["hosts"]) == (HOSTS, 1)
    assert max(map(len, bad.text.partition("Changes from")[2].partition("\nDiff ")[0].splitlines()[1:])) <= 80


def test_by_the_inventory_and_in_check_mode(busy: Fleet, baseline: Path) -> None:
    options = {
        "pyspy_diff_a": "host=web1",
        "pyspy_diff_b": "ansible_host=" + busy.hosts[1].address,
        "pyspy_diff_run": baseline.name,
    }
    words = (
        "ansible-playbook",
        "playbooks/diff.yml",
        "-e",
        json.dumps({**options, "pyspy_output_dir": str(baseline.parent)}),
    )
    dry = outcome(busy.ansible(*words, "--check"), baseline.parent)
    assert dry.code == 0 and "judged by how 4 and 4 workers differ" in dry.words, dry.text
    assert not list(baseline.glob("diff-*"))
    done = outcome(busy.ansible(*words), baseline.parent)
    assert done.code == 0 and len(list(baseline.glob("diff-*"))) == 5, done.text
    assert all(row["changed"] == 0 for row in map(done.recap, ["web1"]))


def test_a_gate_needs_no_host_and_takes_no_limit_that_nothing_passes(baseline: Path, tmp_path: Path) -> None:
    """Without a host nothing was compared, and nothing is more than "nan": both let everything pass."""
    (tmp_path / "nobody").write_text("", encoding="utf-8")

    def gate(**more: str) -> str:
        options = {
            "pyspy_diff_a": baseline.name,
            "pyspy_diff_b": baseline.name,
            "pyspy_output_dir": str(baseline.parent),
        }
        words = ("playbooks/diff.yml", "-e", json.dumps({**options, **more}))
        done = subprocess.run(
            ansible_command("ansible-playbook", tmp_path / "nobody", *words),
            cwd=CHECKOUT,
            env=ansible_environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())

    assert "Both sides are the same workers" in gate()
    assert "fail_above is not a number of percentage points" in gate(pyspy_diff_fail_above="nan")


def test_what_cannot_be_compared_is_said(busy: Fleet, tmp_path: Path) -> None:
    words = ("ansible-playbook", "playbooks/diff.yml", "-e", f"pyspy_output_dir={tmp_path}", "-e", "pyspy_diff_a=web")
    done = outcome(busy.ansible(*words), tmp_path)
    assert done.code != 0 and "There is no run" in done.words and "Remedy: " in done.words
    assert "Traceback" not in done.text

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The schedule on a host with a real systemd: installed, run, changed, failed, refused, removed without a trace."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.pyspy.fleet.tests.lab import controller
from ansible_collections.pyspy.fleet.tests.lab.hosts import Host
from ansible_collections.pyspy.fleet.tests.lab.nspawn import SystemdFleet
from ansible_collections.pyspy.fleet.tests.lab.rounds import kept, store_of, targets
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, play, start_busy
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

SECRET = "correct horse % $HOME \"battery\" 'staple' \\ `id`"
UNIT = "pyspy-schedule-snapshot"
#: A round that tells who runs it, counts, and lasts as long as the file /srv/rounds/hold is there.
ROUND = """
- name: Round
  hosts: all
  gather_facts: false
  tasks:
    - name: Tell
      ansible.builtin.shell: |
        echo "$(id -un), by sudo $(sudo -n id -un 2>/dev/null)" >>/srv/rounds/told
        while test -e /srv/rounds/hold; do sleep 0.1; done
      changed_when: false
    - name: Show
      ansible.builtin.debug:
        msg: "the word has {{ word | default('') | length }} letters, the other {{ lookup('env', 'WORD') | length }}"
    - name: Fail
      ansible.builtin.fail:
        msg: drift was found
      when: drift | default(false)
"""
#: In place of ansible-playbook: notes what it was given.
NOTES = """#!/usr/bin/python3
import json, os, sys
print("hosts (1):")
if "--list-hosts" not in sys.argv:
    noted = {"words": sys.argv[1:], "where": os.getcwd(), "environment": dict(os.environ)}
    with open("/srv/rounds/told", "w") as file:
        json.dump(noted, file)
"""
ALERT = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo %i >>/srv/rounds/alerts'\n"
#: All that a schedule may leave behind. Folders are listed without their times.
LEFT = """
find / -xdev -name '*pyspy-schedule*' ! -path '/proc/*' ! -path '/sys/*'
find /run /tmp /var/tmp -name '*pyspy-schedule*'
find /etc -type f -printf '%p %M %U %s %T@\\n' -o -printf '%p %M %U %l\\n'
systemctl list-units --all --plain --no-legend 'pyspy-schedule*'
"""


class Schedules:
    """The schedules of one host: rounds of ``deploy`` on itself."""

    def __init__(self, fleet: SystemdFleet, runs: Path) -> None:
        self.fleet, self.runs, self.host = fleet, runs, fleet.hosts[0]
        self.folder = self.host.root / "srv" / "rounds"
        self.names: set[str] = set()

    def run(self, *words: str, **options: Any) -> Outcome:
        given = {"pyspy_hosts": "web1", **{f"pyspy_schedule_{key}": value for key, value in options.items()}}
        return play(self.fleet, self.runs, "schedule", "-u", "deploy", "-e", json.dumps(given), *words)

    def install(self, *words: str, code: int = 0, **options: Any) -> Outcome:
        usual = {"user": "deploy", "playbook": "/srv/rounds/round.yml", "inventory": "/srv/rounds/hosts"}
        done = self.run(*words, **{**usual, "calendar": "yearly", **options})
        assert done.code == code, done.text
        if not code:
            self.names.add(options.get("name", "snapshot"))
        return done

    def remove(self, *words: str, **options: Any) -> int:
        done = self.run(*words, state="absent", **options)
        assert done.code == 0, done.text
        return done.recap("web1")["changed"]

    def told(self) -> list[str]:
        path = self.folder / "told"
        return path.read_text().splitlines() if path.exists() else []

    def show(self, unit: str = f"{UNIT}.service") -> dict[str, str]:
        lines = self.host.run(f"systemctl show {unit}").stdout.splitlines()
        return {key: value for key, _equals, value in (line.partition("=") for line in lines)}

    def journal(self, name: str = UNIT) -> str:
        self.host.run("journalctl --sync")
        return self.host.run(f"journalctl -t {name} -o cat").stdout

    def left(self) -> str:
        return self.host.run(LEFT).stdout


@pytest.fixture(scope="module")
def made(systemd_fleet: SystemdFleet) -> Host:
    """The first host can run playbooks, and has two to run; the second cannot."""
    host = systemd_fleet.hosts[0]
    controller.make_controller(host)
    (host.root / "etc/systemd/system/alert@.service").write_text(ALERT)
    host.run("systemctl daemon-reload")
    return host


@pytest.fixture
def schedules(systemd_fleet: SystemdFleet, made: Host, tmp_path: Path) -> Iterator[Schedules]:
    here = Schedules(systemd_fleet, tmp_path)
    here.folder.mkdir()
    (here.folder / "round.yml").write_text(ROUND)
    (here.folder / "hosts").write_text("here ansible_connection=local ansible_python_interpreter=/usr/bin/python3\n")
    made.run('install /bin/true "/srv/rounds/it\'s" && chown -R deploy: /srv/rounds')
    before = here.left()
    try:
        yield here
    finally:
        for name in sorted(here.names):
            here.remove(name=name)
        left = here.left()
        made.run("rm -rf /srv/rounds && journalctl --rotate --vacuum-time=1us")
    assert left == before


def test_installed_run_changed_and_removed(schedules: Schedules) -> None:
    before = schedules.left()
    options = {"variables": {"word": SECRET}, "environment": {"WORD": SECRET}, "random_delay": 7}
    assert schedules.install("--check", **options).recap("web1")["changed"] == 5
    assert schedules.left() == before
    done = schedules.install("--diff", **options)
    assert done.recap("web1")["changed"] == 6 and "horse" not in done.text
    installed = schedules.left()
    for words in ((), ("--check",)):
        assert schedules.install(*words, **options).recap("web1")["changed"] == 0
        assert schedules.left() == installed

    schedules.host.run(f"systemctl start {UNIT}.service")
    (told,) = schedules.told()
    assert told == "deploy, by sudo root" and schedules.show()["WorkingDirectory"] == "/home/deploy"
    log = schedules.journal()
    assert f"the word has {len(SECRET)} letters, the other {len(SECRET)}" in log and "PLAY RECAP" in log
    shown = schedules.host.run(f"systemctl show {UNIT}.service {UNIT}.timer; systemctl cat {UNIT}.service").stdout
    assert "horse" not in shown + log and "RandomizedDelayUSec=7s" in shown and "TimeoutStartUSec=30min" in shown
    look = schedules.host.run(f"stat -c '%n %U %a' /etc/{UNIT}/* && systemctl is-enabled {UNIT}.timer").stdout
    assert look.splitlines() == [
        f"/etc/{UNIT}/environment root 600",
        f"/etc/{UNIT}/variables.json deploy 600",
        "enabled",
    ]

    assert schedules.install("--check", **options, calendar="*:*:0/1").recap("web1")["changed"] == 1
    assert schedules.left() == installed
    changed = {**options, "calendar": "*:*:0/1", "random_delay": 0, "time_limit": 60, "persistent": True}
    assert schedules.install(**changed).recap("web1")["changed"] == 3
    rounds = len(schedules.told())
    await_condition("two rounds by the timer", lambda: len(schedules.told()) >= rounds + 2)
    assert schedules.show()["TimeoutStartUSec"] == "1min"
    assert schedules.host.root.joinpath(f"var/lib/systemd/timers/stamp-{UNIT}.timer").exists()

    assert schedules.remove("--check") > 0 and schedules.show(f"{UNIT}.timer")["ActiveState"] == "active"
    assert schedules.remove() > 0 and schedules.left() == before
    assert schedules.remove() == 0 and schedules.remove("--check") == 0


def test_no_two_at_once_and_removed_while_one_runs(schedules: Schedules) -> None:
    before = schedules.left()
    (schedules.folder / "hold").touch()
    schedules.install(calendar="*:*:0/1", random_delay=0, on_failure="alert@%N.service")
    await_condition("a round", lambda: bool(schedules.told()))
    running = schedules.show()["MainPID"]
    schedules.host.run(f"systemctl start --no-block {UNIT}.service; systemctl start --no-block {UNIT}.service")
    jobs = f"systemctl list-jobs --no-legend {UNIT}.service"
    assert len(schedules.host.run(jobs).stdout.splitlines()) == 1
    elapsed = schedules.show(f"{UNIT}.timer")["LastTriggerUSec"]
    assert elapsed and schedules.show()["MainPID"] == running and len(schedules.told()) == 1

    # The next round begins when this one has ended; that one is removed.
    (schedules.folder / "hold").unlink()
    await_condition("the end of the first round", lambda: schedules.show()["MainPID"] != running)
    (schedules.folder / "hold").touch()
    seen = len(schedules.told())
    await_condition("another round", lambda: len(schedules.told()) > seen)
    assert schedules.remove() > 0 and schedules.left() == before
    assert not [one for one in schedules.host.processes() if "rounds" in one.command]
    assert not (schedules.folder / "alerts").exists(), schedules.host.run(f"journalctl -u {UNIT}").stdout


def test_a_failed_round_starts_the_alert_and_its_failure_is_forgotten(schedules: Schedules) -> None:
    before = schedules.left()
    schedules.install(variables={"drift": True}, on_failure="alert@%N.service")
    schedules.host.run(f"systemctl start {UNIT}.service", check=False)
    await_condition("the alert", lambda: (schedules.folder / "alerts").read_text() == f"{UNIT}\n")
    shown = schedules.show()
    assert (shown["ActiveState"], shown["ExecMainStatus"]) == (
        "failed",
        "2",
    ) and "drift was found" in schedules.journal()
    assert schedules.remove() > 0 and schedules.left() == before

    # Half of it is there: a link to nowhere, and a failure of a unit that is gone.
    schedules.install(variables={"drift": True})
    schedules.host.run(f"systemctl start {UNIT}.service", check=False)
    schedules.host.run(f"cd /etc/systemd/system && rm {UNIT}.timer {UNIT}.service && systemctl daemon-reload")
    assert schedules.remove("--check") > 0 and schedules.show()["ActiveState"] == "failed"
    assert schedules.remove() > 0 and schedules.left() == before and schedules.remove() == 0
    assert "failed" not in schedules.host.run(f"systemctl is-failed {UNIT}.service", check=False).stdout


def test_a_round_that_hangs_is_ended(schedules: Schedules) -> None:
    (schedules.folder / "hold").touch()
    schedules.install(time_limit=12)
    schedules.host.run(f"systemctl start {UNIT}.service", check=False)
    shown = schedules.show()
    assert (shown["ActiveState"], shown["Result"]) == ("failed", "timeout")
    assert schedules.told() and not [one for one in schedules.host.processes() if "round.yml" in one.command]


def test_several_side_by_side_and_what_they_may(schedules: Schedules) -> None:
    schedules.install(name="here")
    schedules.install(name="others", remote_only=True, calendar="daily")
    schedules.host.run("systemctl start pyspy-schedule-here pyspy-schedule-others")
    assert sorted(schedules.told()) == ["deploy, by sudo ", "deploy, by sudo root"]
    assert schedules.remove(name="here") > 0
    assert schedules.show("pyspy-schedule-others.timer")["ActiveState"] == "active"
    assert schedules.remove(name="others") > 0


def test_a_playbook_of_the_collection(schedules: Schedules) -> None:
    """By its name, which the user's own collections explain; in an environment that only a path names."""
    schedules.install(playbook="pyspy.fleet.cleanup", ansible_playbook=controller.PROGRAM, limit="here", user="deploy")
    schedules.host.run(f"systemctl start {UNIT}.service")
    assert "nothing of pyspy.fleet is on this host" in schedules.journal()
    assert schedules.show()["Result"] == "success"


class Rounds:
    """Rounds of snapshots of a host by its user ``deploy``: in a folder below its home."""

    USUAL: ClassVar = {"pyspy_pattern": "busy.py", "pyspy_snapshot_duration": 2, "pyspy_max_load": 0}

    def __init__(self, host: Host) -> None:
        self.host, self.folder = host, host.root / "home/deploy/pyspy-runs"

    def kept(self, copies: Path) -> list[int]:
        """How many targets each round has. Of a copy: SQLite follows the way into the host, and then loses it."""
        shutil.copy(store_of(self.folder), store_of(copies))
        return [targets(visited) for visited in kept(copies)]


@pytest.fixture
def rounds(made: Host) -> Iterator[Rounds]:
    start_busy(made, "web")
    try:
        yield Rounds(made)
    finally:
        made.run("pkill -f [b]usy.py; rm -rf /home/deploy/pyspy-runs /home/deploy/snapshot.* /srv/fleet")


def test_rounds_of_snapshots(schedules: Schedules, rounds: Rounds, tmp_path: Path) -> None:
    """As it comes: the default playbook, with its store below the working directory."""
    schedules.install(playbook="pyspy.fleet.snapshot", arguments=["--become"], variables=rounds.USUAL)
    for many in (1, 2):
        schedules.host.run(f"systemctl start {UNIT}.service")
        assert " ".join(schedules.journal().split()).count("Hosts 1 of 1 profiled") == many, schedules.journal()
    look = schedules.host.run("cd /home/deploy/pyspy-runs && stat -c '%n %U %a' *").stdout
    assert "snapshots.sqlite3 deploy 600" in look.splitlines(), look
    assert rounds.kept(tmp_path) == [1, 1]
    assert "burn" in (rounds.folder / "snapshots.html").read_text(encoding="utf-8")


def test_the_page_s_line_of_cron(schedules: Schedules, rounds: Rounds, tmp_path: Path) -> None:
    """As cron starts it: a shell with hardly any environment. What is printed would be mailed."""
    page = (Path(__file__).parents[2] / "docs" / "schedule.md").read_text(encoding="utf-8")
    [table] = re.findall(r"```text\n# /etc/cron.d.*?\n(.*?)```", page, re.DOTALL)
    *given, line = table.strip().splitlines()
    command = line.partition(" deploy ")[2].replace("/srv/fleet/venv/bin/", "/usr/local/bin/").replace(" -l web ", " ")
    home = schedules.host.root / "home" / "deploy"
    store = {"pyspy_snapshot_store": "/home/deploy/pyspy-runs/snapshots.sqlite3"}
    (home / "snapshot.yml").write_text(json.dumps({**rounds.USUAL, **store}))
    (home / "snapshot.cmd").write_text(command)
    schedules.host.run("mkdir /srv/fleet && cp /srv/rounds/hosts /srv/fleet")
    cron = f'env -i HOME=/home/deploy LOGNAME=deploy {" ".join(given)} sh -c "$(cat /home/deploy/snapshot.cmd)"'
    done = schedules.host.run(cron, user="deploy")
    assert (done.stdout, done.stderr, rounds.kept(tmp_path)) == ("", "", [1])
    # While one runs there is no other, and no mail.
    held = schedules.host.run(f"flock /home/deploy/.pyspy-snapshot.lock {cron}", user="deploy")
    assert (held.stdout, held.stderr, rounds.kept(tmp_path)) == ("", "", [1])
    (home / "snapshot.yml").write_text(json.dumps({**rounds.USUAL, **store, "pyspy_snapshot_share": 7}))
    failed = schedules.host.run(cron, user="deploy", check=False)
    assert "pyspy_snapshot_share is a part of 1" in failed.stdout and rounds.kept(tmp_path) == [1]


ODD = [
    "a b",
    "'",
    '"',
    "%n %% %",
    "$HOME ${HOME} $$",
    "\\ \\n \\",
    ";",
    "-",
    "é ☃",
    "{x}",
    "a\\",
    " lead",
    "trail ",
    "#",
]


def test_words_arrive_as_they_are(schedules: Schedules) -> None:
    folder = schedules.folder / "d $HOME %n \"q\" 'q' \\x \\ "
    folder.mkdir()
    program = schedules.folder / "ansible playbook $HOME %n"
    program.write_text(NOTES)
    program.chmod(0o755)
    path = f"/srv/rounds/{folder.name}"
    given = {f"W{number}": text for number, text in enumerate(ODD)}
    options = {"directory": path, "inventory": "in $A %n;,", "limit": "a:&b:!~c$ \\"}
    program_path = f"/srv/rounds/{program.name}"
    schedules.install(**options, ansible_playbook=program_path, arguments=ODD, environment=given, variables=given)
    schedules.host.run(f"systemctl start {UNIT}.service")
    noted = json.loads((schedules.folder / "told").read_text())
    assert noted["words"] == [
        "/srv/rounds/round.yml",
        "--inventory=in $A %n;,",
        "--limit=a:&b:!~c$ \\",
        *ODD,
        f"--extra-vars=@/etc/{UNIT}/variables.json",
    ]
    assert noted["where"] == path
    assert given.items() <= noted["environment"].items()
    assert json.loads((schedules.host.root / f"etc/{UNIT}/variables.json").read_text()) == given


MEANINGLESS = {
    "directory": "rounds",
    "arguments": ["a\nExecStart=/bin/true"],
    "environment": {"A B": "x"},
    "on_failure": "a b",
    "random_delay": -1,
    "time_limit": 0,
    "playbook": "--version",
    "ansible_playbook": "ansible-playbook",
}


def test_values_that_mean_nothing_are_told_at_once(schedules: Schedules) -> None:
    before = schedules.left()
    done = schedules.install(code=2, **MEANINGLESS)
    for name in MEANINGLESS.keys() - {"arguments"}:
        assert f"pyspy_schedule_{name} " in done.words
    assert "there is a control character" in done.words and done.fatal("web1").count("Remedy: ") == len(MEANINGLESS)
    assert schedules.left() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"user": ""}, "pyspy_schedule_user is missing"),
        ({"user": "nobody-here"}, "There is no user nobody-here"),
        ({"user": "0"}, "say in pyspy_schedule_root_reason why"),
        ({"name": "../x\n"}, "pyspy_schedule_name is no name"),
        ({"directory": "/nowhere"}, "can't cd to /nowhere"),
        ({"calendar": "every $HOME"}, "Failed to parse calendar specification 'every $HOME'"),
        ({"on_failure": "nothing.service"}, "No files found for nothing.service"),
        ({"ansible_playbook": "/srv/rounds/round.yml"}, "finds no ansible-playbook that may be executed"),
        ({"ansible_playbook": "/srv/rounds/it's"}, "whose path has quotes or backslashes"),
        ({"playbook": "pyspy.fleet.nothing"}, "pyspy.fleet.nothing could not run as deploy"),
        ({"playbook": "pyspy.fleet.cleanup", "user": "web"}, "ansible-galaxy collection install pyspy.fleet"),
        ({"limit": "nobody"}, "could not run as deploy"),
    ],
)
def test_refused_with_words(schedules: Schedules, options: dict[str, Any], words: str) -> None:
    before = schedules.left()
    done = schedules.install(code=2, **options)
    assert words in done.words and "Remedy: " in done.words
    assert done.recap("web1")["changed"] == 0 and schedules.left() == before


def test_root_with_a_word_of_why(schedules: Schedules) -> None:
    schedules.install(user="root", root_reason="the store is root's")
    schedules.host.run(f"systemctl start {UNIT}.service")
    assert schedules.told() == ["root, by sudo root"]

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence before a restart: the playbooks of the documentation restart a real service, and nothing is in their way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.tests.lab.hosts import Fleet, Host
from ansible_collections.pyspy.fleet.tests.lab.nspawn import SystemdFleet
from ansible_collections.pyspy.fleet.tests.lab.runs import Outcome, outcome, play
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

from .test_bad_hosts import NO_PYTHON, PYTHON_AGAIN
from .test_dump import start_stuck

PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"
#: A web service that answers one request and holds the lock that all others wait for.
SHOP = """
import http.server, threading
lock = threading.Lock()
class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/":
            self.send_response(204)
            self.end_headers()
            return
        self.pay()
    def pay(self):
        with lock:
            threading.Event().wait()
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Shop).serve_forever()
"""
UNIT = "[Service]\nUser=web\nExecStart=/usr/bin/python3 /srv/shop.py\n"
REQUEST = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; printf \"GET /%s HTTP/1.0\\r\\n\\r\\n\" >&3; %s'"


def documented(number: int) -> str:
    """One of the page's playbooks."""
    return re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[number]


def run(fleet: Fleet, folder: Path, text: str, *words: str) -> Outcome:
    (folder / "own.yml").write_text(text, encoding="utf-8")
    extra = ("-e", f"pyspy_output_dir={folder}", "-e", "pyspy_dump_interval=0.2", *words)
    return outcome(fleet.ansible("ansible-playbook", str(folder / "own.yml"), *extra), folder)


def main_pid(host: Host) -> int:
    return int(host.run("systemctl show -p MainPID --value shop").stdout)


def _in_pay(group: dict[str, Any]) -> bool:
    return bool(group["culprit"]) and str(group["culprit"]["function"]).rpartition(".")[2] == "pay"


@pytest.fixture
def hanging(systemd_fleet: SystemdFleet) -> SystemdFleet:
    """On each host the shop has three requests that wait for the first one's lock."""
    for host in systemd_fleet.hosts:
        (host.root / "srv" / "shop.py").write_text(SHOP, encoding="utf-8")
        (host.root / "etc/systemd/system/shop.service").write_text(UNIT, encoding="utf-8")
        host.run("systemctl daemon-reload; systemctl restart shop")
        await_condition("the shop", lambda host=host: not host.run(REQUEST % ("", "cat <&3"), check=False).returncode)
        for _request in range(3):
            host.run(REQUEST % ("pay", "exec setsid sleep 1000 <&3 >/dev/null 2>&1 &"))
        task = host.root / f"proc/{main_pid(host)}/task"
        await_condition("the requests", lambda task=task: len(list(task.iterdir())) == 4)
    return systemd_fleet


def test_the_documented_playbook_keeps_what_the_service_was_stuck_on(hanging: SystemdFleet, tmp_path: Path) -> None:
    before = [main_pid(host) for host in hanging.hosts]
    done = run(hanging, tmp_path, documented(0))
    assert done.code == 0, done.text
    after = [main_pid(host) for host in hanging.hosts]
    assert all(new not in (old, 0) for old, new in zip(before, after, strict=True))
    assert f"\nEvidence: 2 dumped; {done.folder.resolve()}/index.html\n" in done.text
    assert done.folder.name.endswith("-evidence-web")
    found = [(row["threads"], row["states"]) for row in done.manifest["stacks"]["groups"] if _in_pay(row)]
    # Two on each host wait for the lock; who holds it waits for something else.
    assert found == [(4, {"stuck": 4}), (2, {"stuck": 2})]
    assert sorted(one["selection"]["targets"][0]["pid"] for one in done.hosts.values()) == sorted(before)


def test_the_documented_handler_does_too(hanging: SystemdFleet, tmp_path: Path) -> None:
    before = [main_pid(host) for host in hanging.hosts]
    change = "- ansible.builtin.command: 'true'\n      notify: restart the shop"
    handlers = documented(1).replace("job: evidence", f"job: evidence\n        output_dir: {tmp_path}")
    play = f"- hosts: web\n  become: true\n  gather_facts: false\n  tasks:\n    {change}\n{handlers}"
    done = run(hanging, tmp_path, play)
    assert done.code == 0, done.text
    assert not set(before) & {main_pid(host) for host in hanging.hosts}
    texts = [path.read_text(encoding="utf-8") for path in done.folder.glob("hosts/*/*.txt")]
    assert len(texts) == 2 and all(len(re.findall(r"pay \(shop.py:\d+\)", text)) == 3 for text in texts)


def test_a_short_recording_on_request(hanging: SystemdFleet, tmp_path: Path) -> None:
    done = run(hanging, tmp_path, documented(0), "-e", "pyspy_evidence_duration=2", "-e", "pyspy_idle=true")
    assert done.code == 0, done.text
    assert "\nEvidence: 2 dumped, 2 profiled; " in done.text
    for record in done.hosts.values():
        assert [one["measure"]["kind"] for one in record["captures"]] == ["dump", "wall"]
        assert record["captures"][1]["seconds"] >= 1


EVERYWHERE = """
- hosts: web
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: pyspy.fleet.pyspy, tasks_from: evidence}
    - ansible.builtin.debug: {msg: restarted}
"""
#: What a person must not wait for is shown by a connection that would wait a minute.
SETTINGS = """
web1 pyspy_pattern=stuck
web2 pyspy_pattern=nonsense
web3 pyspy_dump_count=often pyspy_evidence_duration=long
web5 ansible_timeout=60
web6 ansible_ssh_args="-o ConnectTimeout=2 -o ControlPath=none"
"""


@contextmanager
def deaf(host: Host) -> Iterator[None]:
    """Its sshd takes connections (the kernel does) and says nothing."""
    [pid] = [row.pid for row in host.processes() if row.command.startswith("sshd: /usr/sbin/sshd")]
    host.run(f"kill -STOP {pid}")
    try:
        yield
    finally:
        host.run(f"kill -CONT {pid}")


def test_nothing_that_goes_wrong_is_in_the_way(fleet: Fleet, tmp_path: Path) -> None:
    start_stuck(fleet.hosts[0])
    assert play(fleet, tmp_path / "install", "install", "-l", "web1").code == 0
    (tmp_path / "settings").write_text(SETTINGS, encoding="utf-8")
    fleet.hosts[3].run(NO_PYTHON)
    fleet.cut(fleet.hosts[5])
    words = ("-i", str(tmp_path / "settings"), "--forks", "6", "-e", "pyspy_evidence_deadline=12")
    try:
        with deaf(fleet.hosts[4]):
            done = run(fleet, tmp_path, EVERYWHERE, *words)
    finally:
        fleet.mend(fleet.hosts[5])
        fleet.hosts[3].run(PYTHON_AGAIN)
    assert done.code == 0, done.text
    assert len(re.findall(r'^ok: \[web\d\] => \{\n    "msg": "restarted"\n\}$', done.text, re.MULTILINE)) == 6
    for number in range(1, 7):
        recap = done.recap(f"web{number}")
        assert recap["failed"] == 0 and recap["ignored"] <= (number == 6), recap
    lines = [line for line in done.text.splitlines() if line.startswith("Evidence")]
    assert (
        len(lines) == 2 and lines[0].startswith("Evidence: 1 dumped; ") and lines[1].startswith("Evidence, not had: ")
    )
    reasons = {host: record["error"]["reason"] for host, record in done.hosts.items() if record["error"]}
    assert reasons["web5"].startswith("The host did not answer within ") and "reached" in reasons["web6"]
    assert reasons["web3"] == "An option has a wrong value" and "interpreter" in reasons["web4"]
    assert done.hosts["web2"]["status"] == "nothing" and done.hosts["web1"]["status"] == "collected"


TWICE = """
- hosts: web
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: pyspy.fleet.pyspy, tasks_from: evidence}
      vars: {pyspy_pattern: stuck}
    - ansible.builtin.include_role: {name: pyspy.fleet.pyspy, tasks_from: evidence}
      vars: {pyspy_pattern: nobody-has-this}
"""


def test_each_line_speaks_of_its_own_restart(fleet: Fleet, tmp_path: Path) -> None:
    start_stuck(fleet.hosts[0])
    done = run(fleet, tmp_path, TWICE, "-l", "web1")
    assert done.code == 0, done.text
    lines = [line for line in done.text.splitlines() if line.startswith("Evidence")]
    assert (
        len(lines) == 2
        and re.match(r"Evidence: [1-9]\d* dumped; ", lines[0])
        and lines[1].startswith("Evidence: none; ")
    )
    assert done.hosts["web1"]["status"] == "collected"


def test_where_nothing_can_be_written_the_line_says_so(fleet: Fleet, tmp_path: Path) -> None:
    start_stuck(fleet.hosts[0])
    (tmp_path / "file").touch()
    (tmp_path / "own.yml").write_text(TWICE, encoding="utf-8")
    extra = ("-l", "web1", "-e", f"pyspy_output_dir={tmp_path}/file/runs")
    done = fleet.ansible("ansible-playbook", str(tmp_path / "own.yml"), *extra)
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("Evidence")]
    assert len(lines) == 2 and all(line.startswith("Evidence: none; ") and "Remedy: " in line for line in lines), lines


def test_whose_turn_comes_too_late_is_named(fleet: Fleet, tmp_path: Path) -> None:
    start_stuck(fleet.hosts[1])
    (tmp_path / "settings").write_text(
        "web1 ansible_timeout=60 ansible_ssh_args='-o ControlPath=none'\n", encoding="utf-8"
    )
    words = (
        "-i",
        str(tmp_path / "settings"),
        "-l",
        "web1,web2,web3",
        "--forks",
        "1",
        "-e",
        "pyspy_evidence_deadline=5",
    )
    with deaf(fleet.hosts[0]):
        done = run(fleet, tmp_path, EVERYWHERE, *words)
    assert done.code == 0, done.text
    reasons = {host: record["error"]["reason"] for host, record in done.hosts.items()}
    assert reasons["web1"].startswith("The host did not answer within ")
    assert reasons["web2"] == reasons["web3"] == "no time was left for it"
    [line] = [line for line in done.text.splitlines() if line.startswith("Evidence, not had: ")]
    assert "web2, web3: no time was left for it" in line


def test_check_mode_tells_the_plan(fleet: Fleet, tmp_path: Path) -> None:
    start_stuck(fleet.hosts[0])
    done = run(fleet, tmp_path, EVERYWHERE, "-l", "web1", "--check", "-e", "pyspy_pattern=stuck")
    assert done.code == 0, done.text
    assert (
        re.search(r"[1-9]\d* targets? would be dumped on 1 of 1 host", done.words)
        and not (tmp_path / "latest").exists()
    )

# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recordings on hosts with a real systemd: they outlive logins and attacks, keep their deadlines, and leave nothing."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _bundle
from ansible_collections.pyspy.fleet.tests.lab import hosts
from ansible_collections.pyspy.fleet.tests.lab.host_program import Host
from ansible_collections.pyspy.fleet.tests.lab.nspawn import SystemdFleet
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

HOSTILE = 'it\'s "$(touch /tmp/owned)" `touch /tmp/owned`; %n\\n\x1b]0;x\x07\nExecStart=/usr/bin/touch /tmp/owned\n'
#: What a recording may leave beside processes: units of root and of deploy (failed ones too), state.
LEFT = """
systemctl list-units --all --plain --no-legend 'pyspy-fleet-*'
systemctl list-timers --all --no-legend 'pyspy-fleet-*'
test ! -e /run/user/1000/systemd/private || runuser -u deploy -- env XDG_RUNTIME_DIR=/run/user/1000 \\
    systemctl --user list-units --all --plain --no-legend 'pyspy-fleet-*'
ls -d /run/pyspy-fleet /run/user/*/pyspy-fleet /home/*/.pyspy-fleet /root/.pyspy-fleet /tmp/owned 2>/dev/null
true
"""
OURS = ("py-spy record", "pyspy_fleet_host", "program.pyz")


class Remote(Host):
    """A host of the fleet, asked as a controller asks it: one ssh connection for each pass, ended at once.

    Without a user it is asked as root from outside, which is quicker.
    """

    def __init__(self, fleet: SystemdFleet, host: hosts.Host, user: str, become: str) -> None:
        super().__init__("", "/usr/bin/python3")
        self.fleet, self.host, self.user, self.become = fleet, host, user, become

    def ask(self, operation: str, arguments: dict[str, Any] | None = None, payload: bytes = b"") -> dict[str, Any]:
        command = _bundle.command(self.interpreter)
        if self.become:
            command = f"sudo -n -H -u {self.become} /bin/sh -c {shlex.quote(command)}"
        enter = ["nsenter", "--target", str(self.host.pid), "--all", "--root", "--wd", *hosts.ENVIRONMENT, "sh", "-c"]
        way = self.fleet.ssh(self.host, self.user) if self.user else enter
        done = subprocess.run(
            [*way, command],
            input=_bundle.envelope(operation, arguments or {}, payload),
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return _bundle.parse_answer(done.stdout.decode(), done.stderr.decode(), done.returncode, self.interpreter)

    def recorders(self) -> list[hosts.Process]:
        return [one for one in self.host.processes() if one.command.startswith("py-spy record")]

    def recorder(self, pid: int) -> int:
        """The PID on the host of the py-spy that samples ``pid``."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [one.pid for one in self.recorders() if f" --pid {pid} " in one.command]
            return bool(found)

        await_condition(f"a py-spy on {pid}", look, 20)
        return found[0]

    def keeper(self, pid: int) -> int:
        recorder = self.recorder(pid)
        return next(one.parent for one in self.host.processes() if one.pid == recorder)

    def state(self, pid: int) -> str:
        return next((one.state for one in self.host.processes() if one.pid == pid), "gone")

    def left(self) -> str:
        running = [one.command for one in self.host.processes() if any(mark in one.command for mark in OURS)]
        return "\n".join(running) or self.host.run(LEFT).stdout

    def await_clean(self, seconds: float = 20) -> None:
        found = [""]

        def clean() -> bool:
            found[0] = self.left()
            return not found[0]

        try:
            await_condition("nothing of ours", clean, seconds)
        except TimeoutError:
            raise AssertionError(f"left behind:\n{found[0]}") from None

    @contextmanager
    def target(self, user: str = "root") -> Iterator[int]:
        """A busy Python of ``user`` that takes only CPU nobody else wants."""
        loop = "nice -n 19 setsid python3 -c 'while True: pass' </dev/null >/dev/null 2>&1 & echo $!"
        pid = int(self.host.run(loop, user=user).stdout)
        await_condition("the target", lambda: any(one.command.startswith("python3 -c") for one in self._below(pid)))
        try:
            yield pid
        finally:
            self.host.run(f"kill -KILL {pid}", check=False)

    def _below(self, pid: int) -> list[hosts.Process]:
        return [one for one in self.host.processes() if one.pid == pid]


@pytest.fixture
def remote(systemd_fleet: SystemdFleet) -> Iterator[Callable[..., Remote]]:
    """``remote()`` is root on the first host, ``remote("deploy")`` a user, ``remote("deploy", "root")`` has sudo."""
    used: list[Remote] = []

    def make(user: str = "", become: str = "", number: int = 0) -> Remote:
        used.append(Remote(systemd_fleet, systemd_fleet.hosts[number], user, become))
        return used[-1]

    assert not make().left(), "something of ours was here before"
    yield make
    for one in used:
        if one.left():
            one.ask("cleanup", {"force": True})
            one.await_clean()


@pytest.fixture
def kills_at_logout(systemd_fleet: SystemdFleet) -> Iterator[None]:
    """The first host's login manager ends what a user leaves running."""
    host = systemd_fleet.hosts[0]
    folder = host.root / "etc/systemd/logind.conf.d"
    folder.mkdir(exist_ok=True)
    (folder / "kill.conf").write_text("[Login]\nKillUserProcesses=yes\n")
    # Restarted too often in a short time a service is refused; that count begins anew.
    restart = "systemctl reset-failed systemd-logind && systemctl restart systemd-logind"
    host.run(restart)
    yield
    (folder / "kill.conf").unlink()
    host.run(f"{restart} && loginctl disable-linger deploy")


WAYS = pytest.mark.parametrize(("user", "become"), [("root", ""), ("deploy", "root")], ids=["root", "sudo"])


@WAYS
def test_the_keeper_is_a_service_apart_from_the_login(remote: Callable[..., Remote], user: str, become: str) -> None:
    here = remote(user, become)
    with here.target() as busy:
        started = here.start([busy], duration=3)
        identity = started["recording"]["id"]
        assert started["recording"]["keeper"] == "systemd"
        group = (here.host.root / f"proc/{here.recorder(busy)}/cgroup").read_text()
        assert f"/system.slice/pyspy-fleet-{identity}.service" in group and "user.slice" not in group
        assert not here.host.run("loginctl list-sessions --no-legend | grep -v closing", check=False).stdout.strip()
        limits = {"CPUWeight=10", "CPUQuotaPerSecUSec=1s", f"MemoryMax={448 << 20}", "Nice=5", "TasksMax=32"}
        assert limits <= set(here.host.run(f"systemctl show pyspy-fleet-{identity}").stdout.splitlines())
        here.host.run("systemctl daemon-reload && systemctl daemon-reexec")
        head, bodies = here.collect(identity)
        (capture,) = head["captures"]
        assert capture["outcome"] == "profiled" and capture["seconds"] >= 3 and bodies[0]
        here.await_clean()
        assert here.state(busy) == "R"


@WAYS
def test_it_survives_a_login_manager_that_kills(
    remote: Callable[..., Remote], kills_at_logout: None, user: str, become: str
) -> None:
    here = remote(user, become)
    with here.target() as busy:
        head, _bodies = here.collect(here.start([busy], duration=2)["recording"]["id"])
        assert head["captures"][0]["seconds"] >= 2
        here.await_clean()


def test_an_ordinary_user_is_refused_where_logout_kills(remote: Callable[..., Remote], kills_at_logout: None) -> None:
    here = remote("deploy")
    with here.target("deploy") as busy:
        answer = here.ask("start", here.order([busy]))
        assert answer["ok"] is False and "at logout" in answer["error"]["reason"]
        assert "KillUserProcesses" in answer["error"]["detail"] and "become" in answer["error"]["remedy"]
        assert not here.left()


def test_who_became_another_user_is_refused_too(remote: Callable[..., Remote], kills_at_logout: None) -> None:
    """The login is deploy's: what web starts in it goes with it, lingering or not."""
    here = remote("deploy", "web")
    with here.target("web") as busy:
        answer = here.ask("start", here.order([busy]))
        assert answer["ok"] is False and "at logout" in answer["error"]["reason"]


def test_a_user_who_lingers_is_accepted(remote: Callable[..., Remote], kills_at_logout: None) -> None:
    here = remote("deploy")
    here.host.run("loginctl enable-linger deploy")
    await_condition("deploy's systemd", (here.host.root / "run/user/1000/systemd/private").exists)
    with here.target("deploy") as busy:
        started = here.start([busy], duration=2)
        assert started["recording"]["keeper"] == "systemd"
        head, _bodies = here.collect(started["recording"]["id"])
        assert head["captures"][0]["outcome"] == "profiled" and head["captures"][0]["seconds"] >= 2
        here.await_clean()


def test_an_ordinary_user_leaves_nothing(remote: Callable[..., Remote]) -> None:
    here = remote("deploy")
    look = "find /home/deploy /run/user/1000 -path '*/systemd*' -prune -o -print 2>/dev/null | sort; true"
    with here.target("deploy") as busy:
        here.collect(here.start([busy], duration=1)["recording"]["id"])
        here.await_clean()
        homes = "find /home/deploy | sort"
        before = here.host.run(homes).stdout
        started = here.start([busy], duration=2)
        assert started["recording"]["keeper"] == "daemon"
        assert "pyspy-fleet/" + started["recording"]["id"] in here.host.run(look).stdout
        head, _bodies = here.collect(started["recording"]["id"])
        assert head["captures"][0]["outcome"] == "profiled" and head["captures"][0]["seconds"] >= 2
        here.await_clean()
        assert here.host.run(homes).stdout == before


def test_a_recording_is_found_from_another_kind_of_login(remote: Callable[..., Remote]) -> None:
    """Begun in deploy's own login, whose runtime directory it is in; asked for by root as deploy, and the other way."""
    own, other = remote("deploy"), remote("root", "deploy")
    with own.target("deploy") as busy:
        for begun, fetched in ((own, other), (other, own)):
            identity = begun.start([busy], duration=1)["recording"]["id"]
            head, _bodies = fetched.collect(identity)
            assert head["captures"][0]["outcome"] == "profiled"
            own.await_clean()


@pytest.mark.parametrize("how", ["keeper", "service"])
def test_a_killed_keeper_leaves_nothing_running(remote: Callable[..., Remote], how: str) -> None:
    here = remote()
    with here.target() as busy:
        started = here.start([busy], duration=30, native=True)
        identity, keeper = started["recording"]["id"], here.keeper(busy)
        unit = f"pyspy-fleet-{identity}.service"
        here.host.run(f"kill -KILL {keeper}" if how == "keeper" else f"systemctl kill --signal=KILL {unit}")
        await_condition("no py-spy", lambda: not here.recorders(), 5)
        assert here.ask("collect", {"recording": identity, "patience": 5})["phase"] == "broken"
        here.await_clean()
        await_condition("the target to run", lambda: here.state(busy) == "R", 5)


def test_a_stopped_keeper_is_woken_by_its_deadline_and_gives_what_there_is(remote: Callable[..., Remote]) -> None:
    here = remote()
    with here.target() as busy:
        started = here.start([busy], duration=1)
        keeper = here.keeper(busy)
        here.host.run(f"kill -STOP {keeper}")
        await_condition("the keeper to be ended", lambda: here.state(keeper) in ("gone", "Z"), 20)
        head, _bodies = here.collect(started["recording"]["id"])
        assert head["captures"][0]["outcome"] == "profiled"
        here.await_clean()
        assert here.state(busy) == "R"


def test_a_stopped_py_spy_is_killed_and_its_target_runs(remote: Callable[..., Remote]) -> None:
    here = remote()
    with here.target() as busy:
        started = here.start([busy], duration=1, native=True)
        here.host.run(f"kill -STOP {here.recorder(busy)}")
        head, _bodies = here.collect(started["recording"]["id"])
        assert "had to be killed" in head["captures"][0]["reason"]
        here.await_clean()
        await_condition("the target to run", lambda: here.state(busy) == "R", 5)


def test_uncollected_captures_go_at_the_keep_deadline(remote: Callable[..., Remote]) -> None:
    """Of root by the timer, which a reload in between does not set back; of deploy by the watchdog; where that was
    killed by the keeper."""
    root, deploy = remote(), remote("deploy")
    with root.target() as busy, root.target("deploy") as other, root.target("deploy") as third:
        root.start([busy], duration=1, keep=10)
        deploy.start([other], duration=1, keep=10)
        deploy.start([third], duration=2, keep=10)
        keeper = root.keeper(third)
        watchdog = next(one.parent for one in root.host.processes() if one.pid == keeper)
        root.host.run(f"kill -KILL {watchdog}")
        state = root.host.root / "run/pyspy-fleet"
        await_condition("a result", lambda: any(state.glob("*/result")), 20)
        root.host.run("systemctl daemon-reload")
        assert root.left() and deploy.ask("list")["recordings"]
        root.await_clean(30)


def test_cleanup_through_ansible(remote: Callable[..., Remote], systemd_fleet: SystemdFleet) -> None:
    here = remote()
    playbook = ("ansible-playbook", "playbooks/cleanup.yml", "-u", "deploy", "-b", "-l", "web1")
    with here.target() as busy:
        identity = here.start([busy], duration=60)["recording"]["id"]
        here.recorder(busy)
        done = systemd_fleet.ansible(*playbook)
        assert done.returncode == 0 and identity in done.stdout and "left alone" in done.stdout, done.stdout
        assert here.ask("list")["recordings"][0]["phase"] == "recording"
        done = systemd_fleet.ansible(*playbook, "-e", "pyspy_cleanup_force=true")
        assert done.returncode == 0 and "ended and removed" in done.stdout, done.stdout
        here.await_clean()
        assert here.state(busy) == "R"


def test_a_hostile_reason(remote: Callable[..., Remote], systemd_fleet: SystemdFleet, tmp_path: Path) -> None:
    """Through ansible and sudo, on both hosts: the reason is text in the manifest, and nothing anywhere else."""
    here, there = remote(), remote(number=1)
    variables = {
        "pyspy_reason": HOSTILE,
        "pyspy_duration": 2,
        "pyspy_pattern": "while True",
        "pyspy_output_dir": str(tmp_path / "runs"),
    }
    with here.target(), there.target():
        done = systemd_fleet.ansible(
            "ansible-playbook", "playbooks/profile.yml", "-u", "deploy", "-b", "-e", json.dumps(variables)
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for one in (here, there):
            one.await_clean()
            log = one.host.run("journalctl --no-pager --output=cat --boot", check=False).stdout
            assert "touch /tmp/owned" not in log
    manifest = json.loads((tmp_path / "runs/latest/manifest.json").read_text())
    assert "touch /tmp/owned" in json.dumps(manifest)
    assert "\x1b" not in done.stdout


def test_units_hold_nothing_of_a_users(remote: Callable[..., Remote]) -> None:
    here = remote()
    with here.target() as busy:
        order = {**here.order([busy], duration=2), "reason": HOSTILE, "run": HOSTILE}
        answer = here.ask("start", order)
        if "need_binary" in answer:
            here.start([busy], duration=1)
            here.ask("cleanup", {"force": True})
            answer = here.ask("start", order)
        identity = answer["recording"]["id"]
        units = f"'pyspy-fleet-{identity}*'"
        text = here.host.run(f"systemctl cat {units}; systemctl show {units}").stdout
        assert identity in text and "owned" not in text
        here.collect(identity)
        here.await_clean()


def test_no_space_for_a_recording(remote: Callable[..., Remote]) -> None:
    here = remote()
    with here.target() as busy:
        here.collect(here.start([busy], duration=1)["recording"]["id"])
        here.await_clean()
        here.host.run("mkdir -m 700 /run/pyspy-fleet && mount -t tmpfs -o size=32k,mode=700 none /run/pyspy-fleet")
        try:
            answer = here.ask("start", here.order([busy]))
            assert answer["ok"] is False and "No space left" in answer["error"]["detail"] and answer["error"]["remedy"]
        finally:
            here.host.run("umount /run/pyspy-fleet && rmdir /run/pyspy-fleet")
        assert not here.left()


def test_a_state_directory_of_somebody_else_is_refused(remote: Callable[..., Remote]) -> None:
    here = remote()
    with here.target() as busy:
        here.collect(here.start([busy], duration=1)["recording"]["id"])
        here.await_clean()
        place = "/run/pyspy-fleet"
        for plant in (f"mkdir -m 700 {place} && chown web {place}", f"ln -s /home/web {place}"):
            here.host.run(plant)
            for operation, arguments in (("start", here.order([busy])), ("collect", {"recording": "00aa"})):
                answer = here.ask(operation, arguments)
                assert answer["ok"] is False and "not only ours" in answer["error"]["reason"], answer
            here.host.run("rmdir /run/pyspy-fleet 2>/dev/null || rm -f /run/pyspy-fleet", check=False)
        assert not here.left()


def test_two_collects_at_once(remote: Callable[..., Remote]) -> None:
    here = remote()
    with here.target() as busy:
        identity = here.start([busy], duration=1)["recording"]["id"]
        answers = _at_once([lambda: here.ask("collect", {"recording": identity, "patience": 9}) for _one in range(2)])
        for answer in answers:
            assert answer.get("phase") == "done" or "no recording" in answer["error"]["reason"], answer
        assert any(answer.get("phase") == "done" for answer in answers)
        here.await_clean()


def test_start_collect_cleanup_and_expiry_race(remote: Callable[..., Remote]) -> None:
    """Whatever comes in between: each gets a reason or its due, nobody sees a traceback, and nothing stays."""
    here = remote()
    with here.target() as busy, here.target() as other:
        here.collect(here.start([busy], duration=1)["recording"]["id"])

        def record(pid: int) -> list[dict[str, Any]]:
            answers = [here.ask("start", here.order([pid], duration=1))]
            if answers[0].get("recording"):
                answers.append(here.ask("collect", {"recording": answers[0]["recording"]["id"], "patience": 3}))
            return answers

        for _round in range(2):
            acts: list[Callable[[], Any]] = [
                lambda: record(busy),
                lambda: record(other),
                lambda: [here.ask("cleanup", {"force": True})],
                lambda: [here.ask("list"), here.ask("cleanup", {"force": True})],
            ]
            for answers in _at_once(acts):
                for answer in answers:
                    assert answer["ok"] or "program failed" not in answer["error"]["reason"], answer
        here.ask("cleanup", {"force": True})
        here.await_clean()


def test_the_selector_unit(remote: Callable[..., Remote]) -> None:
    """A service, instances of a template, and one of a user's own systemd that has a service's name too."""
    here = remote()
    loop = "nice -n 19 python3 -c 'while True: pass'"

    def targets(unit: str) -> set[int]:
        answer = here.ask("info", {"selectors": {"unit": unit}})
        return {one["pid"] for one in answer["selection"]["targets"]} if answer["ok"] else set()

    def told(**selectors: Any) -> list[str]:
        """The unit that each target is said to be in."""
        answer = here.ask("info", {"selectors": selectors})
        return [one["unit"] for one in answer["selection"]["targets"]]

    def main_pid(unit: str) -> int:
        return int(here.host.run(f"systemctl show --property=MainPID --value {unit}").stdout)

    units = here.host.root / "run/systemd/system"
    units.mkdir(exist_ok=True)
    (units / "job@.service").write_text(f"[Service]\nExecStart=/usr/bin/{loop}\n")
    here.host.run("loginctl enable-linger deploy")
    await_condition("deploy's systemd", (here.host.root / "run/user/1000/systemd/private").exists)
    mine = "systemd-run --user --quiet --unit"
    here.host.run(
        f"systemd-run --quiet --unit=shop {loop}; systemctl start job@a job@b;"
        f"runuser -u deploy -- env XDG_RUNTIME_DIR=/run/user/1000 sh -c '{mine}=shop sleep 9999;"
        f'{mine}=shop2 python3 -c "import time; time.sleep(9999)"\''
    )
    try:
        shop, first, second = (main_pid(unit) for unit in ("shop", "job@a", "job@b"))
        await_condition("the targets", lambda: targets("shop") == {shop} and targets("job@") == {first, second})
        assert targets("job@a.service") == {first} and targets("job@?") == {first, second}
        assert told(unit="shop") == ["shop.service"] and told(unit="job@a") == ["job@a.service"]
        assert told(unit="shop2") == ["user@1000.service/shop2.service"]
        assert targets("system.slice") >= {shop, first, second}
        answer = here.ask("info", {"selectors": {"unit": "shop2"}})
        assert len(answer["selection"]["targets"]) == 1
        assert any("in a user's own systemd" in note for note in answer["selection"]["notes"])
        assert targets("shop2") <= targets("user-1000.slice")
        here.host.run("systemctl stop shop")
        imitated = here.ask("info", {"selectors": {"unit": "shop"}})["error"]
        assert imitated["reason"] == "Nothing in the unit shop.service can be a target"
        assert imitated["detail"].endswith("(sleep) is not Python")
        absent = here.ask("info", {"selectors": {"unit": "nowhere"}})["error"]
        assert absent["reason"] == "No process of this host is in the unit nowhere.service" and absent["remedy"]
    finally:
        here.host.run("systemctl stop shop job@a job@b; loginctl terminate-user deploy; true", check=False)
        here.host.run("loginctl disable-linger deploy; rm /run/systemd/system/job@.service; systemctl daemon-reload")


def _at_once(acts: list[Callable[[], Any]]) -> list[Any]:
    results: list[Any] = [None] * len(acts)

    def act(number: int) -> None:
        results[number] = acts[number]()

    threads = [threading.Thread(target=act, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in results, "one of them did not come to an end"
    return results

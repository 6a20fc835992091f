# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease with real processes: its dead-man puts the value back whatever happens to its holder.

A directory stands for /proc/sys/kernel/yama, because this machine's kernel may have no Yama, and the dead-man is a
daemon even where systemd runs. The real value and the real units are tested on a machine of their own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _arm, _lease, _lowering, _state, _systemd, _yama
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._lease import Lease, Wish
from ansible_collections.pyspy.fleet.tests.lab.waiting import await_condition

PYTHONS = [
    found
    for version in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
    for found in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))[:1]
] or [Path(sys.executable)]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_yama.Site]:
    """A value of 1, and a state directory that is not there yet."""
    (tmp_path / "ptrace_scope").write_text("1\n")
    place = _yama.Site(str(tmp_path / "ptrace_scope"), str(tmp_path / "state"))
    monkeypatch.setattr(_state, "base_path", lambda: place.directory)
    monkeypatch.setattr(_systemd, "available", lambda: False)
    # Unit tests may well run in a container.
    monkeypatch.setattr(_lowering, "contained", lambda: False)
    yield place
    _lease.sweep(force=True, dry_run=False, site=place)
    await_condition("the end of all watches", lambda: not watches(place))


def watches(site: _yama.Site) -> list[int]:
    """PIDs of the dead-men that watch over this value."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"watch" in words and site.sysctl.encode() in words:
            found.append(int(name))
    return found


def hold(site: _yama.Site, name: str = "a", seconds: float = 60, scope: int = 0, pid: int = 0) -> Lease:
    return _lease.hold(Wish(name, scope, seconds, "somebody", "why"), pid=pid, site=site)


def is_back(site: _yama.Site) -> None:
    await_condition("the value to be back", lambda: site.read() == 1, 20)
    await_condition("nothing to be left", lambda: not watches(site) and not os.path.exists(site.directory), 20)


def test_taken_and_given_back(site: _yama.Site) -> None:
    taken = hold(site)
    assert (taken.before, taken.scope, taken.original, site.read()) == (1, 0, 1, 0)
    assert watches(site) == [taken.guard[0]]
    ended = _lease.give_back("a", site=site)
    assert (ended.before, ended.scope, site.read()) == (0, 1, 1)
    assert not watches(site) and not os.path.exists(site.directory)
    assert _lease.give_back("a", site=site).notes == ["a holds no lease (any more)"]
    assert not os.path.exists(site.directory)


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.name)
def test_the_dead_man_runs_under_every_python(site: _yama.Site, python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(python))
    hold(site, seconds=3)
    assert site.read() == 0
    is_back(site)


def test_its_text_goes_through_systemd_unharmed() -> None:
    """PID 1 puts environment variables in the place of words with a dollar."""
    assert "$" not in _arm.text()
    assert _arm.text().isascii()


def test_nothing_of_the_connection_stays_open(site: _yama.Site) -> None:
    """Else ssh would wait for the dead-man; and it is in a session of its own, so no hang-up reaches it."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    taken = hold(site)
    os.close(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)
    assert os.getsid(taken.guard[0]) != os.getsid(0)


def test_it_watches_until_the_deadline(site: _yama.Site) -> None:
    hold(site, seconds=2)
    is_back(site)


def test_a_stopped_one_who_holds_the_lock_does_not_stop_it(site: _yama.Site) -> None:
    hold(site, seconds=2)
    with _state.locked():
        await_condition("the value to be back", lambda: site.read() == 1, 20)


@pytest.mark.parametrize("what", ["file", "directory", "damaged"])
def test_a_lost_state_restores_at_once(site: _yama.Site, what: str) -> None:
    taken = hold(site)
    path = Path(site.directory)
    if what == "damaged":
        (path / "lease.json").write_bytes(b"\0" * 100)
    else:
        (path / "lease.json").unlink()
    if what == "directory":
        path.rmdir()
    is_back(site)
    assert _lease.release(taken, site=site).scope == 1


def test_the_release_of_a_recording_needs_no_state(site: _yama.Site) -> None:
    taken = _lease.acquire("5f2c", 60, "why", "somebody", site=site)
    os.kill(taken.guard[0], signal.SIGSTOP)
    os.unlink(site.directory + "/lease.json")
    ended = _lease.release(taken, site=site)
    assert (ended.before, ended.scope, site.read()) == (0, 1, 1)
    os.kill(taken.guard[0], signal.SIGKILL)


def test_it_restores_when_the_holder_is_killed(site: _yama.Site, tmp_path: Path) -> None:
    """As a keeper does it: by a process of its own, with acquire; and killed with all of its group."""
    script = (
        f"import sys, time; sys.path[:] = {sys.path!r}\n"
        "from ansible_collections.pyspy.fleet.plugins.module_utils import _lease, _lowering, _state, _systemd, _yama\n"
        f"_state.base_path = lambda: {site.directory!r}\n"
        "_systemd.available = _lowering.contained = lambda: False\n"
        f"_lease.acquire('5f2c', 60, 'why', 'somebody', site=_yama.Site({site.sysctl!r}, {site.directory!r}))\n"
        "print('held', flush=True)\n"
        "time.sleep(1000)\n"
    )
    keeper = subprocess.Popen((sys.executable, "-c", script), stdout=subprocess.PIPE, text=True, start_new_session=True)
    with keeper:
        assert keeper.stdout is not None and keeper.stdout.readline() == "held\n"
        assert site.read() == 0
        os.killpg(keeper.pid, signal.SIGKILL)
        is_back(site)


def test_two_that_overlap(site: _yama.Site) -> None:
    for first, second in (("a", "b"), ("b", "a")):
        hold(site, "a")
        hold(site, "b")
        assert _lease.give_back(first, site=site).notes == [f"still held by {second}"]
        assert site.read() == 0
        assert _lease.give_back(second, site=site).scope == 1
        assert not watches(site)


def test_prolonged_beyond_its_first_end(site: _yama.Site) -> None:
    first = hold(site, seconds=2)
    second = hold(site, seconds=60)
    assert watches(site) == [second.guard[0]] != [first.guard[0]]
    assert first.mine is not None
    # What a timer of systemd that was not disarmed would run at the first end.
    subprocess.run(_arm._command("restore", site, first.mine), check=True)
    assert site.read() == 0


def test_somebody_else_is_respected(site: _yama.Site) -> None:
    hold(site, seconds=2)
    Path(site.sysctl).write_text("2\n")
    ended = _lease.give_back("a", site=site)
    assert ended.notes == ["somebody else set it to 2 in the meantime; left alone"] and site.read() == 2
    hold(site, seconds=2)
    assert site.read() == 0
    Path(site.sysctl).write_text("3\n")
    await_condition("the end of the lease", lambda: not watches(site), 20)
    assert site.read() == 3


def test_check_mode_changes_nothing(site: _yama.Site) -> None:
    would = _lease.hold(Wish("a", 0, 60), dry_run=True, site=site)
    assert (would.before, would.scope, site.read(), os.path.exists(site.directory)) == (1, 0, 1, False)
    hold(site)
    ended = _lease.give_back("a", dry_run=True, site=site)
    assert (ended.before, ended.scope, site.read(), len(watches(site))) == (0, 1, 0, 1)
    assert _lease.sweep(force=True, dry_run=True, site=site) == ["lease a on ptrace_scope: in force; would be ended"]
    assert site.read() == 0


def test_the_clean_up_leaves_alone_what_is_in_force(site: _yama.Site) -> None:
    hold(site)
    assert _lease.sweep(force=False, dry_run=False, site=site) == ["lease a on ptrace_scope: in force; left alone"]
    assert _lease.sweep(force=True, dry_run=False, site=site)[0].startswith(
        "lease a on ptrace_scope: in force; ended; ptrace_scope is 1"
    )
    assert site.read() == 1


def test_nothing_is_lowered_without_a_dead_man(site: _yama.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python3")
    with pytest.raises(HostError, match="does not start"):
        hold(site)
    assert site.read() == 1 and not os.path.exists(site.directory)


def test_what_cannot_be_written_leaves_nothing(site: _yama.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_site: _yama.Site, _value: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(_yama.Site, "write", refuse)
    with pytest.raises(HostError, match="ptrace_scope can.* set"):
        hold(site)
    assert not watches(site) and not os.path.exists(site.directory)


def test_a_lease_that_was_over_before_it_began(site: _yama.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host so busy that arming takes longer than the lease, the dead-man may have come and gone."""

    def slowly(*_arguments: object) -> tuple[int, int]:
        await_condition("the end", lambda: time.monotonic() > began + 1.05)
        return 0, 0

    began = time.monotonic()
    monkeypatch.setattr(_lease, "arm", slowly)
    with pytest.raises(HostError, match="too slow"):
        hold(site, seconds=1)
    assert site.read() == 1 and not os.path.exists(site.directory)


def test_sealed(site: _yama.Site) -> None:
    Path(site.sysctl).write_text("3\n")
    with pytest.raises(HostError, match="nobody may attach") as error:
        hold(site)
    assert "reboot" in error.value.detail + error.value.remedy
    assert not os.path.exists(site.directory)
    Path(site.sysctl).write_text("1\n")


def test_without_yama(site: _yama.Site) -> None:
    os.unlink(site.sysctl)
    taken = hold(site)
    assert taken.scope is None and "no Yama" in taken.notes[0]
    assert _lease.give_back("a", site=site).notes == taken.notes
    assert _lease.release(taken, site=site) == _lease.Ended(None, None, taken.notes)
    assert not os.path.exists(site.directory)
    Path(site.sysctl).write_text("1\n")


def test_low_enough(site: _yama.Site) -> None:
    taken = hold(site, scope=1)
    assert taken.notes == ["low enough by itself: nothing was lowered"] and not watches(site)
    assert _lease.release(taken, site=site) == _lease.Ended(1, 1, taken.notes)
    assert not os.path.exists(site.directory)


def test_in_a_container(site: _yama.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lowering, "contained", lambda: True)
    with pytest.raises(HostError, match="not this container's"):
        hold(site)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"scope": 2}, "scope is not 0 or 1"),
        ({"scope": True}, "scope is not 0 or 1"),
        ({"seconds": 0}, "seconds is not from 1 to 3600"),
        ({"seconds": 3601}, "seconds is not from 1 to 3600"),
        ({"seconds": "60"}, "seconds is not from 1 to 3600"),
        ({"holder": "../x"}, "A holder's name"),
    ],
)
def test_bad_wishes(data: dict[str, object], match: str) -> None:
    with pytest.raises(HostError, match=match):
        Wish.from_wire(data)


def test_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "deploy\n")
    wish = Wish.from_wire({"by": "alice on laptop\x1b[31m", "reason": "a\nb"})
    assert wish.by.startswith("alice on laptop?[31m") and wish.by.endswith("sudo of deploy?")
    assert wish.reason == "a?b" and len(wish.name) == 16

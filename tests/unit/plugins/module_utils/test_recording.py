# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the rooms "recording" and "recorder": phases as they follow from the folder and who is alive; limits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import (
    _cleanup,
    _keeper,
    _program,
    _recorder,
    _recording,
    _state,
)
from ansible_collections.pyspy.fleet.plugins.module_utils._attach import AUTO
from ansible_collections.pyspy.fleet.plugins.module_utils._credentials import Terms
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._plan import Options, plan
from ansible_collections.pyspy.fleet.plugins.module_utils._privileges import Kernel
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import ProcessDir, boot_id
from ansible_collections.pyspy.fleet.plugins.module_utils._recorder import Capture, Recorder
from ansible_collections.pyspy.fleet.plugins.module_utils._recording import (
    KEEPER,
    REQUEST,
    RESULT,
    Owner,
    Request,
    owners,
    phase,
    require,
    sampled_now,
    wait_for_result,
)
from ansible_collections.pyspy.fleet.plugins.module_utils._state import Folder
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    monkeypatch.setattr(_state, "base_path", lambda: str(path))
    return Folder.create()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def request(**changes: object) -> Request:
    now = time.monotonic()
    target = {"pid": 1, "start": 5}
    made = Request({}, [target], [], [], {}, False, 1, "", "a-run", "", boot_id(), now + 5, now + 900)
    return made._replace(**changes)


def identity(pid: int) -> list[int]:
    with ProcessDir(pid) as process:
        return [pid, process.start]


def test_a_request_comes_back_as_it_was(folder):
    made = request(reason='a "reason"\nwith $(everything)', targets=[{"pid": 1, "start": 2, "name": "\udc80"}])
    made.write(folder)
    assert Request.read(folder) == made
    assert made.restore_at() == made.ends_at + 10 and made.ends_at < made.close_at() < made.restore_at()


def test_a_keeper_whose_folder_was_deleted_ends_quietly(folder):
    folder.remove()
    _keeper._write(folder, {"error": None}, [])
    assert not folder.exists()


def test_a_request_from_before_a_reboot_is_none(folder):
    request(boot="another").write(folder)
    assert Request.read(folder) is None


@pytest.mark.parametrize("damage", [{"surplus": 1}, {"boot": None}, []])
def test_a_damaged_request_is_none(folder, damage):
    whole = request()._asdict()
    folder.write_json(REQUEST, {**whole, **damage} if isinstance(damage, dict) else damage)
    assert Request.read(folder) is None
    missing = dict(whole)
    del missing["run"]
    folder.write_json(REQUEST, missing)
    assert Request.read(folder) is None


def test_phases(folder, sleeper):
    made = request()
    assert phase(folder, None) == "broken", "no request, no result"
    assert phase(folder, made) == "recording", "the keeper has not yet said who it is"
    assert phase(folder, request(ends_at=time.monotonic() - 60)) == "broken", "it never did"
    folder.write_json(KEEPER, {"keeper": identity(sleeper.pid)})
    assert phase(folder, made) == "recording"
    pid, start = identity(sleeper.pid)
    folder.write_json(KEEPER, {"keeper": [pid, start + 1], "recorder 1": [pid, start]})
    assert phase(folder, made) == "broken", "another process has the keeper's PID now"
    folder.write(RESULT, b"")
    assert phase(folder, made) == phase(folder, None) == "done"


def test_a_keeper_that_announces_itself_between_two_looks_is_not_broken(folder, sleeper, monkeypatch):
    """It was, and what asks for a broken recording deletes it: in the middle of its window."""

    def announced_meanwhile(asked: Folder) -> dict[str, Owner]:
        found = owners(asked)
        folder.write_json(KEEPER, {"keeper": identity(sleeper.pid)})
        return found

    monkeypatch.setattr(_recording, "owners", announced_meanwhile)
    assert phase(folder, request()) == "recording"


def test_a_zombie_owns_nothing(folder):
    with subprocess.Popen(["true"]) as ended:
        own = identity(ended.pid)
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        folder.write_json(KEEPER, {"keeper": own})
        assert owners(folder) == {} and phase(folder, request()) == "broken"


def test_owners_that_are_not_pairs_of_numbers_are_nobody(folder, sleeper):
    own = identity(sleeper.pid)
    rows = {"keeper": own, "a": None, "b": [own[0]], "c": ["1", "2"], "d": {"pid": own[0]}, "e": [[], []], "f": 1}
    folder.write_json(KEEPER, rows)
    assert owners(folder) == {"keeper": Owner(*own)}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_whatever_lies_in_the_keepers_file_is_read(tmp_path_factory, value):
    folder = Folder.__new__(Folder)
    folder.path, folder.identity = str(tmp_path_factory.mktemp("folder")), "00"
    Path(folder.file(KEEPER)).write_text(json.dumps({"watchdog": value}))
    assert set(owners(folder)) <= {"watchdog"}


def test_waiting_ends_with_the_patience_or_with_the_result(folder, monkeypatch):
    request().write(folder)
    assert wait_for_result(folder, 0) == "recording"
    monkeypatch.setattr(_recording.time, "sleep", lambda _seconds: folder.write(RESULT, b""))
    assert wait_for_result(folder, 5) == "done"


def test_waiting_ends_when_somebody_else_took_it(folder, monkeypatch):
    request().write(folder)
    monkeypatch.setattr(_recording.time, "sleep", lambda _seconds: folder.remove())
    with pytest.raises(HostError, match="has no recording"):
        wait_for_result(folder, 5)


def test_what_must_be_there(folder):
    assert require(folder.identity).path == folder.path
    with pytest.raises(HostError, match="has no recording 00aa") as caught:
        require("00aa")
    assert caught.value.detail and caught.value.remedy


@pytest.mark.parametrize("name", ["", "..", "../../etc", "00/aa", "00\n", "0" * 65, "00AA", "$(id)"])
def test_what_cannot_be_a_recording_is_refused(name):
    with pytest.raises(HostError, match="hex digits"):
        require(name)


def test_targets_of_open_windows(folder):
    request().write(folder)
    assert sampled_now() == {Owner(1, 5): folder.identity}
    folder.write(RESULT, b"")
    assert sampled_now() == {}


def test_a_recording_that_is_collected_while_all_are_looked_at_did_not_break(folder, monkeypatch):
    def collected_meanwhile(asked: Folder, known: Request | None) -> str:
        asked.remove()
        return phase(asked, known)

    monkeypatch.setattr(_recording, "phase", collected_meanwhile)
    monkeypatch.setattr(_cleanup, "phase", collected_meanwhile)
    monkeypatch.setattr(_cleanup, "sweep", lambda _force, _dry_run: [])
    request().write(folder)
    assert _program._list({}, bytes) == {"recordings": []}
    os.makedirs(folder.path, 0o700)
    os.chmod(os.path.dirname(folder.path), 0o700)
    request().write(folder)
    assert _cleanup.cleanup(force=False, dry_run=False) == {"changed": False, "found": []}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A recorder of a process that is busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        pid, start = identity(busy.pid)
        options = Options.from_wire({"duration": 1, "rate": 20})
        yield Recorder({"pid": pid, "start": start}, plan(options))
        busy.kill()


def run_to_the_end(recorder: Recorder, binary: str) -> Capture:
    descriptor = os.open(binary, os.O_RDONLY)
    recorder.start(descriptor, -4, Terms.here(AUTO), Kernel())
    os.close(descriptor)
    recorder.confirm()
    _pid, status = os.waitpid(recorder.pid, 0)
    recorder.confirm()
    recorder.ended(status)
    return recorder.capture()


PY_SPY = str(Path(sys.executable).with_name("py-spy"))


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists(PY_SPY), reason="needs root and py-spy")
@pytest.mark.parametrize(("limit", "outcome"), [(1 << 20, "profiled"), (512, "failed")])
def test_a_capture_has_a_limit(recorder, monkeypatch, limit, outcome):
    monkeypatch.setattr(_recorder, "OUTPUT_LIMIT", limit)
    head, body = run_to_the_end(recorder, PY_SPY)
    assert head["outcome"] == outcome, head
    assert bool(body) is (outcome == "profiled")
    if outcome == "failed":
        assert "grew too large" in str(head["reason"]) and head["remedy"]


def test_a_window_that_was_over_before_py_spy_sampled_says_so(recorder):
    """A host that is slow: py-spy was told to end before it listens, and died of it without a word."""
    recorder.status, recorder._told = int(signal.SIGINT), True
    head, body = recorder.capture()
    assert head["outcome"] == "failed" and "before py-spy had begun to sample" in str(head["reason"]) and body == b""
    assert head["remedy"] == "take a longer window (duration)"


def test_a_py_spy_that_cannot_be_executed_says_so(recorder, tmp_path):
    (tmp_path / "py-spy").write_bytes(b"no program")
    head, body = run_to_the_end(recorder, str(tmp_path / "py-spy"))
    assert head["outcome"] == "failed" and "starting py-spy failed" in str(head["detail"]) and body == b""

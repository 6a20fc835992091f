# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the room "state": folders in a directory of the test's own, hostile contents, and races."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _state
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._state import Folder, finish_removals, folders, locked
from hypothesis import given
from hypothesis import strategies as st

ROOT = os.geteuid() == 0


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state"
    monkeypatch.setattr(_state, "base_path", lambda: str(path))
    return path


@pytest.fixture
def folder(base: Path) -> Folder:
    base.mkdir(mode=0o700)
    return Folder.create()


def test_where_it_is(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert _state.base_path() == "/run/pyspy-fleet"
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(_state, "_home", lambda uid: f"/nonexistent/{uid}")
    assert _state.base_path() == "/nonexistent/54321/.pyspy-fleet"


def test_what_is_in_the_home_directory_is_found_again(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(_state, "_home", lambda uid: str(tmp_path))
    monkeypatch.setattr(_state, "_in_own_login", lambda uid: True)
    (tmp_path / ".pyspy-fleet").mkdir()
    assert _state.base_path() == f"{tmp_path}/.pyspy-fleet"


def test_a_user_nobody_knows(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(HostError, match="no entry in the user database"):
        _state.base_path()


@given(st.text(max_size=80))
def test_a_recording_is_named_by_hex_digits_only(name):
    harmless = 0 < len(name) <= 64 and set(name) <= set("0123456789abcdef")
    try:
        path = Folder(name).path
    except HostError as error:
        assert not harmless or "state directory" in error.reason
    else:
        assert harmless and os.path.dirname(path) == _state.base_path()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_we_may_look_in(base, umask):
    before = os.umask(umask)
    try:
        with locked():
            made = Folder.create()
            made.write_json("x", {})
            for path, mode in ((base, 0o700), (Path(made.path), 0o700), (Path(made.file("x")), 0o600)):
                assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_an_empty_directory_does_not_stay(base):
    with locked():
        assert base.is_dir()
    assert not base.exists()


def test_the_directory_stays_while_a_recording_is_in_it(base):
    with locked():
        made = Folder.create()
    assert folders()[0].path == made.path
    made.remove()
    assert not base.exists()
    made.remove()


@pytest.mark.parametrize("kind", ["link", "dangling", "file", "open"])
def test_a_directory_that_is_not_only_ours_is_refused(base, tmp_path, kind):
    elsewhere = tmp_path / "elsewhere"
    if kind == "link":
        elsewhere.mkdir(mode=0o700)
    if kind in ("link", "dangling"):
        base.symlink_to(elsewhere)
    elif kind == "file":
        base.write_text("")
    else:
        base.mkdir()
        base.chmod(0o770)
    for use in (lambda: locked().__enter__(), lambda: Folder("00aa")):
        with pytest.raises(HostError, match="not only ours") as caught:
            use()
        assert str(base) in caught.value.detail and caught.value.remedy
    assert not elsewhere.exists() or not list(elsewhere.iterdir())


@pytest.mark.skipif(not ROOT, reason="needs root to make a directory that is somebody else's")
def test_a_directory_of_somebody_else_is_refused(base):
    base.mkdir(mode=0o700)
    os.chown(base, 12345, 12345)
    with pytest.raises(HostError, match="not only ours"), locked():
        pass


def test_a_place_that_cannot_be_written_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(_state, "base_path", lambda: str(tmp_path / "missing" / "state"))
    with pytest.raises(HostError, match="cannot be made") as caught, locked():
        pass
    assert caught.value.remedy and not (tmp_path / "missing").exists()


def test_files_are_whole_or_not_there(folder):
    assert folder.read_json("x") is None
    folder.write_json("x", {"a": 1})
    assert folder.read_json("x") == {"a": 1}
    for damaged in (b"", b"[1]", b'{"a"', b"\xff\xfe", b"null"):
        folder.write("x", damaged)
        assert folder.read_json("x") is None
    assert os.listdir(folder.path) == ["x"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(folder, monkeypatch):
    folder.write("x", b"old")

    def full(_source, _target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(OSError):
        broken.setattr(os, "rename", full)
        folder.write("x", b"new")
    assert Path(folder.file("x")).read_bytes() == b"old" and os.listdir(folder.path) == ["x"]


def test_names_that_are_no_recordings_are_passed_over(folder, base):
    for name in ("not hex", "0" * 65, "lock", ".gone"):
        (base / name).mkdir()
    assert [one.identity for one in folders()] == [folder.identity]


def test_planted_links_are_removed_not_followed(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("keep me")
    os.symlink(outside, folder.file("result"))
    os.symlink(tmp_path, folder.file("request.json"))
    folder.remove()
    assert outside.read_text() == "keep me" and not os.path.lexists(folder.path)


def test_a_recording_that_is_a_link_leads_nowhere(base, tmp_path):
    base.mkdir(mode=0o700)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("keep me")
    (base / "00aa").symlink_to(outside)
    assert not Folder("00aa").exists()
    Folder("00aa").remove()
    assert (outside / "file").read_text() == "keep me" and not base.exists()


def test_interrupted_removals_are_finished_and_counted(folder, base):
    folder.write("x", b"")
    os.rename(folder.path, folder.path + ".gone")
    (base / "00ff.gone").write_text("a file where a folder should be")
    assert folders() == []
    assert finish_removals() == 2
    assert not base.exists() and finish_removals() == 0


def test_what_cannot_be_removed_is_not_said_to_be(folder, base):
    os.mkdir(folder.file("somebody's"))
    folder.remove()
    assert finish_removals() == 0 and (base / (folder.identity + ".gone")).is_dir()


def test_many_remove_the_same_folder(folder, base):
    for number in range(200):
        folder.write(str(number), b"")
    threads = [threading.Thread(target=folder.remove) for _one in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    finish_removals()
    assert not base.exists()


RACER = """
import sys
sys.path[:] = {path!r}
from ansible_collections.pyspy.fleet.plugins.module_utils import _state
_state.base_path = lambda: {base!r}
for _round in range(40):
    with _state.locked():
        folder = _state.Folder.create()
        folder.write_json("x", 1)
    with _state.locked():
        folder.remove()
"""


def test_the_directory_comes_and_goes_under_many_at_once(base):
    script = RACER.format(path=sys.path, base=str(base))
    racers = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) for _one in range(4)]
    assert [(racer.communicate()[1], racer.returncode) for racer in racers] == [("", 0)] * 4
    assert not base.exists()


def test_json_is_what_is_written(folder):
    folder.write_json("x", {"text": "\udc80 ü", "number": 1.5})
    assert json.loads(Path(folder.file("x")).read_bytes()) == {"text": "\udc80 ü", "number": 1.5}

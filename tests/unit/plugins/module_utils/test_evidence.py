# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host says of how it was left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _evidence, _state
from ansible_collections.pyspy.fleet.plugins.module_utils._evidence import Trace, joined, left_behind, looked
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import ProcessDir
from ansible_collections.pyspy.fleet.plugins.module_utils._recording import Owner
from ansible_collections.pyspy.fleet.plugins.module_utils._state import Folder


def test_segments_are_one_trace_from_first_to_last() -> None:
    first = Trace(1, "R", 0, "S", 0, "was left stopped; resumed")
    second = Trace(1, "S", 5, "T", 7, "")
    other = Trace(2, "S", 0, "", 0, "ended in the window")
    assert joined([first, other, second]) == [Trace(1, "R", 0, "T", 7, "was left stopped; resumed"), other]
    assert joined([]) == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(_state, "base_path", lambda: str(tmp_path))
    monkeypatch.setattr(_evidence, "base_path", lambda: str(tmp_path))
    monkeypatch.setattr(_evidence, "_PATIENCE", 0.1)
    tmp_path.chmod(0o700)
    return Folder.create()


def test_what_is_left_is_named(folder: Folder) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with ProcessDir(process.pid) as found:
            owner = Owner(process.pid, found.start)
            as_target = {"pid": process.pid, "start": found.start}
        assert left_behind(folder, {"keeper": owner}) == [f"keeper (PID {process.pid})", folder.path]
        assert looked(as_target).state_after in "RSD"
        process.kill()
    folder.remove()
    assert left_behind(folder, {"keeper": owner}) == []
    assert looked(as_target) == Trace(process.pid, "", 0, "", 0, "ended")

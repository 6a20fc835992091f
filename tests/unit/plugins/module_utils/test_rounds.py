# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the rooms "dumping" and "looks" where no real py-spy can be made to do what is asked."""

from __future__ import annotations

import json
import os
import signal
import time
import zlib
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils._dump_options import Options
from ansible_collections.pyspy.fleet.plugins.module_utils._dumper import Dumper
from ansible_collections.pyspy.fleet.plugins.module_utils._dumping import Rounds
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._looks import Looks
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import ProcessDir


class Stub:
    """A target whose py-spy is another command."""

    blocking, process, failure, door = False, None, None, None

    def __init__(self, begin: Callable[[], None] = lambda: None, command: str = "sleep 1000") -> None:
        self.dumper = Dumper()
        self.ended = 0
        self._begin, self._command = begin, command.split()

    def hold(self, _tools: object) -> None:
        pass

    def begin(self, _tools: object) -> bool:
        self._begin()
        self.dumper.pid = os.posix_spawnp(self._command[0], self._command, os.environ)
        return True

    def end(self) -> bool:
        self.dumper.end()
        self.ended += 1
        return False


@pytest.fixture(autouse=True)
def blocked() -> Iterator[None]:
    """The children's signal is waited for."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def rounds(subjects: list[Stub], seconds: float) -> Rounds:
    return Rounds(subjects, None, time.monotonic() + seconds)  # type: ignore[arg-type]


def fail() -> None:
    raise TypeError("what nobody thought of")


def test_no_py_spy_outlives_a_round_that_fails() -> None:
    first, second = Stub(), Stub(fail)
    with pytest.raises(TypeError):
        rounds([first, second], 60).run(Options.from_wire({}))
    assert (first.ended, second.ended) == (1, 1) and first.dumper.died
    with pytest.raises(ChildProcessError):
        os.waitpid(first.dumper.pid, 0)


def test_nothing_is_begun_after_the_deadline() -> None:
    found: list[Rounds] = []

    def late() -> None:
        found[0]._deadline = time.monotonic()

    subjects = [Stub(late, "true"), Stub(), Stub()]
    found.append(rounds(subjects, 60))
    words = found[0].run(Options.from_wire({"count": 2, "interval": 0}))
    assert [one.ended for one in subjects] == [1, 0, 0]
    assert words == ["the deadline of 60 s left time for 1 of 2 dumps"]


def row(**more: object) -> dict[str, object]:
    whole = {"pid": 1, "thread_id": 140, "thread_name": None, "os_thread_id": os.getpid(), "frames": []}
    return {**whole, **more}


def test_looks_are_one_document() -> None:
    looks = Looks()
    assert looks.body({}) == b"" and len(looks) == 0
    with ProcessDir(os.getpid()) as process:
        assert looks.take(json.dumps([row()]).encode(), process)
        assert looks.take(b"[]", process)
    document = json.loads(zlib.decompress(looks.body({"command_line": ["a"]})))
    assert [len(look["threads"]) for look in document["looks"]] == [1, 0] and len(looks) == 2
    assert document["looks"][0]["threads"][0]["cpu"] > 0 and "pid" not in document["looks"][0]["threads"][0]
    assert document["command_line"] == ["a"] and document["others"] >= 1


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"{}1",
        b"[1]",
        b"[{}]",
        json.dumps([row(os_thread_id=[1])]).encode(),
        json.dumps([row(os_thread_id={})]).encode(),
        json.dumps([row(thread_id="1")]).encode(),
        json.dumps([row(), row()]).encode(),
        b'[{"thread_id": 1, "os_thread_id": null, "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
    ],
)
def test_what_is_no_dump_is_no_look(output: bytes) -> None:
    looks = Looks()
    with ProcessDir(os.getpid()) as process:
        assert looks.take(output, process) is False
    assert len(looks) == 0


@pytest.mark.parametrize("depth", range(900, 1000, 5))
def test_what_can_be_read_may_be_too_deep_to_be_written(depth: int) -> None:
    # Where exactly Python gives up is a matter of its version and of how deep it stands: it is an answer either way.
    looks = Looks()
    with ProcessDir(os.getpid()) as process:
        taken = looks.take(b'[{"thread_id": 1, "deep": ' + b"[" * depth + b"]" * depth + b"}]", process)
    assert len(looks) == taken


def test_looks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.pyspy.fleet.plugins.module_utils._looks._MOST", 1000)
    looks = Looks()
    with ProcessDir(os.getpid()) as process:
        assert looks.take(json.dumps([row()]).encode(), process)
        with pytest.raises(HostError, match="too large"):
            looks.take(json.dumps([row(thread_name="x" * 1000)]).encode(), process)
    assert len(json.loads(zlib.decompress(looks.body({})))["looks"]) == 1

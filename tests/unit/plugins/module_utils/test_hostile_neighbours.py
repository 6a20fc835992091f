# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of selection among processes that do their worst: what they call themselves, and how they come and go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.pyspy.fleet.plugins.module_utils import _matching
from ansible_collections.pyspy.fleet.plugins.module_utils._errors import HostError
from ansible_collections.pyspy.fleet.plugins.module_utils._procfs import MAX_COMMAND
from ansible_collections.pyspy.fleet.plugins.module_utils._selection import Selectors, choose, look
from ansible_collections.pyspy.fleet.plugins.module_utils._sockets import find_listeners
from ansible_collections.pyspy.fleet.plugins.module_utils._workers import MAX_NAME
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Process as WireProcess
from ansible_collections.pyspy.fleet.tests.unit.plugins.module_utils.tables import PY, row, table

Start = Callable[..., "subprocess.Popen[bytes]"]
WAIT = b"print('up', flush=True); import time; time.sleep(600)"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a Python under any command line, in a session of its own that is killed as a whole at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: bytes, code: bytes = b"") -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            argv, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(child)
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(code)
        child.stdin.close()
        assert child.stdout.readline() == b"up\n"
        return child

    yield run
    for child in started:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()  # type: ignore[union-attr]


NASTY = {
    "line ends": b"one\ntwo\r\nthree",
    "terminal escapes": b"\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "no UTF-8": b"\xff\xfe\xc3(\xed\xa0\x80",
    "right to left": "\u202etxt.exe\u2066".encode(),
    "128 KiB": b"x" * (128 * 1024 - 100),
    "empty arguments": b"",
    "JSON": b'", "pid": 1}]}\n@pyspy-fleet@{"ok": true}',
    "Jinja": b"{{ lookup('pipe', 'id') }}",
}


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
@pytest.mark.parametrize("where", ["argument", "script", "title"])
def test_a_nasty_command_line_is_found_shown_and_harmless(start, tmp_path, nasty, where):
    mark = str(os.getpid()).encode() + b"-hostile-" + where.encode()
    if where == "argument":
        child = start(b"python3", b"-c", WAIT, mark, nasty, b"", b"")
    elif where == "script":
        name = b"app" + nasty.replace(b"/", b"")[:200] + b".py"
        (tmp_path / os.fsdecode(name)).write_bytes(WAIT)
        child = start(b"python3", os.fsencode(tmp_path) + b"/" + name, mark, b"--token=s3cret")
    else:
        child = start(mark + b" " + nasty[:3000], code=WAIT)  # Python itself does not start with a longer one
    selection = look(Selectors(pattern=mark.decode()), 0.0)
    (target,) = (WireProcess.from_wire(json.loads(json.dumps(one.to_wire()))) for one in selection.targets)
    assert target.pid == child.pid
    assert target.name.isprintable() and 0 < len(target.name) <= MAX_NAME
    assert target.reason.isprintable() and "s3cret" not in target.name
    assert all(note.isprintable() for note in selection.notes)


def test_what_lies_beyond_the_bound_is_not_searched(start):
    mark = b"%d-far-away" % os.getpid()
    child = start(b"python3", b"-c", WAIT, b"x" * MAX_COMMAND, mark)
    assert not look(Selectors(pattern=mark.decode()), 0.0).targets
    assert [one.pid for one in look(Selectors(pids=(child.pid,)), 0.0).targets] == [child.pid]


def test_an_expression_that_would_take_for_ever_is_given_up(monkeypatch):
    monkeypatch.setattr(_matching, "PATIENCE", 0.2)
    rows = table(row(10, (PY, "/srv/" + "a" * 60)))
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(HostError, match="The selector pattern took more than 0.2 s of CPU") as caught:
        choose(rows, Selectors(pattern="(a+)+$b"))
    assert caught.value.remedy
    assert signal.getsignal(signal.SIGVTALRM) is before and signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert choose(rows, Selectors(pattern="a+$")).targets


CHURN = """
import os, signal, sys
signal.alarm(120)
print("up", flush=True)
while True:
    children = []
    for number in range(200):
        child = os.fork()
        if child == 0:
            if number % 4 == 0:
                os.execv("/bin/true", ["true"])
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
"""


def test_processes_that_come_and_go_by_the_hundred(start):
    steady = start(b"python3", b"-c", WAIT, b"steady")
    churning = start(b"python3", b"-c", CHURN.encode(), b"churn")
    seen = set()
    deadline = time.monotonic() + 60
    while len(seen) < 20 and time.monotonic() < deadline:
        selection = look(Selectors(pids=(steady.pid, churning.pid), max_targets=1000), 0.01)
        assert steady.pid in {one.pid for one in selection.targets}
        below = look(Selectors(children_of=churning.pid, process_role="any", max_targets=1000), 0.01)
        seen |= {one.pid for one in below.targets + below.skipped} - {steady.pid, churning.pid}
        find_listeners(seen, 1)
    assert len(seen) >= 20, "some lived through both looks"

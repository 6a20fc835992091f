# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the rooms "dumped" and "dump_text": what hosts may send as dumps, and the files made of it."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _bodies
from ansible_collections.pyspy.fleet.plugins.plugin_utils._dump_text import looks_text, text
from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumped import load, store
from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumps import Dump, Look
from ansible_collections.pyspy.fleet.plugins.plugin_utils._errors import FleetError
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run, open_run
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import Capture, HostRecord, Measure, Process

BEGAN = 1795340282.0  # 2026-11-22 09:38:02 UTC
PASSWORD = {"name": "password", "addr": 1, "arg": True, "repr": '"hunter2"'}
HOSTILE = "../../x\x1b[2J\n"


def frame(name: str, line: int, **more: object) -> dict[str, Any]:
    whole = {"name": name, "filename": "/srv/shop/app.py", "short_filename": "shop/app.py", "line": line}
    return {**whole, "module": None, "locals": None, "is_entry": True, "is_shim_entry": False, **more}


def thread(identity: int, *frames: dict[str, Any], **more: object) -> dict[str, Any]:
    whole = {"thread_id": identity, "thread_name": f"T{identity}", "os_thread_id": 10 + identity, "active": False}
    return {**whole, "owns_gil": False, "frames": list(frames), "cpu": 1.0, **more}


def body(*looks: list[dict[str, Any]], others: object = 0) -> dict[str, Any]:
    rows = [{"at": 100.0 + number, "cpu": 2.0, "threads": threads} for number, threads in enumerate(looks)]
    return {"looks": rows, "others": others}


WAITS = thread(1, frame("acquire", 7, locals=[PASSWORD]), frame("serve", 3))
WHOLE = body([WAITS, thread(2, frame("work", 5))], [WAITS, thread(2, frame("work", 6), cpu=1.5)], others=3)


def packed(content: object) -> bytes:
    return zlib.compress(json.dumps(content).encode())


def capture(data: bytes, pid: int = 12, **more: Any) -> Capture:
    process = Process(pid, 5, "web", more.pop("name", "app"), "worker", "3.11", 9.5, "hot")
    whole = Capture(process, Measure("dump", 0, False, False), "profiled", 2, 0, BEGAN, BEGAN + 1, 1.0, len(data))
    return replace(whole, **more)


def take(run: Run, *bodies: bytes, host: str = "web1", **more: Any) -> tuple[HostRecord, list[Dump]]:
    captures = tuple(capture(data, 12 + number, **more) for number, data in enumerate(bodies))
    record = HostRecord(host, "collected", captures=captures)
    return store(run, record, base64.b64encode(b"".join(bodies)).decode())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(str(tmp_path / "runs"), "dump", "web", "key")


def test_dumps_are_taken_and_can_be_read_again(run: Run) -> None:
    record, dumps = take(run, packed(WHOLE), packed(body([])))
    assert [one.file for one in record.captures] == ["12-app.json", "13-app.json"]
    assert [load(run, "web1", one) for one in record.captures] == dumps
    assert dumps[0].others == 3 and dumps[0].looks[0].cpu == 2.0 and len(dumps[0].looks) == 2
    assert run.files("web1") == {"12-app.json", "12-app.txt", "13-app.json", "13-app.txt"}


def test_the_command_line_that_comes_with_the_dumps_is_redacted(run: Run) -> None:
    words = ["python3", "app.py", "--token", "hunter2"]
    record, _dumps = take(run, packed({**WHOLE, "command_line": words}), packed({**WHOLE, "command_line": "python3"}))
    assert record.captures[0].command_line == ("python3", "app.py", "--token", "(redacted)")
    assert record.captures[1].outcome == "failed" and "command line" in record.captures[1].detail


def test_nothing_unredacted_is_written(run: Run) -> None:
    record, _dumps = take(run, packed({**WHOLE, "command_line": ["app.py", "--password=hunter2"]}), name="app")
    for path in Path(run.path).rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path
    assert b"(redacted)" in run.read_capture("web1", record.captures[0].file)


def test_a_second_pass_takes_names_of_its_own(run: Run) -> None:
    names = [take(run, packed(WHOLE))[0].captures[0].file for _pass in range(3)]
    assert names == ["12-app.json", "12-app-2.json", "12-app-3.json"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zlib",
        packed(WHOLE)[:-9],
        packed([]),
        packed({}),
        zlib.compress(b"{"),
        zlib.compress(b"[" * 100_000),
        packed({"looks": []}),
        packed({"looks": [{"threads": [{"thread_id": "1"}]}]}),
        packed({**WHOLE, "others": -1}),
        packed(body([thread(1), thread(1)])),
    ],
)
def test_what_cannot_be_read_spoils_its_own_row(run: Run, data: bytes) -> None:
    good = packed(WHOLE)
    record, dumps = take(run, data, good)
    assert [one.outcome for one in record.captures] == ["failed", "profiled"] and len(dumps) == 1
    assert record.captures[0].reason == "The dump cannot be read" and record.captures[0].remedy
    assert not record.captures[0].file


def test_a_recording_is_no_dump(run: Run) -> None:
    record, dumps = take(run, packed(WHOLE), measure=Measure("cpu", 100, False, False))
    assert record.captures[0].outcome == "failed" and not dumps


def test_a_bomb_is_not_unpacked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bodies, "MAX_CAPTURE_BYTES", 1 << 20)
    record, dumps = take(run, zlib.compress(b" " * (2 << 20)))
    assert record.captures[0].outcome == "failed" and "too large" in record.captures[0].detail and not dumps


@pytest.mark.parametrize("data", ["not base64!", 5, ["eA=="]])
def test_data_that_are_none(run: Run, data: object) -> None:
    with pytest.raises(FleetError):
        store(run, HostRecord("web1", "collected", captures=(capture(b"x"),)), data)
    assert store(run, HostRecord("web1", "nothing"), "") == (HostRecord("web1", "nothing"), [])


def test_hostile_names_stay_in_the_folder_of_their_host(run: Run) -> None:
    hostile = body([thread(1, frame(HOSTILE, 3, filename=HOSTILE), thread_name=HOSTILE)])
    record, _dumps = take(run, packed(hostile), host=HOSTILE, name=HOSTILE)
    files = [path for path in Path(run.path).rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert len(files) == 2 and all(path.parent.parent == Path(run.path, "hosts") for path in files)
    [shown] = [path.read_text() for path in files if path.suffix == ".txt"]
    assert all(line.isprintable() for line in shown.splitlines())
    assert load(run, HOSTILE, record.captures[0]).pid == 12


def test_the_text_is_in_the_order_of_py_spy() -> None:
    dump = Dump.from_wire({**WHOLE, "host": "web1", "pid": 12, "name": "app"})
    shown = text(dump, capture(b"", command_line=("python3", "app.py"), notes=("a note",)))
    assert shown.splitlines() == [
        "Process 12: app",
        "worker of web on web1, Python 3.11",
        "Command line (redacted): python3 app.py",
        "2 dumps, 1.0 s apart, 2026-11-22 09:38:02 to 09:38:03 UTC",
        "Note: 3 threads without a Python stack (of C code) beside these",
        "Note: a note",
        "",
        'Thread 11: "T1" (stuck, CPU 1.00 s, 0.00 s of it meanwhile)',
        "    acquire (shop/app.py:7)",
        "        password: (redacted)",
        "    serve (shop/app.py:3)",
        "",
        'Thread 12: "T2" (moving, CPU 1.50 s, 0.50 s of it meanwhile)',
        "    work (shop/app.py:6)",
        "  1.0 s before:",
        "    work (shop/app.py:5)",
    ]


def test_an_idle_worker_of_uwsgi_is_no_error() -> None:
    shown = text(Dump("web1", 12, "uwsgi", (Look(1.0, ()),), 2), capture(b""))
    assert "Note: no Python stack at all: right for a worker of uWSGI between two requests" in shown


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], ""),
        ([[0.0]], "1 dump"),
        ([[0.0, 1.0, 2.02], [5.0, 6.0, 7.0]], "3 dumps, 1.0 s apart"),
        ([[0.0], [0.0, 1.0, 3.0]], "1 to 3 dumps, 1.5 s apart"),
        ([[0.0, 1.0], [0.0, 2.0]], "2 dumps, 1.0 to 2.0 s apart"),
    ],
)
def test_how_often_was_looked(times: list[list[float]], expected: str) -> None:
    assert looks_text([Dump("h", 1, "n", tuple(Look(at, ()) for at in row)) for row in times]) == expected
